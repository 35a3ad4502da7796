"""Ratios of rates, pinned to statsmodels, scipy and a sum over all outcomes."""

import math
from itertools import product

import pytest

from withstand.stats.ratio import Ratio, bounded_ratio, ratio, score


def test_limits_are_koopmans_where_there_are_many_and_hold_the_exact_ones_of_poisson_counts_else():
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    stats = pytest.importorskip("scipy.stats")
    for counts in ((200, 400, 300, 900), (150, 2000, 600, 3000), (36, 40, 16, 80), (3, 20, 7, 100)):
        for level in (0.95, 0.999):
            koopman = proportion.confint_proportions_2indep(
                *counts, method="score", compare="ratio", correction=False, alpha=1 - level
            )
            ours = ratio(*counts, level)
            times, n, base, base_n = counts
            assert ours.value == pytest.approx(times / n / (base / base_n))
            if min(times, n - times, base, base_n - base) >= 100:
                assert (ours.low, ours.high) == pytest.approx(koopman, rel=1e-6)
            else:
                shares = stats.beta.ppf([(1 - level) / 2, (1 + level) / 2], [times, times + 1], [base + 1, base])
                exact = shares / (1 - shares) * base_n / n
                low, high = min(koopman[0], exact[0]), max(koopman[1], exact[1])
                assert (ours.low, ours.high) == pytest.approx((low, high), rel=1e-6)


def test_a_limit_is_wrong_as_rarely_as_promised_at_the_level_of_many_intervals():
    stats = pytest.importorskip("scipy.stats")
    n, base_n, rate, true, level = 8, 30, 0.1, 1.25, 0.999
    above = below = 0.0
    for times, base in product(range(n + 1), range(base_n + 1)):
        chance = stats.binom.pmf(times, n, true * rate) * stats.binom.pmf(base, base_n, rate)
        if chance > 1e-6:
            limits = ratio(times, n, base, base_n, level)
            above += chance * (limits.low > true)
            below += chance * (limits.high < true)
    assert max(above, below) < (1 - level) / 2


def test_nothing_is_claimed_of_groups_in_which_nothing_happened_and_open_cases_widen():
    assert ratio(0, 5, 0, 90) == ratio(0, 0, 3, 9) == Ratio(None, 0.0, math.inf)
    never, always = ratio(0, 20, 5, 100), ratio(3, 20, 0, 100)
    assert (never.low, always.value, always.high) == (0.0, math.inf, math.inf)
    assert never.high > 1 < always.low
    assert score(30, 100, 10, 100, 3.0) == 0  # 0.3 is 3 times 0.1
    whole = bounded_ratio((30, 100, 100), (10, 100, 100))
    assert whole == ratio(30, 100, 10, 100)
    opened = bounded_ratio((30, 90, 100), (10, 95, 100))
    assert opened.value == pytest.approx(30 / 90 / (10 / 95))
    assert opened.low == ratio(30, 100, 15, 100).low < opened.high == ratio(40, 100, 10, 100).high
    with pytest.raises(ValueError, match="3 of 2"):
        ratio(3, 2, 1, 9)
