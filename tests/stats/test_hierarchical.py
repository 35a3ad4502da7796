"""Many cells in one model: pinned to PyMC's samples of the same model, and what no number of good cells may do."""

import numpy as np
import pytest

from withstand.stats.hierarchical import beliefs, fit

SAMPLED_ASR = [0.0665, 0.1292, 0.1472, 0.0288, 0.1403, 0.0657, 0.0305, 0.0554, 0.0683, 0.0240, 0.0856, 0.0471]
SAMPLED_ABOVE = [0.141, 0.710, 0.812, 0.005, 0.779, 0.138, 0.008, 0.080, 0.157, 0.003, 0.310, 0.038]
"""`bench/grid_pymc.py` printed these: PyMC 5.28.5, 2 chains of 2,000."""


def test_it_agrees_with_samples_of_the_same_model():
    """Fitted variances stand for sampled ones: the mean ASRs agree within 2 points, the chances within 0.12."""
    rng = np.random.default_rng(17)
    theta = -2.6 + rng.normal(0, 0.8, 4)[:, None] + rng.normal(0, 0.5, 3)[None, :]
    theta = theta.ravel() + rng.normal(0, 0.3, 12)
    chance = 1 / (1 + np.exp(-(theta[:, None] + rng.normal(0, 1, 40)[None, :])))
    broken = (rng.random(chance.shape) < chance).astype(float)
    assert broken.sum(axis=1).tolist() == [3, 5, 7, 0, 7, 2, 1, 1, 3, 0, 4, 1]
    attack, target = np.divmod(np.arange(12), 3)
    cells = beliefs(broken, np.ones_like(broken), attack.tolist(), target.tolist(), 0.1)
    assert [cell.asr for cell in cells] == pytest.approx(SAMPLED_ASR, abs=0.02)
    assert [cell.above for cell in cells] == pytest.approx(SAMPLED_ABOVE, abs=0.12)


def test_good_cells_help_each_other_and_excuse_no_bad_one():
    broken = np.zeros((30, 56))
    broken[np.arange(30), np.arange(30) % 56] = 1  # one of 56 each
    broken[0, :9] = 1
    attacks, targets = np.divmod(np.arange(30), 5)
    cells = beliefs(broken, np.ones_like(broken), attacks.tolist(), targets.tolist(), 0.1)
    assert cells[0].above > 0.5 < cells[0].alone
    assert max(cell.above for cell in cells[1:]) < 0.01  # alone, 1 of 56 is open: Wilson's interval ends at 9.4%
    twice = beliefs(np.repeat(broken, 2, 1) / 1, np.repeat(np.ones_like(broken), 2, 1), attacks.tolist(),
                    targets.tolist(), 0.1)  # fmt: skip
    assert twice[0].above > cells[0].above  # 18 of 112
    [lone] = beliefs(broken[:1], np.ones((1, 56)), ["direct"], ["toy"], 0.1)
    assert lone.above > 0.7
    seen = np.ones_like(broken)
    seen[1, 20:] = 0  # a cell that asked fewer behaviors is less sure
    fewer = beliefs(broken * seen, seen, attacks.tolist(), targets.tolist(), 0.1)
    assert fewer[1].above > cells[1].above
    model, mean, variance = fit(broken, seen, attacks.tolist(), targets.tolist())
    assert np.isfinite([*model.theta, *model.beta, *mean, *variance]).all()
