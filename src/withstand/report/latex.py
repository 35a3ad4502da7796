"""The cells of a run as LaTeX: one booktabs table for each suite, judge and sampling, to be put into a paper."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from withstand.core.text import DASH, whole
from withstand.report import tables
from withstand.report.table import Column, Row, Table
from withstand.results.cells import Record, measures
from withstand.results.names import shown_summary


def latex(summary: Record) -> str:
    """Tables with rates and intervals in percent, n scored cases, and what could not be scored or failed."""
    summary = shown_summary(summary)
    settings = tables.settings(summary["cells"], summary["warnings"])
    head = "% needs \\usepackage[T1]{fontenc}, \\usepackage{textcomp} and \\usepackage{booktabs}\n"
    name = re.sub(r"[^A-Za-z0-9]+", "-", summary["run"]["name"]).strip("-") or "run"
    return head + "\n".join(
        _table(setting).latex(_caption(setting), f"tab:{name}{f'-{n}' if n else ''}")
        for n, setting in enumerate(settings)
    )


def _caption(setting: Record) -> str:
    groups = setting["groups"]
    suite = " ".join(filter(None, (setting["suite"], str(setting["suite_version"] or ""))))
    split = f", {setting['split']} split" if setting["split"] else ""
    by = ", by string matching" if setting["judge_method"] == "string matching" else ""
    target = "" if _many(groups) else f" against {groups[0]['target']}"
    what = f"Attack success rate{target} on {suite}{split}, judge {setting['judge']}{by}."
    return f"{what} n: scored cases. Intervals: Wilson, over behaviors."


def _many(groups: Sequence[Record]) -> bool:
    return len({group["target"] for group in groups}) > 1 or any(group["defense"] for group in groups)


def _table(setting: Record) -> Table:
    groups = setting["groups"]
    corrected = any(row["asr_corrected"] for group in groups for row in group["rows"])
    columns = [
        Column("attack"), Column("ASR, %", _percent, right=True), Column("95% interval", _span, right=True),
        *[Column("corrected", right=True)] * corrected,
        *(Column(name, _count, right=True) for name in ("n", "unscored", "errors")),
    ]  # fmt: skip
    return Table(columns, [row for group in groups for row in _group(group, corrected, _many(groups))])


def _group(group: Record, corrected: bool, named: bool) -> Iterator[Row]:
    """The rows of one target and defense."""
    if named:
        yield f"{group['target']} behind {group['defense']}" if group["defense"] else group["target"]
    refusals = [row for row in group["refusals"] if not group["rows"][0]["benign"]]
    for row in [*group["rows"], *refusals, *group["utilities"]]:
        benign = row["benign"] or row not in group["rows"]
        what = measures(row)
        name = what if what != "harm" else "over-refusal" if benign else row["attack"]
        correction = None if benign else row["asr_corrected"]
        fixed = [f"{_percent(correction['rate'])} ({_span(correction['interval'])})" if correction else ""] * corrected
        counts = [row["scored"], row["unscored"], row["error"]] if row not in refusals or row["own"] else [None] * 3
        yield [name, row["rate"], row["ends"], *fixed, *counts]


def _percent(rate: float | None) -> str:
    return "n/a" if rate is None else f"{100 * rate:.1f}"


def _span(ends: Any) -> str:
    return f"{100 * ends[0]:.1f}{DASH}{100 * ends[1]:.1f}" if ends else "n/a"


def _count(value: int | None) -> str:
    return "" if value is None else whole(value)
