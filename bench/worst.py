"""How often the interval of the worst of many tamperings misses the true worst, and how lucky the named one is.

Run: python bench/worst.py [SEED]. A minute on one core; `audits/tamper/worst.py` quotes its output for seed 20261129.
Behaviors differ in how easily any tampering brings them out (correlation 0.49 of a normal copula). Either all
tamperings are alike (30% harm), or they are graded (2% to 60%).
"""

import sys
from statistics import NormalDist
from typing import Any

import numpy as np

from withstand.stats.gains import together
from withstand.stats.winners import clopper_pearson

DRAWS, SHARED = 1500, 0.7


def limits(n: int, level: float) -> Any:
    return np.array([clopper_pearson(k, n, level) for k in range(n + 1)]).T


def measured(rng: Any, tamperings: int, n: int, rates: Any) -> list[float]:
    """Misses below and above, of ours; the same of the named one's own 95%; mean of the named, and by halves."""
    (low, high), (own_low, own_high) = limits(n, together(1 + 3 * tamperings)), limits(n, 0.95)
    cut, truth = np.array([NormalDist().inv_cdf(rate) for rate in rates])[:, None], rates.max()
    sums = np.zeros(6)
    for _ in range(DRAWS):
        ease = SHARED * rng.normal(size=n) + np.sqrt(1 - SHARED**2) * rng.normal(size=(tamperings, n))
        harm = ease < cut
        hits = harm.sum(axis=1)
        top, (a, b) = hits.max(), (harm[:, half::2].mean(axis=1) for half in (0, 1))
        sums += [
            low[top] > truth, high[top] < truth, own_low[top] > truth, own_high[top] < truth, top / n,
            (b[a.argmax()] + a[b.argmax()]) / 2,
        ]  # fmt: skip
    return list(sums / DRAWS)


def main() -> None:
    rng = np.random.default_rng(int(sys.argv[1]) if len(sys.argv) > 1 else 20261129)
    print("| tamperings | behaviors | true worst | named | by halves | above it: ours | own 95% | below it: ours |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for tamperings in (10, 60):
        for n in (20, 60):
            for rates in (np.full(tamperings, 0.3), np.linspace(0.02, 0.6, tamperings)):
                over, under, own, _, named, halves = measured(rng, tamperings, n, rates)
                figures = [rates.max(), named, halves, over, own, under]
                shown = " | ".join(f"{100 * value:.1f}%" for value in figures)
                print(f"| {tamperings} | {n} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
