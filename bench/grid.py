"""What `withstand gate --pooled` lets through: grids of 10 attacks on 10 targets, 56 behaviors, limit 10%.

Run: python bench/grid.py [SEED]. Minutes on one core; docs/gating.md quotes its output. Behaviors differ from each
other or do not; all 100 cells are at 1%, or one of them, or a whole attack, is bad.
"""

import sys

import numpy as np

from withstand.results.pooled import SURE
from withstand.stats.hierarchical import beliefs

LIMIT, BEHAVIORS, DRAWS = 0.1, 56, 120
ATTACKS, TARGETS = zip(*[(attack, target) for attack in range(10) for target in range(10)], strict=True)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(41)


def drawn(rng: np.random.Generator, rates: np.ndarray, spread: float) -> np.ndarray:
    """Broken behaviors of cells with these ASRs; spread: of the behaviors, on the logit scale."""
    logits = np.linspace(-14, 6, 800)
    asr = (1 / (1 + np.exp(-(logits[:, None] + spread * NODES)))) @ (WEIGHTS / WEIGHTS.sum())
    theta = np.interp(rates, asr, logits)
    beta = rng.normal(0, spread, BEHAVIORS)
    return (rng.random((len(rates), BEHAVIORS)) < 1 / (1 + np.exp(-(theta[:, None] + beta)))).astype(float)


def passes(rng: np.random.Generator, rates: np.ndarray, spread: float) -> np.ndarray:
    broken = drawn(rng, rates, spread)
    return np.array([b.above <= SURE for b in beliefs(broken, np.ones_like(broken), ATTACKS, TARGETS, LIMIT)])


if __name__ == "__main__":
    rng = np.random.default_rng(int(sys.argv[1]) if sys.argv[1:] else 20261128)
    good = np.full(100, 0.01)
    spreads = rng.choice([0.0, 0.7, 1.5], DRAWS)
    alone = np.mean([passes(rng, good, spread).all() for spread in spreads])
    print(f"100 cells at 1%: all pass in {100 * alone:.0f}% of {DRAWS}", flush=True)
    for bad in (0.101, 0.12, 0.15):
        rates = good.copy()
        rates[0] = bad
        wrong = np.mean([passes(rng, rates, spread)[0] for spread in spreads])
        print(f"one cell at {100 * bad:.1f}%, 99 at 1%: it passes in {100 * wrong:.1f}%", flush=True)
    rates = good.copy()
    rates[:10] = 0.12
    wrong = np.mean([passes(rng, rates, spread)[:10].mean() for spread in spreads[:40]])
    print(f"10 cells of one attack at 12%: one of them passes in {100 * wrong:.1f}%")
