"""The section "prevalence": how much of the traffic violates the policy, by category and week."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from withstand.core import Json
from withstand.core.text import count, decimals, percent, whole
from withstand.monitor.audit.frame import Part
from withstand.monitor.audit.records import TWICE, items_of, opinions_of
from withstand.monitor.prevalence.data import Evidence, Series, between_people, cells, evidence, parts_of, violated
from withstand.monitor.prevalence.estimate import (
    ENOUGH,
    FLAGGED_FROM,
    Prevalence,
    labels_for,
    prevalence,
    rogan_gladen,
)
from withstand.monitor.section import Chart, Context, Line, Mark, Section, State
from withstand.redteam.dates import MONDAY, WEEK, day_of
from withstand.report.table import Column, Table
from withstand.results.exposure import exposed, place_of_monitor
from withstand.stats.agreement import Corrected, kappa

CHARTS = 6
WIDTHS = (0.05, 0.02, 0.01)
"""Widths of an interval for which the labels that it takes are said."""
NAMES = ("success of misuse", "refusal works", "unintended harm", "normal")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of a part. whole: per request, of all traffic, None where it is unknown.   accounts: the mean over
    accounts.   weeks: per request, by week.   gladen: by week, from the screener's errors.
    """

    evidence: Evidence
    whole: Prevalence | None
    accounts: Prevalence | None
    weeks: Mapping[int, Prevalence | None]
    gladen: Mapping[int, Corrected]

    @property
    def part(self) -> Part:
        return self.evidence.part

    @property
    def series(self) -> Series | None:
        """The screener's longest series."""
        return self.evidence.series[0] if self.evidence.series else None

    @property
    def naive(self) -> float | None:
        """The share of exchanges that it flags, which is no prevalence."""
        return self.series.flagged / self.series.labeled if self.series and self.series.labeled else None


def section(context: Context) -> Section:
    """How much of the traffic violates the policy."""
    answers = [_answer(evidence(context, part)) for part in parts_of(context)]
    watched = [answer for answer in answers if answer.evidence.series or answer.evidence.labels]
    measured, needs = [answer for answer in watched if answer.whole], _needs(watched)
    tables = [_table(context, watched), _strata(measured), _cells(context), _weeks(measured)]
    return Section(
        "prevalence", "How much of the traffic violates the policy?", _sentence(context, watched, measured),
        _state(context, watched, measured), [table for table in tables if table.rows], _charts(measured),
        _advice(watched, needs), _value(context, watched, needs),
    )  # fmt: skip


def _answer(seen: Evidence) -> Answer:
    weeks = sorted({week for week, _ in seen.population})
    by_week = {
        week: prevalence(
            {bin: size for bin, size in seen.population.items() if bin[0] == week},
            [label for label in seen.labels if label.bin[0] == week],
        )
        for week in weeks
    }
    gladen: dict[int, Corrected] = {}
    for series in seen.series[:1]:
        for week, (flagged, labeled) in series.weeks.items():
            if (corrected := rogan_gladen(flagged, labeled, series.errors)) and corrected.identified:
                gladen[week] = corrected
    whole_traffic = prevalence(seen.population, seen.labels)
    accounts = prevalence(seen.population, seen.labels, by_account=True)
    return Answer(seen, whole_traffic, accounts, by_week, gladen)


def _needs(watched: Sequence[Answer]) -> tuple[str, dict[float, int | None]]:
    """The first part that is unknown, with the labels that an interval of some widths is expected to take, None where
    all would not do."""
    seen = next((answer.evidence for answer in watched if not answer.whole), None)
    if seen is None:
        return "", {}
    flagged = sum(part.size for (_, band), part in seen.population.items() if band >= FLAGGED_FROM)
    return seen.part.title, {width: labels_for(flagged, seen.exchanges - flagged, width) for width in WIDTHS}


def _state(context: Context, watched: Sequence[Answer], measured: Sequence[Answer]) -> State:
    """Calm is what two people looked at, and found as the screeners say."""
    if any(answer.whole and answer.whole.violating for answer in measured) or _disputed(measured):
        return "note"
    if not watched or len(measured) < len(watched):
        return "unknown"
    return "calm" if between_people(context).n else "note"


def _disputed(measured: Sequence[Answer]) -> list[Answer]:
    """Parts of which people call nothing violating, and a screener flags more than they can have missed."""
    return [
        answer for answer in measured
        if answer.whole and not answer.whole.violating and (answer.naive or 0.0) > answer.whole.high
    ]  # fmt: skip


def share(value: float | None) -> str:
    """A share in [0, 1] with two digits, since a prevalence is small: "0.52%"."""
    if value is None:
        return "unknown"
    if 0 < value < 0.0001:
        return "<0.01%"
    return percent(value) if value >= 0.0995 or value == 0 else f"{100 * value:.2g}%"


def limits(low: float, high: float) -> str:
    """A pair of shares: "0.31% to 0.8%"."""
    return f"{share(low)} to {share(high)}"


def _sentence(context: Context, watched: Sequence[Answer], measured: Sequence[Answer]) -> str:
    if not watched:
        return "Unknown: no screener and no person has labeled anything of this traffic."
    lines = []
    for answer in sorted(measured, key=lambda answer: -(answer.whole.low if answer.whole else 0))[:3]:
        seen = answer.whole
        assert seen is not None
        text = f"{answer.part.title}: {share(seen.rate)} of requests ({limits(seen.low, seen.high)})"
        if answer.naive is not None:
            text += f"; the screener flags {share(answer.naive)}"
        lines.append(text)
    labels = sum(answer.evidence.series != () for answer in watched)
    unknown = [answer.part.title for answer in watched if not answer.whole]
    text = ". ".join([*lines, ""]).strip()
    if disputed := _disputed(measured):
        text += f" People call nothing violating in {', '.join(answer.part.title for answer in disputed[:3])}, where a"
        text += " screener flags more than they can have missed: look who is right."
    if unknown:
        why = f"fewer than {ENOUGH} labels of people, or too few of what is not flagged"
        more = f"{', '.join(unknown[:3])}{' and others' if len(unknown) > 3 else ''}"
        text = " ".join(filter(None, [text, f"Unknown, with {why}: {more}."]))
    people = between_people(context)
    if measured:
        if people.n:
            agreement = kappa(people)
            text += f" Two people agree on {percent(people.right / people.n)} of {count(int(people.n), 'answer')}"
            text += f" (kappa {decimals(2)(agreement)}); the intervals do not hold their common errors."
        else:
            text += " Nothing was labeled by two people: how far labels can be believed is unknown."
    elif labels:
        text += " What screeners flag is no prevalence."
    if met := exposed(context.store, place_of_monitor(context.settings.keeping.name)):
        text += f" Exposure of who labeled: {met.in_words()}."
    return text


def _table(context: Context, watched: Sequence[Answer]) -> Table:
    columns = [
        Column("category"), Column("side"), Column("intent"), Column("of requests", share, right=True),
        Column("95% limits", right=True), Column("mean over accounts", share, right=True),
        Column("limits over accounts", right=True), Column("accounts that ever do", right=True),
        Column("labels", whole, right=True),
        Column("violating", whole, right=True), Column("unclear", whole, right=True),
        Column("flag share (no prevalence)", right=True), Column("flags / estimate", right=True),
    ]  # fmt: skip
    rows = [_row(context, answer) for answer in watched]
    note = (
        "From people's labels of a random stream and of bands of scores, weighed back to all traffic. Misuse is a rate "
        "per account, unintended harm one per request; both are given. Accounts that ever do: between the mean over "
        "accounts of their violating shares, and violating requests over accounts. The limits are for errors of "
        "sampling, not of people. Unclear, and in the limits as either: people were unsure or differ, or nobody "
        "labeled the exchange, as who labels may."
    )
    return Table(columns, rows, "Prevalence", note)


def _row(context: Context, answer: Answer) -> tuple[Json, ...]:
    seen, accounts, naive = answer.whole, answer.accounts, answer.naive
    return (
        answer.part.category, answer.part.side, context.policy.categories[answer.part.category].intent,
        seen.rate if seen else None, limits(seen.low, seen.high) if seen else "", accounts.rate if accounts else None,
        limits(accounts.low, accounts.high) if accounts else "",
        limits(*_ever(context, answer)) if accounts and seen else "", len(answer.evidence.labels),
        sum(bool(label.violating) for label in answer.evidence.labels),
        sum(label.violating is None for label in answer.evidence.labels),
        "" if naive is None else share(naive),
        f"{naive / seen.rate:.1f}" if naive is not None and seen and seen.rate else "",
    )  # fmt: skip


def _ever(context: Context, answer: Answer) -> tuple[float, float]:
    """Bounds of the share of accounts with a violating request: it is at least the mean over accounts of the share of
    violating ones, and at most the number of violating requests over that of accounts."""
    [(accounts,)] = context.traffic.rows("SELECT count(DISTINCT account) FROM exchange")
    assert answer.whole is not None
    assert answer.accounts is not None
    high = min(1.0, answer.whole.high * answer.evidence.exchanges / max(1, accounts))
    return min(answer.accounts.low, high), high


def _strata(measured: Sequence[Answer]) -> Table:
    columns = [
        Column("category"), Column("side"), Column("scores"), Column("exchanges", whole, right=True),
        Column("labels", whole, right=True), Column("violating", whole, right=True),
        Column("at most", lambda value: "" if value is None else share(value), right=True),
    ]  # fmt: skip
    rows = [
        (answer.part.category, answer.part.side, bands(stratum.bands), stratum.size, stratum.labels, stratum.violating,
         stratum.most)
        for answer in measured if answer.whole for stratum in answer.whole.strata
    ]  # fmt: skip
    note = "At most: where no label is violating, 3 over the labels (the rule of three)."
    return Table(columns, rows, "What the labels say by band of scores", note, folded=True)


BAND_NAMES = {-1: "no score", 0: "0 to 0.05", 1: "0.05 to 0.25", 2: "0.25 to 0.5", 3: "0.5 to 0.75", 4: "0.75 to 1"}


def bands(listed: Sequence[int]) -> str:
    """Bands of scores as a reader sees them."""
    return ", ".join(BAND_NAMES[band] for band in sorted(listed))


def _cells(context: Context) -> Table:
    columns = [
        Column("category"),
        *(Column(f"{name}", right=True) for name in NAMES),
        Column("labels", whole, right=True),
    ]
    rows: list[tuple[Json, ...]] = []
    for category in violated(context):
        population, labels = cells(context, category)
        if not labels[0]:
            continue
        estimates = [prevalence(population, cell) for cell in labels]
        texts = [f"{share(e.rate)} ({limits(e.low, e.high)})" if e else "unknown" for e in estimates]
        rows.append((category, *texts, len(labels[0])))
    note = (
        "Of requests, by people's labels of the random stream alone. Success of misuse: prompt and completion violate; "
        "refusal works: the prompt alone; unintended harm: the completion alone."
    )
    return Table(columns, rows, "Prompt and completion together", note)


def _weeks(measured: Sequence[Answer]) -> Table:
    columns = [
        Column("category"), Column("side"), Column("week of"), Column("of requests", share, right=True),
        Column("95% limits", right=True), Column("from the screener's errors", right=True),
        Column("flag share (no prevalence)", right=True),
    ]  # fmt: skip
    rows = []
    for answer in measured:
        for week, seen in answer.weeks.items():
            gladen = answer.gladen.get(week)
            flags = answer.series.weeks.get(week) if answer.series else None
            rows.append(
                (answer.part.category, answer.part.side, day(week), seen.rate if seen else None,
                 limits(seen.low, seen.high) if seen else "",
                 f"{share(gladen.rate)} ({limits(gladen.low, gladen.high)})" if gladen else "",
                 share(flags[0] / flags[1]) if flags and flags[1] else "")
            )  # fmt: skip
    note = (
        "Weeks begin on Mondays, UTC. From the screener's errors: Rogan and Gladen, with its sensitivity and "
        "specificity on all labels of the random stream, if they are the same in each week."
    )
    return Table(columns, rows, "Prevalence by week", note, folded=True)


def day(week: int) -> str:
    """The date on which a week begins."""
    return day_of(week * WEEK + MONDAY)


def _charts(measured: Sequence[Answer]) -> list[Chart]:
    """Of the parts with the most, those that are stated in two weeks or more."""
    charts: list[Chart] = []
    for answer in sorted(measured, key=lambda answer: -(answer.whole.rate if answer.whole else 0)):
        stated = [(week, seen) for week, seen in answer.weeks.items() if seen]
        lines = [
            Line(
                "prevalence", [(_middle(week), seen.rate) for week, seen in stated], [seen.low for _, seen in stated],
                [seen.high for _, seen in stated],
            )
        ]  # fmt: skip
        if not stated and answer.gladen:
            listed = [(week, gladen) for week, gladen in sorted(answer.gladen.items()) if gladen.rate is not None]
            points = [(_middle(week), gladen.rate or 0.0) for week, gladen in listed]
            ends = [gladen.low for _, gladen in listed], [gladen.high for _, gladen in listed]
            lines = [Line("prevalence from the screener's errors", points, *ends)]
        if answer.series:
            flags = [(_middle(week), f / n) for week, (f, n) in sorted(answer.series.weeks.items()) if n]
            lines.append(Line("flag share (no prevalence)", flags))
        if len(lines[0].points) > 1 and len(charts) < CHARTS:
            charts.append(Chart(f"{answer.part.title}, by week", lines, "%", _marks(answer.evidence.series)))
    return charts


def _marks(listed: Sequence[Series]) -> list[Mark]:
    """Where a screener's version gives way to the next."""
    begun = sorted((series for series in listed), key=lambda series: (min(series.weeks), series.version))
    return [
        Mark(min(series.weeks) * WEEK + MONDAY, f"{series.labeler} {series.version} begins")
        for at, series in enumerate(begun)
        if any(before.labeler == series.labeler for before in begun[:at])
    ]


def _middle(week: int) -> float:
    return week * WEEK + MONDAY + WEEK / 2


def _advice(watched: Sequence[Answer], needs: tuple[str, Mapping[float, int | None]]) -> list[str]:
    if not watched:
        return ["Name screeners in the settings, or label a sample: `withstand monitor audit --take 100`."]
    if not needs[0]:
        return []
    words = [f"{number:,} ({100 * width:g})" for width, number in needs[1].items() if number]
    effort = f" Labels for {needs[0]}, by the width of its interval in points: {', '.join(words)}." if words else ""
    return [f"Draw exchanges with `withstand monitor audit --take 100`, and label them in the explorer.{effort}"]


def _value(context: Context, watched: Sequence[Answer], needs: tuple[str, Mapping[float, int | None]]) -> Json:
    name = context.settings.keeping.name
    items, opinions = items_of(context.store, name), opinions_of(context.store, name)
    people = between_people(context)
    return {
        "policy": context.policy.header.version, "queued": len(items),
        "labeled": len({opinion.item for opinion in opinions}),
        "labelers": sorted({opinion.labeler for opinion in opinions}), "twice": TWICE,
        "other_policy": sum(opinion.policy != context.policy.header.version for opinion in opinions),
        "exposure": asdict(met) if (met := exposed(context.store, place_of_monitor(name))) else None,
        "between_people": {**asdict(people), "kappa": kappa(people) if people.n else None},
        "parts": [_part_value(context, answer) for answer in watched],
        "labels_for": {"of": needs[0], "widths": [{"width": width, "labels": n} for width, n in needs[1].items()]},
    }  # fmt: skip


def _part_value(context: Context, answer: Answer) -> Json:
    series = answer.series
    return {
        "category": answer.part.category, "side": answer.part.side, "exchanges": answer.evidence.exchanges,
        "requests": asdict(answer.whole) if answer.whole else None,
        "accounts": asdict(answer.accounts) if answer.accounts else None,
        "ever": list(_ever(context, answer)) if answer.whole and answer.accounts else None,
        "weeks": [
            {"week": day(week), **(asdict(seen) if seen else {"rate": None})} for week, seen in answer.weeks.items()
        ],
        "rogan_gladen": [{"week": day(week), **asdict(rate)} for week, rate in sorted(answer.gladen.items())],
        "flag_share": answer.naive, "labeler": f"{series.labeler} {series.version}" if series else None,
    }  # fmt: skip
