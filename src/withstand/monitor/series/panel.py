"""The series of a monitor, on one grid of UTC hours: flags by category, refusals, volume, tokens of an account.

Counts of two labelers, or of two versions of one, are never added: a version begins a series of its own, which has no
past yet, and a chart marks where. Counts come from the views that outlast retention; quarters of an hour from the
exchanges at hand.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.monitor.section import Context, Mark
from withstand.monitor.traffic import Traffic
from withstand.redteam.dates import DAY, HOUR
from withstand.stats.special import Floats

QUARTER = 900
OUTAGE = 5
"""An hour without an exchange, where there are usually so many or more, is an outage: it says nothing."""
BLIND = 3
"""From so many hours of an outage on, a day says nothing."""
FEW = 5
"""A day on which a labeler would usually say at least so much of the traffic, and says nothing, is none of its days."""
Kind: TypeAlias = Literal["category", "refused", "volume", "tokens", "mix", "text"]
Booleans: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """What a series counts. side, labeler, version: whose flags, empty for the others. tokens: a mean, not a count."""

    kind: Kind
    category: str = ""
    side: str = ""
    labeler: str = ""
    version: str = ""

    @property
    def key(self) -> str:
        return "/".join((self.kind, self.category, self.side, self.labeler, self.version))

    @property
    def title(self) -> str:
        """As a reader sees it; the version is in the marks."""
        if self.kind == "category":
            side = f" in the {self.side}" if self.side in ("prompt", "completion") else ""
            return f"{self.category}{side} ({self.labeler})"
        return {
            "refused": "refusals",
            "volume": "exchanges",
            "tokens": "tokens of an account",
            "mix": "mix of categories",
            "text": "prompts",
        }[self.kind]


@dataclass(frozen=True, slots=True)
class Panel:
    """Series side by side, on their last axis.

    first: day of the first row, in days since 1970.   hours: counts, days x 24 x series; the last day may not be over.
    alive: days x series, whether a series covers the day: not where its version begins or gives way to the next, nor
    where its labeler says nothing of traffic that is there.
    sees: days x 24, False in an outage.   quarters: counts of the days from `first_quarter` on, days x 96 x series.
    tokens: of an account that was active on the day, on average; NaN for none.   now: seconds, the end of the
    traffic.   struck: hours of confirmed incidents.
    """

    first: int
    names: tuple[Name, ...]
    hours: Floats
    alive: Booleans
    sees: Booleans
    tokens: Floats
    now: float
    first_quarter: int = 0
    quarters: Floats | None = None
    struck: Booleans | None = None

    @property
    def weights(self) -> Floats:
        """Days x 24 x series: 1 where a count says what is usual, else 0."""
        usable = self.sees[:, :, None] & self.alive[:, None, :]
        return np.asarray(usable if self.struck is None else usable & ~self.struck, np.float64)

    @property
    def whole_days(self) -> Booleans:
        """Days x series: whether the whole day does."""
        usable = self.alive & ((~self.sees).sum(axis=1) < BLIND)[:, None]
        return usable if self.struck is None else np.asarray(usable & ~self.struck.any(axis=1))

    @property
    def days(self) -> int:
        return len(self.hours)

    @property
    def over(self) -> int:
        """How many of the days are over."""
        return min(self.days, int(self.now // DAY) - self.first)

    @property
    def weekday(self) -> npt.NDArray[np.int64]:
        return (np.arange(self.days) + self.first) % 7

    def at(self, day: int, part: float = 0.0) -> float:
        """Seconds since 1970 at a row, and so many seconds later."""
        return (self.first + day) * DAY + part

    def age(self, day: int) -> npt.NDArray[np.int64]:
        """Days of each series before the row `day`, this version alone."""
        return np.asarray(self.alive[:day].sum(axis=0))


def read_panel(context: Context) -> Panel | None:
    """The series of all traffic up to `context.now`; None where there is none."""
    traffic, span = context.traffic, context.traffic.span()
    if span is None:
        return None
    first, days = int(span[0] // DAY), int(context.now // DAY) - int(span[0] // DAY) + 1
    grid = (first * 24, days * 24)
    columns: list[Floats] = []
    lives: list[tuple[float, float]] = []
    names: list[Name] = []
    labels: list[Floats] = []
    for name, counts, labeled, life in _labels(traffic, grid, context.now):
        names.append(name)
        columns.append(counts)
        labels.append(labeled)
        lives.append(life)
    totals = traffic.columns(
        "SELECT hour, sum(exchanges)::DOUBLE AS volume, sum(refused)::DOUBLE AS refused FROM hour_total "
        "WHERE hour >= ? AND hour < ? GROUP BY hour",
        [grid[0], sum(grid)],
    )
    kinds: tuple[Kind, ...] = ("refused", "volume")
    for kind in kinds:
        names.append(Name(kind))
        columns.append(_placed(totals["hour"], totals[kind], grid))
        lives.append((span[0], context.now))
    hours = np.stack(columns, axis=-1).reshape(days, 24, -1)
    start = np.arange(first, first + days)[:, None] * DAY
    alive = np.stack([(start >= begin) & (start < end) for begin, end in lives], axis=-1)[:, 0, :]
    for at, labeled in enumerate(labels):
        if (labeled > columns[at]).any():  # else it says nothing of what it does not flag
            alive[:, at] &= _speaks(labeled.reshape(days, 24).sum(axis=1), hours[:, :, -1].sum(axis=1), alive[:, at])
    first_quarter, quarters = _quarters(traffic, names, first, days)
    return Panel(
        first, tuple(names), hours, alive, _sees(hours[:, :, -1]), _tokens(traffic, first, days), context.now,
        first_quarter, quarters,
    )  # fmt: skip


def marks(panel: Panel) -> list[Mark]:
    """Where a labeler's version, and with it perhaps the policy's, changed: before and after are not comparable."""
    listed = []
    for at, name in enumerate(panel.names):
        begun = np.flatnonzero(panel.alive[:, at])
        others = [n for n in panel.names if (n.category, n.side, n.labeler) == (name.category, name.side, name.labeler)]
        if name.labeler and len(others) > 1 and len(begun) and begun[0] > 1:
            text = f"{name.labeler} changed to {name.version}: counts before and after do not compare"
            listed.append(Mark(panel.at(int(begun[0])), text))
    return sorted(set(listed), key=lambda mark: (mark.ts, mark.text))


def silent(panel: Panel) -> list[tuple[Name, float]]:
    """The labelers that say nothing of the last day that is over, and since when, with no newer version in their place:
    their flags are unknown from then on, and not none."""
    if not panel.over:
        return []
    listed, last = [], panel.over - 1
    for at, name in enumerate(panel.names):
        spoke = np.flatnonzero(panel.alive[:, at])
        same = [n == name or (n.category, n.side, n.labeler) != (name.category, name.side, name.labeler)
                for n in panel.names]  # fmt: skip
        newer = any(panel.alive[-1, place] for place, own in enumerate(same) if not own)
        if name.labeler and len(spoke) and spoke[-1] < last and not newer:
            listed.append((name, panel.at(int(spoke[-1]) + 1)))
    return listed


def _speaks(labeled: Floats, volume: Floats, alive: Booleans) -> Booleans:
    """The days of which a labeler says something, or would usually say next to nothing."""
    days = alive & (labeled > 0)
    usual = float(np.median(labeled[days] / np.maximum(volume[days], labeled[days]))) if days.any() else 0.0
    return np.asarray((labeled > 0) | (usual * volume < FEW))


def _labels(
    traffic: Traffic, grid: tuple[int, int], now: float
) -> Sequence[tuple[Name, Floats, Floats, tuple[float, float]]]:
    """Each labeler's flags and labels by hour, and from when to when it labeled. Audits are no part of a series."""
    rows = traffic.columns(
        """SELECT category, side, labeler, version, hour, sum(flagged)::DOUBLE AS flagged,
            sum(labeled)::DOUBLE AS labeled FROM hour_label
        WHERE chosen <> 'audit' AND hour >= ? AND hour < ? GROUP BY ALL ORDER BY ALL""",
        [grid[0], sum(grid)],
    )
    of: dict[tuple[str, ...], list[int]] = {}
    for at in range(len(rows["hour"])):
        of.setdefault(tuple(str(rows[part][at]) for part in ("category", "side", "labeler", "version")), []).append(at)
    ends = {key: (rows["hour"][places].min(), rows["hour"][places].max()) for key, places in of.items()}
    listed = []
    for key, places in of.items():
        begun, ended = ends[key]
        newer = any(rival[:3] == key[:3] and ends[rival][1] > ended for rival in ends)
        # who labels what it does not flag too, and has said nothing for two days, labels no more: 0 flags are not calm
        flags, labels = (_placed(rows["hour"][places], rows[kind][places], grid) for kind in ("flagged", "labeled"))
        dead = ended * HOUR < now - 2 * DAY and bool((labels > flags).any())
        life = (begun * HOUR, ended * HOUR - DAY if newer or dead else now)
        listed.append((Name("category", *key), flags, labels, life))
    return listed


def _placed(hours: Any, counts: Any, grid: tuple[int, int]) -> Floats:
    placed: Floats = np.zeros(grid[1])
    placed[np.asarray(hours, np.int64) - grid[0]] = np.asarray(counts, np.float64)
    return placed


def _sees(volume: Floats) -> Booleans:
    return np.asarray((volume > 0) | (np.median(volume, axis=0) < OUTAGE))


def _tokens(traffic: Traffic, first: int, days: int) -> Floats:
    rows = traffic.rows(
        """SELECT day, sum(tokens)::DOUBLE / count(*) FROM (
            SELECT account, day, sum(prompt_tokens + completion_tokens) AS tokens FROM account_day GROUP BY ALL)
        WHERE day >= ? AND day < ? GROUP BY day""",
        [first, first + days],
    )
    tokens: Floats = np.full(days, np.nan)
    for day, mean in rows:
        tokens[day - first] = mean or np.nan
    return tokens


def _quarters(traffic: Traffic, names: Sequence[Name], first: int, days: int) -> tuple[int, Floats | None]:
    """Counts by quarter of an hour, of the days whose exchanges are all at hand."""
    [(oldest,)] = traffic.rows("SELECT max(hour) FROM past_hour")
    start = max(first, -(-(oldest + 1) * HOUR // DAY) if oldest is not None else first)
    span = [start * DAY, (first + days) * DAY]
    rows = max(0, first + days - start)
    if not rows:
        return first, None
    counts: Floats = np.zeros((rows * 96, len(names)))
    place = {name: at for at, name in enumerate(names)}
    flags = traffic.rows(
        f"""SELECT category, side, labeler, version, floor(ts / {QUARTER})::BIGINT, count(*)
        FROM label JOIN exchange USING (seq) WHERE flagged AND chosen <> 'audit' AND ts >= ? AND ts < ? GROUP BY ALL""",
        span,
    )
    for *key, quarter, count in flags:
        counts[quarter - start * 96, place[Name("category", *map(str, key))]] = count
    totals = traffic.rows(
        f"""SELECT floor(ts / {QUARTER})::BIGINT, count(*), count(*) FILTER (refused) FROM exchange
        WHERE ts >= ? AND ts < ? GROUP BY ALL""",
        span,
    )
    for quarter, volume, refused in totals:
        counts[quarter - start * 96, place[Name("volume")]] = volume
        counts[quarter - start * 96, place[Name("refused")]] = refused
    return start - first, counts.reshape(rows, 96, -1)
