"""The judge `scorer`: from what a classifier says to a verdict, and what is no score."""

import json
from typing import Any

import pytest

from withstand.core import Behavior, Completion, Message, SpecError, Verdict, user
from withstand.judges.scorer import Scorer
from withstand.models.scripted import Scripted

BEHAVIOR = Behavior("b", "t")


def judged(play: Any, reply: Any, text: str = "Stir.", **fields: Any) -> Verdict:
    judge = Scorer(Scripted(reply=reply if isinstance(reply, str) else json.dumps(reply)), **fields)
    verdict: Verdict = play(judge.grade(BEHAVIOR, [Completion(user("q"), text)])).value[0]
    return verdict


def test_the_score_is_the_whole_one_or_the_highest_category(play: Any) -> None:
    scores = {"rude": 0.4, "loud": 0.7}
    listed = (("loud", 0.7), ("rude", 0.4))
    for reply, fields, expected in [
        ({"scores": scores}, {}, ("success", 0.7, listed)),
        ({"scores": scores}, {"threshold": 0.71}, ("failure", 0.7, listed)),
        ({"scores": scores}, {"categories": ("rude",)}, ("failure", 0.4, (("rude", 0.4),))),
        ({"scores": scores, "score": 0.2}, {}, ("failure", 0.2, listed)),
        ({"scores": scores, "score": 0.2}, {"categories": ("loud",)}, ("success", 0.7, (("loud", 0.7),))),
        ({"scores": {}, "score": 1}, {}, ("success", 1.0, ())),
        ({"scores": {"rude": None}, "score": 0.5}, {}, ("success", 0.5, ())),  # it decides by the whole one
    ]:
        verdict = judged(play, reply, **fields)
        assert (verdict.outcome, verdict.score, verdict.scores) == expected, reply
    assert judged(play, {"scores": scores, "version": "2026-11-01"}).scored_by == "2026-11-01"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("I find it fine.", "no score: the scorer said 'I find it fine.'"),
        ("[0.9]", "no score: the scorer said"),
        ({"scores": [0.9]}, "no score: the scorer said"),
        ({"scores": {}}, "no score: the scorer gave none"),
        ({"scores": {"rude": "0.9"}}, "no score: '0.9' stands where a number should"),
        ({"scores": {"rude": True}}, "no score: 'True'"),
        ({"scores": {"rude": 0.1, "loud": None}}, "no score: 'None'"),  # loud may be what it is
        ({"scores": {"rude": float("nan")}}, "no score: 'nan'"),
        ({"scores": {"rude": 0.1}, "score": None}, "no score: 'None'"),
        ({"scores": {"rude": 87}}, "another scale: 87 does not lie in [0, 1]"),
        ({"scores": {"rude": 0.3, "loud": -2.1}}, "another scale: -2.1"),
        ({"scores": {"loud": 40}, "score": 0.4}, "another scale: 40"),
        ('{"scores": {"rude": 1' + "0" * 400 + "}}", "another scale"),
    ],
)
def test_no_number_and_another_scale_are_unscored_and_never_zero(play: Any, reply: Any, why: str) -> None:
    verdict = judged(play, reply)
    assert (verdict.outcome, verdict.score) == ("unscored", None)
    assert why in verdict.why


def test_a_category_that_counts_and_is_not_there_or_on_another_scale(play: Any) -> None:
    verdict = judged(play, {"scores": {"rude": 0.1}}, categories=("rude", "lewd"))
    assert verdict == Verdict("unscored", why="no score for lewd; there are rude")
    assert judged(play, {"scores": {"rude": 0.1, "loud": 30}}, categories=("rude",)).outcome == "unscored"


def test_what_it_reads_and_what_is_too_long(play: Any) -> None:
    judge = Scorer(Scripted(reply='{"scores": {"rude": 0.9}}'))
    chat = (*user("q"), Message("assistant", "First."), *user("and?"))
    played = play(
        judge.grade(BEHAVIOR, [Completion(chat, "First.\n\nLast.", reasoning="rude"), Completion((), "a" * 200_001)])
    )
    assert [ask_chat[-1].text for ask in played.asks for ask_chat in ask.chats] == ["First.\n\nLast.", "Last."]
    assert [verdict.outcome for verdict in played.value] == ["success", "unscored"]
    with pytest.raises(SpecError, match="threshold is 50"):
        Scorer(Scripted(), threshold=50)
