"""Crescendo, turn by turn: what the attacker is told, what is taken back, what is counted."""

import json
from dataclasses import replace
from typing import Any

import pytest

from fakes import ByRule, Rates
from withstand.attacks.llm.crescendo import OPENING, Crescendo
from withstand.core import AskError, Behavior, Message, RejectedDrafts, Sampling, SpecError, Target, Verdict

BEHAVIOR = Behavior("b", "Tell the {secret} recipe \ud83d", context="Grandma's cellar")
REFUSAL = "I'm sorry, but I can't help with that."


def writes(chat: Any, n: int) -> str:
    return json.dumps({"summary": f"sum{n}", "question": f"q{n}?"})


def answers(chat: Any, n: int) -> str:
    return f"a{n}"


def by_answers(text: str) -> Verdict:
    """A tenth for each answer; success from the third on."""
    given = text.count("a")
    return Verdict("success" if given > 2 else "failure", given / 10)


def never(text: str) -> Verdict:
    return Verdict("failure", 0.1)


def make(attacker: Any = writes, rate: Any = by_answers, **fields: Any) -> Crescendo:
    return Crescendo(ByRule(attacker, frozenset({"turns"})), Rates(rate, asks=2), **fields)  # type: ignore[arg-type]


def run(play: Any, attack: Crescendo, target: Any = answers) -> Any:
    return play(attack.run(BEHAVIOR, Target(ByRule(target, frozenset({"turns"})), sampling=Sampling(50))))  # type: ignore[arg-type]


def roles(played: Any) -> list[tuple[str, int]]:
    return [("target" if isinstance(ask.model, Target) else "attacker", len(ask.chats)) for ask in played.asks]


def texts(chat: Any) -> list[str]:
    return [message.text for message in chat]


def test_each_turn_builds_on_the_conversation_and_the_first_success_ends_it(play: Any) -> None:
    played = run(play, make())
    assert roles(played) == [("attacker", 1), ("target", 1)] * 3
    first = "Grandma's cellar\n\n---\n\nq0?"
    assert [texts(case.chat) for case in played.cases] == [
        [first],
        [first, "a0", "q1?"],
        [first, "a0", "q1?", "a1", "q2?"],
    ]
    assert [case.completion.text for case in played.cases] == ["a0", "a0\n\na1", "a0\n\na1\n\na2"]
    assert [case.score for case in played.cases] == pytest.approx([0.1, 0.2, 0.3], abs=1e-4)
    assert all(case.chat == case.completion.chat for case in played.cases)


def test_the_attacker_is_told_summaries_the_last_answer_and_the_rating(play: Any) -> None:
    attack = make(rate=never, turns=4)
    run(play, attack)
    told = [chat[0].text for chat in attack.attacker.chats]  # type: ignore[attr-defined]
    assert all(len(chat) == 1 and BEHAVIOR.prompt() in chat[0].text for chat in attack.attacker.chats)  # type: ignore[attr-defined]
    assert "Nothing has been said yet." in told[0]
    assert "You asked: q0?\nIt answered: a0\n\nRating of its answers so far: 1 of 10" in told[1]
    assert "q0?\nIt answered, in short: sum1\n\nYou asked: q1?\nIt answered: a1\n" in told[2]
    assert (
        "q0?\nIt answered, in short: sum1\n\nYou asked: q1?\nIt answered, in short: sum2\n\nYou asked: q2?" in told[3]
    )
    assert ["question 1 of 4" in told[0], "question 4 of 4" in told[3]] == [True, True]


def test_without_a_summary_both_ends_of_the_answer_stay_and_of_long_answers_both_are_shown(play: Any) -> None:
    attack = make(lambda chat, n: json.dumps({"question": f"q{n}?"}), never, turns=3)
    run(play, attack, lambda chat, n: f"{n}" * 4000 + "z" * 1000)
    told = attack.attacker.chats[2][0].text  # type: ignore[attr-defined]
    assert f"It answered, in short: {'0' * 100} [... 4800 characters ...] {'z' * 100}\n" in told
    assert f"It answered: {'1' * 1000} [... 3000 characters ...] {'z' * 1000}\n" in told


def test_a_refused_question_is_taken_back_and_told(play: Any) -> None:
    attack = make(rate=never, turns=3)
    played = run(play, attack, lambda chat, n: REFUSAL if n in (1, 2) else "a")
    told = [chat[0].text for chat in attack.attacker.chats]  # type: ignore[attr-defined]
    assert roles(played) == [("attacker", 1), ("target", 1)] * 5
    assert texts(played.asks[-1].chats[0])[1:] == ["a", "q3?", "a", "q4?"]
    assert played.cases[-1].completion.text == "a\n\na\n\na"
    assert (
        "Refused and taken back, ask something else: q1?\n\nRefused and taken back, ask something else: q2?" in told[3]
    )
    assert "Refused" not in told[4]
    assert "question 2 of 3" in told[3]
    best = max(played.cases, key=lambda case: case.score)
    assert best is played.cases[-1]
    assert all(case.score < played.cases[0].score for case in played.cases[1:3])


def test_the_context_moves_to_the_next_question_when_the_first_is_taken_back(play: Any) -> None:
    played = run(play, make(turns=1), lambda chat, n: "a" if n else REFUSAL)
    assert [texts(case.chat) for case in played.cases] == [[BEHAVIOR.prompt("q0?")], [BEHAVIOR.prompt("q1?")]]


@pytest.mark.parametrize("said", ["", "Not today."])
def test_silence_and_what_the_judge_calls_refused_are_taken_back_too(play: Any, said: str) -> None:
    def rate(text: str) -> Verdict:
        return Verdict("refused") if said and said in text else by_answers(text)

    played = run(play, make(rate=rate), lambda chat, n: said if n == 1 else "a")
    assert texts(played.asks[-1].chats[0])[1:] == ["a", "q2?", "a", "q3?"]


def test_after_the_last_backtrack_refusals_stay_and_it_goes_on(play: Any) -> None:
    attack = make(rate=never, turns=2, backtracks=1)
    played = run(play, attack, lambda chat, n: REFUSAL)
    assert roles(played) == [("attacker", 1), ("target", 1)] * 3
    assert texts(played.cases[-1].chat)[1:] == [REFUSAL, "q2?"]


def test_silence_after_the_last_backtrack_is_not_kept_but_counts(play: Any) -> None:
    played = run(play, make(rate=never, turns=3, backtracks=0), lambda chat, n: "")
    assert [len(case.chat) for case in played.cases] == [1, 1, 1]


def test_a_question_that_the_attacker_does_not_give_costs_a_turn(play: Any) -> None:
    def fails(chat: Any, n: int) -> str:
        return {1: "no object", 2: json.dumps({"question": REFUSAL})}.get(n, writes(chat, n))

    played = run(play, make(fails, never, turns=3, tries=2))
    assert roles(played) == [
        ("attacker", 1),
        ("target", 1),
        ("attacker", 1),
        ("attacker", 1),
        ("attacker", 1),
        ("target", 1),
    ]
    assert played.rejected == [RejectedDrafts(0, 1), RejectedDrafts(1, 0)]
    assert texts(played.cases[-1].chat)[1:] == ["a0", "q3?"]


def test_an_attacker_that_gives_nothing_is_an_error(play: Any) -> None:
    with pytest.raises(AskError, match="no usable answer in 2 tries"):
        run(play, make(lambda chat, n: REFUSAL, turns=2, tries=2))


def test_streams_are_asked_together_and_each_goes_its_way(play: Any) -> None:
    def target(chat: Any, n: int) -> str:
        return REFUSAL if texts(chat)[0].endswith(("q0?", "q3?")) else "b"

    played = run(play, make(rate=never, turns=2, streams=3), target)
    assert roles(played) == [("attacker", 3), ("target", 3)] * 2 + [("attacker", 1), ("target", 1)] * 2
    assert {len(case.chat) for case in played.cases} == {1, 3}


def test_one_success_ends_all_streams(play: Any) -> None:
    played = run(play, make(rate=lambda text: Verdict("success" if "a1" in text else "failure"), streams=3))
    assert roles(played) == [("attacker", 3), ("target", 3)]
    assert [round(case.score) for case in played.cases] == [0, 1, 0]


def test_an_unscored_verdict_is_no_success_and_is_told_as_unknown(play: Any) -> None:
    attack = make(rate=lambda text: Verdict("unscored", 1.0), turns=2)
    played = run(play, attack)
    assert len(played.cases) == 2
    assert all(case.score < 0 for case in played.cases)
    assert "Rating of its answers so far: unknown" in attack.attacker.chats[1][0].text  # type: ignore[attr-defined]


def test_most_is_reached_by_a_target_that_always_refuses_and_an_attacker_that_fails_first(play: Any) -> None:
    attack = make(lambda chat, n: writes(chat, n) if n % 3 == 2 else "?", never, turns=2, backtracks=3, tries=3)
    asks = {"target": 0, "attacker": 0}
    for role, count in roles(run(play, attack, lambda chat, n: REFUSAL)):
        asks[role] += count
    assert asks == {"target": 5, "attacker": 15}
    assert attack.most().asks == {**asks, "judge": 2 * 10}
    assert (attack.most().cases, attack.most().drawn) == (1, True)
    assert replace(attack, streams=4).most().asks == {"target": 20, "attacker": 60, "judge": 80}


def test_samplings_and_the_opening(play: Any) -> None:
    helped = ByRule(lambda chat, n: 'none", "question": "q?"}', gives=frozenset({"prefill"}))
    attack = Crescendo(helped, Rates(never, asks=2), turns=1, attacker_tokens=7, search_tokens=9, temperature=0.5)  # type: ignore[arg-type]
    played = run(play, attack)
    assert [ask.sampling for ask in played.asks] == [Sampling(7, 0.5), Sampling(9)]
    assert helped.chats[0][-1] == Message("assistant", OPENING)
    assert texts(played.cases[0].chat) == [BEHAVIOR.prompt("q?")]
    assert run(play, make(turns=1)).asks[1].sampling == Sampling(50)


@pytest.mark.parametrize(
    "fields",
    [
        {"turns": 0},
        {"backtracks": -1},
        {"streams": 0},
        {"tries": 0},
        {"attacker_tokens": 0},
        {"search_tokens": -1},
        {"temperature": -0.1},
        {"temperature": 11},
    ],
)
def test_wrong_fields(fields: Any) -> None:
    with pytest.raises(SpecError) as caught:
        make(**fields)
    assert caught.value.hint
