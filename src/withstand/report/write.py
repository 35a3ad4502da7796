"""A run as a file: HTML, JSON, CSV, Markdown, LaTeX, or its spec as TOML."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from withstand.core import Json, digest
from withstand.core.save import save as save
from withstand.core.taxonomy import Grouping
from withstand.core.text import DASH, whole
from withstand.registry.grammar import to_toml
from withstand.report import advice, families, words
from withstand.report import defended as of_defenses
from withstand.report import tested as appendix
from withstand.report.groups import table as by_ids
from withstand.report.html import html
from withstand.report.latex import latex
from withstand.report.settings import settings_of, short_names
from withstand.report.table import Column, Table, csv_lines
from withstand.report.table import markdown as line
from withstand.results.by_hand import findings_of
from withstand.results.by_policy import Assigned, assigned
from withstand.results.cases import CaseResult, cases
from withstand.results.cells import CellResult, plain
from withstand.results.counts import read_counts
from withstand.results.decide import Decided, of_spec
from withstand.results.one_answer import one_answer
from withstand.results.success_by_budget import within
from withstand.results.summary import RunSummary, summarize
from withstand.results.taxonomy import By, GroupResult, grouped
from withstand.results.tested import FrameworkResult, framework_results, of_run
from withstand.results.votes import votes
from withstand.results.warnings import without_calls
from withstand.store.store import RunRow, Store

FORMATS = ("html", "pdf", "json", "csv", "md", "tex", "toml")
"""By what a file's name ends in."""
GROUPED = ("html", "pdf", "json", "md")
"""Those to which rates by category, hazard or OWASP id can be added."""

HTML_CASES, HTML_SOME = 50_000, 10_000
"""Most cases in one HTML file; and how many of a run that has more: the CSV and the explorer have all."""


def render(
    store: Store, run: RunRow, form: str, reveal: bool = False, with_text: bool | None = None, by: By | None = None,
    policy: Grouping | None = None,
) -> str:  # fmt: skip
    """The report as text. `with_text` None: texts stay in the HTML (blurred) and are left out of the CSV.

    by: in HTML, JSON and Markdown also the rates by category, hazard or OWASP id; by the categories of a `policy` with
    an appendix, what of which framework was tested.
    """
    if form == "toml":
        return to_toml(run.spec)
    counts = read_counts(store, run)
    summary = summarize(store, run, counts)
    of_policy = assigned(store, run, policy) if policy else None
    groups = grouped(store, run, counts, summary.shown().cells, by, of_policy) if by else ()
    by_id = by_ids(groups, by, "stop_when_decided" in run.plan, of_policy) if by else None
    frameworks = _frameworks(store, run, groups, summary.cells, of_policy) if of_policy else ()
    if form == "json":
        return json.dumps(summary.to_json() | _by(by, groups, of_policy, frameworks), indent=1) + "\n"
    if form == "tex":
        return latex(summary)
    gate = of_spec(store, run)
    if form == "md":
        return markdown(summary, gate, by_id, [*appendix.tables(frameworks)])
    if form == "csv":
        return "".join(csv_of(summary.cells, cases(store, run), bool(with_text)))
    total = sum(cell.cases for cell in summary.cells)
    per_cell = None if total <= HTML_CASES else max(1, HTML_SOME // len(summary.cells))
    listed = sorted(cases(store, run, per_cell), key=lambda case: case.outcome != "success")  # broken cases first
    return html(
        summary,
        listed,
        total,
        reveal=reveal,
        with_text=with_text is not False,
        points=[*within(store, run, "asks", counts), *within(store, run, "flops", counts)],
        votes=votes(store, run),
        gate=gate,
        by_id=by_id,
        frameworks=[*appendix.tables(frameworks)],
        findings=findings_of(store, run),
    )


def _frameworks(
    store: Store, run: RunRow, groups: Sequence[GroupResult], cells: Sequence[CellResult], policy: Assigned
) -> tuple[FrameworkResult, ...]:
    mapped = [mapping for mappings in policy.grouping.mappings.values() for mapping in mappings]
    alike = dict.fromkeys(one_answer(store, run), "the target gave one answer to everything")
    uncalled = dict.fromkeys(without_calls(store, run), "no answer called a tool, and it may be that none is seen")
    return framework_results(of_run(groups, cells, policy, alike, uncalled), mapped)


def _by(
    by: By | None, groups: Sequence[GroupResult], policy: Assigned | None, frameworks: Sequence[FrameworkResult]
) -> Json:
    """What --by adds to the JSON."""
    if not by:
        return {}
    if policy is None:
        return {"groups": {"by": by, "rows": plain(groups)}}
    facts = {"policy": policy.grouping.label, "digest": policy.grouping.digest, "notes": [*policy.notes()]}
    return {"groups": {"by": by, **facts, "rows": plain(groups)}, "frameworks": plain(frameworks)}


COLUMNS = (
    "suite", "target", "defense", "attack", "judge", "behavior", "category", "case", "sample", "outcome", "score",
    "why", "finish", "error", "asks", "tokens", "prompt", "completion", "cluster", "knows",
)  # fmt: skip


def rows(cells: Sequence[CellResult], listed: Iterable[CaseResult], with_text: bool) -> Iterator[dict[str, Any]]:
    """Each case as the values of `COLUMNS`. Without texts, each text is a digest by which to check it.

    Texts are the prompt, the completion, the judge's reason and an error from outside, which may quote them.
    """
    for case in listed:
        prompt = "\n\n".join(f"[{turn.role}] {turn.text}" for turn in case.chat)
        texts = {"prompt": prompt, "completion": case.completion or "", "why": case.why}
        texts |= {name: text for name, text in case.failure if name == "error"}
        if not with_text:
            texts = {name: digest(text) if text else "" for name, text in texts.items()}
        labels = cells[case.cell].labels() | {"knows": cells[case.cell].knows}
        values = {**labels, **case.to_json(), "tokens": None, **(case.spent or {}), **texts}
        yield {name: values.get(name) for name in COLUMNS}


def csv_of(cells: Sequence[CellResult], listed: Iterable[CaseResult], with_text: bool) -> Iterator[str]:
    """One line per case."""
    return csv_lines(COLUMNS, rows(cells, listed, with_text))


def points(listed: Iterable[Json]) -> str:
    """Success against budget as CSV, one line per point of each cell's curve (see `budget.within`)."""
    names = (
        "target",
        "defense",
        "attack",
        "by",
        "spent",
        "broken",
        "at_most",
        "behaviors",
        "rate",
        "low",
        "high",
        "area",
    )
    return "".join(csv_lines(names, listed))


def markdown(
    summary: RunSummary, gate: Decided | None = None, by_id: Table | None = None, frameworks: Sequence[Table] = ()
) -> str:
    """The answers, a table of the cells, one `by_id`, their notes, and an appendix of `frameworks`."""
    summary = summary.shown()
    run, cells = summary.run, summary.cells
    notes = dict.fromkeys([*summary.warnings, *_notes(cells)])
    answers = words.answers(settings_of(cells, summary.worst, summary.defenses), summary.advice)
    texts = [
        f"{answer.where}: {text}" if answer.where and text is answer.first else text
        for answer in answers
        for text in (answer.first, *answer.more)
    ]
    texts += [f"Gate of the spec: {gate.overall}", *words.gate_sentence(gate)] if gate else []
    lines = [f"# Run {line(run.name)}", "", f"{run.created}, {run.state}.", ""]
    lines += [part for text in texts for part in (line(text), "")] + [_cells(cells).markdown(), ""]
    if summary.defenses:
        lines += [f"## {of_defenses.TITLE}", "", of_defenses.LEAD, ""]
        for part in of_defenses.tables(summary.defenses):
            lines += part.section(3)
    if by_id:
        lines += by_id.section(2)
    if summary.advice:
        lines += [f"## {advice.TITLE}", "", advice.LEAD, "", advice.table(summary.advice).markdown(), ""]
        if (parts := advice.domains(summary.advice)).rows:
            lines += parts.section(3)
        notes |= dict.fromkeys(advice.notes(summary.advice))
    if summary.families:
        lines += [f"## {families.TITLE}", "", families.LEAD, ""]
        for part in families.tables(summary.families, {cell.attack: cell.attack for cell in cells}):
            lines += part.section(3)
        notes |= dict.fromkeys(summary.families.warnings)
    ending = [f"## {appendix.TITLE}", "", appendix.LEAD, ""] if frameworks else []
    for part in frameworks:
        ending += part.section(3)
    return "\n".join([*lines, *(f"- {line(note)}" for note in notes), "", *ending])


def _cells(cells: Sequence[CellResult]) -> Table:
    columns = [
        *map(Column, ("target", "defense", "attack", "knows", "suite")),
        Column("broken", right=True), Column("ASR", _rate, "95%", right=True),
        Column("corrected", unit="95%", right=True), Column("bounds", right=True),
        Column("over-refusal", _rate, "95%", right=True), Column("utility", unit="95%", right=True),
        Column("unscored", right=True), Column("errors", right=True), Column("asks", whole, right=True),
        Column("tokens", whole, right=True), Column("time", whole, "s", right=True), Column("judge"),
    ]  # fmt: skip
    return Table(columns, [_values(cell) for cell in cells])


def _values(cell: CellResult) -> list[Any]:
    corrected, utility = cell.asr_corrected, cell.utility
    suite = f"{cell.suite} ({cell.split})" if cell.split else cell.suite
    return [
        cell.target, cell.defense, cell.attack, cell.knows, suite,
        "" if cell.benign else f"{cell.success} of {cell.scored}", (cell.asr, cell.asr_interval),
        _rate(corrected.rate, corrected.interval) if corrected else "", _ends(cell.asr_bounds),
        (cell.over_refusal, cell.over_refusal_interval), _rate(utility.rate, utility.interval) if utility else "",
        cell.unscored, cell.error, cell.asks, cell.tokens, cell.seconds, cell.judge,
    ]  # fmt: skip


def _notes(cells: Sequence[CellResult]) -> Iterator[str]:
    """Each note once, with the attacks it is about where it is not about all of them."""
    short = short_names(cell.attack for cell in cells)
    attacks: dict[str, list[str]] = {}
    for cell in cells:
        for note in cell.notes:
            attacks.setdefault(note, []).append(short[cell.attack])
    for note, names in attacks.items():
        yield note if len(names) == len(cells) else f"{', '.join(dict.fromkeys(names))}: {note}"


def _rate(value: float | None, ends: Sequence[float] | None = None) -> str:
    spread = _ends(ends)
    if value is None:
        return spread or "n/a"
    return f"{100 * value:.1f}% ({spread})" if spread else f"{100 * value:.1f}%"


def _ends(ends: Sequence[float] | None) -> str:
    return f"{100 * ends[0]:.1f}{DASH}{100 * ends[1]:.1f}" if ends else ""
