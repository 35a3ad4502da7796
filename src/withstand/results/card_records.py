"""What a classifier's card holds, as plain records: who it is, what it was measured on, and how well it does."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from withstand.core import Json
from withstand.results.cells import ProbeResult, finite, plain
from withstand.results.guard_figures import Ends, Share
from withstand.stats.detection import Cheapest
from withstand.stats.ratio import Ratio
from withstand.stats.reliability import Reliability

SCHEMA = 1
Axis: TypeAlias = Literal["category", "group", "term", "dialect", "language", "length"]
"""By what texts are sliced: the category of the labels, and what `core.identities` says of a text."""


@dataclass(frozen=True, slots=True)
class CardText:
    """A labeled text, and what a classifier said of it.

    positive: what the labels say.   flagged: None where it could not say.   score: None where it gave none.
    cluster: texts that stand or fall together share one, "" for one of its own.
    """

    text: str
    positive: bool
    flagged: bool | None
    score: float | None = None
    cluster: str = ""
    category: str = ""


@dataclass(frozen=True, slots=True)
class CardPart:
    """A slice of the texts. positive, negative: how many.   caught, alarms: of these, None without any.

    missed_ratio, alarm_ratio: how often it misses, and gives false alarms, over how often elsewhere on its axis, with
    limits that hold for all slices of the card together; None where the slice or the rest has no such text.
    """

    axis: Axis
    name: str
    positive: int
    negative: int
    caught: Share | None
    alarms: Share | None
    missed_ratio: Ratio | None
    alarm_ratio: Ratio | None


@dataclass(frozen=True, slots=True)
class AtShare:
    """What a flag is worth where a `share` in (0, 1) of all texts is positive: precision with its 95% limits.

    pays: between which cost ratios, a missed positive text over a false alarm, it is shown to cost less than flagging
    nothing or everything, by the ends of the limits that speak against it; None for no ratio, and an upper one of None
    for no limit.
    """

    share: float
    precision: float | None
    ends: Ends
    pays: tuple[float, float | None] | None


@dataclass(frozen=True, slots=True)
class CostLine:
    """The threshold that costs least on these very texts where a missed positive one costs `ratio` false alarms."""

    ratio: float
    best: Cheapest


@dataclass(frozen=True, slots=True)
class CardFigures:
    """How well a classifier does on labeled texts: `positive` and `negative` ones.

    A text that it could not say of is missed where it is positive and a false alarm where it is negative; so many are
    `unscored` of each. caught: recall; alarms: share of negative texts that it flags; precision: of what it flags; each
    None without such texts. lift, rest: how many times as often it flags, and does not flag, positive texts as negative
    ones (the likelihood ratios), with limits that hold together at 95%; None without one kind. area: under the ROC
    curve with its limits, None without scores. reliability: None, and `no_reliability` why. follows: whether its labels
    are those of `threshold` on its scores; None: not known. seen: the highest score that it did not flag, and the
    lowest that it flagged, above it; None where they overlap. gaps: slices that no text is in, or that all are, in
    words: what is not measured.
    """

    positive: int
    negative: int
    unscored: tuple[int, int]
    caught: Share | None
    alarms: Share | None
    precision: Share | None
    lift: Ratio | None
    rest: Ratio | None
    area: tuple[float, Ends] | None
    reliability: Reliability | None
    no_reliability: str
    follows: bool | None
    seen: tuple[float, float] | None
    at_shares: tuple[AtShare, ...]
    costs: tuple[CostLine, ...]
    parts: tuple[CardPart, ...]
    gaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """What figures come from. labels: the source, as the command takes it.   by: who labeled.   notes: of the labels.

    figures: None, and `why` with the `command` that measures it, where nothing was measured.   warning: why the figures
    flatter, "" where nothing says so.
    """

    labels: str
    by: str
    notes: tuple[str, ...]
    figures: CardFigures | None
    why: str = ""
    command: str = ""
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """The card of a classifier: a judge, a defense that blocks, or a monitor's screener.

    about: what its documentation says.   stated: (what, text) that it says of itself, such as what it was fitted to.
    method: "string matching", "rule", "model" or "people"; "" where that cannot be said.   reads: what it is shown.
    positive: what a flag means, in words.   threshold: it flags from this score on; None: it has none, or none is
    known.   categories: those that it scores.   version: that it declares; identity: digest of all that decides its
    answers; package: of withstand.   date: of this card.   probes: None, and `probe_command`, where it met none.
    """

    kind: Literal["judge", "defense", "screener"]
    name: str
    about: str
    stated: tuple[tuple[str, str], ...]
    method: str
    reads: str
    positive: str
    threshold: float | None
    categories: tuple[str, ...]
    version: str
    identity: str
    package: str
    date: str
    measured: Measured
    probes: ProbeResult | None = None
    probe_command: str = ""

    def to_json(self) -> Json:
        """As `withstand show ... --card --json` prints it; a limit that is infinite is None."""
        return {"schema": SCHEMA, **finite(plain(self))}
