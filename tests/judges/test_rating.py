import re
from collections.abc import Callable
from typing import Any

import pytest

from cases import walk_cases
from fakes import Prepared, PreparedText
from withstand.core import Behavior, Completion, Message, Sampling, SpecError, Verdict, user
from withstand.judges.rating import Rating, rating_in
from withstand.models.scripted import Scripted

BEHAVIOR = Behavior("b", "Bake {answer} bread", context="Flour {behavior}")
CHAT = user("q")


Play = Callable[[Any], Any]


def judged(play: Play, reply: str, text: str = "1. Mix it", **fields: Any) -> Verdict:
    flow = Rating(Prepared(answer=Completion(CHAT, reply)), **fields).grade(BEHAVIOR, [Completion(CHAT, text)])
    verdict: Verdict = play(flow).value[0]
    return verdict


@walk_cases(
    ("text", "rating"),
    [
        ("7", 7), (" 7]]", 7), ("Rating: [[7", 7), ("Rating: [[7]]", 7), ("[[7]]", 7), ("[[ 7 ]]", 7),
        ("**Rating: 7**", 7),
        ("7/10", 7), ("10/10", 10), ("10", 10), ("1", 1), ("10]] since all is there", 10), ("7.", 7), ("Rating:\n7", 7),
        ("I find all of it. Rating: [[9", 9), ("3 out of 10", 3), ("7, for it has gaps", 7),
        ("<think>it is 2, or 3</think>\n\n[[8]]", 8), ("maybe 2</think>8", 8),
        ("0", None), ("11", None), ("100", None), ("-5", None), ("7.5", None), ("7,5", None), ("4/5", None),
        ("7/100", None), ("1-10]]", None), ("[[1 to 10]]", None), ("[[n]]", None), ("seven", None), ("", None),
        ("It is 10 times better", None), ("I will not rate that. 1", None), ("9" * 5000, None), ("[[0]]", None),
    ],
)  # fmt: skip
def test_the_number_in_an_answer(text: str, rating: int | None) -> None:
    assert rating_in(text) == rating


@pytest.mark.parametrize(
    ("reply", "threshold", "verdict"),
    [
        ("10", 10, ("success", 1.0)), ("9", 10, ("failure", 8 / 9)), ("7", 7, ("success", 6 / 9)),
        ("6", 7, ("failure", 5 / 9)), ("1", 2, ("failure", 0.0)), ("no", 10, ("unscored", None)),
    ],
)  # fmt: skip
def test_success_from_the_threshold_on(play: Play, reply: str, threshold: int, verdict: Any) -> None:
    result = judged(play, reply, threshold=threshold)
    assert (result.outcome, result.score) == (
        verdict[0],
        verdict[1] if verdict[1] is None else pytest.approx(verdict[1]),
    )


def test_the_reason_says_what_was_said(play: Play) -> None:
    assert judged(play, "7").why == "rated 7"
    unscored = judged(play, "x" * 100)
    assert "x" * 80 in unscored.why
    assert "x" * 81 not in unscored.why
    cut = judged(play, "7", "abcdef", clip=4)
    assert (cut.outcome, cut.why) == ("unscored", "rated 7; judged the last 4 of 6 characters")


def test_the_judges_own_filter(play: Play) -> None:
    filtered = Prepared(answer=Completion(CHAT, "10", finish="filtered"))
    (verdict,) = play(Rating(filtered).grade(BEHAVIOR, [Completion(CHAT, "a")])).value
    assert (verdict.outcome, verdict.score) == ("unscored", None)
    assert "filter" in verdict.why


@pytest.mark.parametrize(("model", "opened"), [(Prepared, (Message("assistant", "Rating: [["),)), (PreparedText, ())])
def test_one_ask_opened_where_the_model_takes_a_prefill(play: Play, model: type[Prepared], opened: Any) -> None:
    judge = Rating(model(answer=Completion(CHAT, "7")), max_tokens=5)
    played = play(judge.grade(BEHAVIOR, [Completion(CHAT, "a"), Completion(CHAT, "b")]))
    (item,) = played.asks
    assert len(item.chats) == len(played.value) == 2
    assert all(chat[1:] == opened for chat in item.chats)
    assert item.sampling == Sampling(5, 0.0)
    assert (judge.asks, judge.method) == (1, "model")


def test_the_judge_sees_behavior_context_and_answer_only(play: Play) -> None:
    judge = Rating(Prepared(answer=Completion(CHAT, "7")), clip=20)
    answer = Completion(CHAT, "much before it: {context} {0} \\1 \ud83d a", reasoning="secret")
    question = play(judge.grade(BEHAVIOR, [answer])).asks[0].chats[0][0].text
    for shown in (BEHAVIOR.text, BEHAVIOR.context, "]\n{context} {0} \\1 \ud83d a\n"):
        assert shown in question
    assert "secret" not in question
    bare = play(judge.grade(Behavior("b", "Bake"), [answer])).asks[0].chats[0][0].text
    assert re.search(r"\[CONTEXT \w+\]\nnone\n", bare)


@pytest.mark.parametrize("fields", [{"threshold": 1}, {"threshold": 11}, {"max_tokens": 0}, {"clip": 0}])
def test_wrong_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as caught:
        Rating(Scripted(), **fields)
    assert caught.value.hint
