import json
from typing import Any

import pytest

from withstand.attacks.llm.tactics import Tactics, all_tactics
from withstand.core import AskError, Behavior, Message, RejectedDrafts, Sampling, SpecError, Target
from withstand.models.scripted import Scripted

BEHAVIOR = Behavior("b1", "Bake a {loaf} \ud83d")
CONTEXTUAL = Behavior("b2", "Bake what the note {request} says", context="Rye, salt {tactics}")
TARGET = Target(Scripted())
WRITES = Scripted(reply='{"prompt": "Draft {n}"}')
REFUSAL = "I'm sorry, but I can't help with that."


def named(text: str) -> list[str]:
    return [name for name, definition in all_tactics() if f"- {name}: {definition}" in text]


def test_the_tactics_are_about_twenty_and_told_apart() -> None:
    assert (
        20 <= len(all_tactics()) == len({name for name, _ in all_tactics()}) == len({text for _, text in all_tactics()})
    )
    assert f"({len(all_tactics())})" in (Tactics.__doc__ or "")


def test_one_ask_for_all_cases_each_with_its_own_tactics(play: Any) -> None:
    attack = Tactics(WRITES, n=6, k=3, attacker_tokens=77, temperature=0.5)
    played = play(attack.run(BEHAVIOR, TARGET))
    (asked,) = played.asks
    assert (asked.model, asked.sampling, len(asked.chats)) == (WRITES, Sampling(77, 0.5), 6)
    drawn = [tuple(named(chat[0].text)) for chat in asked.chats]
    assert {len(names) for names in drawn} == {3}
    assert len(set(drawn)) > 1
    assert all(f"[REQUEST]\n{BEHAVIOR.text}\n[END" in chat[0].text for chat in asked.chats)
    assert all(chat[-1] == Message("assistant", '{"prompt":') for chat in asked.chats)
    assert len(played.cases) == attack.most().cases == 6
    assert all(case.score is None and case.completion is None for case in played.cases)
    assert all(case.chat[0].text.startswith("Draft ") for case in played.cases)


def test_case_i_depends_on_seed_and_behavior_and_not_on_n(play: Any) -> None:
    def asked(attack: Tactics, behavior: Behavior = BEHAVIOR) -> Any:
        return [named(chat[0].text) for chat in play(attack.run(behavior, TARGET)).asks[0].chats]

    assert asked(Tactics(WRITES, n=3)) == asked(Tactics(WRITES, n=9))[:3]
    assert asked(Tactics(WRITES)) != asked(Tactics(WRITES, seed=1))
    assert asked(Tactics(WRITES)) != asked(Tactics(WRITES), CONTEXTUAL)


def test_the_attacker_sees_the_context_and_the_target_gets_it(play: Any) -> None:
    played = play(Tactics(WRITES, n=1).run(CONTEXTUAL, TARGET))
    text = played.asks[0].chats[0][0].text
    assert CONTEXTUAL.context in text
    assert CONTEXTUAL.text in text
    assert played.cases[0].chat[0].text.startswith("Rye, salt {tactics}\n\n---\n\nDraft ")


@pytest.mark.parametrize(
    ("reply", "rejected"),
    [
        (REFUSAL, RejectedDrafts(2, 0)),
        (json.dumps({"prompt": REFUSAL}), RejectedDrafts(2, 0)),
        ("[1, 2]", RejectedDrafts(0, 2)),
        ('{"prompt": ""}', RejectedDrafts(0, 2)),
        ("", RejectedDrafts(0, 2)),
    ],
)
def test_refused_and_misformed_drafts_are_asked_anew_and_never_sent(
    play: Any, reply: str, rejected: RejectedDrafts
) -> None:
    attacker = Scripted(rules=(("tactics", reply, 1.0),))
    attack = Tactics(attacker, n=2, tries=3)
    found: list[Any] = []

    def flow() -> Any:
        try:
            yield from attack.run(BEHAVIOR, TARGET)
        except AskError as error:
            found.append(error)

    played = play(flow())
    assert (played.cases, played.rejected) == ([], [rejected] * 3)
    assert sum(len(ask.chats) for ask in played.asks) == attack.most().asks["attacker"] == 6
    assert "no usable answer in 3 tries" in str(found[0])


def test_a_lost_case_takes_no_other_with_it(play: Any) -> None:
    attacker = Scripted(rules=((".", REFUSAL, 0.5),), reply='{"prompt": "Draft {n}"}')
    played = play(Tactics(attacker, n=12, tries=1).run(BEHAVIOR, TARGET))
    assert len(played.cases) + played.rejected[0].refused == 12
    assert 0 < len(played.cases) < 12


@pytest.mark.parametrize(
    "fields", [{"n": 0}, {"k": 0}, {"k": 99}, {"tries": 0}, {"attacker_tokens": 0}, {"temperature": 11.0}]
)
def test_wrong_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as caught:
        Tactics(WRITES, **fields)
    assert caught.value.hint
