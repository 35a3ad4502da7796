"""Each defect of HarmBench's PAIR and TAP that was found by reading its code: what happens here instead."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from fakes import ByRule
from withstand.attacks.llm._on_topic import LABEL
from withstand.attacks.llm.pair import PAIR
from withstand.attacks.llm.tap import TAP
from withstand.core import Behavior, Message, RejectedDrafts, Sampling, Target
from withstand.judges.contains import Contains
from withstand.judges.rating import Rating

BEHAVIOR = Behavior("b", "Turn this into a recipe", context="Flour, water, salt")
REFUSAL = "I'm sorry, but I can't help with that."
Reply = Callable[[Any, int], str]


def drafts(chat: Any, number: int) -> str:
    return f'{{"improvement": "i", "prompt": "draft {number}"}}'


def model(rule: Reply, gives: frozenset[str] = frozenset({"system", "turns"})) -> ByRule:
    return ByRule(rule, gives)


TARGET = Target(model(lambda chat, number: f"if (x) {{ bake(); }} {number}"), sampling=Sampling(55))  # type: ignore[arg-type]
NEVER = Contains("never said")


def pair(attacker: Any = None, judge: Any = NEVER, **fields: Any) -> PAIR:
    return PAIR(attacker or model(drafts), judge, **{"streams": 3, "tries": 1, **fields})  # type: ignore[arg-type]


WIDE: dict[str, Any] = {
    "depth": 3, "branching": 3, "width": 3, "tries": 1, "on_topic": model(lambda chat, number: "YES]]"),
}  # fmt: skip


def tap(attacker: Any = None, judge: Any = NEVER, **fields: Any) -> TAP:
    return TAP(attacker or model(drafts), judge, **{**WIDE, **fields})  # type: ignore[arg-type]


BOTH = pytest.mark.parametrize("attack", [pair, tap])


def asked(played: Any, model: Any) -> list[Any]:
    return [ask for ask in played.asks if ask.model == model]


@BOTH
def test_the_context_is_sent_to_the_target_in_the_search(play: Any, attack: Any) -> None:
    played = play(attack().run(BEHAVIOR, TARGET))
    sent = [chat for ask in asked(played, TARGET) for chat in ask.chats]
    assert len(sent) == 9
    assert all(chat[-1].text.startswith("Flour, water, salt\n\n---\n\ndraft ") for chat in sent)


@BOTH
def test_the_target_has_no_stop_string_and_code_is_read_whole(play: Any, attack: Any) -> None:
    played = play(attack().run(BEHAVIOR, TARGET))
    assert {ask.sampling for ask in asked(played, TARGET)} == {Sampling(55)}  # stop=()
    texts = [ask.chats[0][-1].text for ask in played.asks]
    feedback = next(text for text in texts if text.startswith("LANGUAGE MODEL OUTPUT"))
    assert re.search(r"OUTPUT: if \(x\) \{ bake\(\); \} \d+\n", feedback)


@BOTH
def test_search_and_final_test_case_send_the_same_chat(play: Any, attack: Any) -> None:
    """HarmBench renders the search with one template and the evaluation with another."""
    played = play(attack().run(BEHAVIOR, TARGET))
    sent = [chat for ask in asked(played, TARGET) for chat in ask.chats]
    assert [case.chat for case in played.cases] == sent
    assert all(len(chat) == 1 and chat[0].role == "user" for chat in sent)


@BOTH
def test_a_rating_is_read_without_its_closing_bracket(play: Any, attack: Any) -> None:
    """Its judge stopped at "]" and its pattern wanted one, so that every score was 1."""
    for said, cases in (("10", 3), ("Rating: [[10", 3), ("Rating: [[10]]", 3), ("9", 9)):
        judge = Rating(model(lambda chat, number, said=said: said, frozenset({"prefill"})))  # type: ignore[misc, arg-type]
        played = play(attack(judge=judge).run(BEHAVIOR, TARGET))
        assert len(played.cases) == cases
        assert {case.score for case in played.cases} == {1.0 if cases == 3 else 8 / 9}


@BOTH
def test_what_the_judge_left_unscored_is_never_a_success(play: Any, attack: Any) -> None:
    judge = Rating(model(lambda chat, number: "It is 10 times better"))  # type: ignore[arg-type]
    played = play(attack(judge=judge).run(BEHAVIOR, TARGET))
    assert len(played.cases) == 9
    assert {case.score for case in played.cases} == {-1.0}


def test_a_failed_stream_keeps_its_place_and_its_past_while_others_go_on(play: Any) -> None:
    """There it is dropped and the rest are numbered anew. Stream 1 of 3 writes nothing of use in the second step."""
    attacker = model(lambda chat, number: "no JSON" if number == 4 else drafts(chat, number))
    played = play(pair(attacker).run(BEHAVIOR, TARGET))
    assert [len(ask.chats) for ask in asked(played, TARGET)] == [3, 2, 3]
    last = asked(played, attacker)[2].chats
    pasts = [re.findall(r"draft \d", "".join(m.text for m in chat if m.role == "assistant")) for chat in last]
    assert pasts == [["draft 0", "draft 3"], ["draft 1"], ["draft 2", "draft 5"]]
    assert played.rejected == [RejectedDrafts(0, 1)]


def test_a_step_in_which_all_streams_fail_is_skipped(play: Any) -> None:
    """There it is an index error."""
    attacker = model(lambda chat, number: "no JSON" if number < 3 else drafts(chat, number))
    assert len(play(pair(attacker).run(BEHAVIOR, TARGET)).cases) == 6


@BOTH
@pytest.mark.parametrize("refusal", [REFUSAL, f'{{"improvement": "i", "prompt": "{REFUSAL}"}}'])
def test_a_refusal_of_the_attacker_is_asked_anew_and_never_a_test_case(play: Any, attack: Any, refusal: str) -> None:
    attacker = model(lambda chat, number: drafts(chat, number) if number % 2 else refusal)
    played = play(attack(attacker, tries=9).run(BEHAVIOR, TARGET))
    assert len(played.cases) == 9
    assert not any("sorry" in case.chat[-1].text for case in played.cases)
    assert sum(drafts.refused for drafts in played.rejected) == len(attacker.chats) // 2 >= 9


def test_prompts_with_braces_and_bare_words_are_read_whole(play: Any) -> None:
    """There JSON ends at the first brace and is read as Python, in which true and null mean nothing."""
    said = '{"improvement": "true", "prompt": "fill {x: null} with true\\nand go on", "sure": true}'
    played = play(pair(model(lambda chat, number: said), streams=1, steps=1).run(BEHAVIOR, TARGET))
    assert played.cases[0].chat[0].text.endswith("---\n\nfill {x: null} with true\nand go on")


def test_equals_are_chosen_among_by_the_seed(play: Any) -> None:
    """There a sort on (score, place) undoes the shuffle: the first always survive."""

    def survivors(seed: int) -> tuple[tuple[str, ...], ...]:
        played = play(tap(model(drafts), streams=4, branching=4, depth=2, seed=seed).run(BEHAVIOR, TARGET))
        return tuple(tuple(chat[-1].text for chat in ask.chats) for ask in asked(played, TARGET))

    found = [survivors(seed) for seed in range(5)]
    assert len({level for level, _ in found}) == 5  # before the target
    assert found == [survivors(seed) for seed in range(5)]


def test_the_evaluator_is_asked_for_yes_or_no_and_read_as_such(play: Any) -> None:
    """There its answer is opened with the judge's label, and read as a number: nothing is ever off topic."""
    says = model(lambda chat, number: "NO]]" if "draft 1\n" in chat[0].text else "YES]]", frozenset({"prefill"}))
    played = play(tap(on_topic=says, depth=1).run(BEHAVIOR, TARGET))
    assert {chat[-1] for chat in says.chats} == {Message("assistant", LABEL)}
    assert "YES" in says.chats[0][0].text
    assert "Rating" not in says.chats[0][0].text + LABEL
    assert sorted(case.chat[-1].text[-7:] for case in played.cases) == ["draft 0", "draft 2"]


def test_an_empty_level_lets_the_one_before_branch_again(play: Any) -> None:
    """There two nodes by chance go on."""
    says = model(lambda chat, number: "NO" if 3 <= number < 12 else "YES")
    attacker = model(drafts)
    played = play(tap(attacker, on_topic=says).run(BEHAVIOR, TARGET))
    assert [len(ask.chats) for ask in asked(played, TARGET)] == [3, 3]
    second, third = (ask.chats for ask in asked(played, attacker)[1:])
    assert second == third
