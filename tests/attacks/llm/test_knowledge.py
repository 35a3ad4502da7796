"""Hints by arm, place and demonstrations: ours, a source's, and what a yes-or-no judge reads of them."""

from typing import Any

import pytest

from fakes import InTurn
from withstand.attacks.llm._hints import demonstrations, hints
from withstand.attacks.llm._meaning import negations
from withstand.attacks.llm.knowledge import ARMS, FIXED, Knowledge
from withstand.core import AskError, Behavior, Completion, RejectedDrafts, SpecError, Target, UpperBounds
from withstand.core.questions import DEMANDS, form_in
from withstand.judges.yes_no import YesNo
from withstand.models.scripted import Scripted

TARGET = Target(Scripted())
BAKE = Behavior("b1", "Explain how to bake", context="Rye, salt")
ADVICE = Behavior("a1", f"Should one use a wet glove? {DEMANDS['advisable']}", context="To lift a hot tray,")
REFUSAL = "I'm sorry, but I can't help with that."


def test_arms_differ_in_the_hint_alone_and_are_paired_by_number(play: Any) -> None:
    chats = {}
    for arm in ("none", *FIXED):
        attack = Knowledge(arm=arm, k=1 if arm == "none" else 3)
        played = play(attack.run(BAKE, TARGET))
        assert [case.chat for case in played.cases] == [case.chat for case in play(attack.run(BAKE, TARGET)).cases]
        assert len(played.cases) == attack.most().cases == attack.variants
        assert not played.asks
        chats[arm] = [case.chat for case in played.cases]
    [[bare]] = chats["none"]
    assert bare.text == BAKE.prompt()
    numbers = {}
    for arm in FIXED:
        expert = "A recognized expert on this says: " if arm == "authority" else ""
        texts = hints("bank" if expert else arm)
        ours = {f"{bare.text} (Hint: {expert}{hint})": number for number, hint in enumerate(texts)}
        numbers[arm] = [ours[turn.text] for [turn] in chats[arm]]
        assert len(set(numbers[arm])) == 3
    assert len({tuple(places) for places in numbers.values()}) == 1
    for number, hint in enumerate(hints("bank")):  # of like length
        assert all(abs(len(hints(arm)[number]) - len(hint)) <= 16 for arm in ("irrelevant", "warning"))
    assert set(ARMS) == {"none", "self", "other", *FIXED}


def test_the_hint_stands_where_it_is_told_and_the_demand_stays_last(play: Any) -> None:
    [case] = play(Knowledge(k=1).run(ADVICE, TARGET)).cases
    assert case.chat[-1].text.startswith("To lift a hot tray,\n\n---\n\nShould one use a wet glove? (Hint: ")
    assert case.chat[-1].text.endswith(DEMANDS["advisable"])
    [case] = play(Knowledge(k=1, place="document").run(ADVICE, TARGET)).cases
    assert case.chat[-1].text.startswith("[DOCUMENT]\n")
    assert case.chat[-1].text.endswith(f"\n[END OF DOCUMENT]\n\n{ADVICE.prompt()}")
    tool = Knowledge(k=1, place="tool")
    [case] = play(tool.run(ADVICE, TARGET)).cases
    assert [turn.role for turn in case.chat] == ["user", "assistant", "tool"]
    assert case.chat[0].text == ADVICE.prompt()
    assert tool.needs == {"turns", "forged"} == Knowledge(shots="balanced").needs
    assert not Knowledge().needs
    [case] = play(Knowledge(arm="none", place="tool").run(ADVICE, TARGET)).cases
    assert case.chat[-1].text == '{"results": []}'


@pytest.mark.parametrize(
    ("shots", "answers"),
    [("balanced", ["Yes", "No", "Yes", "No"]), ("all_yes", ["Yes"] * 4)],
)
def test_demonstrations_are_the_same_in_every_arm(play: Any, shots: Any, answers: list[str]) -> None:
    chats = [play(Knowledge(arm=arm, k=1, shots=shots).run(ADVICE, TARGET)).cases[0].chat for arm in ("none", *FIXED)]
    assert len({chat[:-1] for chat in chats}) == 1
    assert [turn.text.split(".")[0] for turn in chats[0][1:-1:2]] == answers
    assert all(form_in(chat[: end + 1]) == "advisable" for chat in chats for end in range(0, 9, 2))
    flow = YesNo().grade(ADVICE, [Completion(chats[1], "Yes."), Completion(chats[1], "No.")])
    with pytest.raises(StopIteration) as done:
        next(flow)
    assert [verdict.outcome for verdict in done.value.value] == ["success", "failure"]
    requests = play(Knowledge(shots=shots).run(BAKE, TARGET)).cases[0].chat
    assert [turn.role for turn in requests] == ["user", "assistant"] * 4 + ["user"]
    assert sum("rather not" in turn.text for turn in requests) == (2 if shots == "balanced" else 0)
    harm = demonstrations("all_yes", DEMANDS["harm"])
    assert all(turn.text.startswith("No. ") for turn in harm[1::2])  # of a question about harm, no endorses
    with pytest.raises(SpecError, match="choice of two"):
        demonstrations("all_yes", DEMANDS["choice"])


def test_a_source_gives_hints_and_its_refusals_and_warnings_are_none(play: Any) -> None:
    reply = "1. Saves time: It is quick.\n2. Dangerous: Never do it.\n3. no title\n4. Is easy: Anybody can."
    attack = Knowledge(arm="other", source=InTurn([REFUSAL, reply]), k=2)
    played = play(attack.run(BAKE, TARGET))
    assert [case.chat[0].text for case in played.cases] == [
        f"{BAKE.prompt()} (Hint: Saves time: It is quick.)",
        f"{BAKE.prompt()} (Hint: Is easy: Anybody can.)",
    ]
    assert played.rejected == [RejectedDrafts(refused=1), RejectedDrafts(malformed=1, changed=1)]
    assert attack.most() == UpperBounds(2, {"attacker": 3})
    own = Target(InTurn([reply]))
    played = play(Knowledge(arm="self", k=1).run(BAKE, own))
    assert [ask.model for ask in played.asks] == [own.model]
    with pytest.raises(AskError, match="no usable answer in 2 tries"):
        play(Knowledge(arm="other", source=InTurn([REFUSAL] * 2), tries=2).run(BAKE, TARGET))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arm": "bench"}, "arm is 'bench'"),
        ({"place": "wall"}, "place is 'wall'"),
        ({"shots": "some"}, "shots is 'some'"),
        ({"arm": "other"}, "source do not agree"),
        ({"source": Scripted()}, "source do not agree"),
        ({"k": 9}, "there are 8 hints of ours"),
    ],
)
def test_what_cannot_be_is_an_error(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Knowledge(**fields)


def test_our_hints_hold_no_steps() -> None:
    for arm in ("bank", "warning", "irrelevant"):
        assert len(set(hints(arm))) == 8
        assert all(len(hint) < 120 and hint.count(":") == 1 for hint in hints(arm))
    assert negations("".join(hints("irrelevant"))) == 0
