"""Whether a mix of categories has changed: how far two mixes lie apart, and how often chance does as much.

Events of one account are not independent of each other, so that whole units (the counts of an account on a day) are
permuted, never single events. Pure functions.
"""

from itertools import combinations
from math import comb
from random import Random

import numpy as np
import numpy.typing as npt

from withstand.stats.special import Floats

LARGE = 0.25
"""A population stability index from which a mix is said to have shifted (Siddiqi 2006, "Credit Risk Scorecards")."""
EXACT = 20_000
"""Ways to divide the units up to which all are counted."""
_CHUNK = 4_000_000


def psi(before: npt.ArrayLike, after: npt.ArrayLike) -> Floats:
    """The population stability index of counts by category, on the last axis: sum of (q - p) log(q / p), >= 0.

    Half an event is added to each category of both, so that one that is new has an index at all.
    """
    p, q = (_shares(np.asarray(counts, np.float64) + 0.5) for counts in (before, after))
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))


def jensen_shannon(before: npt.ArrayLike, after: npt.ArrayLike) -> Floats:
    """The Jensen-Shannon divergence of two mixes of counts, on the last axis, in bits: 0 the same, 1 nothing shared."""
    p, q = (_shares(np.asarray(counts, np.float64)) for counts in (before, after))
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(p > 0, p * np.log2(p / middle), 0.0) + np.where(q > 0, q * np.log2(q / middle), 0.0)
    return np.asarray(parts.sum(axis=-1) / 2)


def _shares(counts: Floats) -> Floats:
    totals = counts.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0))


def permuted_p(before: Floats, after: Floats, draws: int, seed: str) -> float:
    """How often units that are divided by chance have mixes as far apart (Jensen-Shannon) as these, or farther.

    before, after: counts as units x categories. All divisions are counted where they are few (exact); else `draws` of
    them, and the one seen counts as one, so that p is never 0 (Phipson and Smyth 2010, arXiv:1603.05766).
    """
    units = np.vstack([before, after])
    n, taken, total = len(units), len(after), units.sum(axis=0)
    seen = float(jensen_shannon(before.sum(axis=0), after.sum(axis=0))) - 1e-12
    if comb(n, taken) <= EXACT:
        parts = np.array([units[list(places)].sum(axis=0) for places in combinations(range(n), taken)])
        return float((jensen_shannon(total - parts, parts) >= seen).mean())
    rng = np.random.default_rng(Random(seed).getrandbits(64))
    as_far, left = 0, draws
    while left > 0:
        rows = min(left, max(1, _CHUNK // n))
        order = np.argpartition(rng.random((rows, n)), taken - 1, axis=1)[:, :taken]
        chosen = np.zeros((rows, n))
        np.put_along_axis(chosen, order, 1.0, axis=1)
        parts = chosen @ units
        as_far += int((jensen_shannon(total - parts, parts) >= seen).sum())
        left -= rows
    return (as_far + 1) / (draws + 1)
