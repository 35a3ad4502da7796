"""The tables of a report on a filter, each with a line that explains its columns."""

from collections.abc import Iterator
from math import inf, log

from markupsafe import Markup

from withstand.audits.filter.records import RARE, ratio_text
from withstand.core import Json
from withstand.core.text import change, percent, rate
from withstand.report.table import Column, Table

TITLES = {
    "falsely dropped": ("Falsely dropped", "Of the texts that should stay by their labels, those that it dropped."),
    "missed": ("Missed", "Of the texts that should be dropped by their labels, those that it kept."),
    "dropped": ("Dropped", "Of all texts, those that the filter dropped."),
}
WIDTH, REACH = 160, log(16)
"""Of a drawn interval: pixels, and the natural logarithm of the ratio at its end."""
FOLDED = 30
"""Rows from which on a table is shown on demand."""


def tables(report: Json) -> Iterator[Table]:
    """In the order in which a reader needs them."""
    if report["swaps"]:
        yield _swaps(report["swaps"])
    for measure in sorted(report["overall"], key=list(TITLES).index):
        yield _rates(report, measure)
    for read in report["read"]:
        yield _read(read, report["bound"])


def _rates(report: Json, measure: str) -> Table:
    title, what = TITLES[measure]
    whole = report["overall"][measure]
    rows: list[list[object] | str] = [["all texts", *_figures(whole), (None, None), (None, 0, 0), (None, 0, 0), ""]]
    axis = ""
    for row in report["slices"]:
        if row["measure"] != measure:
            continue
        heading = (
            f"{row['axis']}, beside {row['base']}" if row["axis"] != "column" else f"column {row['name'].split('=')[0]}"
        )
        if heading != axis:
            axis = heading
            rows.append(heading)
        base = row["base_rate"]
        ratio = (row["ratio"], row["low"], row["high"])
        beside = (base["value"], (base["low"], base["high"]))
        rows.append([row["name"], *_figures(row["rate"]), beside, ratio, ratio, row["word"]])
    columns = [
        Column("slice"), Column("texts", right=True), Column(measure, right=True), Column("open", right=True),
        Column("rate", _rate, "interval", right=True), Column("beside", _rate, "interval", right=True),
        Column("times as often", ratio_text, "interval", right=True),
        Column("1/16 to 16 times", draw=lambda given: bar(given[0], given[1], given[2], report["ratio"])),
        Column("shown", mark=word_class),
    ]  # fmt: skip
    note = (
        f"{what} Open: the filter could not say; each end of an interval counts them against it. Alike: the "
        f"whole interval lies within {report['ratio']:g} times; far: beyond it; rare: both rates are at most "
        f"{percent(RARE)}. All {report['intervals']} intervals of this page hold together with 95%."
    )
    return Table(
        columns, rows, title, note, folded=len(rows) > FOLDED and measure == "dropped" and len(report["overall"]) > 1
    )


def _figures(value: Json) -> list[object]:
    ends = (value["low"], value["high"])
    return [value["n"], value["times"], value["open"] or "", (value["value"], ends)]


def _rate(value: float | None, ends: tuple[float, float] | None) -> str:
    return "" if value is None else rate(value, ends)


def _swaps(swaps: Json) -> Table:
    rows = [
        [
            swap["group"], swap["n"], swap["open"] or "", swap["unfit"] or "", swap["dropped"], swap["swapped"],
            (swap["difference"], (swap["low"], swap["high"])), swap["word"],
        ]
        for swap in swaps
    ]  # fmt: skip
    columns = [
        Column("texts that mention"), Column("texts", right=True), Column("open", right=True),
        Column("not swapped", right=True), Column("dropped", percent, right=True),
        Column("with another group", percent, right=True), Column("difference", change, "interval", right=True),
        Column("shown", mark=swap_class),
    ]  # fmt: skip
    note = (
        "The same text, with another group of the kind in the place of its own: only the term differs. A filter that "
        "drops all groups of a kind alike shows nothing here; the other tables show it. Not swapped: no term fits."
    )
    return Table(columns, rows, "With another group in its place", note)


def _read(read: Json, bound: float) -> Table:
    rows: list[list[object] | str] = []
    axis = ""
    for row in read["rows"]:
        if row["axis"] != axis:
            axis = row["axis"]
            rows.append(axis if axis == "column" else f"{axis}, beside {row['base']}")
        more = (row["more"], row["low"], row["high"])
        rows.append([
            row["name"], row["n"], row["base_n"], row["first"], row["second"], row["change"], row["base_change"], more,
            row["word"],
        ])  # fmt: skip
    unit = f"nats a {read['unit']}"
    columns = [
        Column("slice"), Column("texts", right=True), Column("beside", right=True),
        Column(read["first"], _nats, unit, right=True), Column(read["second"], _nats, unit, right=True),
        Column("change", _nats, right=True), Column("change beside", _nats, right=True),
        Column("more", _more, "interval", right=True), Column("shown", mark=word_class),
    ]  # fmt: skip
    decides = (
        "The verdict counts it."
        if read["decides"]
        else "The verdict does not count it: it shows what less data costs too."
    )
    cut = f" {read['cut']:,} long texts were read up to their first tokens." if read["cut"] else ""
    note = (
        "Log-perplexity of held-out texts. More: what the slice loses more than the texts that it is compared with; "
        f"alike: within {bound:g}. {decides}{cut}"
    )
    return Table(columns, rows, f"Read by the models {read['first']} and {read['second']}", note)


def _nats(value: float) -> str:
    return f"{value:.3f}"


def _more(value: float, low: float | None, high: float | None) -> str:
    ends = "too few texts" if low is None or high is None else f"{low:+.3f} to {high:+.3f}"
    return f"{value:+.3f} ({ends})"


def bar(value: float | None, low: float | None, high: float | None, limit: float) -> Markup:
    """An interval of a ratio on a logarithmic axis, with the range in which two rates are alike."""
    if value is None and not low:
        return Markup("")
    left, right = _x(low or 0.0), _x(inf if high is None else high)
    near, far, middle = _x(1 / limit), _x(limit), _x(inf if value is None else value)
    return Markup(
        f'<svg class="ratio" viewBox="0 0 {WIDTH} 14" width="{WIDTH}" height="14" aria-hidden="true">'
        f'<rect class="alike" x="{near}" y="0" width="{far - near:.1f}" height="14"/>'
        f'<line class="one" x1="{WIDTH / 2}" x2="{WIDTH / 2}" y1="0" y2="14"/>'
        f'<line class="ends" x1="{left}" x2="{right}" y1="7" y2="7"/>'
        f'<circle class="at" cx="{middle}" cy="7" r="3.5"/></svg>'
    )


def _x(ratio: float) -> float:
    """The place of a ratio from the left, in pixels."""
    share = log(ratio) / REACH if ratio > 0 else -1.0
    return round(4 + (1 + max(-1.0, min(1.0, share))) / 2 * (WIDTH - 8), 1)


def word_class(word: str) -> str:
    return {"far more": "bad", "far less": "bad", "alike": "good", "rare": "good", "not known": "open"}.get(word, "")


def swap_class(word: str) -> str:
    """Of swaps, where any difference that is shown is the term's doing."""
    return {"alike": "good", "not known": "open"}.get(word, "bad")
