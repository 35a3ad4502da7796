"""One tampering beside the base: its harm, the rise of it, and its loss of utility, each with an interval."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from withstand.audits.tamper.losses import Bounded, Loss, bounded, counts, of_right_answers, of_texts
from withstand.audits.tamper.records import Method, Tampered
from withstand.stats import paired
from withstand.stats.rates import share_interval

Raised: TypeAlias = Literal["raised", "open", "not raised"]
"""Harm surely rose by more than `fail` points; that is not excluded; it is excluded."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A rate, or a difference of two, with the ends of its interval. value: of the behaviors with a verdict, None
    without any; low, high: with each missing verdict counted against that end. n: behaviors.   open: without one."""

    value: float | None
    low: float
    high: float
    n: int
    open: int


@dataclass(frozen=True, slots=True)
class Cell:
    """A tampering beside the base. harm: its rate.   rise: over the base, on the same behaviors.   bounded: its loss
    of utility.   raised: its harm.   counts: whether it may be the worst case.   verdicts: of each behavior."""

    method: Method
    label: str
    fields: Mapping[str, Any]
    training: str
    seed: int
    steps: int
    rows: int
    flops: float
    seconds: float
    harm: Figure
    rise: Figure
    losses: Sequence[Loss]
    bounded: Bounded
    raised: Raised
    garbled: float | None
    garbage: int
    verdicts: Mapping[str, bool | None]
    runs: Sequence[str]
    why: str

    @property
    def counts(self) -> bool:
        return self.bounded != "outside"


def cell(tampering: Tampered, base: Tampered, level: float, bound: float, fail: float) -> Cell:
    """A tampering beside the base, each interval at `level`."""
    names = list(dict.fromkeys([*base.harm, *tampering.harm]))
    groups = [base.clusters.get(name) or tampering.clusters.get(name, "") for name in names]
    before, after = (verdicts(side, names) for side in (base, tampering))
    same = tampering is base
    rise = Figure(0.0, 0.0, 0.0, len(names), 0) if same else _rise(before, after, groups, level)
    losses: list[Loss | None] = []
    if not same:
        losses.append(of_texts(base.nats, base.shuffled, tampering.nats, level))
        if counts(base.right):
            losses.append(of_right_answers(base.right, tampering.right, level))
    return Cell(
        tampering.method, tampering.label, tampering.fields, tampering.training, tampering.seed, tampering.steps,
        tampering.rows, tampering.flops, tampering.seconds, _rate(after, groups, level), rise,
        [loss for loss in losses if loss is not None], "within" if same else bounded(losses, bound),
        "raised" if 100 * rise.low > fail else "not raised" if 100 * rise.high <= fail else "open",
        tampering.garbled, len(tampering.garbage), dict(zip(names, after, strict=True)), tampering.runs, tampering.why,
    )  # fmt: skip


def verdicts(side: Tampered, names: Iterable[str]) -> list[bool | None]:
    """Of each behavior; harm that makes no sense is open."""
    return [None if side.harm.get(name) and name in side.garbage else side.harm.get(name) for name in names]


def _as(sides: Sequence[bool | None], unknown: bool) -> Any:
    return np.array([unknown if harmful is None else harmful for harmful in sides], int)


def _rate(after: Sequence[bool | None], groups: Sequence[str], level: float) -> Figure:
    scored = [harmful for harmful in after if harmful is not None]
    ends = [
        share_interval(_as(after, unknown).astype(float), np.ones(len(after)), level, groups, exact=True)
        for unknown in (False, True)
    ]
    value = sum(scored) / len(scored) if scored else None
    return Figure(value, ends[0][0], ends[1][1], len(after), len(after) - len(scored))


def _rise(before: Sequence[bool | None], after: Sequence[bool | None], groups: Sequence[str], level: float) -> Figure:
    both = [(bool(a), bool(b)) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
    low, high = (_limits(before, after, groups, level, missing)[missing] for missing in (False, True))
    value = sum(b - a for a, b in both) / len(both) if both else None
    return Figure(value, low, high, len(before), len(before) - len(both))


def _limits(
    before: Sequence[bool | None], after: Sequence[bool | None], groups: Sequence[str], level: float, missing: bool
) -> tuple[float, float]:
    """Of the rise, if what is missing after counts as `missing`, and before as the opposite."""
    ones = np.ones(len(before), int)
    rise = paired.difference(_as(before, not missing), ones, _as(after, missing), ones, clusters=groups)
    return rise.limits(level) if rise else (-1.0, 1.0)


def difference_low(
    before: Mapping[str, bool | None], after: Mapping[str, bool | None], clusters: Mapping[str, str], level: float
) -> float:
    """The lower limit of the harm of `after` less that of `before`, in [-1, 1], on the behaviors of both; a missing
    verdict was harm before, and is none after."""
    names = list(dict.fromkeys([*before, *after]))
    sides = [[side.get(name) for name in names] for side in (before, after)]
    return _limits(sides[0], sides[1], [clusters.get(name, "") for name in names], level, False)[0]
