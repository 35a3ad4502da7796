"""The moderation endpoint, over a real socket. What it shares with the chat server: tests/models/test_openai.py."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from withstand.core import AskError, Message, Sampling, SpecError, user
from withstand.models import _retry
from withstand.models.moderation import Moderation

Serve = Callable[..., Any]


@pytest.fixture(autouse=True)
def _quick_and_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retry, "FIRST_WAIT", 0.001)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_the_last_message_is_sent_and_what_comes_back_is_json(openai_server: Serve, monkeypatch: Any) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    server = openai_server()
    chat = (Message("system", "a"), *user("hate"), Message("assistant", "some violence in a film"))
    (answer,) = Moderation(base_url=server.url, key_env="MY_KEY").generate([chat], Sampling(), [0])
    (request,) = server.requests
    assert (request["path"], request["headers"]["authorization"]) == ("/v1/moderations", "Bearer sk-secret")
    assert request["body"] == {"model": "omni-moderation-latest", "input": "some violence in a film"}
    judged = json.loads(answer.text)
    assert (answer.chat, answer.finish, judged["flagged"], judged["categories"]) == (chat, "stop", True, ["violence"])
    assert (len(judged["scores"]), judged["scores"]["violence"], judged["scores"]["hate"]) == (13, 0.75, 0.125)
    assert judged["model"] == "omni-moderation-2024-09-26"
    (harmless,) = Moderation(base_url=server.url).generate([user("bread")], Sampling(), [0])
    assert (json.loads(harmless.text)["flagged"], json.loads(harmless.text)["categories"]) == (False, [])


def test_the_test_server_answers_as_the_sdk_expects(openai_server: Serve) -> None:
    """So that the shape is OpenAI's and not one of ours."""
    import sys

    from openai.types import ModerationCreateResponse

    server = sys.modules["openai_server"]
    read = ModerationCreateResponse.model_validate(server.moderate({"input": "self-harm/intent"}))
    assert (read.results[0].categories.self_harm_intent, read.results[0].category_scores.illicit) == (True, 0.125)


@pytest.mark.parametrize("fault", ["429", "500", "drop", "cut", "not_json", "wrong_shape"])
def test_what_may_pass_is_tried_again(openai_server: Serve, fault: str) -> None:
    server = openai_server(faults=[fault])
    (answer,) = Moderation(base_url=server.url).generate([user("violence")], Sampling(), [0])
    assert json.loads(answer.text)["categories"] == ["violence"]
    assert len(server.requests) == 2


def test_what_will_not_pass_is_said(openai_server: Serve) -> None:
    server = openai_server(faults=["400", "404"])
    model = Moderation(base_url=server.url)
    for hint in ("check model", "/models"):
        with pytest.raises(AskError, match="refused, HTTP 4") as caught:
            model.generate([user("a")], Sampling(), [0])
        assert hint in caught.value.hint
    with pytest.raises(AskError, match="does not read images"):
        model.generate([(Message("user", "a", images=("a.png",)),)], Sampling(), [0])
    with pytest.raises(SpecError, match="needs an API key"):
        Moderation().check()
    with pytest.raises(SpecError, match="lanes is 0"):
        Moderation(lanes=0)


def test_answers_of_another_shape_are_no_scores(openai_server: Serve, monkeypatch: Any) -> None:
    import sys

    server = openai_server()
    module = sys.modules["openai_server"]
    whole = module.moderate({"input": "a"})
    [result] = whole["results"]
    older = result | {"category_scores": {"illicit": None, "hate": 0.5}, "categories": {"illicit": None, "hate": False}}
    monkeypatch.setattr(module, "moderate", lambda body: whole | {"results": [older]})
    (answer,) = Moderation(base_url=server.url).generate([user("a")], Sampling(), [0])
    assert json.loads(answer.text)["scores"] == {"hate": 0.5}
    for wrong in ({"category_scores": {"hate": "high"}}, {"category_scores": {"hate": "nan"}}, {"categories": []}):
        monkeypatch.setattr(module, "moderate", lambda body, wrong=wrong: whole | {"results": [result | wrong]})
        with pytest.raises(AskError, match="another shape"):
            Moderation(base_url=server.url, tries=1).generate([user("a")], Sampling(), [0])
