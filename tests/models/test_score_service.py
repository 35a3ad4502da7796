"""A scorer behind a URL, over a real socket: where scores stand, scales, versions."""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

import withstand
from withstand.core import AskError, Message, Sampling, SpecError, user
from withstand.models import _retry
from withstand.models.score_service import ScoreService
from withstand.registry import find
from withstand.results.cases import cases

PERSPECTIVE = {"attributes": {"RUDE": {"summary": {"value": 0.25}}, "LOUD": {"summary": {"value": 0.75}}}}
PIPELINE = [[{"label": "rude", "score": 0.25}, {"label": "loud", "score": 0.75}]]


@pytest.fixture
def service(openai_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A service that gives the answers one after another, the last one again and again; and the model that asks it."""
    monkeypatch.setattr(_retry, "FIRST_WAIT", 0.001)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server = openai_server()

    def answering(*answers: Any, **fields: Any) -> ScoreService:
        rest = list(answers)
        monkeypatch.setattr(sys.modules["openai_server"], "moderate", lambda body: rest.pop(0) if rest[1:] else rest[0])
        given = {"path": "/moderations", "tries": 1, **fields}
        model = ScoreService("stand-in", base_url=server.url, **given)
        object.__setattr__(model, "server", server)
        return model

    return answering


def said(model: Any, *texts: str) -> list[Any]:
    return [json.loads(answer.text) for answer in model.generate([user(text) for text in texts], Sampling(), [0])]


def test_paths_say_where_the_scores_stand(service: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"RUDE": 0.25, "LOUD": 0.75}
    small = {"rude": 0.25, "loud": 0.75}
    for answer, fields, expected in [
        ({"toxicity": 0.5}, {"score_at": "toxicity"}, {"scores": {}, "score": 0.5}),
        (PERSPECTIVE, {"scores_at": "attributes", "value_at": "summary.value"}, {"scores": both}),
        (PIPELINE, {"scores_at": "$[0]"}, {"scores": small}),
        (
            {"out": small, "all": 0.75, "model": {"id": "v7"}},
            {"scores_at": "out", "score_at": "all", "version_at": "model.id"},
            {"scores": small, "score": 0.75, "version": "v7"},
        ),
        (
            {"all": 0.75},
            {"score_at": "all", "version_at": "model.id"},
            {"scores": {}, "score": 0.75, "version": "not given"},
        ),
        ({"all": 75}, {"score_at": "all", "scale": "percent"}, {"scores": {}, "score": 0.75}),
        ({"all": 0}, {"score_at": "all", "scale": "logit"}, {"scores": {}, "score": 0.5}),
        ({"all": "0.9"}, {"score_at": "all", "scale": "percent"}, {"scores": {}, "score": "0.9"}),
        ({"all": None}, {"score_at": "all"}, {"scores": {}, "score": None}),
        ({"all": {"a": 1}}, {"score_at": "all"}, {"scores": {}, "score": '{"a": 1}'}),
    ]:
        assert said(service(answer, **fields), "soup") == [expected], answer
    monkeypatch.setenv("MY_KEY", "sk-secret")
    model = service({"all": 1}, score_at="all", key_env="MY_KEY", body='{"comment": {"text": "{text}"}, "n": [1]}')
    said(model, 'half {text} "quoted"')
    sent = model.server.requests[-1]
    assert sent["body"] == {"comment": {"text": 'half {text} "quoted"'}, "n": [1]}
    assert (sent["path"], sent["headers"]["authorization"]) == ("/v1/moderations", "Bearer sk-secret")


def test_a_path_that_leads_nowhere_ends_the_call_with_what_is_there(service: Callable[..., Any]) -> None:
    for answer, fields, hint in [
        ({"toxicity": 0.5}, {"score_at": "score"}, "score_at"),
        ({"out": 0.5}, {"scores_at": "out"}, "scores_at"),
        (PERSPECTIVE, {"scores_at": "attributes", "value_at": "value"}, "value_at"),
        (PIPELINE, {"scores_at": "$[0]", "name_at": "name"}, "name_at"),
        ([PIPELINE[0] * 2], {"scores_at": "$[0]"}, "name_at"),
    ]:
        with pytest.raises(AskError, match="stand-in at api:127") as caught:
            said(service(answer, **fields), "soup")
        assert f"set {hint} " in caught.value.hint
        assert "; numbers stand at" in str(caught.value)
        assert "seconds" not in str(caught.value)


def test_wrong_fields_and_images(service: Callable[..., Any]) -> None:
    for fields, message in [
        ({}, "neither score_at nor scores_at"),
        ({"score_at": "a..b"}, "is no path"),
        ({"score_at": "a", "scale": "stars"}, "scale is 'stars'"),
        ({"score_at": "a", "body": '{"text": "soup"}'}, "place for {text}"),
        ({"score_at": "a", "body": "{text}"}, "not JSON"),
        ({"score_at": "a", "base_url": "soup"}, "base_url"),
    ]:
        with pytest.raises(SpecError, match=message):
            ScoreService("s", **fields)
    with pytest.raises(AskError, match="does not read images"):
        service({"a": 1}, score_at="a").generate([(Message("user", "a", images=("a.png",)),)], Sampling(), [0])


def test_a_version_that_changes_stands_beside_each_verdict(service: Callable[..., Any], tmp_path: Any) -> None:
    """And what is no number of it is unscored, with its reason."""
    answers = [{"all": 0.75, "by": "v1"}, {"all": 75, "by": "v1"}, {"all": 0.25, "by": "v2"}, {"all": None, "by": "v2"}]
    model = service(*answers, score_at="all", version_at="by", lanes=1)
    fields = {key: value for key, value in find.describe(model).items() if key not in ("version", "identity")}
    judge = {"use": "scorer", "model": {**fields, "base_url": model.base_url, "lanes": 1}}
    target = {"use": "scripted", "reply": "Stir {n}"}
    spec = {"suite": "kitchen", "limit": 4, "benign": "none", "attack": "direct", "judge": judge, "target": target}
    run = withstand.run(spec, store=tmp_path / "s.db")
    rows = sorted((case.outcome, case.scored_by, case.why) for case in cases(run.store, run.row))
    assert rows == [
        ("failure", "v2", "score 0.25"),
        ("success", "v1", "score 0.75"),
        ("unscored", "v1", "another scale: 75.0 does not lie in [0, 1]"),
        ("unscored", "v2", "no score: 'None' stands where a number should"),
    ]
