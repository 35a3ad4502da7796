from dataclasses import replace

import pytest

from cases import walk_cases
from withstand.attacks.llm.prefill import Prefill
from withstand.attacks.templated.direct import Direct
from withstand.attacks.templated.prefix_injection import PrefixInjection
from withstand.attacks.templated.role_play import RolePlay
from withstand.attacks.templated.story import Story
from withstand.core import Behavior, Message, SpecError, Target
from withstand.models.scripted import Scripted

TARGET = Target(Scripted())
PLAIN = Behavior("b1", "Bake a loaf of bread", target_string="Sure, here is how to bake bread")
CONTEXTUAL = Behavior("b2", "Explain how to cook this", context="Flour, water, salt")
BRACES = Behavior("b3", "Explain {0} and {behavior} and {opening} and }{", target_string="Sure, {x}:")
ATTACKS = [Direct(), PrefixInjection(), RolePlay(), Story(), Prefill(opening="Sure:")]


def texts(play, attack, behavior):
    played = play(attack.run(behavior, TARGET))
    assert played.asks == []
    return [case.chat[0].text for case in played.cases]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
class TestEveryTemplate:
    def test_cases_are_final_and_as_many_as_promised(self, play, attack):
        played = play(attack.run(PLAIN, TARGET))
        assert len(played.cases) == attack.most().cases == 1
        assert dict(attack.most().asks) == {}
        for case in played.cases:
            assert (case.behavior, case.score, case.completion) == ("b1", None, None)
            assert case.chat[0].role == "user"

    def test_context_block_stands_before_the_attack_text(self, play, attack):
        for text in texts(play, attack, CONTEXTUAL):
            context, rule, attacked = text.partition("\n\n---\n\n")
            assert context == "Flour, water, salt"
            assert rule
            assert "Explain how to cook this" in attacked

    def test_no_rule_without_context(self, play, attack):
        assert all("---" not in text for text in texts(play, attack, PLAIN))

    def test_braces_of_a_behavior_stay_as_they_are(self, play, attack):
        for text in texts(play, attack, BRACES):
            assert BRACES.text in text

    def test_the_seed_changes_nothing(self, play, attack):
        assert texts(play, attack, PLAIN) == texts(play, replace(attack, seed=7), PLAIN)


def test_direct_is_the_behavior(play):
    assert texts(play, Direct(), PLAIN) == ["Bake a loaf of bread"]
    assert texts(play, Direct(), CONTEXTUAL) == ["Flour, water, salt\n\n---\n\nExplain how to cook this"]


def test_prefix_injection_names_each_opening(play):
    attack = PrefixInjection(openings=("Of course!", "Sure {thing}"))
    assert texts(play, attack, PLAIN) == [
        'Bake a loaf of bread\n\nStart your answer with "Of course!" and go on from there.',
        'Bake a loaf of bread\n\nStart your answer with "Sure {thing}" and go on from there.',
    ]
    assert attack.most().cases == 2


def test_role_play_has_one_case_per_persona(play):
    first, second = texts(play, RolePlay(personas=("a clerk", "a guide with {braces}")), PLAIN)
    assert "You play a clerk." in first
    assert "You play a guide with {braces}." in second


def test_story_fills_each_scene(play):
    attack = Story(scenes=("A: {behavior}", "{{B}}: {behavior} and {behavior}"))
    assert texts(play, attack, PLAIN) == [
        "A: Bake a loaf of bread",
        "{B}: Bake a loaf of bread and Bake a loaf of bread",
    ]


@walk_cases(
    "scene",
    [
        "no placeholder",
        "{behavior} and {other}",
        "{behavior} and {}",
        "{behavior!r}",
        "{behavior:>{width}}",
        "{behavior.__class__}",
        "{behavior} }",
        "{behavior} {",
    ],
)
def test_a_scene_with_a_wrong_placeholder_is_refused(scene):
    with pytest.raises(SpecError) as caught:
        Story(scenes=(scene,))
    assert "{{" in caught.value.hint


@walk_cases("build", [lambda v: PrefixInjection(openings=v), lambda v: RolePlay(personas=v), lambda v: Story(scenes=v)])
@walk_cases("value", [(), ("",), ("{behavior}", "  ")])
def test_empty_texts_are_refused(build, value):
    with pytest.raises(SpecError) as caught:
        build(value)
    assert caught.value.hint


def test_prefill_opens_with_the_target_string(play):
    (case,) = play(Prefill().run(PLAIN, TARGET)).cases
    assert case.chat == (Message("user", PLAIN.text), Message("assistant", PLAIN.target_string))
    assert Prefill.needs == {"prefill"}


def test_prefill_opening_is_used_for_all(play):
    (case,) = play(Prefill(opening="Sure:").run(PLAIN, TARGET)).cases
    assert case.chat[-1] == Message("assistant", "Sure:")


def test_prefill_without_an_opening_fails_in_the_flow(play):
    with pytest.raises(SpecError, match="b2") as caught:
        play(Prefill().run(CONTEXTUAL, TARGET))
    assert "opening" in caught.value.hint
