"""What `withstand gate --history` lets through over many builds, and how often it raises a false alarm.

Run: python bench/nightly.py [SEED]. Seconds on one core; docs/gating.md quotes its output.
"""

import itertools
import sys

import numpy as np

from withstand.stats import evalues
from withstand.stats.winners import clopper_pearson

LIMIT, NIGHTS, DRAWS = 0.1, 90, 400


def passes(rng: np.random.Generator, n: int, good: float, bad: float, share: float, same: bool) -> tuple[float, float]:
    """Of sequences of builds: the mean share of their PASSes that are false, and the share of good builds that pass.

    share: of builds that are bad.   same: all builds give the same answers, as one that never changed.
    """
    false, found = [], []
    for _ in range(DRAWS):
        is_bad = np.full(NIGHTS, rng.random() < share) if same else rng.random(NIGHTS) < share
        rate = np.where(is_bad, bad, good)
        broken = rng.binomial(n, rate)
        if same:
            broken = np.full(NIGHTS, broken[0])
        row = np.array([build.passes for build in evalues.builds([(int(k), n) for k in broken], LIMIT)])
        false.append((row & is_bad).sum() / max(1, row.sum()))
        found.append((row & ~is_bad).sum() / max(1, (~is_bad).sum()))
    return float(np.mean(false)), float(np.mean(found))


def alarms(rng: np.random.Generator, n: int, before: float, after: float) -> float:
    """The share of sequences with an alarm of drift, from a first build at `before`."""
    raised = 0
    for _ in range(DRAWS):
        ends = clopper_pearson(int(rng.binomial(n, before)), n)
        reference = ends[1] if ends else 1.0
        raised += evalues.drift([(int(k), n) for k in rng.binomial(n, after, NIGHTS)], reference)[-1] >= 20
    return raised / DRAWS


if __name__ == "__main__":
    rng = np.random.default_rng(int(sys.argv[1]) if sys.argv[1:] else 20261128)
    for n in (100, 150, 200):
        points = itertools.product((0.101, 0.12, 0.15), (0.2, 0.8, 1.0), (False, True))
        worst = max(passes(rng, n, 0.01, *point)[0] for point in points)
        shares = [f"{100 * passes(rng, n, good, 0.15, 0.0, False)[1]:.0f}%" for good in (0.0, 0.01, 0.03)]
        print(f"{n} behaviors: false PASSes {100 * worst:.1f}% at most; builds at 0, 1 and 3% pass in", *shares)
    wrong = max(alarms(rng, n, rate, rate) for n in (20, 56, 90) for rate in (0.02, 0.05, 0.2))
    print(f"drift, fewer behaviors: a false alarm in {100 * wrong:.1f}% of the sequences at most; 56 behaviors that go")
    risen = [f"{100 * alarms(rng, 56, 0.05, after):.0f}%" for after in (0.15, 0.2, 0.3)]
    print("from 5% to 15, 20 and 30% raise one in", *risen)
