"""The cells of a run as LaTeX: one booktabs table for each suite, judge and sampling, to be put into a paper."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias, TypeVar

from withstand.core.text import DASH, unique, whole
from withstand.report.settings import Group, Setting, settings_of, short_names
from withstand.report.table import Column, Row, Table
from withstand.results.cells import CellResult, Interval
from withstand.results.summary import RunSummary

Item = TypeVar("Item")

WIDE, TALL = 80, 40
"""Characters of a line and rows of a table that a page of one column takes."""
NAME = 30
"""Characters of a name; a longer one is a symbol, which the caption defines."""


def latex(summary: RunSummary) -> str:
    """Tables with rates and intervals in percent: models by attacks where there are several models, and every cell with
    n scored cases, and what could not be scored or failed. What is too wide or too long for a page is divided."""
    summary = summary.shown()
    head = "% needs \\usepackage[T1]{fontenc}, \\usepackage{textcomp} and \\usepackage{booktabs}\n"
    name = re.sub(r"[^A-Za-z0-9]+", "-", summary.run.name).strip("-") or "run"
    tables = []
    for n, setting in enumerate(settings_of(summary.cells, summary.worst)):
        label = f"tab:{name}{f'-{n}' if n else ''}"
        for part, whole_label in ((_pivot(setting), f"{label}-models"), (_tables(setting), label)):
            for at, (table, names) in enumerate(part):
                own = f"{whole_label}-part-{at + 1}" if at else whole_label
                tables.append(table.latex(_caption(setting, table, names), own))
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


KINDS = {"static": " s", "static only": " s", "adaptive": " a"}
"""What an attack knows of a defense -> how it is written behind its rate, where attacks are across."""
OF_KINDS = (
    "adaptive, a: the attack knew the defense, or searched against it. static, s: it did not, and flatters the defense."
)


Named: TypeAlias = tuple[Table, Mapping[str, str]]
"""A table, and name -> how it is written in it."""


def _caption(setting: Setting, table: Table, names: Mapping[str, str]) -> str:
    by = ", by string matching" if setting.judge_method == "string matching" else ""
    target = "" if _many(setting.groups) else f" against {setting.groups[0].target}"
    what = f"Attack success rate (ASR){target} on {setting.kinds}, judge {setting.judge}{by}."
    shown = {*table.heads(), *(text for row in table.texts() for text in row)}
    if not shown & {"ASR, %"}:
        shown.add("ASR, %")
    shown |= {name.partition(" (")[0] for name in shown if name.startswith("any attack (")}
    defined = [sentence for name, sentence in DEFINED.items() if name in shown]
    defined += [OF_KINDS] if any(row.knows for group in setting.groups for row in group.rows) else []
    ends = "Intervals: 95%, Wilson, on the effective number of cases of behaviors."
    symbols = [f"{symbol}: {name}." for name, symbol in names.items() if symbol != name and symbol in shown]
    return " ".join([what, *symbols, *defined, ends])


def _symbols(names: Iterable[str], letter: str) -> dict[str, str]:
    """Each name as it is written in a table: a long one as a symbol."""
    different = unique(names)
    return {name: name if len(name) <= NAME else f"{letter}{n}" for n, name in enumerate(different, 1)}


def _many(groups: Sequence[Group]) -> bool:
    return len({group.target for group in groups}) > 1 or any(group.defense for group in groups)


def _pivot(setting: Setting) -> Iterator[Named]:
    """Models down, attacks across; attacks down and a few models across where that is too wide. None for one model, and
    where no attack was run."""
    groups = [group for group in setting.groups if not group.benign]
    if len(groups) < 2:
        return
    attacks = short_names(row.attack for group in groups for row in group.rows)
    worst, refusals, utilities = (
        any(getattr(group, name) for group in groups) for name in ("worst", "refusals", "utilities")
    )
    heads = [*attacks.values(), *["any attack"] * worst, *["over-refusal"] * refusals, *["utility"] * utilities]
    rates: dict[str, list[str]] = {}
    for group in groups:
        cells = {row.attack: _both(row.asr, row.asr_interval, row.knows) for row in group.rows}
        row = [cells.get(attack, "") for attack in attacks]
        row += [_both(group.worst.rate, group.worst.interval, group.worst.knows) if group.worst else ""] * worst
        row += [_first(group.refusals, "over_refusal", "over_refusal_interval")] * refusals
        row += [_first(group.utilities, "rate", "interval")] * utilities
        rates[group.name] = row
    rows = [[model, *row] for model, row in rates.items()]
    table = Table([Column("model"), *(Column(head, right=True) for head in heads)], rows)
    if _width(table) <= WIDE:
        yield table, {}
        return
    names = _symbols(heads, "A") | _symbols(rates, "M")
    for some in _chunks([*rates], 2):
        for part in _chunks([*enumerate(heads)], TALL):
            columns = [Column("attack"), *(Column(names[model], right=True) for model in some)]
            yield Table(columns, [[names[head], *(rates[model][at] for model in some)] for at, head in part]), names


def _width(table: Table) -> int:
    """Characters of its widest line, with two between columns."""
    return sum(max(map(len, column)) + 2 for column in zip(table.heads(), *table.texts(), strict=True))


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _first(cells: Sequence[CellResult], rate: str, ends: str) -> str:
    return _both(getattr(cells[0], rate), getattr(cells[0], ends)) if cells else ""


def _both(rate: float | None, ends: Interval | None, knows: str = "") -> str:
    kind = KINDS.get(knows, "")
    return f"{_percent(rate)} ({_span(ends)}){kind}" if rate is not None and ends else "n/a"


def _tables(setting: Setting) -> Iterator[Named]:
    """Every cell, by model; a few models in a table."""
    groups = setting.groups
    corrected = any(row.asr_corrected for group in groups for row in group.rows)
    names = _symbols((row.attack for group in groups for row in group.rows if row.measures == "harm"), "A")
    columns = [
        Column("attack"), Column("ASR, %", _percent, right=True), Column("95% interval", right=True),
        *[Column("corrected", right=True)] * corrected,
        *(Column(name, _count, right=True) for name in ("n", "unscored", "errors")),
    ]  # fmt: skip
    rows: list[Row] = []
    for group in groups:
        heading: list[Row] = [group.name] if _many(groups) else []
        for part in _chunks([*_group(group, corrected, names)], TALL):
            if rows and len(rows) + len(part) > TALL:
                yield Table(columns, rows), names
                rows = []
            rows += [*heading, *part]
    yield Table(columns, rows), names


def _group(group: Group, corrected: bool, names: Mapping[str, str]) -> Iterator[Row]:
    """The rows of one target and defense."""
    yield from (_row(row, corrected, names) for row in group.rows)
    if (worst := group.worst) and worst.cases > 1:
        kind = f" ({worst.knows})" if worst.knows else ""
        counts = [worst.behaviors, worst.open, None]
        yield [f"any attack{kind}", worst.rate, _span(worst.interval), *[""] * corrected, *counts]
    for cell in group.refusals:
        ends = _span(cell.over_refusal_interval)
        copied = ["over-refusal", cell.over_refusal, ends, *[""] * corrected, None, None, None]
        yield _row(cell, corrected, names) if cell.benign else copied
    yield from (_row(cell, corrected, names) for cell in group.utilities)


def _row(cell: CellResult, corrected: bool, names: Mapping[str, str]) -> Row:
    fixed = cell.asr_corrected
    correction = [f"{_percent(fixed.rate)} ({_span(fixed.interval)})" if fixed else ""] * corrected
    name = names[cell.attack] if cell.measures == "harm" else cell.measures
    name += f" ({cell.knows})" if cell.knows else ""
    return [name, cell.rate, _span(cell.interval), *correction, cell.scored, cell.unscored, cell.error]


def _percent(rate: float | None) -> str:
    return "n/a" if rate is None else f"{100 * rate:.1f}"


def _span(ends: Interval | None) -> str:
    return f"{100 * ends[0]:.1f}{DASH}{100 * ends[1]:.1f}" if ends else "n/a"


def _count(value: int | None) -> str:
    return "" if value is None else whole(value)
