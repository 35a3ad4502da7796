import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from withstand.attacks.llm.prefill import Prefill
from withstand.attacks.search._augment import augment, noised, recased, scrambled
from withstand.attacks.search.best_of_n import BestOfN
from withstand.attacks.templated.direct import Direct
from withstand.attacks.templated.prefix_injection import PrefixInjection
from withstand.core import Behavior, Sampling, SpecError, Target
from withstand.models.scripted import Scripted

BEHAVIOR = Behavior("b1", "Explain in simple words how to bake a crusty loaf of bread")
TARGET = Target(Scripted(reply="Draw {n}"), sampling=Sampling(max_tokens=9))
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=80)
CHANCES = st.floats(0, 1)
SEEDS = st.integers(0, 999)


@given(TEXTS, CHANCES, SEEDS)
def test_scrambling_keeps_letters_and_ends_of_each_word(text, p, seed):
    changed = scrambled(text, p, Random(seed))
    assert re.findall(r"\s+", changed) == re.findall(r"\s+", text)
    before, after = re.findall(r"\S+", text), re.findall(r"\S+", changed)
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        assert sorted(old) == sorted(new)
        assert (old[0], old[-1]) == (new[0], new[-1])
        assert len(old) > 3 or old == new


@given(TEXTS, CHANCES, SEEDS)
def test_recasing_changes_case_of_ascii_letters_only(text, p, seed):
    changed = recased(text, p, Random(seed))
    assert len(changed) == len(text)
    for old, new in zip(text, changed, strict=True):
        assert new in (old, old.swapcase()) if old.isascii() else new == old


@given(TEXTS, CHANCES, SEEDS)
def test_noise_moves_by_one_within_printable_ascii(text, p, seed):
    changed = noised(text, p, Random(seed))
    assert len(changed) == len(text)
    for old, new in zip(text, changed, strict=True):
        assert new == old or (abs(ord(new) - ord(old)) == 1 and 32 <= ord(new) <= 126)


def test_certain_and_impossible():
    assert recased("aBc é 1", 1.0, Random(0)) == "AbC é 1"
    assert all(abs(ord(a) - ord(b)) == 1 for a, b in zip("bread", noised("bread", 1.0, Random(0)), strict=True))
    assert noised("a\nb", 1.0, Random(0))[1] == "\n"
    assert augment("Some {text}, as it is", 0.0, Random(0)) == "Some {text}, as it is"


def test_probabilities_are_those_of_the_paper():
    """sigma 0.4: scrambling and case 0.4**0.5 = 0.632, noise 0.4**3 = 0.064."""
    words = " ".join(["abcdefghijklmnop"] * 4000)  # a shuffle that changes nothing is as good as impossible
    changed = scrambled(words, 0.4**0.5, Random(1)).split()
    assert sum(word != "abcdefghijklmnop" for word in changed) / 4000 == pytest.approx(0.632, abs=0.03)
    out = augment("aaa " * 5000, 0.4, Random(1))
    letters = [c for c in out if c not in " !\x1f"]
    assert sum(c in "`b@B" for c in letters) / len(letters) == pytest.approx(0.064, abs=0.01)
    assert sum(c in "A@B" for c in letters) / len(letters) == pytest.approx(0.632, abs=0.02)


def test_parity_with_the_authors_code():
    """What their three functions give in their order at sigma 0.4 after `random.seed(0)` and `random.seed(1)`."""
    text = "Give step-by-step instructions for baking a sourdough loaf at home"
    theirs = [
        "GIVE SteP-bY-sTEp IsnNCtTRiOUS foR AKNaIG a SgOcUUORH LP@F At HOme",
        "gVIE SP-BTE-YSESp!InStrUCtioMs fOR bmKHAG a SRDuoOUGh LAOF At hOME",
    ]
    assert [augment(text, 0.4, Random(seed)) for seed in (0, 1)] == theirs


def test_each_draw_is_a_final_case_with_its_completion(play):
    attack = BestOfN(n=5, batch=2)
    played = play(attack.run(BEHAVIOR, TARGET))
    assert [len(item.chats) for item in played.asks] == [2, 2, 1]
    assert all(item.model is TARGET and item.sampling == Sampling(9, temperature=1.0) for item in played.asks)
    assert len(played.cases) == attack.most().cases == attack.most().asks["target"] == 5
    assert all(case.score is None and case.completion.chat == case.chat for case in played.cases)
    assert len({case.completion.text for case in played.cases}) == 5
    assert len({case.chat for case in played.cases}) == 5


def test_draw_i_depends_neither_on_n_nor_on_batch(play):
    few = play(BestOfN(n=3, batch=2).run(BEHAVIOR, TARGET)).cases
    many = play(BestOfN(n=20, batch=7).run(BEHAVIOR, TARGET)).cases
    assert [case.chat for case in few] == [case.chat for case in many[:3]]


def test_seed_and_behavior_draw_other_spellings(play):
    def first(attack, behavior):
        return play(attack.run(behavior, TARGET)).cases[0].chat

    assert first(BestOfN(), BEHAVIOR) == first(BestOfN(), BEHAVIOR)
    assert first(BestOfN(seed=1), BEHAVIOR) != first(BestOfN(), BEHAVIOR)
    assert first(BestOfN(), Behavior("b2", BEHAVIOR.text)) != first(BestOfN(), BEHAVIOR)


def test_context_is_not_augmented(play):
    context = "Ingredients: wholemeal flour, lukewarm water, sea salt"
    for case in play(BestOfN().run(Behavior("b", BEHAVIOR.text, context), TARGET)).cases:
        shown, rule, asked = case.chat[0].text.partition("\n\n---\n\n")
        assert (shown, bool(rule)) == (context, True)
        assert asked != BEHAVIOR.text


def test_through_another_attack_the_behavior_alone_is_augmented(play):
    attack = BestOfN(n=3, batch=2, attack=PrefixInjection(openings=("Of course!", "Sure:")))
    context = "Wholemeal flour"
    played = play(attack.run(Behavior("b1", BEHAVIOR.text, context), TARGET))
    plain = play(BestOfN(n=3).run(BEHAVIOR, TARGET)).cases
    assert [case.chat[0].text for case in played.cases] == [
        f'{context}\n\n---\n\n{case.chat[0].text}\n\nStart your answer with "{opening}" and go on from there.'
        for case, opening in zip(plain, ("Of course!", "Sure:", "Of course!"), strict=True)
    ]
    assert [len(item.chats) for item in played.asks] == [2, 1]
    assert all(case.score is None and case.completion.chat == case.chat for case in played.cases)
    assert (attack.most().cases, attack.most().asks) == (3, {"target": 3})


def test_what_the_other_attack_needs_is_needed():
    assert BestOfN().needs == frozenset()
    assert BestOfN(attack=Prefill("Sure:")).needs == {"prefill"}


class Joint(Direct):
    run = property()


@pytest.mark.parametrize("inner", [BestOfN(), Prefill(writer=Scripted()), Joint()])
def test_it_goes_through_no_attack_that_searches(inner):
    with pytest.raises(SpecError, match="which searches") as caught:
        BestOfN(attack=inner)
    assert "prefix_injection" in caught.value.hint


@pytest.mark.parametrize("fields", [{"n": 0}, {"batch": 0}, {"temperature": -1.0}, {"sigma": 1.1}, {"sigma": -0.1}])
def test_wrong_fields(fields):
    with pytest.raises(SpecError) as caught:
        BestOfN(**fields)
    assert caught.value.hint
