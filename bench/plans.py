"""Whether plans keep their promise: the power of limits and comparisons, and "n behaviors would decide it".

Run: python bench/plans.py [SEED]. A few minutes on one core; docs quote its output. Points are drawn at random.
"""

import math
import sys
from typing import Any

import numpy as np

from withstand.stats import paired, planning, rates
from withstand.stats.winners import clopper_pearson


def limits(rng: np.random.Generator) -> None:
    """The exact power of plans for a limit, from the true rate and from pilots."""
    powers, assured = [], []
    for _ in range(150):
        limit = float(rng.uniform(0.03, 0.5))
        rate, cells = float(rng.uniform(0, 0.8) * limit), int(rng.choice([1, 5, 20, 100]))
        n = planning.behaviors_to_pass(rate, limit, 0.8, cells) or 0
        powers.append(planning.pass_power(n, rate, limit) ** cells)
    for _ in range(1500):
        limit, behaviors = float(rng.uniform(0.05, 0.4)), int(rng.integers(30, 200))
        rate = float(rng.beta(0.5, 0.5))
        plan = planning.behaviors_to_pass_after(int(rng.binomial(behaviors, rate)), behaviors, behaviors, limit)
        if plan:
            assured.append(planning.pass_power(plan, rate, limit))
    print(f"limits: power {100 * min(powers):.1f}% to {100 * max(powers):.1f}% of 80%, {100 * np.mean(powers):.1f}% on "
          f"average; after a pilot {100 * np.mean(assured):.1f}% on average ({len(assured)} pilots)")  # fmt: skip


def decisions(rng: np.random.Generator) -> None:
    """Of undecided gates, how often the number that they name decides; and the number at which the interval ends."""
    kept: list[bool] = []
    before: list[bool] = []
    while len(kept) < 500:
        n, limit = int(rng.integers(20, 300)), float(rng.uniform(0.03, 0.4))
        rate = float(rng.uniform(0, 3 * limit)) if rng.random() < 0.5 else float(rng.beta(0.5, 0.5))
        seen = int(rng.binomial(n, min(rate, 1)))
        if not planning.most_to_pass(n, limit) < seen < planning.fewest_to_fail(n, limit):
            continue
        total = planning.behaviors_to_decide(seen, n, n, limit)
        if total is None:
            continue
        kept.append(_decides(rng, seen, n, total, rate, limit))
        if not math.isclose(seen / n, limit):
            ends = math.ceil(3.8415 * limit * (1 - limit) / (seen / n - limit) ** 2)
            before.append(_decides(rng, seen, n, max(n + 1, ends), rate, limit))
    print(f'"n behaviors would decide it" is true in {100 * np.mean(kept):.1f}% of {len(kept)}; the n whose '
          f"interval ends at the limit decides {100 * np.mean(before):.1f}%")  # fmt: skip


def decisions_of_cases(rng: np.random.Generator, points: int = 300) -> None:
    """The same of gates of a mean over 2 to 10 cases of a behavior, alike in part, by effective cases."""
    kept: list[bool] = []
    while len(kept) < points:
        n, cases, limit = int(rng.integers(20, 200)), int(rng.integers(2, 11)), float(rng.uniform(0.03, 0.4))
        mean, size = float(min(rng.uniform(0, 3 * limit), 0.98)), float(np.exp(rng.uniform(np.log(0.3), np.log(10))))
        hits = rng.binomial(cases, rng.beta(mean * size + 1e-9, (1 - mean) * size, n))
        rate, effective, verdict = _verdict(hits, cases, limit)
        if verdict:
            continue
        total = planning.behaviors_to_decide(rate * effective, effective, n, limit)
        if total is not None and total < 20_000:
            more = rng.binomial(cases, rng.beta(mean * size + 1e-9, (1 - mean) * size, total - n))
            kept.append(bool(_verdict(np.concatenate([hits, more]), cases, limit)[2]))
    print(f"the same with 2 to 10 cases per behavior: {100 * np.mean(kept):.1f}% of {points}")


def _verdict(hits: Any, cases: int, limit: float) -> tuple[float, float, str]:
    """The mean of the cases, its effective number of cases, and what a gate says of it: "" where it is undecided."""
    rate, effective = rates.effective_cases(hits, np.full(len(hits), cases)) or (0.0, 1.0)
    low, high = clopper_pearson(min(rate * effective, effective), effective)
    return rate, effective, "PASS" if high <= limit else "FAIL" if low > limit else ""


def _decides(rng: np.random.Generator, seen: int, n: int, total: int, rate: float, limit: float) -> bool:
    final = seen + int(rng.binomial(total - n, min(rate, 1)))
    return final <= planning.most_to_pass(total, limit) or final >= planning.fewest_to_fail(total, limit)


def comparisons(rng: np.random.Generator, points: int = 14, draws: int = 400) -> None:
    """The simulated power of plans for several cases per behavior, from the true spread of the change."""
    powers = []
    for _ in range(points):
        cases, difference = int(rng.choice([2, 5, 10])), float(rng.uniform(0.05, 0.2))
        rate, alike = float(rng.uniform(0.2, 0.7)), float(rng.uniform(0.5, 4))
        chances: Any = _behaviors(rng, 400_000, rate, alike, difference)
        between = float(np.var(chances[1] - chances[0]))
        within = float(np.mean(chances * (1 - chances)) * 2)
        gap = float(np.mean(chances[1] - chances[0]))
        n = planning.behaviors_to_show(gap, math.sqrt(between + within / cases), math.sqrt(between + within))
        shown = 0
        for _ in range(draws):
            p = _behaviors(rng, n, rate, alike, difference)
            a, b = rng.binomial(cases, p)
            result = paired.difference(a, np.full(n, cases), b, np.full(n, cases))
            shown += result is not None and result.p <= 0.05
        powers.append(shown / draws)
        print(f"  {cases} cases, difference {gap:.3f}, n {n}: power {100 * powers[-1]:.1f}%")
    print(f"comparisons: power {100 * np.mean(powers):.1f}% of 80% on average, {100 * min(powers):.1f}% to "
          f"{100 * max(powers):.1f}% ({draws} draws each)")  # fmt: skip


def _behaviors(rng: np.random.Generator, n: int, rate: float, alike: float, difference: float) -> Any:
    """Chances of behaviors in A and B: a shared part and a part of each."""
    base = rng.beta(rate * alike, (1 - rate) * alike, n)
    moved = np.clip(base + difference + rng.normal(0, 0.15, n), 0, 1)
    return np.stack([base, moved])


if __name__ == "__main__":
    seed = int(sys.argv[1]) if sys.argv[1:] else 20261128
    limits(np.random.default_rng(seed))
    decisions(np.random.default_rng(seed + 1))
    decisions_of_cases(np.random.default_rng(seed + 3))
    comparisons(np.random.default_rng(seed + 2))
