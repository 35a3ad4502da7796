"""The report as one HTML file that opens anywhere and asks the network for nothing.

`html` turns the summary of a run (results/summary.py) and its cases into a page: the answer in a sentence, what to
doubt, rates with intervals, the cases with their texts hidden, and all that is needed to check and repeat them. The
layout is in `report.html.j2`, `figures.html.j2`, `report.css` and `report.js`; what it shows is computed in `words.py`,
`tables.py`, `figures.py`, `untested.py` and, for cases, `packed.py`.

Everything that came from a model, a data file or a person is text, never markup: jinja2 escapes it, control and
invisible characters are made visible, and a content security policy lets no script run but the page's own, by hash.
"""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from withstand.core.text import clock, file_name, whole
from withstand.registry.grammar import to_toml
from withstand.report import figures, tables, words
from withstand.report.packed import pack
from withstand.report.shell import HERE, render
from withstand.report.table import Column, Table
from withstand.report.untested import untested
from withstand.results.cells import Record
from withstand.results.names import aliased, shown_summary
from withstand.results.votes import VoteCounts


def html(
    summary: Record,
    cases: Iterable[Record],
    cases_total: int,
    reveal: bool = False,
    with_text: bool = True,
    points: Sequence[Record] = (),
    votes: Sequence[VoteCounts] = (),
) -> str:
    """The report as one self-contained page.

    summary: what `summarize` says of the run; rates in [0, 1] or None.   cases: the first rows, of `cases_total`.
    reveal: show prompts and completions from the start; else they are in the file, blurred until a person asks.
    with_text: False leaves the texts out and puts their length and a short hash in their place.
    points: success against asks and operations (results/success_by_budget.py).
    votes: how the members of an ensemble voted (results/votes.py).
    """
    shown = shown_summary(summary)
    cells: list[Record] = shown["cells"]
    warnings = words.warnings(shown)
    settings = tables.settings(cells, warnings)
    packed = pack(cases, cells, with_text)
    provenance, name = summary["provenance"], str(summary["run"]["name"])
    file = shlex.quote(f"{file_name(name)}.toml")
    return render(
        HERE / "report.html.j2",
        run=summary["run"],
        spec=to_toml(summary["run"]["spec"]),
        file=file,
        commands=(summary["run"]["command"],)
        if "imported" in summary["run"]["spec"]
        else (
            f"withstand report {shlex.quote(name)} --format toml -o {file}",
            f"withstand run {file} --name {shlex.quote(name)}",
        ),
        provenance=provenance,
        version=provenance.get("version") or metadata.version("withstand"),
        question=words.question(cells),
        answers=words.answers(settings),
        warnings=warnings,
        limits=words.limits(cells, settings, warnings),
        untested=untested(summary),
        settings=settings,
        **_figures(settings, points, shown),
        votes=_votes(votes, {cell["judge"]: aliased(cell)["judge"] for cell in summary["cells"]}),
        names=_names(summary["cells"]),
        components=_components(provenance["components"]),
        facts=[*tables.overview(settings), *_costs(summary)],
        categories=any(len(cell.get("by_category") or []) > 1 for cell in cells if not cell["benign"]),
        at_k=tables.at_k(settings),
        curve=tables.curve,
        blocks=packed.blocks,
        total=packed.total,
        filters=packed.filters,
        omitted=max(0, cases_total - packed.total),
        cases_total=cases_total,
        export=f"withstand report {shlex.quote(name)} --format csv",
        reveal=reveal,
        with_text=with_text,
    )


def _figures(settings: Sequence[Record], points: Sequence[Record], summary: Record) -> dict[str, Any]:
    """What `figures.html.j2` draws, by the names that the template uses."""
    curves = {by: [point for point in points if point["by"] == by] for by in ("asks", "flops")}
    views: dict[str, Callable[[Record], Any]] = {
        "maps": figures.heat_map,
        "tradeoffs": figures.tradeoff,
        "transfers": lambda setting: figures.transfer(setting, summary["run"]["spec"]),
    }
    return {
        name: [(setting, drawn) for setting in settings if (drawn := view(setting))] for name, view in views.items()
    } | {
        "budgets": [(by, panels) for by in curves if (panels := figures.budget(settings, curves[by]))],
        "agreements": figures.agreement(summary.get("calibrations") or []),
    }


def _costs(summary: Record) -> Iterator[tuple[str, list[str]]]:
    """What the run took, and what of it earlier runs had computed."""
    if summary["run"].get("seconds") is not None:
        yield "model time", [clock(summary["run"]["seconds"])]
    if cost := sum(cell.get("cost") or 0 for cell in summary["cells"]):
        yield "cost", [f"${cost:.2f}"]
    reused = summary.get("reused") or {}
    if reused.get("rows"):
        oldest = f", oldest {reused['oldest'][:10]}" if reused["oldest"] else ""
        yield "rows from earlier runs", [f"{whole(reused['rows'])} of {whole(reused['of'])}{oldest}"]


def _votes(votes: Sequence[VoteCounts], names: Mapping[str, str]) -> Table:
    columns = [Column("judge"), *(Column(name, whole, right=True) for name in ("agreed", "split", "too few could say"))]
    return Table(columns, [[names[vote.judge], vote.agreed, vote.split, vote.few] for vote in votes])


def _names(cells: Sequence[Record]) -> Table:
    """The names that the report prints, and the labels that they stand for."""
    rows = dict.fromkeys((name, kind, cell[kind]) for cell in cells for kind, name in cell.get("shown", {}).items())
    return Table([Column("name"), Column("of"), Column("label")], [list(row) for row in rows])


def _components(parts: Sequence[Record]) -> Table:
    columns = [Column("name"), Column("version"), Column("hash of the source")]
    return Table(columns, [[part[name] for name in ("name", "version", "source")] for part in parts])
