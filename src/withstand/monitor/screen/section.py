"""The section "screening": what each screener saw and flagged, how far people agree, and what it left out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from withstand.core import Json
from withstand.core.text import count, percent, whole
from withstand.monitor.alerts.records import POOR
from withstand.monitor.audit.frame import Part, make_frame
from withstand.monitor.audit.records import RANDOM
from withstand.monitor.prevalence.data import decided, version_of
from withstand.monitor.prevalence.estimate import Labeled, Population, flagged_rate
from withstand.monitor.prevalence.section import limits, share
from withstand.monitor.screen.cascade import Spending, spending, waits_for
from withstand.monitor.screen.labelers import Labeler, labelers_of
from withstand.monitor.section import Context, Section, State
from withstand.monitor.traffic import PERSON_STAGE
from withstand.report.table import Column, Table
from withstand.stats.rates import wilson

SEVERAL = 0.05
"""Share of what a screener saw of which it could not say anything, from which on a reader must know."""


@dataclass(frozen=True, slots=True)
class Screened:
    """A screener in one version. seen: exchanges with a label; flagged of them.   chosen: how many by which reason.

    unscored: of which it could not say anything; silent: without a text.   left: not screened, for want of budget or
    since it failed; None for a screener of another version, or of the log.   right of audited: flagged exchanges that
    people call violating, of those they labeled; precision: of all that it flagged, with its 95% limits, None with too
    few labels.   caught of violating: in the random stream.
    """

    labeler: str
    version: str
    part: Part
    stage: int
    seen: int
    flagged: int
    chosen: dict[str, int]
    unscored: int
    silent: int
    left: int | None
    right: int
    audited: int
    precision: tuple[float, float, float] | None
    caught: int
    violating: int
    spent: Spending

    @property
    def current(self) -> bool:
        return self.left is not None


def section(context: Context) -> Section:
    """What screeners see, and how far they can be believed."""
    labelers = labelers_of(context.settings.screeners, context.policy, context.settings.file)
    ready = {labeler.screener.id: labeler for labeler in labelers}
    listed = _screened(context, ready)
    current = [row for row in listed if row.current]
    absent = [name for name in ready if name not in {row.labeler for row in current}]
    return Section(
        "screening", "What do the screeners see, and how far can they be believed?", _sentence(current, absent, listed),
        _state(current, absent), [table for table in (_table(listed),) if table.rows], advice=_advice(current),
        value={"screeners": [_value(row) for row in listed], "saw_nothing": absent},
    )  # fmt: skip


def _screened(context: Context, ready: dict[str, Labeler]) -> list[Screened]:
    rows = context.traffic.rows(
        f"""SELECT labeler, coalesce(version, ''), category, side, max(stage), count(*), count(*) FILTER (flagged),
            count(*) FILTER (chosen = 'all'), count(*) FILTER (chosen = 'cascade'), count(*) FILTER (chosen = 'audit'),
            min(seq)
        FROM label WHERE stage <> {PERSON_STAGE} GROUP BY labeler, version, category, side
        ORDER BY max(stage), labeler, min(seq), category, side"""
    )
    asked = bool(context.traffic.rows("SELECT 1 FROM person_label LIMIT 1"))
    listed = []
    for name, version, category, side, stage, seen, flagged, everything, passed, audit, first in rows:
        labeler = ready.get(name)
        current = labeler if labeler and labeler.version == version else None
        unscored, silent = _without_label(context, name, version, current, first)
        part = Part(category, side)
        right, audited, precision = _precision(context, part, name, version) if asked else (0, 0, None)
        caught, violating = _caught(context, part, name, version) if asked else (0, 0)
        listed.append(
            Screened(
                name, version, part, stage, seen, flagged,
                {"all": everything, "cascade": passed, "audit": audit}, unscored, silent,
                _left(context, current, ready), right, audited, precision, caught, violating,
                spending(context.traffic, name) if current else Spending(),
            )
        )  # fmt: skip
    return listed


def _without_label(context: Context, name: str, version: str, current: Labeler | None, first: int) -> tuple[int, int]:
    """How many exchanges have no label of a screener that was asked: (it could not say, there was no text)."""
    if current and current.at_intake:  # a rule leaves no trace where it could not say
        side = current.screener.reads
        rows = context.traffic.rows(
            f"""SELECT count(*) FILTER ({side}_chars > 0), count(*) FILTER (coalesce({side}_chars, 0) = 0)
            FROM exchange e WHERE seq >= ?
                AND NOT EXISTS (SELECT 1 FROM label l WHERE l.seq = e.seq AND l.labeler = ?)""",
            [first, name],
        )
        return int(rows[0][0]), int(rows[0][1])
    kinds = dict(
        context.traffic.rows(
            "SELECT kind, count(*) FROM unscored WHERE labeler = ? AND version = ? GROUP BY kind", [name, version]
        )
    )
    return int(kinds.get("unscored", 0)), int(kinds.get("no text", 0))


def _left(context: Context, current: Labeler | None, ready: dict[str, Labeler]) -> int | None:
    if current is None:
        return None
    return 0 if current.at_intake else waits_for(context, current, ready.values())


def _precision(
    context: Context, part: Part, name: str, version: str
) -> tuple[int, int, tuple[float, float, float] | None]:
    """Of what a screener flagged: violating of labeled exchanges, and the share of all with its limits."""
    make_frame(context, part)
    flags = """flags AS (SELECT seq FROM label WHERE labeler = $name AND version = $version AND category = $category
        AND side = $side AND flagged AND chosen <> 'audit')"""
    values: dict[str, Json] = {"name": name, "version": version, "category": part.category, "side": part.side}
    run = context.traffic.database.execute
    population = {
        (0, band): Population(size)
        for band, size in run(
            f"WITH {flags} SELECT band, count(*) FROM frame JOIN flags USING (seq) GROUP BY band ORDER BY band", values
        ).fetchall()
    }
    rows = run(
        f"""WITH {flags} SELECT f.band, list(l.flagged) FROM person_label l JOIN frame f USING (seq)
        JOIN flags USING (seq) WHERE l.category = $category AND l.side = $side AND l.version = $people
            AND l.chosen IN ('{RANDOM}', $targeted) GROUP BY seq, f.band ORDER BY seq""",
        {**values, "people": version_of(context), "targeted": part.targeted},
    ).fetchall()
    labels = [Labeled((0, band), decided(votes)) for band, votes in rows]
    counts = Counter(label.violating for label in labels)
    return counts[True], counts[True] + counts[False], flagged_rate(population, labels)


def _caught(context: Context, part: Part, name: str, version: str) -> tuple[int, int]:
    """Of the violating exchanges of the random stream that a screener labeled: how many it flags, and how many."""
    rows = context.traffic.rows(
        f"""WITH people AS (SELECT seq, list(flagged) AS votes FROM person_label l WHERE category = ? AND side = ?
            AND version = ? AND chosen = '{RANDOM}' GROUP BY seq)
        SELECT l.flagged, p.votes FROM label l JOIN people p USING (seq)
        WHERE l.labeler = ? AND l.version = ? AND l.category = ? AND l.side = ?""",
        [part.category, part.side, version_of(context), name, version, part.category, part.side],
    )
    flags = [bool(flagged) for flagged, votes in rows if decided(votes)]
    return sum(flags), len(flags)


def _state(current: Sequence[Screened], absent: Sequence[str]) -> State:
    if not current:
        return "unknown"
    wanting = [row for row in current if row.left or row.spent.failed or row.spent.stopped or _many_unscored(row)]
    if wanting or absent:
        return "note"
    if any(row.precision and row.precision[2] < POOR for row in current):
        return "note"
    measured = [row for row in current if row.precision]
    return "calm" if measured and all(row in measured for row in current if row.flagged) else "unknown"


def _many_unscored(row: Screened) -> bool:
    return row.unscored > SEVERAL * (row.seen + row.unscored)


def _sentence(current: Sequence[Screened], absent: Sequence[str], listed: Sequence[Screened]) -> str:
    if not listed:
        return "Unknown: no screener has labeled anything, and the log has no labels."
    if not current:
        return "Unknown: what is labeled was labeled by the log, or by screeners that the settings no longer have."
    lines = [f"{count(len(current), 'screener')} labeled {count(sum(row.seen for row in current), 'text')}."]
    if left := [row for row in current if row.left]:
        named = ", ".join(f"{row.labeler} {row.left:,}" for row in left)
        lines.append(f"Not screened, and none that are clean: {named}.")
    if unscored := [row for row in current if row.unscored]:
        named = ", ".join(f"{row.labeler} {row.unscored:,}" for row in unscored)
        lines.append(f"Without a label since the screener could not say: {named}.")
    if stopped := [row for row in current if row.spent.stopped]:
        lines.append(f"Stopped: {', '.join(f'{row.labeler} ({row.spent.stopped})' for row in stopped)}.")
    if absent:
        lines.append(f"Labeled nothing: {', '.join(absent)}.")
    measured = [row for row in current if row.precision]
    if measured:
        worst = min(measured, key=lambda row: row.precision[0] if row.precision else 1.0)
        assert worst.precision is not None
        rate, low, high = worst.precision
        lines.append(f"Of what {worst.labeler} flags {share(rate)} violates ({limits(low, high)}), by people.")
    else:
        lines.append("How much of what they flag violates is unknown: people have labeled too little of it.")
    return " ".join(lines)


def _advice(current: Sequence[Screened]) -> list[str]:
    advice = []
    if any(row.left for row in current):
        advice.append("Raise the budget of screeners that leave exchanges out, or pass less on to them.")
    if poor := [row.labeler for row in current if row.precision and row.precision[2] < POOR]:
        advice.append(f"Re-tune {', '.join(poor)}, or have another person label: under {percent(POOR)} of it violates.")
    if not any(row.precision for row in current):
        advice.append("Label some of what is flagged: `withstand monitor audit --targeted 100`.")
    return advice


def _table(listed: Sequence[Screened]) -> Table:
    columns = [
        Column("screener"), Column("version"), Column("category"), Column("side"), Column("stage", right=True),
        Column("labeled", whole, right=True), Column("for the audit alone", whole, right=True),
        Column("flagged", whole, right=True), Column("flag share (no prevalence)", share, right=True),
        Column("could not say", whole, right=True), Column("no text", whole, right=True),
        Column("not screened", lambda left: "" if left is None else whole(left), right=True),
        Column("violating of flagged", right=True), Column("caught of violating", right=True),
        Column("tokens", whole, right=True), Column("cost (USD)", lambda cost: f"{cost:.2f}", right=True),
    ]  # fmt: skip
    rows = [
        (
            row.labeler, row.version, row.part.category, row.part.side, row.stage if row.stage >= 0 else "log",
            row.seen, row.chosen["audit"], row.flagged, row.flagged / row.seen if row.seen else None,
            row.unscored, row.silent,
            row.left, _right(row), _share_caught(row), row.spent.tokens, row.spent.cost,
        )
        for row in listed
    ]  # fmt: skip
    note = (
        "Violating of flagged: by people's labels, weighed to all that was flagged (95% limits). Caught of violating: "
        "in the random stream that the screener labeled. A version that changed is a series of its own."
    )
    return Table(columns, rows, "Screeners", note)


def _right(row: Screened) -> str:
    if row.precision is None:
        return f"{row.right} of {row.audited} labeled: too few" if row.audited else ""
    rate, low, high = row.precision
    return f"{share(rate)} ({limits(low, high)})"


def _share_caught(row: Screened) -> str:
    if not row.violating:
        return ""
    low, high = wilson(row.caught, row.violating) or (0.0, 1.0)
    return f"{row.caught} of {row.violating} ({percent(low)} to {percent(high)})"


def _value(row: Screened) -> Json:
    value = asdict(row)
    return {**{name: inner for name, inner in value.items() if name != "part"}, **value["part"]}
