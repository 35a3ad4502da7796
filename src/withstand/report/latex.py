"""The cells of a run as LaTeX: one booktabs table for each suite, judge and sampling, to be put into a paper."""

import re
from collections.abc import Iterator, Sequence

from withstand.core.text import DASH, whole
from withstand.report.settings import Group, Setting, settings_of, short_names
from withstand.report.table import Column, Row, Table
from withstand.results.cells import CellResult, Interval
from withstand.results.summary import RunSummary


def latex(summary: RunSummary) -> str:
    """Tables with rates and intervals in percent: models by attacks where there are several models, and every cell with
    n scored cases, and what could not be scored or failed."""
    summary = summary.shown()
    head = "% needs \\usepackage[T1]{fontenc}, \\usepackage{textcomp} and \\usepackage{booktabs}\n"
    name = re.sub(r"[^A-Za-z0-9]+", "-", summary.run.name).strip("-") or "run"
    tables = []
    for n, setting in enumerate(settings_of(summary.cells, summary.warnings, summary.worst)):
        label = f"tab:{name}{f'-{n}' if n else ''}"
        if pivot := _pivot(setting):
            tables.append(pivot.latex(_caption(setting, pivot), f"{label}-models"))
        table = _table(setting)
        tables.append(table.latex(_caption(setting, table), label))
    return head + "\n".join(tables)


DEFINED = {
    "ASR, %": "ASR: the share of a behavior's scored cases that broke the target, mean over behaviors, in percent.",
    "any attack": "any attack: the percentage of behaviors that a case of any attack broke.",
    "over-refusal": "over-refusal: the percentage of benign requests that were refused or filtered.",
    "utility": "utility: the percentage of questions that were answered correctly.",
    "corrected": "corrected: the ASR without the judge's error, by labels.",
    "n": "n: scored cases; of any attack, behaviors.",
    "unscored": "unscored: cases that the judge could not decide, of any attack open behaviors; errors: no row.",
    "n/a": "n/a: no rate can be given.",
}
"""A column, row or entry of a table -> the sentence of the caption that defines it."""


def _caption(setting: Setting, table: Table) -> str:
    by = ", by string matching" if setting.judge_method == "string matching" else ""
    target = "" if _many(setting.groups) else f" against {setting.groups[0].target}"
    what = f"Attack success rate (ASR){target} on {setting.kinds}, judge {setting.judge}{by}."
    shown = {*table.heads(), *(text for row in table.texts() for text in row)}
    if not shown & {"ASR, %"}:
        shown.add("ASR, %")
    defined = [sentence for name, sentence in DEFINED.items() if name in shown]
    ends = "Intervals: 95%, Wilson, on the effective number of cases of behaviors."
    return " ".join([what, *defined, ends])


def _many(groups: Sequence[Group]) -> bool:
    return len({group.target for group in groups}) > 1 or any(group.defense for group in groups)


def _pivot(setting: Setting) -> Table | None:
    """Models down, attacks across; None for one model, and where no attack was run."""
    groups = [group for group in setting.groups if not group.benign]
    if len(groups) < 2:
        return None
    names = short_names(row.attack for group in groups for row in group.rows)
    worst, refusals, utilities = (
        any(getattr(group, name) for group in groups) for name in ("worst", "refusals", "utilities")
    )
    columns = [Column("model"), *(Column(name, right=True) for name in names.values())]
    columns += [Column("any attack", right=True)] * worst + [Column("over-refusal", right=True)] * refusals
    columns += [Column("utility", right=True)] * utilities
    rows = []
    for group in groups:
        cells = {row.attack: _both(row.asr, row.asr_interval) for row in group.rows}
        row = [group.name, *(cells.get(attack, "") for attack in names)]
        row += [_both(group.worst.rate, group.worst.interval) if group.worst else ""] * worst
        row += [_first(group.refusals, "over_refusal", "over_refusal_interval")] * refusals
        row += [_first(group.utilities, "rate", "interval")] * utilities
        rows.append(row)
    return Table(columns, rows)


def _first(cells: Sequence[CellResult], rate: str, ends: str) -> str:
    return _both(getattr(cells[0], rate), getattr(cells[0], ends)) if cells else ""


def _both(rate: float | None, ends: Interval | None) -> str:
    return f"{_percent(rate)} ({_span(ends)})" if rate is not None and ends else "n/a"


def _table(setting: Setting) -> Table:
    groups = setting.groups
    corrected = any(row.asr_corrected for group in groups for row in group.rows)
    columns = [
        Column("attack"), Column("ASR, %", _percent, right=True), Column("95% interval", right=True),
        *[Column("corrected", right=True)] * corrected,
        *(Column(name, _count, right=True) for name in ("n", "unscored", "errors")),
    ]  # fmt: skip
    return Table(columns, [row for group in groups for row in _group(group, corrected, _many(groups))])


def _group(group: Group, corrected: bool, named: bool) -> Iterator[Row]:
    """The rows of one target and defense."""
    if named:
        yield group.name
    yield from (_row(row, corrected) for row in group.rows)
    if (worst := group.worst) and worst.cases > 1:
        yield ["any attack", worst.rate, _span(worst.interval), *[""] * corrected, worst.behaviors, worst.open, None]
    for cell in group.refusals:
        ends = _span(cell.over_refusal_interval)
        copied = ["over-refusal", cell.over_refusal, ends, *[""] * corrected, None, None, None]
        yield _row(cell, corrected) if cell.benign else copied
    yield from (_row(cell, corrected) for cell in group.utilities)


def _row(cell: CellResult, corrected: bool) -> Row:
    fixed = cell.asr_corrected
    correction = [f"{_percent(fixed.rate)} ({_span(fixed.interval)})" if fixed else ""] * corrected
    name = cell.attack if cell.measures == "harm" else cell.measures
    return [name, cell.rate, _span(cell.interval), *correction, cell.scored, cell.unscored, cell.error]


def _percent(rate: float | None) -> str:
    return "n/a" if rate is None else f"{100 * rate:.1f}"


def _span(ends: Interval | None) -> str:
    return f"{100 * ends[0]:.1f}{DASH}{100 * ends[1]:.1f}" if ends else "n/a"


def _count(value: int | None) -> str:
    return "" if value is None else whole(value)
