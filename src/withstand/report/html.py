"""The report as one HTML file that opens anywhere and asks the network for nothing.

`html` turns the summary of a run (results/summary.py) and its cases into a page: the answer in a sentence, what to
doubt, rates with intervals, the cases with their texts hidden, and all that is needed to check and repeat them. The
layout is in `report.html.j2`, `figures.html.j2`, `report.css` and `report.js`; what it shows is computed in `words.py`,
`settings.py`, `figures.py`, `untested.py` and, for cases, `packed.py`.

Everything that came from a model, a data file or a person is text, never markup: jinja2 escapes it, control and
invisible characters are made visible, and a content security policy lets no script run but the page's own, by hash.
"""

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from withstand.core.text import clock, count, file_name, series, unique, whole
from withstand.registry.grammar import to_toml
from withstand.report import advice, families, figures, tested, words
from withstand.report import defended as of_defenses
from withstand.report.packed import pack
from withstand.report.settings import Setting, curve, curves_at_k, overview, settings_of
from withstand.report.shell import HERE, render
from withstand.report.table import Column, Table
from withstand.report.untested import untested
from withstand.results.cases import CaseResult
from withstand.results.cells import CellResult, Record
from withstand.results.decide import Decided
from withstand.results.summary import RunSummary
from withstand.results.votes import VoteCounts
from withstand.results.worst_case import WorstCase
from withstand.store.attempts import Attempt


def html(
    summary: RunSummary,
    cases: Iterable[CaseResult],
    cases_total: int,
    reveal: bool = False,
    with_text: bool = True,
    points: Sequence[Record] = (),
    votes: Sequence[VoteCounts] = (),
    gate: Decided | None = None,
    by_id: Table | None = None,
    frameworks: Sequence[Table] = (),
    findings: Sequence[Attempt] = (),
) -> str:
    """The report as one self-contained page.

    cases: the first, of `cases_total`.   points: success against budget, as `within` yields them.   votes: of an
    ensemble's members.   gate: by the run's spec.   by_id: rates by category, hazard, OWASP id or policy.   frameworks:
    what of each was tested.   findings: of people, of cases of the run.   reveal: texts are shown without a click.
    with_text: without it, a text is its length and a short hash.
    """
    shown = summary.shown()
    cells = shown.cells
    warnings = words.warnings(shown)
    settings = settings_of(cells, shown.worst, shown.defenses)
    packed = pack(cases, cells, with_text)
    run, provenance = summary.run, summary.provenance
    name, file = shlex.quote(run.name), shlex.quote(f"{file_name(run.name)}.toml")
    again = (f"withstand report {name} --format toml -o {file}", f"withstand run {file} --name {name}")
    return render(
        HERE / "report.html.j2",
        run=run,
        spec=to_toml(run.spec),
        file=file,
        commands=(run.command,) if "imported" in run.spec else again,
        provenance=provenance,
        question=words.question(cells, shown.advice),
        answers=words.answers(settings, shown.advice),
        **_next(run.name, shown.worst, gate),
        warnings=warnings,
        limits=words.limits(cells, settings, warnings),
        untested=list(untested(summary)),
        settings=settings,
        **_figures(settings, points, shown),
        **_groups(summary, by_id, frameworks),
        votes=_votes(votes, summary.cells),
        findings=_findings(findings, with_text),
        names=_names(summary.cells),
        components=_components(provenance.components, provenance.prompts),
        facts=[*overview(settings), *_sets(provenance.sets), *_costs(summary)],
        categories=any(len(cell.by_category) > 1 for cell in cells),
        **dict(zip(("ks", "at_k"), curves_at_k(settings), strict=True)),
        curve=curve,
        **vars(packed) | ({"worst": 0} if advice.alone(cells, shown.advice) else {}),
        omitted=max(0, cases_total - packed.total),
        cases_total=cases_total,
        export=f"withstand report {name} --format csv",
        reveal=reveal,
        with_text=with_text,
    )


def _next(run: str, worst: Sequence[WorstCase], gate: Decided | None) -> dict[str, Any]:
    """What follows from the answers: the gate of the spec, and commands."""
    return {
        "gate": gate,
        "gate_lines": list(words.gate_sentence(gate)) if gate else [],
        "commands_next": words.next_commands(run, worst, gate is not None),
    }


def _figures(settings: Sequence[Setting], points: Sequence[Record], summary: RunSummary) -> dict[str, Any]:
    """What `figures.html.j2` draws, by the names that the template uses."""
    curves = {by: [point for point in points if point["by"] == by] for by in ("asks", "flops")}
    views: dict[str, Callable[[Setting], Any]] = {
        "maps": figures.heat_map,
        "tradeoffs": figures.tradeoff,
        "transfers": lambda setting: figures.transfer(setting, summary.run.spec),
    }
    return {
        name: [(setting, drawn) for setting in settings if (drawn := view(setting))] for name, view in views.items()
    } | {
        "budgets": [(by, panels) for by in curves if (panels := figures.budget(settings, curves[by]))],
        "agreements": figures.agreement(summary.calibrations),
    }


def _groups(summary: RunSummary, by_id: Table | None, frameworks: Sequence[Table]) -> dict[str, Any]:
    """The tables by id, of frameworks, on advice and on variants, and what to know of them; empty without any."""
    shown, seen = summary.shown(), summary.families
    names = {cell.attack: cell.printed("attack") for cell in summary.cells}
    return {
        "by_id": by_id,
        "frameworks": (tested, frameworks),
        "defenses": (of_defenses, of_defenses.tables(shown.defenses)),
        "advice": advice.table(shown.advice),
        "advice_domains": advice.domains(shown.advice),
        "advice_notes": [advice.LEAD, *advice.notes(shown.advice)],
        "families": families.tables(seen, names) if seen else [],
        "families_lead": families.LEAD,
        "families_warnings": seen.warnings if seen else [],
    }


def _sets(entries: Sequence[Record]) -> Iterator[tuple[str, list[str]]]:
    """The sets of attacks that the run names, with what each was made into. Its statistic is what any of them broke."""
    if entries:
        yield "set of attacks", unique(f"{entry['set']}: {series(entry['labels'])}" for entry in entries)


def _costs(summary: RunSummary) -> Iterator[tuple[str, list[str]]]:
    """What the run took, and what of it earlier runs had computed."""
    yield "model time", [clock(summary.run.seconds)]
    if cost := sum(cell.cost for cell in summary.cells):
        yield "cost", [f"${cost:.2f}"]
    if summary.exposure:
        yield "people who labeled", [summary.exposure.in_words()]
    if summary.reused.rows:
        oldest = f", oldest {summary.reused.oldest[:10]}" if summary.reused.oldest else ""
        yield "rows from earlier runs", [f"{whole(summary.reused.rows)} of {whole(summary.reused.of)}{oldest}"]


def _votes(votes: Sequence[VoteCounts], cells: Sequence[CellResult]) -> Table:
    names = {cell.judge: cell.printed("judge") for cell in cells}
    columns = [Column("judge"), *(Column(name, whole, right=True) for name in ("agreed", "split", "too few could say"))]
    return Table(columns, [[names[vote.judge], vote.agreed, vote.split, vote.few] for vote in votes])


def _findings(findings: Sequence[Attempt], with_text: bool) -> Table:
    """What people found in the run, the severest first. A note may quote: without texts it is its length."""
    columns = map(Column, ("severity", "harm", "target", "attack", "note", "person"))
    rows = []
    for finding in sorted(findings, key=lambda finding: -(finding.rated or 0)):
        note = finding.notes
        note = note if with_text or not note else count(len(note), "character")
        tester = f"{finding.tester} (not of a trusted writer)" if finding.foreign else finding.tester
        rows.append([finding.word, finding.harm_name, finding.target, finding.technique, note, tester])
    return Table([*columns], rows)


def _names(cells: Sequence[CellResult]) -> Table:
    """The names that the report prints, and the labels that they stand for."""
    rows = dict.fromkeys((name, kind, getattr(cell, kind)) for cell in cells for kind, name in cell.shown.items())
    return Table([Column("name"), Column("of"), Column("label")], list(rows))


def _components(parts: Sequence[Record], prompts: Record) -> Table:
    columns = [Column("name"), Column("version"), Column("prompts"), Column("hash of the source")]
    rows = [[part["name"], part["version"], prompts.get(part["name"], ""), part["source"]] for part in parts]
    return Table(columns, rows)
