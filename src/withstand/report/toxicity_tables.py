"""The tables of `withstand toxicity`, for the terminal and the page."""

from collections.abc import Callable, Iterator, Sequence

from withstand.core.text import interval, rate
from withstand.report.table import Column, Table
from withstand.results.cells import Interval, defended
from withstand.results.toxicity_records import (
    Change,
    DrawCounts,
    Figure,
    GroupKind,
    PromptGroup,
    SwapPair,
    ToxicityMeasure,
    ToxicityReport,
)

KINDS: dict[GroupKind, str] = {
    "category": "category of the prompt",
    "group": "identity group in the prompt",
    "term": "identity term in the prompt",
    "dialect": "dialect mark in the prompt",
    "language": "language of the prompt",
    "length": "length of the prompt",
}
"""The groups of prompts that have tables of their own, with what they go by."""
GROWTH = "Growth with k"
"""Title of the table that the curves belong to."""


def title(measure: ToxicityMeasure) -> str:
    """What was measured, by whom."""
    style = f", style {measure.style}" if measure.style else ""
    version = f", version {measure.scored_by}" if measure.scored_by else ""
    return (
        f"{target(measure)} on {measure.suite}{style}, scored by {measure.scorer} ({measure.scorer_hash[:8]}{version})"
    )


def target(measure: ToxicityMeasure) -> str:
    """Its name, with the defense in front of it."""
    return defended(measure.target, measure.defense.removeprefix("none"))


def settings(report: ToxicityReport, measure: ToxicityMeasure) -> str:
    """How it was measured, beside which no figure stands alone."""
    return (
        f"k {report.k}, threshold {report.threshold:g}, seed {report.seed}; {measure.samples} draws of each of "
        f"{measure.prompts:,} prompts at temperature {measure.temperature:g}, top_p {measure.top_p:g}, at most "
        f"{measure.max_tokens} tokens; scorer {measure.scorer} ({measure.scorer_method}), {measure.scorer_hash}"
    )


def score(value: float | None, ends: Interval | None) -> str:
    """A figure in [0, 1] with its interval; "n/a" where there is none."""
    if value is None:
        return "n/a"
    return f"{value:.3f}" if ends is None else f"{value:.3f} ({ends[0]:.3f}-{ends[1]:.3f})"


def _score(figure: Figure) -> str:
    return score(figure.value, figure.interval)


def _chance(figure: Figure) -> str:
    return rate(figure.value, figure.interval) if figure.value is not None else "n/a"


def _bounds(figure: Figure) -> str:
    """What open draws could change; "" where they change nothing."""
    ends = figure.bounds
    return f"{ends[0]:.3f} to {ends[1]:.3f}" if ends and ends[1] - ends[0] > 5e-4 else ""


def prompts(group: PromptGroup) -> str:
    """How many, and how many of these are in the figures."""
    return f"{group.full:,} of {group.prompts:,}" if group.full < group.prompts else f"{group.prompts:,}"


def _without(draws: DrawCounts) -> str:
    """How many draws have no score, by why; "" where all have one."""
    named = {
        "empty": draws.empty, "filtered": draws.filtered, "unscored": draws.unscored,
        "by another version": draws.elsewhere, "failed": draws.failed,
    }  # fmt: skip
    return ", ".join(f"{number:,} {name}" for name, number in named.items() if number)


def figures(k: int) -> list[Column]:
    """The columns of three figures and of what is open."""
    return [
        Column(f"expected maximum of {k} (95%)", _score, right=True),
        Column("toxicity probability (95%)", _chance, right=True),
        Column("mean (95%)", _score, right=True),
        Column("maximum, open as 0 and 1", _bounds, right=True),
    ]


def _columns(k: int) -> list[Column]:
    """The columns of `_row`."""
    return [Column("prompts", right=True), *figures(k), Column("draws without a score")]


def _row(group: PromptGroup) -> list[object]:
    return [prompts(group), group.maximum, group.probability, group.mean, group.maximum, _without(group.draws)]


def overview(report: ToxicityReport) -> Table:
    """The halves of all measures, for a report of several."""
    heads = [Column("target"), Column("suite"), Column("style"), Column("version"), Column("prompts are")]
    rows = [
        [target(measure), measure.suite, measure.style, measure.scored_by, group.half, *_row(group)]
        for measure in report.measures
        for group in measure.groups
        if group.kind == "all"
    ]
    note = "\n".join(dict.fromkeys(settings(report, measure) for measure in report.measures))
    return Table([*heads, *_columns(report.k)], rows, "All targets and styles", note)


def tables(report: ToxicityReport, measure: ToxicityMeasure) -> Iterator[Table]:
    """The halves, the curve over k, categories of the scorer, groups of prompts, and swapped terms of one measure."""
    heads = _columns(report.k)
    rows = [[group.half, *_row(group)] for group in measure.groups if group.kind == "all"]
    yield Table([Column("prompts are"), *heads], rows, title(measure), settings(report, measure))
    yield _curve(measure)
    if measure.categories:
        yield _categories(report, measure)
    for kind, name in KINDS.items():
        rows = [[group.half, group.name, *_row(group)] for group in measure.groups if group.kind == kind]
        if rows:
            columns = [Column("prompts are"), Column(kind), *heads]
            note = "The intervals of a half hold together with 95%, so that the highest may be named."
            yield Table(columns, rows, f"By {name}", note, folded=True)
    if measure.swaps:
        yield from _swaps(measure)


def _curve(measure: ToxicityMeasure) -> Table:
    halves = list(dict.fromkeys(point.half for point in measure.curve))
    points_of = {(point.half, point.k): point for point in measure.curve}
    columns = [Column("k", right=True)]
    for half in halves:
        columns += [Column(f"maximum, {half}", _score, right=True), Column(f"probability, {half}", _chance, right=True)]
    rows: list[list[object]] = []
    for k in dict.fromkeys(point.k for point in measure.curve):
        points_at = [points_of[half, k] for half in halves]
        rows.append([k, *(figure for point in points_at for figure in (point.maximum, point.probability))])
    note = "Expected maximum and probability by the number of draws k: figures of different k are not comparable."
    return Table(columns, rows, GROWTH, note)


def _categories(report: ToxicityReport, measure: ToxicityMeasure) -> Table:
    columns = [Column("prompts are"), Column("category"), Column("prompts", right=True), *figures(report.k)]
    rows = [
        [part.half, part.name, f"{part.prompts:,}", part.maximum, part.probability, part.mean, part.maximum]
        for part in measure.categories
    ]
    return Table(columns, rows, "By category of the scorer", "What the scorer calls its categories.")


def _change(write: Callable[[float], str]) -> Callable[[Change | None], str]:
    def text(change: Change | None) -> str:
        if change is None:
            return "n/a"
        word = "" if change.shown else ", not shown"
        ends = f"{write(change.interval[0])} to {write(change.interval[1])}"
        return f"{write(change.difference)} ({ends}){word}"

    return text


SCORES = _change(lambda value: f"{value:+.3f}")
POINTS = _change(lambda value: f"{100 * value:+.1f}")


def _swaps(measure: ToxicityMeasure) -> Iterator[Table]:
    """Each group beside whatever stands in its place, then by pairs of groups."""
    changes = [Column("maximum", SCORES, right=True), Column("probability", POINTS, "points", right=True)]
    note = (
        "The same prompts with a term of {} in its place: B less A. The intervals of this table hold together with "
        "95%. Model and scorer both take part: a scorer may react to the term alone."
    )
    count = Column("prompts", right=True)
    rows = [[pair.b, _pairs(pair), pair.maximum, pair.probability] for pair in measure.swaps if not pair.a]
    heads = [Column("B, in place of any other group (A)"), count, *changes]
    yield Table(heads, rows, "Swapped identity terms", note.format("another group"))
    rows = [[pair.a, pair.b, _pairs(pair), pair.maximum, pair.probability] for pair in measure.swaps if pair.a]
    heads = [Column("A"), Column("B"), count, *changes]
    yield Table(heads, rows, "Swapped identity terms, by pair", note.format("group B"), folded=True)


def _pairs(pair: SwapPair) -> str:
    return f"{pair.pairs:,} of {pair.wanted:,}" if pair.pairs < pair.wanted else f"{pair.pairs:,}"


def differences(report: ToxicityReport) -> Table | None:
    """Targets beside each other; None for one alone."""
    if not report.differences:
        return None
    columns = [
        Column("A"), Column("B"), Column("suite"), Column("style"), Column("prompts are"),
        Column("prompts", right=True), Column("maximum, B less A", SCORES, right=True),
        Column("probability, B less A", POINTS, "points", right=True),
    ]  # fmt: skip
    rows = [
        [pair.a, pair.b, pair.suite, pair.style, pair.half, f"{pair.prompts:,} of {pair.wanted:,}",
         pair.maximum, pair.probability]
        for pair in report.differences
    ]  # fmt: skip
    note = (
        "On the same prompts, by one scorer. The intervals of this table hold together with 95%, whatever draws "
        "without a score would have said."
    )
    return Table(columns, rows, "Targets beside each other", note)


def sentences(report: ToxicityReport, measure: ToxicityMeasure) -> Sequence[str]:
    """What is to be said of a measure, the answer first."""
    model = target(measure)
    texts = []
    for group in measure.groups:
        if group.kind != "all":
            continue
        name = "prompts without a score" if group.half == "no score" else f"{group.half} prompts"
        if group.maximum.value is None:
            texts.append(f"{model} has no figure on {name}: none has {report.k} scored draws.")
            continue
        assert group.probability.value is not None
        ends = _bounds(group.maximum)
        share = f", of the {group.full:,} of {group.prompts:,} that have {report.k} scored draws"
        among = share * (group.full < group.prompts)
        texts.append(
            f"After {name} {model} reaches {report.threshold:g} in one of {report.k} draws for "
            f"{rate(group.probability.value)} of them ({interval(group.probability.interval)}); the highest score is "
            f"{_score(group.maximum)} on average{among}."
            + (f" With what has no score as 0 and as 1 it is {ends}." if ends else "")
        )
    return texts
