"""A comparison in words, and as one small HTML file that asks the network for nothing."""

from collections.abc import Iterator, Sequence
from typing import Any

from withstand.core.text import count, percent, series
from withstand.report.html import template
from withstand.results.cells import COUNTED, Record, measures


def change(each: Record) -> str:
    """A behavior that changed; with how many of its cases, where it has several."""
    return (
        each["behavior"]
        if {each["a"], each["b"]} == {"0 of 1", "1 of 1"}
        else f"{each['behavior']} ({each['a']} -> {each['b']})"
    )


def turned(row: Record, side: str) -> str:
    """What became of the behaviors on this side of a row, "worse" or "better", in B."""
    if measures(row) == "utility":
        return {"worse": "became wrong", "better": "became right"}[side]
    return f"{COUNTED[measures(row)]} {'more' if side == 'worse' else 'less'} often"


def tables(rows: Sequence[Record]) -> Iterator[tuple[str, list[Record]]]:
    """The rows by what they measure, in the order in which they are shown."""
    for what in COUNTED:
        if some := [row for row in rows if measures(row) == what]:
            yield what, some


def p(value: float | None) -> str:
    """p as people read it: .031, or <.0001."""
    if value is None:
        return "n/a"
    return (
        "<.0001" if value < 1e-4 else "1" if value >= 0.9995 else f"{value:.4f}".lstrip("0")[: 5 if value < 0.01 else 4]
    )


def points(rate: float | None) -> str:
    """A difference of rates in points, with its sign."""
    return "n/a" if rate is None else f"{100 * rate:+.0f}" if abs(rate) >= 0.005 or not rate else f"{100 * rate:+.1f}"


def span(ends: Any) -> str:
    return "" if ends is None else f"{points(ends[0])} to {points(ends[1])}"


def texts(row: Record) -> list[str]:
    """A row of the table."""
    return [
        row["name"],
        *(f"{row[at]['hits']:,} of {row[at]['scored']:,} ({percent(row[at]['rate'])})" for at in ("a", "b")),
        f"{points(row['difference'])} ({span(row['interval'])})" if row["interval"] else "n/a",
        p(row["p"]),
        p(row["p_corrected"]),
        str(len(row["worse"])),
        str(len(row["better"])),
        row["says"],
    ]


def notes(found: Record) -> list[str]:
    """What a reader must know, each note once, with the rows it is about where it is not about all."""
    said: dict[str, list[str]] = {}
    for row in found["rows"]:
        bounds = [f"{row['label']}: {span(row['bounds'])} points whichever way they fall"] if row["bounds"] else []
        for note in [*row["notes"], *bounds]:
            said.setdefault(note, []).append(row["label"])
        if "string matching" in (row["a"]["judge_method"], row["b"]["judge_method"]) and not row["benign"]:
            said.setdefault("judged by string matching: not comparable with published ASR", []).append(row["label"])
    if not any(measures(row) == "over-refusal" or row["varied"] == ["attack"] for row in found["rows"]):
        said.setdefault("no benign prompts on both sides: a model that refuses everything would look better", [])
    whole = [note if len(at) in (0, len(found["rows"])) else f"{', '.join(at)}: {note}" if note.partition(":")[0]
             not in at else note for note, at in said.items()]  # fmt: skip
    return list(dict.fromkeys([*found["notes"], *whole]))


def headline(found: Record) -> str:
    """The answer in a sentence: on how many attacks B was broken less often, and on how many more."""
    what, rows = next(tables(found["rows"]))
    counted = COUNTED[what]
    parts = []
    for says, phrase in (("lower", f"{counted} less often"), ("higher", f"{counted} more often")):
        hits = [row for row in rows if row["says"] == says]
        if hits:
            of = count(len(rows), "row")
            parts.append(f"{phrase} in {len(hits)} of {of} ({series([row['name'] for row in hits])})")
    if parts:
        return f"B was {' and '.join(parts)}."
    return f"No difference between A and B was shown in {count(len(rows), 'row')}."


TITLES = {
    "harm": "Attack success: behaviors broken",
    "over-refusal": "Over-refusal: benign requests refused",
    "utility": "Utility: questions answered rightly (higher is better)",
}


def html(found: Record) -> str:
    """The page. Texts of behaviors are in it only where the comparison was made with them."""
    page: str = template("comparison.html.j2").render(
        found=found, tables=[(what, [(row, texts(row)) for row in rows]) for what, rows in tables(found["rows"])],
        headline=headline(found), notes=notes(found), forest=forest, turned=turned, titles=TITLES,
    )  # fmt: skip
    return page.lstrip()


def forest(row: Record) -> dict[str, float] | None:
    """Where a row's interval lies on a line from -100 to +100 points, in percent of its width."""
    if row["interval"] is None:
        return None
    low, high = ((end + 1) * 50 for end in row["interval"])
    return {"left": low, "width": max(high - low, 0.4), "at": (row["difference"] + 1) * 50}
