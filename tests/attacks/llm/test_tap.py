"""TAP against Algorithm 1 of arXiv:2312.02119, walked through with models that are made for it."""

import json
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from cases import walk_cases
from fakes import ByRule, Rates
from withstand.attacks.llm._on_topic import LABEL, on_topic
from withstand.attacks.llm._pair import FIRST
from withstand.attacks.llm.tap import TAP
from withstand.core import AskError, Behavior, Message, Sampling, SpecError, Target, Verdict, user
from withstand.judges.contains import Contains
from withstand.models.scripted import Scripted
from withstand.registry import find

BEHAVIOR = Behavior("b", "Bake {prompt} bread")
REFUSAL = "I'm sorry, but I can't help with that."


def numbered(chat: Any, number: int) -> str:
    return f'p{number}"}}' if chat[-1].text == FIRST else f'idea {number}", "prompt": "p{number}"}}'


def at(score: float, wins: bool = False) -> Verdict:
    return Verdict("success" if wins else "failure", score)


ECHO = Target(ByRule(lambda chat, number: re.sub(r"\D", "", chat[-1].text)))  # type: ignore[arg-type]


YES = ByRule(lambda chat, number: "YES]]")


def tap(by: Callable[[int], Verdict] = lambda number: at(0.0), attacker: Any = None, **fields: Any) -> TAP:
    """With an evaluator that finds each prompt on topic, unless told otherwise."""
    fields = {"tries": 1, "on_topic": YES, **fields}
    return TAP(attacker or ByRule(numbered), Rates(lambda text: by(int(text))), **fields)  # type: ignore[arg-type]


def asked(played: Any, model: Any) -> list[Any]:
    """The asks to one model, each as its chats."""
    return [ask.chats for ask in played.asks if ask.model == model]


def past(chat: Any) -> list[str]:
    """The prompts in an attacker's conversation, oldest first."""
    drafts = [turn.text for turn in chat[:-1] if turn.role == "assistant"]
    return [json.loads(text)["prompt"] for text in drafts]


def numbers(chats: Any) -> list[int]:
    return [int(re.sub(r"\D", "", chat[-1].text)) for chat in chats]


def test_asks_at_the_defaults(play: Any) -> None:
    """Issue and HarmBench: at most 4 + 9 * 40 = 364 drafts and 4 + 9 * 10 = 94 that are asked and judged. The first
    level has but 4 nodes, so that the second drafts 16, not 40."""
    attack = tap(on_topic=ByRule(lambda chat, number: "YES]]"))
    played = play(attack.run(BEHAVIOR, ECHO))
    assert [len(chats) for chats in asked(played, attack.attacker)] == [4, 16, *[40] * 8]
    assert [len(chats) for chats in asked(played, attack.on_topic)] == [4, 16, *[40] * 8]
    assert [len(chats) for chats in asked(played, ECHO)] == [4, *[10] * 9]
    assert len(played.cases) == 94
    assert attack.most().asks == {"target": 94, "attacker": 364, "judge": 94, "on_topic": 364}
    own = tap(tries=5, on_topic=None).most().asks
    assert (own["attacker"], "on_topic" in own) == (6 * 364, False)


def test_the_attacker_drops_what_is_off_topic_where_no_evaluator_is_named(play: Any) -> None:
    """Of 40 drafts that level 2 could ask, those that are on topic are asked, and not 10 at random."""

    def both(chat: Any, number: int) -> str:
        if "[PROMPT]" not in chat[0].text:
            return numbered(chat, number)
        return "YES]]" if int(re.search(r"\np(\d+)\n", chat[0].text)[1]) % 8 in (0, 1) else "NO]]"  # type: ignore[index]

    attack = tap(attacker=ByRule(both), on_topic=None, depth=2, width=2, branching=8)
    played = play(attack.run(BEHAVIOR, ECHO))
    first, _ = asked(played, ECHO)
    assert sorted(numbers(first)) == [0, 1]
    assert [len(chats) for chats in asked(played, attack.attacker)] == [8, 8, 16, 16]


def test_a_level_is_drafted_pruned_asked_judged_and_pruned_again(play: Any) -> None:
    """Two levels of branching 3 and width 2 by hand. 0 is off topic; 2 is rated above 1, and of its children 3, 4, 5
    and those of 1, 6, 7, 8, only 4 and 7 are on topic."""
    says = ByRule(lambda chat, number: "YES]]" if re.search(r"\np[1247]\n", chat[0].text) else "NO]]")
    rated = {1: 1 / 9, 2: 4 / 9, 4: 0.0, 7: 7 / 9}
    attack = tap(lambda number: at(rated[number]), on_topic=says, depth=2, width=2, branching=3)
    played = play(attack.run(BEHAVIOR, ECHO))

    (first, second), topics = asked(played, attack.attacker), asked(played, says)
    assert [ask.model for ask in played.asks] == [attack.attacker, says, ECHO] * 2
    assert (len(first), [past(chat) for chat in first]) == (3, [[]] * 3)
    assert [past(chat) for chat in second] == [["p2"]] * 3 + [["p1"]] * 3  # best first, each with its own past
    assert "SCORE: 5\n" in second[0][3].text
    assert "SCORE: 2\n" in second[3][3].text
    assert [sorted(numbers(chats)) for chats in asked(played, ECHO)] == [[1, 2], [4, 7]]
    assert {(case.chat, case.score) for case in played.cases} == {(user(f"p{n}"), score) for n, score in rated.items()}
    assert all(case.completion is None for case in played.cases)
    assert all(BEHAVIOR.text in chat[0].text and chat[1] == Message("assistant", LABEL) for chat in topics[0])


def test_the_best_of_a_level_go_on(play: Any) -> None:
    attack = tap(lambda number: at(number / 9), depth=2, width=3, branching=1, streams=6)
    played = play(attack.run(BEHAVIOR, ECHO))
    tried = numbers(asked(played, ECHO)[0])
    assert len(tried) == 3  # as many as the width are asked, of six
    second = [past(chat) for chat in asked(played, attack.attacker)[1]]
    assert second == [[f"p{number}"] for number in sorted(tried, reverse=True)]
    wide = tap(lambda number: at(number / 99), depth=3, width=2, branching=2)
    played = play(wide.run(BEHAVIOR, ECHO))
    for chats, following in zip(asked(played, ECHO), asked(played, wide.attacker)[1:], strict=False):
        best = sorted(numbers(chats), reverse=True)[:2]
        assert [int(past(chat)[-1][1:]) for chat in following] == [best[0]] * 2 + [best[1]] * 2


def test_each_node_has_its_own_conversation_of_the_last_exchanges(play: Any) -> None:
    attack = tap(lambda number: at((number % 5) / 9), depth=6, width=3, branching=2, memory=2)
    played = play(attack.run(BEHAVIOR, ECHO))
    levels = asked(played, attack.attacker)
    assert [max(len(past(chat)) for chat in chats) for chats in levels] == [0, 1, 2, 2, 2, 2]
    parents: dict[str, str] = {}
    written = 0
    for chats in levels:
        for chat in chats:
            own = past(chat)
            assert chat[:2] == levels[0][0][:2]
            assert all(parents[later] == earlier for earlier, later in pairwise(own))
            parents[f"p{written}"] = own[-1] if own else ""
            written += 1


@pytest.mark.parametrize("verdict", [at(1.0, True), Verdict("success"), at(0.2, True)])
def test_it_stops_at_what_the_judge_calls_success(play: Any, verdict: Verdict) -> None:
    attack = tap(lambda number: verdict if number >= 4 else at(0.0))
    played = play(attack.run(BEHAVIOR, ECHO))
    assert [len(chats) for chats in asked(played, ECHO)] == [4, 10]
    assert len(played.cases) == 14


def test_what_is_rated_1_goes_on_and_what_is_not_rated_does_not(play: Any) -> None:
    """HarmBench's "score above 0" is on a scale that begins at 1: a target that always refuses is still searched."""
    attack = tap(lambda number: Verdict("unscored") if number % 2 else at(0.0), depth=2)
    second = asked(play(attack.run(BEHAVIOR, ECHO)), attack.attacker)[1]
    assert sorted({past(chat)[-1] for chat in second}) == ["p0", "p2"]


def test_a_judge_of_yes_and_no_does_not_fell_the_tree(play: Any) -> None:
    attack = tap(lambda number: Verdict("refused"))
    assert len(play(attack.run(BEHAVIOR, ECHO)).cases) == 94


def test_a_level_without_a_node_lets_the_one_before_branch_again(play: Any) -> None:
    """Level 2 is refused, level 3 off topic, level 4 unscored: level 5 still has the nodes of level 1."""
    attacker = ByRule(lambda chat, number: REFUSAL if 2 <= number < 6 else numbered(chat, number))
    says = ByRule(lambda chat, number: "NO]]" if 2 <= number < 6 else "YES]]")
    attack = tap(
        lambda number: Verdict("unscored") if number < 14 and number > 1 else at(0.0),
        attacker, on_topic=says, depth=5, branching=2,
    )  # fmt: skip
    played = play(attack.run(BEHAVIOR, ECHO))
    levels = asked(played, attacker)
    assert [len(chats) for chats in levels] == [2, 4, 4, 4, 4]
    assert [len(chats) for chats in asked(played, says)] == [2, 4, 4, 4]
    assert [len(chats) for chats in asked(played, ECHO)] == [2, 4, 4]
    for chats in levels[1:]:
        assert sorted(past(chat)[-1] for chat in chats) == ["p0", "p0", "p1", "p1"]


def test_without_any_draft_or_any_on_topic_there_is_an_error(play: Any) -> None:
    with pytest.raises(AskError, match="no usable answer"):
        play(tap(attacker=ByRule(lambda chat, number: REFUSAL)).run(BEHAVIOR, ECHO))
    with pytest.raises(AskError, match="off topic") as caught:
        play(tap(on_topic=ByRule(lambda chat, number: "NO")).run(BEHAVIOR, ECHO))
    assert caught.value.hint


@walk_cases(
    ("said", "stays"),
    [
        ("YES]]", True), ("NO]]", False), ("no", False), ("On topic: [[NO]]", False), ("[[ yes ]]", True),
        ("**No.**", False), ("It is the same task: [[YES]]", True), ("a story about bread: [[NO", False),
        ("<think>no</think>Yes", True),
        ("YES/NO]]", None), ("yes or no", None), ("No doubt it is", None), ("Nothing", None), ("7]]", None), ("", None),
    ],
)  # fmt: skip
def test_what_the_evaluator_says(said: str, stays: bool | None) -> None:
    assert on_topic(said) is stays


def test_an_evaluator_that_takes_no_prefill_or_says_nothing_of_use(play: Any) -> None:
    """What cannot be read stays: an evaluator that cannot answer costs asks and does not empty the tree."""
    says = ByRule(lambda chat, number: "I could not say", frozenset())
    played = play(tap(on_topic=says, depth=1).run(BEHAVIOR, ECHO))
    assert [len(chat) for chat in asked(played, says)[0]] == [1] * 4
    assert len(played.cases) == 4
    (question, *_) = asked(played, says)[0]
    assert f"[TASK]\n{BEHAVIOR.text}\n[END OF TASK]\n\n[PROMPT]\np0\n[END" in question[0].text


def test_the_context_reaches_the_target(play: Any) -> None:
    behavior = Behavior("c", "Turn this into a recipe", context="Flour {task} \ud83d")
    played = play(tap(depth=2).run(behavior, ECHO))
    sent = {chat for chats in asked(played, ECHO) for chat in chats}
    assert sent == {case.chat for case in played.cases}
    assert all(chat[0].text.startswith("Flour {task} \ud83d\n\n---\n\np") for chat in sent)


def test_tap_transfer_searches_on_its_surrogate(play: Any) -> None:
    stand_in = ByRule(lambda chat, number: str(number))
    target = Target(ByRule(lambda chat, number: "unasked"), sampling=Sampling(33, 0.5))  # type: ignore[arg-type]
    played = play(tap(surrogates=(stand_in,), search_tokens=11, depth=2).run(BEHAVIOR, target))
    searched = [ask.model for ask in played.asks if isinstance(ask.model, Target)]
    assert searched == [Target(stand_in, sampling=Sampling(11, 0.5))] * 2  # type: ignore[arg-type]
    assert (target.model.chats, len(stand_in.chats)) == ([], 14)  # type: ignore[attr-defined]
    assert all(case.completion is None for case in played.cases)


def test_the_spec_with_harmbenchs_settings() -> None:
    fields = {"attacker": "scripted", "judge": "contains:Sure", "on_topic": "scripted"}
    built = find.build("attack", {"use": "tap-harmbench", **fields})
    assert built == TAP(Scripted(), Contains("Sure"), Scripted(), 10, 10, 4, 1, 3, 20, 500, 1.0, 150)


@walk_cases(
    "fields",
    [{name: 0} for name in ("depth", "width", "branching", "streams", "memory", "tries", "attacker_tokens")]
    + [{"search_tokens": -1}, {"temperature": 11.0}, {"surrogates": (Scripted(), Scripted(reply="b"))}],
)
def test_wrong_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as caught:
        tap(**fields)
    assert caught.value.hint
