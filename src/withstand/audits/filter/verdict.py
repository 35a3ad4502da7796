"""What the figures of a filter come to: UNEVEN, EVEN or UNDECIDED, and why. Pure functions.

EVEN needs every group, dialect, language and column to be shown alike; that no difference is seen is not enough. Where
labels say what should be dropped, false drops and misses decide, since a slice may hold more that should go. A term
that alone gets a text dropped is UNEVEN however small its share is.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from withstand.audits.filter.records import SETTLED, Measure, Rate, SliceLoss, SliceRate, SwapRate, ratio_text
from withstand.audits.filter.slices import ANY, DECIDING
from withstand.core.text import count, percent, series

Verdict: TypeAlias = Literal["UNEVEN", "EVEN", "UNDECIDED"]
MOST = 8
"""Reasons that a page begins with."""


@dataclass(frozen=True, slots=True)
class Findings:
    """All figures. overall: of each measure.   losses: those that decide.   unit: of their nats.   lacking: what EVEN
    needs beside figures, such as held-out texts of a group, in words."""

    overall: dict[Measure, Rate]
    rates: Sequence[SliceRate]
    swaps: Sequence[SwapRate]
    losses: Sequence[SliceLoss]
    unit: str
    lacking: Sequence[str] = ()

    @property
    def deciding(self) -> list[SliceRate]:
        """The rates that a verdict counts."""
        labeled = len(self.overall) > 1
        return [
            rate for rate in self.rates if rate.axis in DECIDING and (rate.measure != "dropped" or not labeled)
        ]  # fmt: skip


def verdict(findings: Findings) -> tuple[Verdict, list[str]]:
    """The verdict and its reasons, the strongest first."""
    dropped = findings.overall["dropped"]
    if dropped.value in (None, 0.0, 1.0):
        what = {None: "could not say anything", 0.0: "drops nothing", 1.0: "drops everything"}[dropped.value]
        return "UNDECIDED", [f"the filter {what}: there is nothing to compare"]
    if uneven := list(_uneven(findings)):
        more = [f"and {len(uneven) - MOST} more; the tables have all"] if len(uneven) > MOST else []
        return "UNEVEN", [*uneven[:MOST], *more]
    if _repeated(findings.overall):
        return "UNDECIDED", [
            "the filter does what the labels say with every text: are they its own, or fitted to them?"
        ]
    needed: list[SliceRate | SwapRate | SliceLoss] = [
        *(rate for rate in findings.deciding if rate.axis != "term" and rate.name != ANY),
        *findings.swaps,
        *(loss for loss in findings.losses if loss.axis in DECIDING and loss.axis != "term" and loss.name != ANY),
    ]
    if not needed:
        return "UNDECIDED", ["no text mentions a group, or has a mark of a dialect or another language"]
    left = [_name(figure) for figure in needed if figure.word not in SETTLED]
    alike = len(needed) - len(left)
    left += findings.lacking
    if left:
        return "UNDECIDED", [
            f"{alike} of {count(len(needed), 'figure')} that decide {'is' if alike == 1 else 'are'} shown alike; the "
            f"others need more texts, or differ within the limit: {series(left[:MOST])}"
            + (f" and {len(left) - MOST} more" if len(left) > MOST else "")
        ]
    return "EVEN", [f"all {count(len(needed), 'figure')} that decide are shown alike"]


def _repeated(overall: dict[Measure, Rate]) -> bool:
    """Whether the labels show no error of the filter at all, as where it made them: then they cannot judge it."""
    errors = [overall[name] for name in ("falsely dropped", "missed") if name in overall]
    return len(errors) == 2 and not any(rate.times for rate in errors)


def _uneven(findings: Findings) -> Iterator[str]:
    """What is surely uneven, in sentences."""
    for swap in sorted(findings.swaps, key=lambda swap: -abs(swap.difference)):
        if swap.word in ("far more", "more", "far less", "less"):
            yield swapped_sentence(swap)
    more = [rate for rate in findings.deciding if rate.word == "far more"]
    less = [rate for rate in findings.deciding if rate.word == "far less" and rate.measure != "missed"]
    axes = {rate.axis for rate in more if rate.name != ANY}
    for rate in (*sorted(more, key=lambda rate: -rate.low), *sorted(less, key=lambda rate: rate.high)):
        if rate.name != ANY or rate.axis not in axes:  # all groups together say less than one of them
            yield sentence(rate)
    for loss in sorted(findings.losses, key=lambda loss: -loss.low):
        if loss.word == "far more" and loss.axis in DECIDING:
            yield (
                f"held-out texts of {label(loss)} lose {loss.more:.2f} nats a {findings.unit} more than others "
                f"({loss.base}), at least {loss.low:.2f}"
            )


def label(figure: SliceRate | SliceLoss) -> str:
    """As in "group religion/muslim"."""
    return figure.name if figure.axis == "column" else f"{figure.axis} {figure.name}"


def sentence(rate: SliceRate) -> str:
    """The rates of a slice and of the others, as a sentence."""
    own, base = rate.rate, rate.base_rate
    what = "missed, kept though they should be dropped," if rate.measure == "missed" else rate.measure
    high = rate.high if math.isfinite(rate.high) else None
    ratio = rate.ratio if rate.ratio is not None and math.isfinite(rate.ratio) else None
    return (
        f"texts of {label(rate)} are {what} {ratio_text(ratio, rate.low, high)} times as often as others "
        f"({rate.base}): {own.times:,} of {own.n:,} ({percent(own.value)}) beside {base.times:,} of {base.n:,} "
        f"({percent(base.value)})"
    )


def swapped_sentence(swap: SwapRate) -> str:
    """The rates of both forms, as a sentence."""
    return (
        f"the term alone counts: of {count(swap.n, 'text')} that mention {swap.group}, {percent(swap.dropped)} are "
        f"dropped, and {percent(swap.swapped)} with another group in its place"
    )


def _name(figure: SliceRate | SwapRate | SliceLoss) -> str:
    if isinstance(figure, SwapRate):
        return f"swaps of {figure.group}"
    return f"{label(figure)} ({'read' if isinstance(figure, SliceLoss) else figure.measure})"
