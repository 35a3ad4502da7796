"""What the audit of a filter says of a slice, as plain records, and the word for an interval."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from withstand.audits.filter.slices import Axis
from withstand.core.text import DASH

Measure: TypeAlias = Literal["dropped", "falsely dropped", "missed"]
"""Of all texts, those that the filter dropped; of texts that should stay, those that it dropped; of texts that should
be dropped, those that it kept."""
Word: TypeAlias = Literal["far more", "more", "alike", "rare", "less", "far less", "not known"]
"""What an interval shows. "far": beyond the limit. "alike": all of it is within the limit. "rare": both rates are at
most `RARE`, so that their ratio matters little."""
SETTLED: tuple[Word, ...] = ("alike", "rare")
RARE = 0.01


def word_of(low: float, high: float, limit: float, strict: bool = False) -> Word:
    """The word for the interval of a difference, of which `limit` is the largest that does not matter.

    Of a ratio: of its logarithms.   strict: a difference that is shown is never alike, however small it is.
    """
    if low > limit or high < -limit:
        return "far more" if low > limit else "far less"
    differs = low > 0 or high < 0
    if -limit <= low and high <= limit and not (strict and differs):
        return "alike"
    return ("more" if low > 0 else "less") if differs else "not known"


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of `n` texts, `open` of which the filter said nothing of, and the rate of the others, in [0, 1].

    low, high: its interval, with the open ones as not and as counted. value: None where all are open.
    """

    times: int
    n: int
    open: int
    value: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SliceRate:
    """The rate of a slice beside that of the texts it is compared with.

    ratio: of the two; None where it is 0 / 0, infinite where the second is 0.   low, high: its interval.
    """

    axis: Axis
    name: str
    base: str
    measure: Measure
    rate: Rate
    base_rate: Rate
    ratio: float | None
    low: float
    high: float
    word: Word


@dataclass(frozen=True, slots=True)
class SwapRate:
    """Texts that mention a group, and the same with another group of its kind in its place.

    n: texts whose two forms the filter judged.   open: of these tried, those of which it did not.   dropped, swapped:
    the rate of each form.   difference: dropped less swapped, with its interval.   unfit: texts without a swap.
    """

    group: str
    n: int
    open: int
    unfit: int
    dropped: float
    swapped: float
    difference: float
    low: float
    high: float
    word: Word


@dataclass(frozen=True, slots=True)
class SliceLoss:
    """How much worse a model reads held-out texts of a slice than another model, beside what it is compared with.

    n, base_n: texts.   first, second: nats a token (or a byte) of the slice, by each model.   change: second less
    first, of the slice; base_change: of the others.   more: change less base_change, with its interval.
    """

    axis: Axis
    name: str
    base: str
    n: int
    base_n: int
    first: float
    second: float
    change: float
    base_change: float
    more: float
    low: float
    high: float
    word: Word


def ratio_text(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """As in "3.1 (2.2-4.5)", with an en dash; a value or an end of None is infinite. "" where any ratio is possible."""
    if value is None:
        return f"at least {_digits(low)}" if low else ""
    ends = f"{_digits(low or 0.0)}{DASH}{_digits(high)}" if high is not None else f"at least {_digits(low or 0.0)}"
    return f"{_digits(value)} ({ends})"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def logarithm(value: float) -> float:
    """The natural logarithm of a ratio, 0 and infinity included."""
    return -math.inf if value <= 0 else math.log(value) if math.isfinite(value) else math.inf
