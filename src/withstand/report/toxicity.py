"""What `withstand toxicity` measured, as a page, Markdown and JSON. No text of a prompt or a continuation is in it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from withstand.core.text import count, series
from withstand.report import forms
from withstand.report import toxicity_tables as parts
from withstand.report.shell import HERE, render
from withstand.report.table import Column, Table
from withstand.report.table import markdown as escaped
from withstand.report.toxicity_plot import panels
from withstand.results.toxicity_limits import lines
from withstand.results.toxicity_records import ToxicityMeasure, ToxicityReport

WHAT = "toxicity"
LIMITS = "What these scores cannot say"
NOTES = "What to keep in mind"
HOW = (
    "Of each prompt: the mean of the highest score over all subsets of k of its draws (Hoeffding's U-statistic; "
    "with k draws it is their maximum, as in Gehman et al. 2020, arXiv:2009.11462), and the share of these subsets "
    "with a score at the threshold. A figure is the mean over the prompts that have k scored draws. Intervals of "
    "95%: the outer one of a bootstrap over prompts, or over clusters of them, and of Wilson's. A draw without a "
    "score is never 0: the column `open as 0 and 1` says what such draws could change. Prompts without a score of "
    "their own are in neither half."
)


def write(report: ToxicityReport, path: Path) -> None:
    """Write a report as its ending says. Raises `SpecError` for another ending, and where there is no folder."""
    forms.write(path, WHAT, lambda: html(report), lambda: markdown(report), report.to_json())


# --- what is shown -----------------------------------------------------------------------------------------------


def headline(report: ToxicityReport) -> str:
    """Who was measured on what."""
    targets = list(dict.fromkeys(parts.target(measure) for measure in report.measures))
    suites = list(dict.fromkeys(measure.suite for measure in report.measures))
    return f"Toxicity scores of {series(targets)} on {series(suites)}"


def answers(report: ToxicityReport) -> list[str]:
    """The figures of one measure in words; of several, what is to be taken with care: their figures are in the table
    beside the limits."""
    texts = [
        f"Take with care, {parts.title(measure)}: {measure.marked}." for measure in report.measures if measure.marked
    ]
    if len(report.measures) == 1:
        texts += parts.sentences(report, report.measures[0])
    else:
        texts.append(f"{len(report.measures)} measures, of one target, suite, style and version of a scorer each.")
    return [*texts, "A low score is no evidence of safety. What these scores cannot say stands beside them."]


def notes(report: ToxicityReport) -> list[str]:
    """What flatters a figure or is odd in it, of all and of each measure: read before any of them."""
    several = len(report.measures) > 1
    of_measures = [
        f"{parts.title(measure)}: {note}" if several else note for measure in report.measures for note in measure.notes
    ]
    return [*report.notes, *of_measures]


def facts(report: ToxicityReport) -> list[tuple[str, Sequence[str]]]:
    """How it was measured, beside which no figure stands alone."""
    measures = report.measures
    scorers = dict.fromkeys(
        line
        for measure in measures
        for line in (
            f"{measure.scorer} ({measure.scorer_method})", f"hash {measure.scorer_hash}",
            f"version {measure.scored_by}, as the service says" if measure.scored_by else "",
        )
    )  # fmt: skip
    sampled = dict.fromkeys(
        f"{measure.samples} draws, temperature {measure.temperature:g}, top_p {measure.top_p:g}, at most "
        f"{measure.max_tokens} tokens"
        for measure in measures
    )
    suites = dict.fromkeys(
        f"{measure.suite} {measure.suite_version}{', ' if measure.style else ''}{measure.style}: "
        f"{count(measure.prompts, 'prompt')}"
        for measure in measures
    )
    return [
        ("scorer", [line for line in scorers if line]),
        ("k", [str(report.k)]), ("threshold", [f"{report.threshold:g}"]), ("seed", [str(report.seed)]),
        ("sampling", list(sampled)), ("prompts", list(suites)), ("run", [report.run]),
    ]  # fmt: skip


def main_table(report: ToxicityReport) -> Table:
    """Of each target and style both figures by half."""
    full = parts.figures(report.k)
    columns = [Column("prompts are"), Column("prompts", right=True), full[0], full[1]]
    rows: list[list[object] | str] = []
    for measure in report.measures:
        care = "take with care" if measure.marked else ""
        rows.append(", ".join(filter(None, (f"{parts.target(measure)} on {measure.suite}", measure.style, care))))
        halves = [group for group in measure.groups if group.kind == "all"]
        rows += [[group.half, parts.prompts(group), group.maximum, group.probability] for group in halves]
    return Table(columns, rows, "Expected maximum and probability")


def without_score(measure: ToxicityMeasure) -> Table:
    """The draws of each half that have no score, by why; no rows where all have one."""
    names = ("empty", "filtered", "unscored", "elsewhere", "failed")
    heads = {"elsewhere": "by another version"}
    columns = [
        Column("prompts are"), Column("draws wanted", right=True), Column("scored", right=True),
        *(Column(heads.get(name, name), right=True) for name in names),
        Column("prompts with fewer scored draws than k", right=True),
    ]  # fmt: skip
    halves = [group for group in measure.groups if group.kind == "all"]
    rows = [
        [group.half, f"{group.draws.wanted:,}", f"{group.draws.scored:,}",
         *(f"{getattr(group.draws, name):,}" for name in names), f"{group.prompts - group.full:,}"]
        for group in halves
        if group.draws.scored < group.draws.wanted
    ]  # fmt: skip
    note = "All draws have a score."
    if rows:
        note = (
            "Empty: nothing was said. Filtered: by the target or its defense. Unscored: the scorer gave no number in 0 "
            "to 1. Failed: no answer, or no verdict yet. Prompts with too few are in no figure but its bounds."
        )
    return Table(columns, rows, "What has no score", note)


def details(report: ToxicityReport, measure: ToxicityMeasure) -> Iterator[Table]:
    """All tables of a measure, what has no score after the halves."""
    first, *rest = parts.tables(report, measure)
    yield replace(first, title="By half")  # its own title is that of the part
    yield without_score(measure)
    yield from rest


# --- forms -------------------------------------------------------------------------------------------------------


def html(report: ToxicityReport) -> str:
    """One file that opens anywhere."""
    several = len(report.measures) > 1
    measures = [
        (
            parts.title(measure),
            parts.sentences(report, measure) if several else (),
            measure.marked,
            list(details(report, measure)),
            panels(measure),
        )
        for measure in report.measures
    ]
    return render(
        HERE / "toxicity.html.j2",
        headline=headline(report),
        answers=answers(report),
        facts=facts(report),
        overview=main_table(report),
        limits=report.limits,
        limits_title=LIMITS,
        notes_title=NOTES,
        measures=measures,
        beside=parts.differences(report),
        notes=notes(report),
        growth=parts.GROWTH,
        command=report.command,
        how=HOW,
    )


def markdown(report: ToxicityReport) -> str:
    """For a ticket or a wiki."""
    texts = [f"# {escaped(headline(report))}"]
    texts += [escaped(" ".join(answers(report)))]
    if listed := notes(report):
        texts.append("\n".join([f"**{NOTES}**", "", *(f"- {escaped(note)}" for note in listed)]))
    texts += ["\n".join(f"- {name}: {escaped('; '.join(values))}" for name, values in facts(report))]
    texts.append("\n".join(main_table(report).section(2)).strip())
    texts.append(f"## {LIMITS}\n\n" + "\n".join(f"- {escaped(line)}" for line in lines(report.limits)))
    if beside := parts.differences(report):
        texts.append("\n".join(beside.section(2)).strip())
    for measure in report.measures:
        texts.append(f"## {escaped(parts.title(measure))}")
        if len(report.measures) > 1:
            texts.append(escaped(" ".join(parts.sentences(report, measure))))
        if measure.marked:
            texts.append(f"Take with care: {escaped(measure.marked)}.")
        texts += ["\n".join(table.section(3)).strip() for table in details(report, measure)]
    texts.append(f"## How it was counted\n\n{escaped(HOW)}")
    if report.command:
        texts.append(f"Again: `withstand {report.command}`")
    return "\n\n".join(texts) + "\n"
