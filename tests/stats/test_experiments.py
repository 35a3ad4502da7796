"""Effects on units: arms of accounts against statsmodels, staged roll-outs by hand, and false positives of nothing."""

import numpy as np
import pytest
from statsmodels.regression.linear_model import OLS

from withstand.stats.experiments import NEVER, Panel, arm, arms_differ, forbidden_share, staged


def test_arms_differ_as_in_least_squares_clustered_by_account():
    draw = np.random.default_rng(0)
    sizes = draw.integers(1, 30, 80)
    rates = draw.beta(2, 8, 80)
    outcomes = [draw.random(n) < rate for n, rate in zip(sizes, rates, strict=True)]
    sums = np.array([unit.sum() for unit in outcomes], float)
    ours = arms_differ(arm(sums[:40], sizes[:40].astype(float), True), arm(sums[40:], sizes[40:].astype(float), True))
    unit = np.repeat(np.arange(80), sizes)
    x = np.column_stack([np.ones(len(unit)), unit < 40]).astype(float)
    peer = OLS(np.concatenate(outcomes).astype(float), x).fit(
        cov_type="cluster", cov_kwds={"groups": unit, "use_correction": False}
    )
    assert ours.difference == pytest.approx(peer.params[1])
    assert ours.error == pytest.approx(peer.bse[1] * np.sqrt(40 / 39))
    assert 20 < ours.df < 78


def test_an_arm_without_a_hit_is_not_certain_and_few_large_units_are_few():
    none = arm(np.zeros(30), np.full(30, 10.0), True)
    assert none.variance == pytest.approx(1 / 302 * 301 / 302 / 300)
    assert arm(np.zeros(3), np.array([1e6, 1, 1]), True).df == 1
    assert arm(np.zeros(3), np.array([5.0, 0, 5]), False).units == 2
    with pytest.raises(ValueError, match="two units"):
        arm(np.array([1.0]), np.array([4.0]), True)


def test_tests_on_accounts_find_nothing_in_nothing():
    """Two arms of 60 accounts with heavy tails, no effect: at 5%, where a test on requests finds one in most."""
    draw, alarms, naive = np.random.default_rng(1), 0, 0
    for _ in range(500):
        n = np.ceil(draw.pareto(1.5, 120) * 10 + 1)
        sums = draw.binomial(n.astype(int), draw.beta(0.3, 3, 120)).astype(float)
        one, two = arm(sums[:60], n[:60], True), arm(sums[60:], n[60:], True)
        alarms += arms_differ(one, two).p < 0.05
        z = (one.rate - two.rate) / np.sqrt(sum(side.rate * (1 - side.rate) / side.outcomes for side in (one, two)))
        naive += abs(z) > 1.96
    assert alarms / 500 < 0.07
    assert naive / 500 > 0.4


def panel(first, table, sizes=10.0):
    table = np.asarray(table, float)
    unit, period = (part.ravel() for part in np.indices(table.shape))
    outcomes = np.full(table.size, sizes)
    return Panel(unit, period, table.ravel() * outcomes, outcomes, np.asarray(first, np.int64))


def test_group_time_effects_by_hand():
    """Two units treated from period 1, two from 2, two never. Base periods 0 and 1; controls not treated yet."""
    table = [[1, 3, 5], [2, 4, 6], [1, 2, 9], [1, 2, 7], [4, 5, 6], [0, 1, 2]]
    got = staged(panel([1, 1, 2, 2, NEVER, NEVER], table))
    by = {(cell.group, cell.period): (cell.effect, cell.treated, cell.controls) for cell in got.cells}
    # (1, 1): 2 less the mean change 1 of the four others; (1, 2): 4 less 2; (2, 2): 6 less 1; (2, 0): -1 less -1
    assert by == {(1, 1): (1, 2, 4), (1, 2): (2, 2, 2), (2, 2): (5, 2, 2), (2, 0): (0, 2, 2)}
    assert got.average.difference == pytest.approx((1 + 2 + 5) / 3)
    assert got.before.difference == 0
    # only group 2 varies: changes 7 and 5 about 6, a third of the weight, factor sqrt(2) of two units
    assert got.average.error == pytest.approx(np.sqrt(2) * np.hypot(0.5, 0.5) / 3)
    with pytest.raises(ValueError, match="no group"):
        staged(panel([1, 2, 3, 4], [[0, 1, 2, 3, 4]] * 4))


def test_growing_effects_turn_the_sign_of_a_regression_but_not_of_group_times():
    """Goodman-Bacon's warning: two dates, no untreated units, effects that grow by 1 a period."""
    from withstand.stats.regression import two_way

    draw = np.random.default_rng(3)
    first = np.array([2] * 10 + [7] * 10)
    time = np.arange(10)
    after = np.maximum(0, time - first[:, None] + 1)
    table = draw.normal(size=(20, 1)) + after + draw.normal(size=(20, 10)) / 10
    data = panel(first, table)
    regression = two_way(table.ravel(), (after > 0).ravel().astype(float), data.unit, data.period, data.outcomes)
    honest = staged(data).average
    # of the early group's periods 2 to 6 only: effects 1 to 5
    assert honest.difference == pytest.approx(3, abs=0.2)
    assert regression.difference < 0.5
    assert forbidden_share({2: 10, 7: 10}, 10) == pytest.approx(0.3 / (0.3 + 0.2))
    assert forbidden_share({2: 10, NEVER: 10}, 10) == 0


def test_staged_intervals_cover():
    """Nominal 95%, 3 dates and never treated, units with levels and trends of a common season; effect 0.5."""
    draw, covered = np.random.default_rng(4), 0
    first = np.array([3] * 12 + [4] * 12 + [5] * 12 + [NEVER] * 12)
    after = np.arange(8) >= first[:, None]
    for _ in range(300):
        table = draw.normal(size=(48, 1)) + draw.normal(size=8) + 0.5 * after + draw.standard_t(5, size=(48, 8))
        low, high = staged(panel(first, table)).average.limits()
        covered += low < 0.5 < high
    assert 0.92 <= covered / 300 <= 0.98
