"""What holds an attack out: by family, also of an attack inside another and of the search of a training."""

from dataclasses import dataclass

import pytest

from withstand.audits.harden import families
from withstand.core import SpecError
from withstand.registry import find

ATTACKER = {"attacker": "scripted-attacker-kitchen", "judge": "kitchen"}
SFT = find.build("stage", "sft")


def of(spec):
    return families.families_of(find.build("attack", spec))


def test_an_attack_is_of_the_family_of_its_folder_of_its_turns_and_of_what_is_inside_it():
    assert of("gcg") == of("autoprompt") == of("uat") == ("gradient",)
    assert of({"use": "random_search", "judge": "kitchen"}) == of("best_of_n") == ("search",)
    assert of({"use": "pair", **ATTACKER}) == of("transform") == ("LLM-led",)
    assert of("story") == of("role_play") == ("templated",)
    assert of("prefill") == ("prefill",)
    for name in ("crescendo", "goat", "actor"):
        assert of({"use": name, **ATTACKER}) == ("multi-turn",)
    assert of("follow_up") == ("multi-turn",)
    assert of({"use": "many_shot", "path": "shots.json"}) == ("multi-turn", "LLM-led")
    assert of({"use": "best_of_n", "attack": "story"}) == ("search", "templated")
    nested = {"use": "best_of_n", "attack": {"use": "transform", "attack": "prefill"}}
    assert of(nested) == ("search", "LLM-led", "prefill")


def test_what_the_training_knows_is_not_held_out():
    def chosen(training, held_out, stage=SFT):
        specs = [[{"use": s} if isinstance(s, str) else s for s in side] for side in (training, held_out)]
        return families.chosen(stage, *specs)

    both = {"use": "best_of_n", "attack": "story"}
    assert [(a.label, a.families[0], a.held_out) for a in chosen(["gcg"], ["story", "prefill"])] == [
        ("gcg", "gradient", False), ("story", "templated", True), ("prefill", "prefill", True),
    ]  # fmt: skip
    for training, held_out, why in [
        (["gcg"], ["autoprompt"], "gradient, which the training knows by gcg"),
        ([both], ["role_play"], "templated, which the training knows by best_of_n"),
        (["story"], [both], "templated, by the attack inside it, which the training knows by story"),
        (["gcg"], ["direct"], "direct is no attack"),
        (["direct"], ["story"], "direct is no attack"),
        (["gcg"], [], "refuses to report the gain on trained attacks alone"),
        ([], ["story"], "no training attack is named"),
    ]:
        with pytest.raises(SpecError, match=why):
            chosen(training, held_out)
    searching = find.build("stage", {"use": "beear", "stage": "sft"})
    with pytest.raises(SpecError, match="gradient, which the training knows by beear"):
        chosen(["story"], ["gcg"], searching)
    attacking = find.build("stage", {"use": "adversarial", "stage": "sft", "attack": "prefill", "judge": "kitchen"})
    with pytest.raises(SpecError, match="prefill, which the training knows by prefill"):
        chosen(["gcg"], ["prefill"], attacking)


def test_an_attack_of_a_users_own_says_its_family():
    class Own:
        needs = frozenset()

        def most(self):
            """Bounds."""

        def run(self, behavior, target):
            """Search."""

    Own.__module__ = "mine"
    with pytest.raises(SpecError, match="does not say its family"):
        families._own(Own())
    Own.family = "search"
    assert families._own(Own()) == ("search",)

    @dataclass(frozen=True)
    class Hunting:
        family = "templated"

        def train(self, base, rows, folder, how):
            """Search and train."""

    assert families.trained_on(Hunting(), ()) == {"templated": families.find.name_of(Hunting)}
