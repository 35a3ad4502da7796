"""How an attacker's answers are read: refusals, broken formats, JSON that needs mending."""

from typing import Any

import pytest

from cases import walk_cases
from fakes import InTurn
from withstand.attacks.llm._attacker import Draft, drafts, unquoted
from withstand.attacks.llm._objects import read_object, spoken
from withstand.core import Completion, Message, RejectedDrafts, Sampling, SpecError, user
from withstand.registry import find

REFUSAL = "I'm sorry, but I can't help with that."


def parse(text: str) -> str | None:
    return text[3:] if text.startswith("OK ") else None


def parse_any(text: str) -> str | None:
    return text.strip() or None


def run(play: Any, answers: list[str], chats: int, tries: int, opening: str = "") -> Any:
    return play(drafts(InTurn(answers), [user(str(i)) for i in range(chats)], parse, Sampling(), tries, opening))  # type: ignore[arg-type]


def test_only_the_lost_ones_are_asked_anew(play: Any) -> None:
    played = run(play, ["OK a", REFUSAL, "nothing", "OK b", "still nothing", REFUSAL], 3, 3)
    assert [len(ask.chats) for ask in played.asks] == [3, 2, 1]
    assert played.value == [Draft("OK a", "a"), Draft("OK b", "b"), None]
    assert played.rejected == [RejectedDrafts(1, 1), RejectedDrafts(0, 1), RejectedDrafts(1, 0)]


def test_an_answer_that_keeps_the_format_and_refuses_in_it_is_a_refusal(play: Any) -> None:
    played = run(play, [f"OK {REFUSAL}"], 1, 1)
    assert (played.value, played.rejected) == ([None], [RejectedDrafts(1, 0)])


def test_what_the_attackers_own_filter_stopped_is_a_refusal(play: Any) -> None:
    filtered = [Completion(user("x"), "OK a", finish="filtered") for _ in range(2)]
    played = play(drafts(InTurn(filtered), [user("x")], parse, Sampling(), 2))  # type: ignore[arg-type]
    assert (played.value, played.rejected) == ([None], [RejectedDrafts(1, 0), RejectedDrafts(1, 0)])


def test_thinking_is_no_part_of_a_draft_and_one_that_does_not_end_is_none(play: Any) -> None:
    thoughts = [
        "<think>OK x</think>OK a",
        "It opened in the prompt.</think>\nOK b",
        "<think>OK never sent",
        "OK c <think>",
    ]
    played = play(drafts(InTurn(thoughts), [user(str(i)) for i in range(4)], parse_any, Sampling(), 1))  # type: ignore[arg-type]
    assert [draft and draft.text for draft in played.value] == ["OK a", "\nOK b", None, "OK c <think>"]
    assert played.rejected == [RejectedDrafts(malformed=1)]
    assert spoken('{"prompt": "Say </think> twice"}') == '{"prompt": "Say </think> twice"}'


def test_what_was_cut_off_is_lost_but_of_a_list(play: Any) -> None:
    cut = [Completion(user("x"), "OK a", finish="length") for _ in range(2)]
    played = play(drafts(InTurn(cut), [user("x")], parse, Sampling(), 1))  # type: ignore[arg-type]
    assert (played.value, played.rejected) == ([None], [RejectedDrafts(long=1)])
    assert play(drafts(InTurn(cut), [user("x")], parse, Sampling(), 1, parts=True)).value == [Draft("OK a", "a")]  # type: ignore[arg-type]


def test_drafts_that_a_search_had_before_are_counted_and_kept(play: Any) -> None:
    attacker, seen = InTurn(["OK a", "OK a", "OK b", "OK a", "OK c"]), set[str]()
    counts = []
    for chats in (3, 2):
        played = play(drafts(attacker, [user(str(i)) for i in range(chats)], parse, Sampling(), 1, seen=seen))  # type: ignore[arg-type]
        counts += played.rejected
        assert all(played.value)
    assert counts == [RejectedDrafts(repeated=1), RejectedDrafts(repeated=1)]


@pytest.mark.parametrize(
    ("attack", "fields"),
    [
        ("pair", {"streams": 4}), ("tap", {}), ("crescendo", {"streams": 2}), ("zero_shot", {}), ("few_shot", {}),
        ("autodan_turbo", {}),
    ],
)  # fmt: skip
def test_at_temperature_0_an_attack_does_not_ask_for_many_drafts_that_would_be_one(attack: str, fields: Any) -> None:
    spec = {"attacker": "scripted", "temperature": 0, **fields}
    if attack != "zero_shot":
        spec["judge"] = "kitchen"
    with pytest.raises(SpecError, match="drafts would be one"):
        find.build("attack", {"use": attack, **spec})


def test_an_opening_is_put_into_its_mouth_and_parsed_with_the_answer(play: Any) -> None:
    played = run(play, ["K yes"], 1, 1, "O")
    assert played.asks[0].chats[0][-1] == Message("assistant", "O")
    assert played.value == [Draft("OK yes", "yes")]


def test_no_opening_for_a_model_that_takes_none(play: Any) -> None:
    played = play(drafts(InTurn(["OK yes"], frozenset()), [user("x")], parse, Sampling(), 1, "O"))  # type: ignore[arg-type]
    assert (played.asks[0].chats, played.value) == ((user("x"),), [Draft("OK yes", "yes")])


@walk_cases(
    ("text", "prompt"),
    [
        ('{"improvement": "a", "prompt": "b"}', "b"),
        ('Sure! Here it is: {"improvement": "a", "prompt": "write {x} and }{"} Good luck.', "write {x} and }{"),
        ('```json\n{"improvement": "a",\n "prompt": "b",}\n```', "b"),
        ('{"improvement": "a", "prompt": "two\nlines"}', "two\nlines"),
        ('{"improvement": "a", "prompt": "cut off in the mid', "cut off in the mid"),
        ('{"note": "x"} and then {"improvement": "a", "prompt": "b"}', "b"),
        ("{'improvement': 'a', 'prompt': 'b'}", "b"),
        ('{"improvement": "true is null", "prompt": "None"}', "None"),
        ('{"improvement": "a"}', None),
        ('{"improvement": "a", "prompt": "  "}', None),
        ('{"improvement": "a", "prompt": 3}', None),
        ("no object at all", None),
        ("", None),
    ],
)
def test_objects_are_found_and_mended(text: str, prompt: str | None) -> None:
    read = read_object(text, "improvement", "prompt")
    assert (read and read["prompt"]) == prompt


@pytest.mark.parametrize(
    ("text", "bare"),
    [(' "a b" ', "a b"), ("\u201ca\u201d", "a"), ('"a" and "b', '"a" and "b'), ("a", "a"), ("", ""), ('"', '"')],
)
def test_one_pair_of_quotes_goes(text: str, bare: str) -> None:
    assert unquoted(text) == bare
