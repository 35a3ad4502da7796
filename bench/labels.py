"""How often the rate from a run's own labels holds the true one, how wide it is, and what stopping does to it.

Run: python bench/labels.py. About three minutes on one core; docs/statistics.md quotes its output.
The points are drawn at random, with a seed that was not used while the estimator was chosen. Beside ours: MOVER of
Wilson's limits in each stratum, Wilson's limits on the effective number of labels, and the labels alone.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from withstand.stats import labeled, rates, special

SEED = 20281127
DRAWS = 2000
POINTS = 60
ARRAYS = ("share", "size", "labeled", "worth", "rate")
Limits = tuple[Any, Any]


def mixed(rng: Any, truth: Any, judged: Any) -> tuple[Any, Any]:
    """The cases of every draw in a random order."""
    order = rng.random(truth.shape).argsort(axis=1)
    truth, judged = (np.take_along_axis(array, order, axis=1) for array in (truth, judged))
    return truth, judged


def sampled(rng: Any, truth: Any, judged: Any, labels: int, stratified: bool) -> dict[str, Any]:
    """The strata of every draw: arrays of shape (draws, 2), judged success first. Cases are labeled at random, or as
    `withstand label` draws them."""
    cases = truth.shape[1]
    truth, judged = mixed(rng, truth, judged)
    if stratified:
        return taken(truth, judged, [labeled.allocation(int(n), cases - int(n), labels) for n in judged.sum(axis=1)])
    return strata_of(truth, judged, np.broadcast_to(np.arange(cases) < labels, truth.shape))


def taken(truth: Any, judged: Any, numbers: list[tuple[int, int]]) -> dict[str, Any]:
    """The strata where of every draw so many cases of each are labeled, the first of each stratum."""
    first, second = np.array(numbers).T[:, :, None]
    return strata_of(
        truth, judged, np.where(judged, judged.cumsum(axis=1) <= first, (~judged).cumsum(axis=1) <= second)
    )


def strata_of(truth: Any, judged: Any, drawn: Any) -> dict[str, Any]:
    sides = (judged, ~judged)
    size, got, hits = (
        np.stack([(part & side).sum(axis=1) for side in sides], axis=1).astype(float)
        for part in (np.ones_like(drawn), drawn, drawn & truth)
    )
    rate = np.where(got > 0, hits / np.maximum(got, 1), [1.0, 0.0])
    return dict(zip(ARRAYS, (size / truth.shape[1], size, got, got, rate), strict=True)) | {"hits": hits}


def next_look(strata: dict[str, Any], labels: int) -> list[tuple[int, int]]:
    """How many cases of each stratum of every draw `withstand label --width` takes up to its next look."""
    numbers = []
    for size, got, hits in zip(
        *(strata[name].astype(int).tolist() for name in ("size", "labeled", "hits")), strict=True
    ):
        rates_ = labeled.believed(size[0] / sum(size), hits, got)
        numbers.append(labeled.allocation(*size, labels, rates_, tuple(got)))
    return numbers


def ours(strata: dict[str, Any], behaviors: Any, alike: Any = 1.0, level: float = 0.95) -> Limits:
    """As `labeled_estimate`, for all draws at once."""
    rate, effective = labeled.estimate(*(strata[name] for name in ARRAYS), behaviors, alike)
    silent = (strata["labeled"] == 0) * strata["share"]
    low, _ = labeled.mid_p(np.clip(rate - silent[:, 0], 0, 1), effective, level)
    _, high = labeled.mid_p(np.clip(rate + silent[:, 1], 0, 1), effective, level)
    return low, high


def wilson_effective(strata: dict[str, Any], behaviors: Any) -> Limits:
    rate, effective = labeled.estimate(*(strata[name] for name in ARRAYS), behaviors)
    low, high = rates._score(rate, effective, 0.95)
    return low, high


def mover(strata: dict[str, Any], behaviors: Any) -> Limits:
    """Wilson's limits in each stratum and of the cases, by square and add."""
    got, share, rate = strata["labeled"], strata["share"], strata["rate"]
    low, high = rates._score(rate, np.maximum(got, 1e-9), 0.95)
    low, high = np.where(got > 0, low, 0), np.where(got > 0, high, 1)
    left = share**2 * (1 - got / np.maximum(strata["size"], 1))
    total = (share * rate).sum(axis=1)
    asked = rates._score(total, behaviors, 0.95)
    down = (left * (rate - low) ** 2).sum(axis=1) + (total - asked[0]) ** 2
    up = (left * (high - rate) ** 2).sum(axis=1) + (asked[1] - total) ** 2
    return total - np.sqrt(down), total + np.sqrt(up)


def alone(strata: dict[str, Any], limits: Callable[..., Any]) -> Limits:
    """The labels without the judge."""
    got, hits = strata["labeled"].sum(axis=1), strata["hits"].sum(axis=1)
    low, high = limits(hits / got, got, 0.95)
    return low, high


def judge(rng: Any, truth: Any, sensitivity: float, specificity: float) -> Any:
    return np.where(truth, rng.random(truth.shape) < sensitivity, rng.random(truth.shape) >= specificity)


def held(limits: Limits, rate: Any) -> tuple[float, float]:
    """Coverage and mean width."""
    low, high = limits
    return float(np.mean((low <= rate) & (rate <= high))), float(np.mean(np.minimum(high, 1) - np.maximum(low, 0)))


def point(rng: Any) -> tuple[int, int, float, float, float]:
    """Cases, labels, true rate, sensitivity and specificity: from 0.5% to 90%, judges from poor to perfect."""
    cases = int(rng.choice([56, 100, 200, 500, 1000]))
    labels = int(rng.integers(20, max(30, min(200, cases // 2))))
    rate = float(np.exp(rng.uniform(np.log(0.005), np.log(0.9))))
    return cases, labels, rate, float(rng.uniform(0.3, 1)), float(rng.uniform(0.6, 1))


def single(rng: Any) -> Iterator[dict[str, Any]]:
    for number in range(POINTS):
        cases, labels, rate, sensitivity, specificity = point(rng)
        truth = rng.random((DRAWS, cases)) < rate
        said = judge(rng, truth, sensitivity, specificity)
        for stratified in (False, True):
            strata = sampled(rng, truth, said, labels, stratified)
            row = {
                "ours": held(ours(strata, cases), rate),
                "Wilson on the effective number": held(wilson_effective(strata, cases), rate),
                "MOVER of Wilson's limits": held(mover(strata, cases), rate),
            }
            if not stratified:
                row |= {"labels alone, Wilson": held(alone(strata, rates._score), rate)}
                row |= {"labels alone, mid-P": held(alone(strata, labeled.mid_p), rate)}
            yield {"design": stratified, "number": number, "rows": row}


def goals(rng: Any) -> Iterator[str]:
    for cases, rate, labels in ((200, 0.02, 60), (1000, 0.1, 100)):
        for sensitivity, specificity in ((0.8, 0.9), (0.9, 0.95)):
            truth = rng.random((DRAWS, cases)) < rate
            said = judge(rng, truth, sensitivity, specificity)
            widths = []
            for stratified in (False, True):
                strata = sampled(rng, truth, said, labels, stratified)
                coverage, width = held(ours(strata, cases), rate)
                widths.append(f"{width:.3f} wide, covers {coverage:.3f}")
            only = held(alone(strata := sampled(rng, truth, said, labels, False), rates._score), rate)[1]
            yield (
                f"  {cases} cases, {rate:.0%}, {labels} labels, judge {sensitivity}/{specificity}: "
                f"at random {widths[0]}; as `withstand label` draws {widths[1]}; labels alone {only:.3f}"
            )


def clustered(rng: Any) -> Iterator[tuple[float, float]]:
    """Several cases of a behavior, as alike as may be; and with the design effect of the verdicts as it is."""
    for _ in range(POINTS):
        behaviors, cases = int(rng.choice([40, 56, 100])), int(rng.choice([2, 3, 5, 10]))
        rate, alike = float(rng.uniform(0.03, 0.6)), float(rng.uniform(0.05, 0.95))
        chance = rng.beta(rate * (1 - alike) / alike, (1 - rate) * (1 - alike) / alike, (DRAWS // 2, behaviors, 1))
        truth = rng.random((DRAWS // 2, behaviors, cases)) < chance
        said = judge(rng, truth, float(rng.uniform(0.4, 1)), float(rng.uniform(0.7, 1)))
        whole = behaviors * cases
        _, effective = rates._effective(said.mean(axis=2), np.full((DRAWS // 2, behaviors), 1 / cases))
        effect = whole / effective
        labels = int(rng.integers(30, max(40, whole // 2)))
        strata = sampled(rng, truth.reshape(len(truth), -1), said.reshape(len(said), -1), labels, True)
        plain = ours(strata, effective)
        yield held(ours(strata, behaviors, effect), rate)[0], held(plain, rate)[0]


def differences(rng: Any) -> Iterator[float]:
    """Two cells of the same behaviors, each with labels of its own."""
    for _ in range(POINTS):
        cases, labels, rate, *_ = point(rng)
        other = float(np.clip(rate + rng.choice([0, 0, 0.03, 0.1, -0.05]), 0.003, 0.97))
        thresholds = rng.random((DRAWS, cases))  # the same for both: a behavior that resists A resists B
        sides = []
        for target in (rate, other):
            truth = thresholds < target
            said = judge(rng, truth, float(rng.uniform(0.6, 1)), float(rng.uniform(0.8, 1)))
            strata = sampled(rng, truth, said, labels, True)
            sides.append((labeled.estimate(*(strata[name] for name in ARRAYS), cases)[0], *ours(strata, cases)))
        (a, low_a, high_a), (b, low_b, high_b) = sides
        low = b - a - np.hypot(b - low_b, high_a - a)
        high = b - a + np.hypot(high_b - b, a - low_a)
        yield held((low, high), other - rate)[0]


def stopped(rng: Any, corrected: bool) -> Iterator[float]:
    """Labeling that ends at the first look whose interval is as narrow as wanted."""
    for cases, rate in itertools.product((200, 1000), (0.02, 0.1, 0.3)):
        for sensitivity, specificity in ((0.8, 0.9), (0.5, 0.95), (0.95, 0.7)):
            width = float(rng.uniform(0.08, 0.25))
            truth = rng.random((DRAWS // 2, cases)) < rate
            said = judge(rng, truth, sensitivity, specificity)
            inside, open_ = np.zeros(len(truth), bool), np.ones(len(truth), bool)
            truth, said = mixed(rng, truth, said)
            strata = taken(truth, said, [(0, 0)] * len(truth))
            for labels in labeled.looks(cases):
                strata = taken(truth, said, next_look(strata, labels))
                low, high = ours(strata, cases, 1.0, labeled.level_at_looks(cases) if corrected else 0.95)
                ends = open_ & ((high - low <= width) | (labels == cases))
                inside[ends] = ((low <= rate) & (rate <= high))[ends]
                open_ &= ~ends
            yield float(inside.mean())


def false_alarms(rng: Any) -> tuple[float, float]:
    """How often B is called lower at equal truth, where the judge finds 90% of A's breaks and 83% of B's.

    As judged, by McNemar's exact test, and from 60 labels of each side. 200 behaviors, half of them broken; specificity
    95%.
    """
    truth = rng.random((DRAWS, 200)) < 0.5
    a, b = (judge(rng, truth, sensitivity, 0.95) for sensitivity in (0.9, 0.83))
    worse, better = (b & ~a).sum(axis=1), (a & ~b).sum(axis=1)
    tails = special.binomial_cdf(np.minimum(worse, better), worse + better, 0.5)
    judged = np.mean((better > worse) & (2 * tails <= 0.05))
    (rate_a, low_a, _), (rate_b, _, high_b) = (
        (labeled.estimate(*(strata[name] for name in ARRAYS), 200)[0], *ours(strata, 200))
        for strata in (sampled(rng, truth, said, 60, True) for said in (a, b))
    )
    highest = rate_b - rate_a + np.hypot(high_b - rate_b, rate_a - low_a)
    return float(judged), float(np.mean(highest < 0))


def said_of(coverage: list[float]) -> str:
    low = sum(value < 0.94 for value in coverage)
    return f"mean {np.mean(coverage):.3f}, lowest {min(coverage):.3f}, {low} of {len(coverage)} points below 94%"


def main(seed: int = SEED) -> None:
    rng = np.random.default_rng(seed)
    listed = list(single(rng))
    for stratified in (False, True):
        print("one case per behavior,", "as `withstand label` draws" if stratified else "labels at random")
        rows = [entry["rows"] for entry in listed if entry["design"] == stratified]
        for name in rows[0]:
            width = np.mean([row[name][1] for row in rows])
            print(f"  {name}: {said_of([row[name][0] for row in rows])}, mean width {width:.3f}")
    print("the widths that were wanted: 0.12 of 200 cases; 0.10 and 0.09 of 1,000")
    print("\n".join(goals(rng)))
    clusters = list(clustered(rng))
    print(f"several cases per behavior: {said_of([ours_ for ours_, _ in clusters])}")
    print(f"  with the verdicts' own design effect: {said_of([plain for _, plain in clusters])}")
    print(f"differences of two cells: {said_of(list(differences(rng)))}")
    print(f"stopped at a wanted width: {said_of(list(stopped(rng, True)))}")
    print(f"  with 95% at every look: {said_of(list(stopped(rng, False)))}")
    judged, of_labels = false_alarms(rng)
    print(f"lower at equal truth, judge .90 against .83: {judged:.3f} as judged, {of_labels:.3f} from labels")


if __name__ == "__main__":
    main()
