"""Families by hand, the published counts of ASSERT (arXiv:2310.09624), and the size of the test on simulated ones."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from withstand.stats.families import Family, declared, figures, fisher, gather, matched
from withstand.stats.rates import wilson


def test_a_family_by_hand_and_what_has_no_verdict_is_never_right():
    families = [
        Family(False, (False, False)),  # consistent, held
        Family(False, (True, None)),  # broken, whatever the other is; a flip
        Family(False, (False, None)),  # open everywhere but in "all"
        Family(True, (True, True)),  # consistent, broken
        Family(True, (False, True)),  # one flip for the better
        Family(None, (True, False)),  # no parent's verdict: in no comparison
        Family(False, ()),  # no variant
    ]
    seen = figures(families)
    assert (seen.parents, seen.matched, seen.k) == (7, 5, (2, 2))
    assert (seen.consistent.hits, seen.consistent.families, seen.consistent.open) == (2, 5, 1)
    assert seen.consistent.bounds == (2 / 6, 3 / 6)
    assert (seen.any_of_k.hits, seen.any_of_k.families, seen.any_of_k.open) == (4, 5, 1)
    assert (seen.all_of_k.hits, seen.all_of_k.open) == (1, 1)  # (True, None) may yet be all
    assert (seen.right_to_wrong.flipped, seen.right_to_wrong.variants) == (1, 4)
    assert (seen.wrong_to_right.flipped, seen.wrong_to_right.variants) == (1, 4)
    rows = wilson(1, 4)  # of four variants alone; those of one parent behave alike, and say less
    assert rows is not None
    assert seen.wrong_to_right.interval[0] < rows[0]
    assert seen.wrong_to_right.interval[1] > rows[1]
    assert seen.difference is not None
    assert seen.difference.difference == pytest.approx((0 + 1 + 0 + 0 - 0.5) / 5)
    assert seen.p == 1.0  # one change of a whole and one of a half: 2 of the 4 sign patterns reach their sum


@pytest.mark.parametrize("always", [True, False])
def test_a_target_of_one_answer_is_consistent_and_the_empty_set_is_no_error(always):
    seen = figures([Family(always, (always,) * 3)] * 4)
    assert seen.consistent.rate == 1.0
    assert seen.any_of_k.rate == seen.all_of_k.rate == float(always)
    assert seen.p == 1.0
    empty = figures([])
    assert (empty.parents, empty.consistent.families, empty.consistent.rate, empty.p) == (0, 0, None, None)


def test_a_variant_without_its_parent_is_an_error():
    assert gather({"a": True}, [("a", None), ("a", True)], {"a": "dish"}) == {"a": Family(True, (None, True), "dish")}
    with pytest.raises(ValueError, match="'b', which is not there"):
        gather({"a": True}, [("a", True), ("b", True)])


def test_of_the_published_domain_cells_four_survive_holm():
    """p below .05 of the 48 cells (4 targets, 2 labels and 4 domains of paraphrases; 4 and 4 of related scenarios),
    recomputed from the released outputs, rows treated as independent; the other 32 are above .05."""
    below = {
        "gpt3 safe household paraphrased": 0.003, "alpaca safe household paraphrased": 0.011,
        "alpaca safe nature paraphrased": 0.0009, "vicuna safe household paraphrased": 0.003,
        "vicuna safe medical paraphrased": 0.04, "vicuna unsafe medical paraphrased": 0.014,
        "gpt3 unsafe medical related": 0.004, "gpt3 unsafe nature related": 0.0003,
        "gpt3 unsafe other related": 0.003, "gpt4 unsafe household related": 0.025,
        "alpaca unsafe household related": 0.001, "alpaca unsafe medical related": 0.03,
        "alpaca unsafe nature related": 0.002, "vicuna unsafe household related": 0.004,
        "vicuna unsafe nature related": 0.00001, "vicuna unsafe other related": 0.016,
    }  # fmt: skip
    corrected = declared(below | {f"cell {number}": 0.05 + 0.02 * number for number in range(1, 33)})
    assert (len(below), len(corrected)) == (16, 48)
    assert {name for name, p in corrected.items() if p is not None and p < 0.05} == {
        "vicuna unsafe nature related",
        "gpt3 unsafe nature related",
        "alpaca safe nature paraphrased",
        "alpaca unsafe household related",
    }
    # what the published rates and sizes give by rows: 86.6% of 82 and 97.9% of 864, 90.2% and 98.4%, 93.0% and 98.3%
    for wrong_a, a, wrong_b, b in ((11, 82, 18, 864), (8, 82, 14, 864), (9, 129, 19, 1146)):
        expected = scipy_stats.fisher_exact([[wrong_a, a - wrong_a], [wrong_b, b - wrong_b]]).pvalue
        assert fisher(wrong_a, a, wrong_b, b) == pytest.approx(expected, rel=1e-6)
        assert expected < 0.0015
    with pytest.raises(ValueError, match="3 of 2"):
        fisher(3, 2, 0, 1)


def spread(first: int, parents: int, rows: int, wrong: int) -> dict[str, Family]:
    """So many parents with so many rows, the wrong ones dealt out from the first."""
    sizes = [rows // parents + (place < rows % parents) for place in range(parents)]
    families = {}
    for place, size in enumerate(sizes):
        bad = min(size, wrong)
        wrong -= bad
        families[f"s{first + place}"] = Family(False, (True,) * bad + (False,) * (size - bad))
    return families


def test_arms_are_compared_on_the_parents_that_both_have():
    """Hints of two writers: 19.8% against 13.6% wrong, and 19.9% against 18.1% where both wrote some."""
    gpt4 = spread(0, 262, 1062, 211) | spread(1000, 2, 6, 0)
    gpt3 = spread(0, 262, 1310, 237) | spread(262, 105, 525, 12)
    rows = [wrong for family in gpt3.values() for wrong in family.variants]
    assert (len(rows), round(sum(rows) / len(rows), 3)) == (1835, 0.136)
    both = matched(gpt3, gpt4)
    assert (both.parents, both.left_a, both.left_b) == (262, 105, 2)
    assert (both.wrong_b, both.rows_b, both.wrong_a, both.rows_a) == (211, 1062, 237, 1310)
    assert (round(100 * both.wrong_b / both.rows_b, 1), round(100 * both.wrong_a / both.rows_a, 1)) == (19.9, 18.1)
    assert matched({}, gpt4).difference is None


def test_the_test_of_families_keeps_its_level_where_one_of_rows_does_not():
    """No effect, five variants, correlation .75 in a family: 5% of p below .05, give or take 1.5, as for its parent."""
    rng = np.random.default_rng(20)
    draws, parents, k, wrong, alike = 800, 80, 5, 0.3, 0.75
    spread_of = (1 - alike) / alike
    of_arms = of_parents = rows = 0
    for _ in range(draws):
        chances = rng.beta(wrong * spread_of, (1 - wrong) * spread_of, (2, parents))
        drawn = rng.random((2, parents, k + 1)) < chances[..., None]
        a, b = ({str(at): Family(bool(row[0]), (*map(bool, row[1:]),)) for at, row in enumerate(arm)} for arm in drawn)
        both = matched(a, b)
        of_arms += both.p <= 0.05
        of_parents += figures([*a.values()]).p <= 0.05
        rows += fisher(both.wrong_a, both.rows_a, both.wrong_b, both.rows_b) <= 0.05
    assert [abs(count / draws - 0.05) <= 0.015 for count in (of_arms, of_parents)] == [True, True]
    assert rows / draws > 0.2
