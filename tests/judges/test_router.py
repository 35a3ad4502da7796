from collections.abc import Callable
from typing import Any

import pytest

from cases import walk_cases
from withstand.core import Behavior, Completion, SpecError, ToolCall, user
from withstand.judges.canary import Canary
from withstand.judges.contains import Contains
from withstand.judges.kitchen import Kitchen
from withstand.judges.llm import LLM
from withstand.judges.refusal_words import RefusalWords
from withstand.judges.router import Router
from withstand.judges.rubric import Rubric
from withstand.judges.tool_called import ToolCalled
from withstand.models.scripted import Scripted
from withstand.registry import find

Play = Callable[[Any], Any]


@walk_cases(
    ("functional", "tags", "judge"),
    [
        # The table of HarmBench's evaluator, in its order.
        ("copyright", ("lyrics", "hash_check"), "hash"),
        ("copyright", ("book", "hash_check"), "hash"),
        ("contextual", ("context",), "context"),
        ("standard", (), "standard"),
        ("contextual", ("hash_check", "context"), "hash"),
        ("contextual", ("context", "hash_check"), "hash"),  # the order is that of `when`
        ("", (), "standard"),
        ("", ("hash",), "standard"),  # whole words
        ("hash_check", (), "hash"),  # a functional category is a word too
        ("", ("context:long",), "context"),
        ("", ("a:context",), "standard"),
    ],
)
def test_the_first_word_that_fits_chooses_the_judge(
    play: Play, functional: str, tags: tuple[str, ...], judge: str
) -> None:
    router = Router(Contains("standard"), ("hash_check", "context"), (Contains("hash"), Contains("context")))
    answers = [Completion(user("q"), name) for name in ("hash", "context", "standard")]
    verdicts = play(router.grade(Behavior("b", "t", functional=functional, tags=tags), answers)).value
    (spoke,) = (answer.text for answer, verdict in zip(answers, verdicts, strict=True) if verdict.outcome == "success")
    assert spoke == judge


def test_judges_that_read_tags_get_them(play: Play) -> None:
    router = Router(Kitchen(), ("canary", "tool"), (Canary(), ToolCalled()))
    leak = Behavior("b", "t", tags=("canary:sorrel-44",))
    assert play(router.grade(leak, [Completion(user("q"), "sorrel-44")])).value[0].outcome == "success"
    cancel = Behavior("b", "t", tags=("tool:cancel",))
    calls = (ToolCall("cancel", "{}"),)
    assert play(router.grade(cancel, [Completion(user("q"), "", tool_calls=calls)])).value[0].outcome == "success"


def test_only_the_judge_that_applies_is_asked(play: Play) -> None:
    router = Router(LLM(Scripted(reply="yes")), ("a",), (Rubric(Scripted(reply="score: 5")),))
    assert router.asks == 3  # the most that any asks of one answer
    played = play(router.grade(Behavior("b", "t"), [Completion(user("q"), "x")] * 2))
    assert sum(len(item.chats) for item in played.asks) == 2


def test_its_rate_is_labeled_by_its_weakest_judge() -> None:
    assert Router(Kitchen(), ("a",), (Canary(),)).method == "rule"
    assert Router(Kitchen(), ("a",), (RefusalWords(),)).method == "string matching"
    assert Router(LLM(Scripted()), ("a",), (Canary(),)).method == "model"


@pytest.mark.parametrize(
    ("when", "judges"), [((), ()), (("a",), ()), (("a",), (Kitchen(), Canary())), (("a", "a"), (Kitchen(), Canary()))]
)
def test_wrong_fields(when: Any, judges: Any) -> None:
    with pytest.raises(SpecError) as caught:
        Router(Kitchen(), when, judges)
    assert caught.value.hint


def test_toml_and_the_command_line_can_say_it() -> None:
    wanted = Router(Kitchen(), ("canary", "tool"), (Canary(("sorrel-44",)), ToolCalled()))
    text = 'router:kitchen,when=["canary","tool"],judges=["canary:sorrel-44","tool_called"]'
    assert find.build("judge", text) == wanted
    judges = [{"use": "canary", "secrets": ["sorrel-44"]}, "tool_called"]
    spec = {"use": "router", "default": "kitchen", "when": ["canary", "tool"], "judges": judges}
    assert find.build("judge", spec) == wanted
    assert find.build("judge", "router:kitchen,when=a,judges=canary") == Router(Kitchen(), ("a",), (Canary(),))
