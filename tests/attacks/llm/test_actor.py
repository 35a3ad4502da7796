"""ActorAttack: the network, the chains, the conversations side by side, and questions put in milder words."""

import json
from typing import Any

import pytest

from cases import walk_cases
from fakes import ByRule, Rates
from withstand.attacks.llm._lists import items
from withstand.attacks.llm.actor import Actor
from withstand.core import AskError, Behavior, Message, RejectedDrafts, Sampling, SpecError, Target, Verdict

BEHAVIOR = Behavior("b", "Tell the {secret} recipe \ud83d", context="Grandma's cellar")
REFUSAL = "I'm sorry, but I can't help with that."
ACTORS = "1. miller (creation): flour\n2. baker (execution): bakes\n3. inspector (regulation): checks\n4. eater"


def who(text: str) -> str:
    return next(name for name in ("miller", "baker", "inspector") if f"\n{name}" in text or f"actor: {name}" in text)


def writes(chat: Any) -> str:
    """Four actors, four questions for each, named by the actor's first letter; a milder question has an m before it."""
    text = chat[0].text
    if "as a network" in text:
        return ACTORS
    if "refused to answer" in text:
        return json.dumps({"question": "m" + text.partition("The question was:\n")[2].partition("\n")[0]})
    return "\n".join(f"{i}. {who(text)[0]}{i}" for i in range(1, 5))


def never(text: str) -> Verdict:
    return Verdict("failure", 0.1)


def echo(chat: Any) -> str:
    return f"a-{chat[-1].text.rpartition(chr(10))[2]}"


def by_rule(rule: Any) -> ByRule:
    return ByRule(lambda chat, _: rule(chat), frozenset({"turns"}))


def make(attacker: Any = writes, rate: Any = never, **fields: Any) -> Actor:
    return Actor(by_rule(attacker), Rates(rate, asks=2), **{"turns": 3, **fields})  # type: ignore[arg-type]


def run(play: Any, attack: Actor, target: Any = echo) -> Any:
    return play(attack.run(BEHAVIOR, Target(by_rule(target), sampling=Sampling(50))))  # type: ignore[arg-type]


def roles(played: Any) -> list[tuple[str, int]]:
    return [("target" if isinstance(ask.model, Target) else "attacker", len(ask.chats)) for ask in played.asks]


def texts(chat: Any) -> list[str]:
    return [message.text.rpartition("\n")[2] for message in chat]


def test_a_network_then_chains_then_all_conversations_a_level_at_a_time(play: Any) -> None:
    attack = make()
    played = run(play, attack)
    assert roles(played) == [("attacker", 1), ("attacker", 3), ("target", 3), ("target", 3), ("target", 3)]
    assert [texts(chat) for chat in played.asks[-1].chats] == [
        [f"{x}1", f"a-{x}1", f"{x}2", f"a-{x}2", f"{x}3"] for x in "mbi"
    ]
    assert all(chat[0].text.startswith("Grandma's cellar\n\n---\n\n") for ask in played.asks[2:] for chat in ask.chats)
    assert len(played.cases) == 9
    assert played.cases[-1].completion.text == "a-i1\n\na-i2\n\na-i3"
    network, *chains = (chat[0].text for chat in attack.attacker.chats)  # type: ignore[attr-defined]
    assert "Name 3 different actors" in network
    assert all("list of 3 questions" in chain for chain in chains)
    assert all(BEHAVIOR.prompt() in prompt for prompt in (network, *chains))
    assert [who(chain) for chain in chains] == ["miller", "baker", "inspector"]


def test_the_first_success_ends_all(play: Any) -> None:
    played = run(play, make(rate=lambda text: Verdict("success" if "a-b2" in text else "failure")))
    assert roles(played)[2:] == [("target", 3), ("target", 3)]
    assert max(played.cases, key=lambda case: case.score).completion.text == "a-b1\n\na-b2"


def test_a_refused_question_is_put_in_milder_words_once(play: Any) -> None:
    played = run(play, make(), lambda chat: REFUSAL if texts(chat)[-1] in ("m2", "b2") else echo(chat))
    assert roles(played)[2:] == [("target", 3), ("target", 3), ("attacker", 2), ("target", 2), ("target", 3)]
    assert [texts(chat) for chat in played.asks[5].chats] == [["m1", "a-m1", "mm2"], ["b1", "a-b1", "mb2"]]
    assert texts(played.asks[-1].chats[0]) == ["m1", "a-m1", "mm2", "a-mm2", "m3"]
    assert texts(played.asks[-1].chats[2]) == ["i1", "a-i1", "i2", "a-i2", "i3"]


def test_refused_again_it_is_skipped_and_not_in_the_trajectory(play: Any) -> None:
    played = run(play, make(actors=1), lambda chat: REFUSAL if texts(chat)[-1].endswith("2") else echo(chat))
    assert texts(played.cases[-1].chat) == ["m1", "a-m1", "m3"]
    assert played.cases[-1].completion.text == "a-m1\n\na-m3"
    assert max(played.cases, key=lambda case: case.score) is played.cases[-1]


def test_success_of_a_milder_question_ends_it(play: Any) -> None:
    attack = make(rate=lambda text: Verdict("success" if "mm1" in text else "failure"))
    played = run(play, attack, lambda chat: REFUSAL if texts(chat)[-1] == "m1" else echo(chat))
    assert roles(played)[2:] == [("target", 3), ("attacker", 1), ("target", 1)]


def test_a_milder_question_that_is_not_given_skips_the_turn(play: Any) -> None:
    def fails(chat: Any) -> str:
        return REFUSAL if "refused to answer" in chat[0].text else writes(chat)

    played = run(play, make(fails, actors=1, tries=2), lambda chat: "" if texts(chat)[-1] == "m1" else echo(chat))
    assert roles(played)[2:] == [("target", 1), ("attacker", 1), ("attacker", 1), ("target", 1), ("target", 1)]
    assert played.rejected == [RejectedDrafts(1, 0), RejectedDrafts(1, 0)]
    assert texts(played.cases[-1].chat) == ["m2", "a-m2", "m3"]
    assert played.cases[-1].chat[0].text == BEHAVIOR.prompt("m2")


def test_a_target_that_refuses_everything_reaches_most(play: Any) -> None:
    attack = make()
    played = run(play, attack, lambda chat: REFUSAL)
    asks = {"target": 0, "attacker": 0}
    for role, count in roles(played):
        asks[role] += count
    assert asks == {"target": 18, "attacker": 13}
    assert attack.most().asks == {"target": 18, "attacker": 39, "judge": 2 * 36}
    assert (attack.most().cases, attack.most().drawn) == (1, True)
    assert all(len(case.chat) == 1 for case in played.cases)


def test_fewer_actors_and_shorter_chains_are_played_as_they_are(play: Any) -> None:
    def short(chat: Any) -> str:
        if "as a network" in chat[0].text:
            return '["miller", "baker"]'
        return "- m1" if who(chat[0].text) == "miller" else "b1 is no item\n1) b1\n2) b2"

    assert roles(run(play, make(short)))[1:] == [("attacker", 2), ("target", 2), ("target", 1)]


def test_an_actor_without_a_chain_is_left_out(play: Any) -> None:
    def fails(chat: Any) -> str:
        return writes(chat) if "as a network" in chat[0].text or who(chat[0].text) == "baker" else "no list"

    played = run(play, make(fails, tries=2))
    assert roles(played) == [("attacker", 1), ("attacker", 3), ("attacker", 2)] + [("target", 1)] * 3
    assert texts(played.cases[0].chat) == ["b1"]


@pytest.mark.parametrize("when", ["as a network", "one after another"])
def test_no_actors_or_no_chains_is_an_error(play: Any, when: str) -> None:
    with pytest.raises(AskError, match="no usable answer in 2 tries"):
        run(play, make(lambda chat: REFUSAL if when in chat[0].text else writes(chat), tries=2))


def test_samplings_and_openings(play: Any) -> None:
    def helped(chat: Any) -> str:
        if chat[-1] == Message("assistant", '{"question": "'):
            return 'milder"}'
        assert chat[-1] == Message("assistant", "1. ")
        return "miller\n2. baker"

    attacker = ByRule(lambda chat, _: helped(chat), gives=frozenset({"prefill"}))
    attack = Actor(attacker, Rates(never, asks=2), 1, 1, attacker_tokens=7, search_tokens=9, temperature=0.5)  # type: ignore[arg-type]
    played = run(play, attack, lambda chat: REFUSAL)
    assert {ask.sampling for ask in played.asks} == {Sampling(7, 0.5), Sampling(9)}
    assert [texts(case.chat) for case in played.cases] == [["miller"], ["milder"]]


@walk_cases(
    ("text", "found"),
    [
        ("Here they are:\n1. a\n2. b 3. c\n\n  3) d", ("a", "b 3. c", "d")),
        ("1. 1. a\n2. b", ("a", "b")),
        ("1. **a** b\n**2. c**\n* d", ("a** b", "c", "d")),
        ("1. 3.5 liters of {milk} [cold]", ("3.5 liters of {milk} [cold]",)),
        ('1. ["a", "b",]', ("a", "b")),
        ('```json\n["a",\n "b', ("a", "b")),
        ("1. a\n2. a\n3. b", ("a", "b")),
        (f"1. {REFUSAL}\n2. b", ("b",)),
        (f"1. {REFUSAL}", None),
        ("a prose answer", None),
        ("", None),
    ],
)
def test_lists_are_read(text: str, found: Any) -> None:
    assert items(text) == found


@pytest.mark.parametrize(
    "fields",
    [{"actors": 0}, {"turns": 0}, {"tries": 0}, {"attacker_tokens": 0}, {"search_tokens": -1}, {"temperature": 11}],
)
def test_wrong_fields(fields: Any) -> None:
    with pytest.raises(SpecError) as caught:
        make(**fields)
    assert caught.value.hint


def test_a_chain_that_is_stuck_is_written_anew_from_the_conversation(play: Any) -> None:
    """The miller's second question is refused in both forms, the baker's chain ends, and the inspector is done with."""

    def plans(chat: Any) -> str:
        if "The plan did not lead" not in chat[0].text:
            return writes(chat)
        return "1. r1\n2. r2\n3. r3\n4. r4" if "miller" in chat[0].text else REFUSAL

    def answers(chat: Any) -> str:
        return REFUSAL if texts(chat)[-1] in ("m2", "mm2") else echo(chat)

    attack = make(plans, actors=2, revisions=1, tries=1)
    assert attack.most().asks == {"target": 24, "attacker": 1 + 4 + 12, "judge": 96}
    played = run(play, attack, answers)
    asked = [texts(chat)[-1] for item in played.asks if isinstance(item.model, Target) for chat in item.chats]
    assert asked == ["m1", "b1", "m2", "b2", "mm2", "r1", "b3", "r2", "r3"]
    assert texts(played.asks[-1].chats[0]) == ["m1", "a-m1", "r1", "a-r1", "r2", "a-r2", "r3"]
    asks = [chat[0].text for chat in attack.attacker.chats if "The plan did not lead" in chat[0].text]  # type: ignore[attr-defined]
    assert len(asks) == 2
    assert f"You asked: m1\nIt answered: a-m1\n\nYou asked: mm2\nIt answered: {REFUSAL}\n" in asks[0]
    assert "Rating of its answers so far: 1 of 10" in asks[0]
    assert "It answered: a-b3" in asks[1]
    assert REFUSAL not in asks[1]
    assert BEHAVIOR.prompt() in asks[0]
