"""Many cells in one model: how likely the ASR of each lies above a limit. Effects are shared.

logit P(cell c breaks behavior b) = theta_c + beta_b, where theta_c = mu + attack + target + its own part, all normal.
Variances are fitted (maximum a posteriori by EM), theta and beta by Laplace's method; then each cell's theta is
integrated exactly, under what all other cells say of it. A share of the prior, the slab, knows nothing of other cells,
so that no number of good cells makes a bad one pass. Pure functions on numpy arrays.

Gelman et al. 2013, "Bayesian Data Analysis", ch. 5; Rasmussen and Williams 2006, ch. 3 (Laplace) and 5 (one left out).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from withstand.stats.rates import Floats

SLAB = 0.02
"""Share of the prior under which a cell's ASR is Beta(1, 4), whatever the other cells show."""

CENTER, CENTER_SD = -2.2, 2.0
"""Prior of mu, on the logit scale: 10%, and from 0.2% to 85% within two standard deviations."""

PRIOR_SD, PRIOR_WEIGHT = 0.5, 2.0
"""Prior of each standard deviation: as if so many effects of this size had been seen (scaled inverse chi-square)."""

_STEPS, _NEWTON = 60, 25
_GRID = np.linspace(-10.0, 6.0, 321)
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(21)


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted grid, on the logit scale at the mode: theta of each cell, beta of each behavior, and the standard
    deviations of the effects of attack, target, cell (own) and behavior."""

    theta: Floats
    beta: Floats
    attack: float
    target: float
    own: float
    behavior: float


@dataclass(frozen=True, slots=True)
class CellBelief:
    """What is believed of one cell: `asr` its mean in [0, 1], `above` the chance that it lies above the limit, and
    `alone` the chance that it is a cell of its own kind (the slab)."""

    asr: float
    above: float
    alone: float


def _groups(labels: Sequence[Hashable]) -> Floats:
    """Indicators of shape (cells, distinct labels)."""
    names = list(dict.fromkeys(labels))
    return np.array([[float(label == name) for name in names] for label in labels])


def _chance(logit: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(logit, -30, 30)))


def fit(
    shares: Floats, seen: Floats, attacks: Sequence[Hashable], targets: Sequence[Hashable]
) -> tuple[Fit, Floats, Floats]:
    """The model at its mode, with the mean and variance of each theta under what all other cells say.

    shares: of shape (cells, behaviors), what of each behavior was broken, in [0, 1]; a behavior counts once, whatever
    the number of its cases.   seen: 1 where a cell asked a behavior, else 0.
    """
    indicators: dict[str, Floats] = {"attack": _groups(attacks), "target": _groups(targets)}
    cells, behaviors = shares.shape
    variances = {"attack": PRIOR_SD**2, "target": PRIOR_SD**2, "own": PRIOR_SD**2, "behavior": PRIOR_SD**2}
    theta, beta = np.full(cells, CENTER), np.zeros(behaviors)
    for _ in range(_STEPS):
        covariance: Floats = np.full((cells, cells), CENTER_SD**2) + variances["own"] * np.eye(cells)
        for name, z in indicators.items():
            covariance = covariance + variances[name] * z @ z.T
        precision: Floats = np.asarray(np.linalg.inv(covariance), np.float64)
        theta, beta, spread = _mode(shares, seen, precision, variances["behavior"], theta, beta)
        before = dict(variances)
        parts = {**indicators, "own": np.eye(cells)}
        gap, v = theta - CENTER, spread[:cells, :cells]
        for name, z in parts.items():
            pull = variances[name] * z.T @ precision
            mean = pull @ gap
            own = variances[name] * np.eye(z.shape[1]) - pull @ z * variances[name] + pull @ v @ pull.T
            variances[name] = _updated(mean, np.diag(own))
        variances["behavior"] = _updated(beta, np.diag(spread)[cells:])
        if max(abs(variances[name] / before[name] - 1) for name in variances) < 1e-3:
            break
    result = Fit(theta, beta, *(float(np.sqrt(variances[name])) for name in ("attack", "target", "own", "behavior")))
    return result, *_left_out(shares, seen, covariance, theta, beta)


def _updated(mean: Floats, variance: Floats) -> float:
    squares = float((mean**2 + variance).sum())
    return (squares + PRIOR_WEIGHT * PRIOR_SD**2) / (len(mean) + PRIOR_WEIGHT + 2)


def _mode(
    shares: Floats, seen: Floats, precision: Floats, variance: float, theta: Floats, beta: Floats
) -> tuple[Floats, Floats, Floats]:
    """theta and beta at their mode by Newton's method, and the inverse of the curvature there."""
    cells = len(theta)
    for _ in range(_NEWTON):
        chance = _chance(theta[:, None] + beta[None, :])
        miss, weight = seen * (shares - chance), seen * chance * (1 - chance)
        gradient = np.concatenate([miss.sum(1) - precision @ (theta - CENTER), miss.sum(0) - beta / variance])
        curvature = np.block([
            [precision + np.diag(weight.sum(1)), weight],
            [weight.T, np.diag(weight.sum(0) + 1 / variance)],
        ])  # fmt: skip
        step = np.linalg.solve(curvature, gradient)
        step *= min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
        theta, beta = theta + step[:cells], beta + step[cells:]
        if np.abs(step).max() < 1e-6:
            break
    return theta, beta, np.linalg.inv(curvature)


def _left_out(shares: Floats, seen: Floats, covariance: Floats, theta: Floats, beta: Floats) -> tuple[Floats, Floats]:
    """Mean and variance of each theta given all other cells: Rasmussen and Williams, equations 5.10 to 5.12, on the
    working response of the mode."""
    chance = _chance(theta[:, None] + beta[None, :])
    weight = np.maximum((seen * chance * (1 - chance)).sum(1), 1e-9)
    response = theta + (seen * (shares - chance)).sum(1) / weight
    inverse = np.linalg.inv(covariance + np.diag(1 / weight))
    own = np.diag(inverse)
    mean = response - (inverse @ (response - CENTER)) / own
    return mean, np.maximum(1 / own - 1 / weight, 1e-6)


def beliefs(
    shares: Floats, seen: Floats, attacks: Sequence[Hashable], targets: Sequence[Hashable], limit: float,
    slab: float = SLAB,
) -> list[CellBelief]:  # fmt: skip
    """What is believed of each cell of a grid, see `fit`. limit: in (0, 1)."""
    model, mean, variance = fit(shares, seen, attacks, targets)
    # the ASR of a cell: over behaviors like these
    nodes = _GRID[:, None] + model.behavior * _NODES[None, :]
    asr = _chance(nodes) @ (_WEIGHTS / _WEIGHTS.sum())
    edges = np.concatenate([[0.0], (asr[1:] + asr[:-1]) / 2, [1.0]])
    beta_1_4 = np.diff(1 - (1 - edges) ** 4)
    cells = []
    for cell in range(len(shares)):
        at = seen[cell] > 0
        chance = _chance(_GRID[:, None] + model.beta[at][None, :])
        logs = np.log(chance) @ shares[cell, at] + np.log1p(-chance) @ (1 - shares[cell, at])
        likelihood = np.exp(logs - logs.max())
        expected = np.exp(-((_GRID - mean[cell]) ** 2) / (2 * variance[cell]))
        parts = [(1 - slab) * expected / expected.sum() * likelihood, slab * beta_1_4 * likelihood]
        total = sum(parts)
        total, alone = total / total.sum(), parts[1].sum() / total.sum()
        cells.append(CellBelief(float(total @ asr), float(total[asr > limit].sum()), float(alone)))
    return cells
