"""Reliability by hand, against scikit-learn, and its limits by draws."""

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from withstand.stats.rates import wilson
from withstand.stats.reliability import reliability


def test_a_case_by_hand_and_scikit_learn():
    """Bins are open below: 0.2 lies in the second of ten, 0 in the first."""
    result = reliability([0.0, 0.1, 0.15, 0.2, 0.9], [False, True, False, True, True])
    assert result is not None
    assert [(part.low, part.high, part.n) for part in result.bins] == [(0.0, 0.1, 2), (0.1, 0.2, 2), (0.8, 0.9, 1)]
    assert [part.mean for part in result.bins] == pytest.approx([0.05, 0.175, 0.9])
    assert result.ece == pytest.approx((2 * 0.45 + 2 * 0.325 + 0.1) / 5)
    assert result.brier == pytest.approx((0.81 + 0.0225 + 0.64 + 0.01) / 5)
    assert (result.base, result.gap) == pytest.approx((0.24, 0.27 - 0.6))
    assert result.bins[0].ends == pytest.approx(wilson(1, 2))
    # chance: E|y - s| of a bin with n texts is about sqrt(2/pi) sqrt(sum s(1-s)) / n
    spread = math.sqrt(0.09) + math.sqrt(0.15 * 0.85 + 0.16) + math.sqrt(0.09)
    assert result.chance == pytest.approx(math.sqrt(2 / math.pi) * spread / 5)
    draw = np.random.default_rng(1)
    scores, labels = draw.random(400).round(2), draw.random(400) < 0.4
    result = reliability(scores, labels)
    share, mean = calibration_curve(labels, scores, n_bins=10)
    assert result is not None
    assert [part.share for part in result.bins] == pytest.approx(share)
    assert [part.mean for part in result.bins] == pytest.approx(mean)
    assert result.brier == pytest.approx(brier_score_loss(labels, scores))


def test_limits_hold_and_copies_say_nothing_new():
    draw = np.random.default_rng(20261129)
    held = gaps = 0
    for _ in range(100):
        scores = draw.beta(0.8, 0.8, 60)
        chances = 0.2 + 0.8 * scores  # it understates
        result = reliability(scores, draw.random(60) < chances)
        assert result is not None
        places = np.searchsorted(np.linspace(0, 1, 11)[1:-1], scores)
        true = sum(abs((chances - scores)[places == at].sum()) for at in range(10)) / 60
        held += result.ece_ends[0] <= true <= result.ece_ends[1]
        gaps += result.gap_ends[0] <= (scores - chances).mean() <= result.gap_ends[1]
    assert held >= 95
    assert gaps >= 90
    once = reliability(scores, labels := draw.random(60) < scores)
    names = [f"c{at}" for at in range(60)]
    thrice = reliability(np.repeat(scores, 3), np.repeat(labels, 3), np.repeat(names, 3))
    assert once is not None
    assert thrice is not None
    assert (thrice.ece, thrice.brier) == pytest.approx((once.ece, once.brier))
    assert thrice.ece_ends[1] >= once.ece_ends[1] - 1e-9
    one = reliability([0.1, 0.2], [True, True], ["a", "a"])
    assert one is not None
    assert one.ece_ends == (0.0, 1.0)  # one cluster tells nothing
    assert one.gap_ends == (-1.0, 1.0)


def test_what_is_no_chance_is_no_score():
    assert reliability([], []) is None
    for wrong in ([1.5], [-0.1], [math.nan]):
        with pytest.raises(ValueError, match="outside"):
            reliability(wrong, [True])
    with pytest.raises(ValueError, match="one length"):
        reliability([0.5], [True, False])
    perfect = reliability([0.0, 1.0], [False, True])
    assert perfect is not None
    assert (perfect.ece, perfect.brier, perfect.chance) == (0, 0, 0)
    assert perfect.ece_ends[1] > 0.4  # two texts show little
    assert perfect.gap_ends[0] < -0.4
