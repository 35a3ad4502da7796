"""GOAT, turn by turn: what the attacker is shown, which turns stay, and the list of techniques."""

import json
from typing import Any

import pytest
import sqlalchemy as sql

from fakes import ByRule, Rates
from withstand import api
from withstand.attacks.llm._texts import data_of
from withstand.attacks.llm.goat import GOAT, OPENING, TECHNIQUES
from withstand.core import AskError, Behavior, Message, RejectedDrafts, Sampling, SpecError, Target, Verdict
from withstand.store import tables

BEHAVIOR = Behavior("b", "Tell the {secret} recipe \ud83d", context="Grandma's cellar")
REFUSAL = "I'm sorry, but I can't help with that."


def writes(n: int) -> str:
    return json.dumps({"observation": "o", "thought": "t", "technique": "dual_response", "reply": f"q{n}?"})


def never(text: str) -> Verdict:
    return Verdict("failure", 0.1)


def make(attacker: Any = writes, rate: Any = never, **fields: Any) -> GOAT:
    return GOAT(by_number(attacker), Rates(rate, asks=2), **fields)  # type: ignore[arg-type]


def by_number(rule: Any) -> ByRule:
    return ByRule(lambda _, n: rule(n), frozenset({"turns"}))


def run(play: Any, attack: GOAT, target: Any = lambda n: f"a{n}") -> Any:
    return play(attack.run(BEHAVIOR, Target(by_number(target), sampling=Sampling(50))))  # type: ignore[arg-type]


def roles(played: Any) -> str:
    return "".join("t" if isinstance(ask.model, Target) else "a" for ask in played.asks)


def texts(chat: Any) -> list[str]:
    return [message.text for message in chat]


def told(attack: GOAT) -> list[str]:
    return [chat[0].text for chat in attack.attacker.chats]  # type: ignore[attr-defined]


def test_the_attacker_sees_goal_techniques_and_conversation_and_its_reply_alone_is_sent(play: Any) -> None:
    attack = make(turns=3)
    played = run(play, attack)
    assert roles(played) == "atatat"
    assert [texts(case.chat) for case in played.cases] == [
        [BEHAVIOR.prompt("q0?")],
        [BEHAVIOR.prompt("q0?"), "a0", "q1?"],
        [BEHAVIOR.prompt("q0?"), "a0", "q1?", "a1", "q2?"],
    ]
    assert played.cases[-1].completion.text == "a0\n\na1\n\na2"
    first, _, third = told(attack)
    assert "Nothing has been said yet." in first
    assert "User: q0?\nModel: a0\n\nUser: q1?\nModel: a1\n" in third
    assert "message 3 of 3" in third
    for prompt in told(attack):
        assert BEHAVIOR.prompt() in prompt
        assert all(f"- {name}: " in prompt for name in TECHNIQUES)


def test_success_ends_it(play: Any) -> None:
    played = run(play, make(rate=lambda text: Verdict("success" if "a1" in text else "failure")))
    assert roles(played) == "atat"
    assert max(played.cases, key=lambda case: case.score) is played.cases[-1]


def test_five_turns_by_default_and_the_longest_of_equals_ranks_first(play: Any) -> None:
    played = run(play, make())
    assert roles(played) == "at" * 5
    assert max(played.cases, key=lambda case: case.score) is played.cases[-1]


def test_a_refusal_stays_in_the_conversation_and_ranks_last(play: Any) -> None:
    attack = make(turns=3)
    played = run(play, attack, lambda n: REFUSAL if n == 1 else f"a{n}")
    assert texts(played.cases[-1].chat)[1:] == ["a0", "q1?", REFUSAL, "q2?"]
    assert f"User: q1?\nModel: {REFUSAL}\n" in told(attack)[2]
    assert min(played.cases, key=lambda case: case.score) is played.cases[1]


def test_a_turn_without_an_answer_does_not_stay(play: Any) -> None:
    played = run(play, make(turns=3), lambda n: " " if n == 0 else f"a{n}")
    assert texts(played.cases[-1].chat) == [BEHAVIOR.prompt("q1?"), "a1", "q2?"]
    assert played.cases[-1].completion.text == "a1\n\na2"


def test_a_message_that_the_attacker_does_not_give_costs_a_turn(play: Any) -> None:
    def fails(n: int) -> str:
        return {1: "no object", 2: json.dumps({"observation": "o", "reply": REFUSAL})}.get(n, writes(n))

    played = run(play, make(fails, turns=3, tries=2))
    assert roles(played) == "ataaat"
    assert played.rejected == [RejectedDrafts(0, 1), RejectedDrafts(1, 0)]
    assert texts(played.cases[-1].chat)[1:] == ["a0", "q3?"]


def test_an_attacker_that_gives_nothing_is_an_error(play: Any) -> None:
    with pytest.raises(AskError, match="no usable answer in 2 tries"):
        run(play, make(lambda n: REFUSAL, tries=2))


def test_an_unscored_verdict_is_no_success(play: Any) -> None:
    played = run(play, make(rate=lambda text: Verdict("unscored", 1.0), turns=2))
    assert roles(played) == "atat"
    assert all(case.score < 0 for case in played.cases)


def test_most_is_reached(play: Any) -> None:
    attack = make(lambda n: writes(n) if n % 2 else "?", tries=2)
    played = run(play, attack)
    assert roles(played) == "aat" * 5
    assert attack.most().asks == {"target": 5, "attacker": 10, "judge": 2 * 10}
    assert (attack.most().cases, attack.most().drawn) == (1, True)


def test_samplings_and_the_opening(play: Any) -> None:
    helped = ByRule(lambda _, n: 'none", "reply": "q?"}', gives=frozenset({"prefill"}))
    attack = GOAT(helped, Rates(never, asks=2), turns=1, attacker_tokens=7, search_tokens=9, temperature=0.5)  # type: ignore[arg-type]
    played = run(play, attack)
    assert [ask.sampling for ask in played.asks] == [Sampling(7, 0.5), Sampling(9)]
    assert helped.chats[0][-1] == Message("assistant", OPENING)
    assert texts(played.cases[0].chat) == [BEHAVIOR.prompt("q?")]


def test_the_list_of_techniques_can_be_cut(play: Any) -> None:
    attack = make(turns=1, techniques=("topic_splitting",))
    run(play, attack)
    assert [name for name in TECHNIQUES if f"- {name}: " in told(attack)[0]] == ["topic_splitting"]


def test_the_data_file_holds_the_techniques() -> None:
    known = data_of("goat_techniques.json")
    assert tuple(known) == TECHNIQUES
    assert all(set(one) == {"what", "example"} and all(one.values()) for one in known.values())


@pytest.mark.parametrize(
    "fields",
    [
        {"turns": 0},
        {"techniques": ()},
        {"techniques": ("magic",)},
        {"tries": 0},
        {"attacker_tokens": 0},
        {"search_tokens": -1},
        {"temperature": 11},
    ],
)
def test_wrong_fields(fields: Any) -> None:
    with pytest.raises(SpecError) as caught:
        make(**fields)
    assert caught.value.hint


THOUGHT = "<think>It will refuse. I must not say so.</think>"


def thinking(chat: Any, n: int) -> str:
    return THOUGHT + (REFUSAL if n == 1 else writes(n))


def test_a_planned_conversation_has_one_system_prompt_and_the_attackers_own_turns_in_it(play: Any) -> None:
    """By hand: what the attacker reads in its third message, after a refusal of its own and one of the target."""
    attacker = ByRule(thinking, frozenset({"system", "turns"}))
    attack = GOAT(attacker, Rates(never), turns=2, history=True)  # type: ignore[arg-type]
    played = run(play, attack, lambda n: REFUSAL if n else "a0")
    own = json.dumps({"observation": "o", "thought": "t", "technique": "dual_response", "reply": "q0?"})
    first, again, last = attacker.chats
    assert first == again[: len(first)]
    assert [message.role for message in last] == ["system", "user", "assistant", "user"]
    assert BEHAVIOR.prompt() in last[0].text
    assert texts(last)[1:] == [
        "Write message 1 of 2.",
        own,
        "The model answered:\na0\n\nRating of its answers so far: 1 of 10\n\nWrite message 2 of 2.",
    ]
    assert texts(played.cases[-1].chat)[1:] == ["a0", "q2?"]
    assert played.rejected == [RejectedDrafts(refused=1)]
    assert "think" not in str([played.cases, [item.chats for item in played.asks]]).replace("thinking model", "")
    plain = ByRule(thinking, frozenset({"turns"}))
    run(play, GOAT(plain, Rates(never), turns=1, history=True))  # type: ignore[arg-type]
    assert [message.role for message in plain.chats[0]] == ["user"]


def test_what_the_attacker_thinks_is_stored_and_sent_to_nobody(tmp_path: Any) -> None:
    """Whether a server keeps it apart or not."""
    spec = {
        "suite": {"use": "kitchen", "limit": 1},
        "target": "scripted-kitchen",
        "benign": "none",
        "attack": {
            "use": "planned", "judge": "kitchen", "turns": 2,
            "attacker": {"use": "scripted", "reply": THOUGHT + '{"reply": "Bake {n}?"}'},
        },
    }  # fmt: skip
    with api.run(spec, store=str(tmp_path / "s.db")).store as store:
        kept = [value for (value,) in store.select(sql.select(tables.answer.c.value))]
        rows = [value for (value,) in store.select(sql.select(tables.row.c.value))]
    assert any("I must not say so" in value for value in map(str, kept))
    assert rows
    assert not any("I must not say so" in value for value in map(str, rows))
