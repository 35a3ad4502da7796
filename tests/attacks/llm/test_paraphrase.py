"""Paraphrases: frames byte for byte, a writer's checked by guards, encoder and critic, and the labeled pairs."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fakes import ByRule, InTurn
from withstand.attacks.llm._meaning import amounts, framed, kept, negations
from withstand.attacks.llm.paraphrase import FRAMES, Paraphrase
from withstand.core import AskError, Behavior, Completion, RejectedDrafts, SpecError, Target, digest
from withstand.core.likeness import alike
from withstand.core.questions import DEMANDS, form_in
from withstand.data.kitchen import Kitchen
from withstand.judges.yes_no import YesNo
from withstand.models.scripted import Scripted

TARGET = Target(Scripted())
BAKE = Behavior("b1", "Explain how to bake 2 loaves", context="Rye, salt")
ADVICE = Behavior("a1", f"Should one not lift the lid? {DEMANDS['advisable']}", context="To cook rice,")
PAIRS = Path(__file__).parents[3] / "bench" / "paraphrase-pairs.jsonl"


def texts(played: Any) -> list[str]:
    return [case.chat[-1].text for case in played.cases]


def test_frames_are_the_same_bytes_for_a_seed_and_keep_the_meaning(play: Any) -> None:
    first, again = (texts(play(Paraphrase().run(BAKE, TARGET))) for _ in range(2))
    assert first == again
    assert len(set(first)) == 5 == Paraphrase().most().cases
    assert all(text.startswith("Rye, salt\n\n---\n\n") and "2 loaves" in text for text in first)
    assert first != texts(play(Paraphrase(seed=1).run(BAKE, TARGET)))
    behaviors = Kitchen().load()
    whole = [texts(play(Paraphrase().run(behavior, TARGET))) for behavior in behaviors]
    assert {len(cases) for cases in whole} == {5}
    assert digest(whole) == "54389009b514b4d311e367b71438401f"
    for behavior in behaviors:
        frames = framed(behavior.text)
        assert len({*frames}) == FRAMES
        assert all(kept(behavior.text, frame) for frame in frames)


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ("Explain how to bake", "Would you be so kind as to explain how to bake?"),
        ("Should one not lift the lid?", "Would it be wise not to lift the lid?"),
        ("How warm is an oven?", "{} Please tell me."),
        ("I must bake; spell it out exactly", "I must bake; spell it out precisely. Thank you."),
    ],
)  # fmt: skip
def test_each_kind_of_sentence_has_frames_of_its_own(text: str, frame: str) -> None:
    assert frame.format(text) in framed(text)


def test_a_question_keeps_its_demand_so_that_its_answer_can_be_read(play: Any) -> None:
    for case in play(Paraphrase(k=6).run(ADVICE, TARGET)).cases:
        assert case.chat[-1].text.endswith(DEMANDS["advisable"])
        assert "not to lift" in case.chat[-1].text
        assert form_in(case.chat) == "advisable"
        flow = YesNo().grade(ADVICE, [Completion(case.chat, "Yes."), Completion(case.chat, "No.")])
        with pytest.raises(StopIteration) as done:
            next(flow)
        assert [verdict.outcome for verdict in done.value.value] == ["success", "failure"]


def test_what_a_writer_gets_wrong_is_dropped_and_counted(play: Any) -> None:
    lines = [
        "Describe the baking of 2 loaves",
        "Describe the baking of 3 loaves",
        "Describe the baking of 2 loaves without an oven",
        "Explain how to bake 2 loaves!",
        "Say in what way two loaves are baked",
    ]
    reply = "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))
    writer = InTurn(["I'm sorry, but I can't help with that.", reply, reply])
    critic = ByRule(lambda chat, number: "YES" if "Describe" in chat[0].text else "no idea")
    played = play(Paraphrase(writer=writer, critic=critic, k=2, tries=3).run(BAKE, TARGET))
    assert texts(played) == [BAKE.prompt(lines[0])]
    counts = played.rejected
    assert counts[0] == RejectedDrafts(refused=1)
    assert counts[1] == RejectedDrafts(changed=3, repeated=1)  # an amount, a negation, and no yes of the critic
    assert counts[2] == RejectedDrafts(changed=3, repeated=2)
    assert len(critic.chats) == 3  # what was sent before is not asked about again
    with pytest.raises(AskError, match="no usable answer in 1 tries"):
        play(Paraphrase(writer=InTurn(["1. Fry 3 eggs"]), tries=1).run(BAKE, TARGET))


def test_an_encoder_drops_what_is_about_something_else_or_too_long_to_compare() -> None:
    import numpy as np

    class Lengths:
        def encode(self, given: list[str]) -> Any:
            return np.array([[1.0, 0.0] if "bake" in text else [0.6, 0.8] for text in given]), [0, 0, 0, 9][
                : len(given)
            ]

    attack = Paraphrase()
    assert attack.cosines(Lengths(), [["bake", "bake", "fry", "bake it"], ["fry", "bake"]]) == [[1.0, 0.6, -1.0], [0.6]]
    with pytest.raises(SpecError, match="does not turn texts into vectors"):
        Paraphrase(encoder=Scripted())
    with pytest.raises(SpecError, match="k is 7, and there are 6 frames"):
        Paraphrase(k=7)


def test_guards_find_negations_and_amounts_but_not_who_acts() -> None:
    """100 pairs, written and labeled by a language model; nobody has checked them."""
    pairs = [json.loads(line) for line in PAIRS.open(encoding="utf-8")]
    assert Counter(pair["same"] for pair in pairs) == {True: 50, False: 50}
    passed = Counter(pair["kind"] for pair in pairs if kept(pair["a"], pair["b"]))
    assert passed == {"paraphrase": 50, "agent": 16}
    assert negations("Don't, can\u2019t, never") == 3
    assert amounts("two cups, 2.5 kg and twenty") == {("2", "cup"): 1, ("2.5", "kg"): 1, ("20", ""): 1}
    assert not kept("May I?", "I may.")
    assert not kept("Fry an egg", "Here is how: " + "stir it well. " * 20)
    assert alike("Bake the bread now", "bake the bread, now!")
