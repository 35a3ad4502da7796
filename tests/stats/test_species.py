"""Kinds that were not seen yet, and how evenly work is shared."""

import pytest

from withstand.stats.species import chao1, gini


def test_chao1_is_that_of_the_published_vectors() -> None:
    """Those of scikit-bio's tests of `chao1`, which follow the manual of EstimateS."""
    assert chao1([0, 1, 1, 4, 2, 5, 2, 4, 1, 2]) == 9.75  # 9 + 3 * 2 / (2 * 4)
    assert chao1([0, 2, 2, 4, 5, 0, 0, 0, 0, 0]) == 4  # none was seen once
    assert chao1([0, 1, 1, 4, 5, 0, 0, 0, 0, 0]) == 5  # none was seen twice
    assert chao1([]) == 0


def test_gini_is_the_mean_difference_over_twice_the_mean() -> None:
    amounts = [1.0, 2.0, 2.0, 10.0]
    pairs = [abs(a - b) for a in amounts for b in amounts]
    assert gini(amounts) == pytest.approx(sum(pairs) / len(pairs) / (2 * sum(amounts) / 4))
    assert (gini([3, 3, 3]), gini([0, 0, 0, 8]), gini([0, 0]), gini([])) == (0, 0.75, None, None)
