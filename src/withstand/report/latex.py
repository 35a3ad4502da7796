"""The cells of a run as LaTeX: one booktabs table for each suite, judge and sampling, to be put into a paper."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from withstand.core.text import visible
from withstand.report import tables
from withstand.results.cells import Record, measures

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after the end of a line these would be read as its options
    "]": "{]}",
    "*": "{*}",
}

LETTERS = frozenset(map(chr, range(0xC0, 0x100))) - set("\xd7\xf7")
"""What every LaTeX of this century reads as UTF-8; other characters are named by their code point."""


def latex(summary: Record) -> str:
    """Tables with rates and intervals in percent, n scored cases, and what could not be scored or failed."""
    settings = tables.settings(summary["cells"], summary.get("warnings") or [])
    head = "% needs \\usepackage[T1]{fontenc}, \\usepackage{textcomp} and \\usepackage{booktabs}\n"
    return head + "\n".join(
        _table(setting, f"{_label(summary['run']['name'])}{f'-{n}' if n else ''}") for n, setting in enumerate(settings)
    )


def escape(text: Any) -> str:
    """Any text as one line of LaTeX that shows it."""
    flat = " ".join(visible(text).split())
    said = "".join(SPECIAL.get(each) or (each if each.isascii() or each in LETTERS else _named(each)) for each in flat)
    return re.sub("-(?=-)", "-{}", said)  # two would become one dash


def _named(character: str) -> str:
    return {"\u2013": r"\textendash{}", "\u27e8": "{[}", "\u27e9": "{]}"}.get(
        character, f"{{[}}U+{ord(character):04X}{{]}}"
    )


def _label(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "run"


def _table(setting: Record, label: str) -> str:
    groups = setting["groups"]
    told = any(row["asr_corrected"] for group in groups for row in group["rows"])
    many = len({group["target"] for group in groups}) > 1 or any(group["defense"] for group in groups)
    columns = ["attack", r"ASR, \%", r"95\,\% interval", *["corrected"] * told, "$n$", "unscored", "errors"]
    body = [line for group in groups for line in _group(group, len(columns), told, many)]
    suite = " ".join(filter(None, (setting["suite"], str(setting["suite_version"] or ""))))
    split = f", {setting['split']} split" if setting["split"] else ""
    by = ", by string matching" if setting["judge_method"] == "string matching" else ""
    one = f" against {groups[0]['target']}" if not many else ""
    what = f"Attack success rate{one} on {suite}{split}, judge {setting['judge']}{by}."
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(what)} $n$: scored cases. Intervals: Wilson, over behaviors.}}",
            rf"\label{{tab:{label}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
            r"\toprule",
            " & ".join(columns) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _group(group: Record, width: int, told: bool, named: bool) -> Iterator[str]:
    """The lines of one target and defense."""
    if named:
        whom = f"{group['target']} behind {group['defense']}" if group["defense"] else group["target"]
        yield rf"\multicolumn{{{width}}}{{l}}{{\textit{{{escape(whom)}}}}} \\"
    refusals = [row for row in group["refusals"] if not group["rows"][0]["benign"]]
    for row in [*group["rows"], *refusals, *group["utilities"]]:
        own = row["benign"] or row not in group["rows"]
        what = measures(row)
        name = what if what != "harm" else "over-refusal" if own else row["attack"]
        found = row["asr_corrected"]
        fixed = [f"{_percent(found['rate'])} ({_span(found['interval'])})" if found and not own else ""] * told
        counts = [row["scored"], row["unscored"], row["error"]] if row not in refusals or row["own"] else [""] * 3
        cells = [escape(name), _percent(row["rate"]), _span(row["ends"]), *fixed, *map(_count, counts)]
        yield " & ".join(cells) + r" \\"


def _percent(rate: float | None) -> str:
    return "n/a" if rate is None else f"{100 * rate:.1f}"


def _span(ends: Sequence[float] | None) -> str:
    return f"{100 * ends[0]:.1f}--{100 * ends[1]:.1f}" if ends else "n/a"


def _count(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value
