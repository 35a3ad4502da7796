"""The records as JSON and by name: nothing is lost on the way to the store and back, and a name never moves."""

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from withstand.core import (
    Behavior,
    Completion,
    Message,
    Sampling,
    SpecError,
    Spent,
    Target,
    TestCase,
    ToolCall,
    Verdict,
    Worked,
    digest,
    draw,
    dumps,
    from_json,
    rng,
    to_json,
    user,
)
from withstand.core.errors import did_you_mean
from withstand.core.optional import optional

TEXT = st.text(st.characters(), max_size=12)  # without arguments: lone surrogates and NUL too
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
COUNT = st.integers(0, 10**12)
SECONDS = st.floats(0, 1e9)
SCORE = st.none() | st.floats(allow_nan=False, allow_infinity=False)
MESSAGES = st.builds(Message, st.sampled_from(["system", "user", "assistant", "tool"]), TEXT, TEXTS)
CHATS = st.lists(MESSAGES, max_size=3).map(tuple)
SPENT = st.builds(Spent, COUNT, COUNT, SECONDS, SECONDS)
BEHAVIORS = st.builds(Behavior, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, TEXTS, st.booleans())
SAMPLINGS = st.builds(Sampling, st.integers(1, 4096), st.floats(0, 10), st.floats(0.01, 1), TEXTS, st.integers(0, 20))
TOP = st.lists(st.tuples(TEXT, st.floats(-100, 0)), max_size=2).map(tuple)
COMPLETIONS = st.builds(
    Completion,
    chat=CHATS,
    text=TEXT,
    finish=st.sampled_from(["stop", "length", "filtered"]),
    reasoning=TEXT,
    tool_calls=st.lists(st.builds(ToolCall, TEXT, TEXT), max_size=2).map(tuple),
    logprobs=st.lists(TOP, max_size=2).map(tuple),
    prompt_tokens=COUNT,
    answer_tokens=COUNT,
    reasoning_tokens=COUNT,
    cost=SECONDS,
    seconds=SECONDS,
)
CASES = st.builds(
    TestCase, TEXT, CHATS, SCORE, st.none() | COMPLETIONS, SPENT, st.sampled_from(["", "asks", "seconds", "success"])
)
VERDICTS = st.builds(Verdict, st.sampled_from(["success", "failure", "refused", "unscored"]), SCORE, TEXT)
PARTS = st.recursive(
    st.none() | st.booleans() | COUNT | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)
)
WORKED = st.builds(Worked, PARTS, SECONDS)


def through_text(record: Any, kind: Any = None) -> Any:
    """What the store does with a record."""
    written = dumps(to_json(record))
    written.encode("ascii")
    return from_json(kind or type(record), json.loads(written))


@given(st.one_of(BEHAVIORS, SAMPLINGS, COMPLETIONS, CASES, VERDICTS, SPENT, MESSAGES, WORKED))
def test_records_come_back_as_they_were(record: Any) -> None:
    assert through_text(record) == record
    assert type(through_text(record)) is type(record)


@given(st.lists(CASES, max_size=3).map(tuple))
def test_tuples_of_records_come_back_as_tuples(cases: Any) -> None:
    assert through_text(cases, tuple[TestCase, ...]) == cases
    assert hash(through_text(cases, tuple[TestCase, ...])) == hash(cases)  # tuples all the way down, never lists


def test_fields_that_hold_their_default_are_left_out() -> None:
    assert to_json(TestCase("b", user("hi"))) == {"behavior": "b", "chat": [{"role": "user", "text": "hi"}]}
    assert to_json(Sampling()) == {}
    assert to_json({"k": (1, frozenset({"b", "a"}))}) == {"k": [1, ["a", "b"]]}


def test_digests_never_move() -> None:
    """A store of last year holds these: a change of to_json, dumps or digest orphans every row."""
    assert digest({"b": [1, 2.5, None, True], "a": "\u00e4\ud800"}) == "41ad99a70833ea37c9499a17a8ae1f26"
    case = TestCase("b1", user("hi"), score=0.5, completion=Completion(user("hi"), "yes", answer_tokens=1))
    assert digest(to_json(case)) == "b42d5176d3f14020a4d789f9391cbd51"


def test_digest_reads_content_not_order() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest([1, 2]) != digest([2, 1])
    assert digest("1") != digest(1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), object(), {1: {2}}])
def test_dumps_takes_json_alone(bad: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        dumps({"value": bad})


def test_draws_depend_on_their_parts_alone() -> None:
    assert draw(0, "b") == draw(0, "b") != draw(1, "b")
    assert all(0 <= draw(n) < 1 for n in range(100))
    assert sum(draw("mean", n) for n in range(2000)) / 2000 == pytest.approx(0.5, abs=0.03)
    assert rng(0, "b").random() == rng(0, "b").random() != rng(0, "c").random()


def test_a_prompt_stands_below_its_context() -> None:
    assert Behavior("b", "do it").prompt() == "do it"
    assert Behavior("b", "do it").prompt("please") == "please"
    assert Behavior("b", "do it", context="A text.").prompt() == "A text.\n\n---\n\ndo it"
    assert Behavior("b", "do it", context="A text.").prompt("please") == "A text.\n\n---\n\nplease"
    assert Behavior("b", "do it", context="A text.").prompt("") == "A text.\n\n---\n\n"


@pytest.mark.parametrize(
    ("field", "bad", "good"),
    [
        ("max_tokens", [0, -1], [1, 10**6]),
        ("temperature", [-0.01, 10.01, float("nan")], [0, 10]),
        ("top_p", [0, -0.1, 1.01, float("nan")], [1e-9, 1]),
    ],
)
def test_sampling_is_checked(field: str, bad: list[Any], good: list[Any]) -> None:
    for value in bad:
        with pytest.raises(SpecError, match=field):
            Sampling(**{field: value})
    for value in good:
        assert getattr(Sampling(**{field: value}), field) == value


def test_tokens_add_up() -> None:
    assert Completion(user("x"), "y", prompt_tokens=1, answer_tokens=20, reasoning_tokens=300).tokens == 321


@dataclass(frozen=True)
class TextOnly:
    place: ClassVar[str] = "api:small"
    gives: ClassVar[frozenset[str]] = frozenset({"turns"})


@dataclass(frozen=True)
class Local:
    place: ClassVar[str] = "cpu"
    gives: ClassVar[frozenset[str]] = frozenset({"weights"})


class Gradients:
    needs: ClassVar[frozenset[str]] = frozenset({"weights"})


def test_weights_come_from_a_local_model_or_an_error_that_names_the_way_out() -> None:
    attack: Any = Gradients()
    local: Any = Local()
    assert Target(local).weights(attack) is local
    with pytest.raises(SpecError, match="Gradients needs weights but api:small is text only") as caught:
        Target(TextOnly()).weights(attack)  # type: ignore[arg-type]
    assert "--cases-from" in caught.value.hint


def test_a_hint_names_near_words_whatever_their_case():
    assert did_you_mean("stroy", ["Story", "direct"]) == "did you mean Story?"
    assert did_you_mean("seeds", ["seed", "need", "speed", "feeds"]) == "did you mean seed or speed or feeds?"
    assert did_you_mean("prefix", ["prefill", "prefix_injection"]) == "did you mean prefill or prefix_injection?"
    assert did_you_mean("zzz", ["seed"], "its fields are seed") == "its fields are seed"
    assert did_you_mean("x", []) == ""


def test_what_a_component_lacks_has_the_declared_default():
    assert [optional(object(), name) for name in ("waits", "utility", "surrogates", "together", "hosts")] == [
        0, False, (), 1, (),
    ]  # fmt: skip
    assert optional(object(), "release")() is None
    assert not optional(object(), "footprint")
    assert optional(SimpleNamespace(together=4), "together") == 4
    with pytest.raises(KeyError):
        optional(object(), "wait")
