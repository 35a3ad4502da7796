"""The cells of a run as LaTeX: one booktabs table for each suite, judge and sampling, to be put into a paper."""

import re
from collections.abc import Iterator, Sequence

from withstand.core.text import DASH, whole
from withstand.report.settings import Group, Setting, settings_of
from withstand.report.table import Column, Row, Table
from withstand.results.cells import CellResult, Interval
from withstand.results.summary import RunSummary


def latex(summary: RunSummary) -> str:
    """Tables with rates and intervals in percent, n scored cases, and what could not be scored or failed."""
    summary = summary.shown()
    head = "% needs \\usepackage[T1]{fontenc}, \\usepackage{textcomp} and \\usepackage{booktabs}\n"
    name = re.sub(r"[^A-Za-z0-9]+", "-", summary.run.name).strip("-") or "run"
    return head + "\n".join(
        _table(setting).latex(_caption(setting), f"tab:{name}{f'-{n}' if n else ''}")
        for n, setting in enumerate(settings_of(summary.cells, summary.warnings, summary.worst))
    )


def _caption(setting: Setting) -> str:
    by = ", by string matching" if setting.judge_method == "string matching" else ""
    target = "" if _many(setting.groups) else f" against {setting.groups[0].target}"
    what = f"Attack success rate{target} on {setting.kinds}, judge {setting.judge}{by}."
    return f"{what} n: scored cases. Intervals: Wilson, over behaviors."


def _many(groups: Sequence[Group]) -> bool:
    return len({group.target for group in groups}) > 1 or any(group.defense for group in groups)


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
