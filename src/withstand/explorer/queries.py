"""What pages ask of the index: which cases, how many of each outcome, and which differ."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from withstand.core import Json
from withstand.explorer.index import COLUMNS, Index, Known
from withstand.report.cases import Spot
from withstand.report.summary import OUTCOMES

PAGE = 50
PAIRS = 25
MOST = 1_000
"""Matches of a search that are counted; beyond, a page says "more than"."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which cases a page shows; empty: all. `after` is the number of the last case of the page before."""

    text: str = ""
    outcome: str = ""
    target: str = ""
    defense: str = ""
    attack: str = ""
    category: str = ""
    suite: str = ""
    after: int = 0

    @staticmethod
    def of(given: Mapping[str, str]) -> "Wanted":
        """From a query string; what makes no sense is left out."""
        after = given.get("after", "")
        names = ("text", "outcome", "target", "defense", "attack", "category", "suite")
        chosen = {name: given.get(name, "")[:500].encode("utf-8", "backslashreplace").decode() for name in names}
        return Wanted(**chosen, after=int(after) if re.fullmatch(r"\d{1,12}", after) else 0)

    def query(self, **changed: Any) -> dict[str, Any]:
        """As the parts of a query string."""
        values = {name: getattr(self, name) for name in self.__slots__} | changed
        return {name: value for name, value in values.items() if value}


def cells_of(known: Known, wanted: Wanted) -> list[int] | None:
    """The cells that a page is about; None for all."""
    names = [name for name in ("target", "defense", "attack", "suite") if getattr(wanted, name)]
    if not names:
        return None
    cells = known.summary["cells"]
    return [c["index"] for c in cells if all(c[name] == getattr(wanted, name) for name in names)]


def find(index: Index, known: Known, wanted: Wanted, limit: int = PAGE) -> list[tuple[int, Spot]]:
    """Cases in the plan's order, each with its number."""
    where, values = _where(known, wanted)
    found = index.select(
        f"SELECT id, cell, place, number, sample FROM cases_{known.table} AS c WHERE {where} AND id > ? "
        f"ORDER BY id LIMIT {limit}",
        [*values, wanted.after],
    )
    return [(entry[0], tuple(entry[1:])) for entry in found]


def count(index: Index, known: Known, wanted: Wanted) -> dict[str, int]:
    """How many cases of each outcome there are, whatever outcome is wanted; of a search at most `MOST` in all."""
    where, values = _where(known, Wanted(**wanted.query(outcome="", after=0)))
    inner = f"SELECT outcome FROM cases_{known.table} AS c WHERE {where}"
    if wanted.text:
        inner += f" LIMIT {MOST + 1}"
    found = dict(index.select(f"SELECT outcome, count(*) FROM ({inner}) GROUP BY outcome", values))
    return {outcome: found.get(outcome, 0) for outcome in OUTCOMES}


def beside(index: Index, known: Known, wanted: Wanted, number: int) -> tuple[Spot | None, Spot | None]:
    """The cases before and after this one among those wanted."""
    where, values = _where(known, wanted)
    found = []
    for sign, order in (("<", "DESC"), (">", "ASC")):
        entry = index.select(
            f"SELECT cell, place, number, sample FROM cases_{known.table} AS c WHERE {where} AND id {sign} ? "
            f"ORDER BY id {order} LIMIT 1",
            [*values, number],
        )
        found.append(tuple(entry[0]) if entry else None)
    return found[0], found[1]


def entry_of(index: Index, known: Known, spot: Spot) -> dict[str, Any] | None:
    """The index's entry of one case."""
    names = ("id", *COLUMNS.split(", "))
    found = index.select(
        f"SELECT {', '.join(names)} FROM cases_{known.table} WHERE cell = ? AND place = ? AND number = ? AND sample = ?",
        spot,
    )
    return dict(zip(names, found[0], strict=True)) if found else None


def strata(index: Index, known: Known) -> list[tuple[int, str, int, int]]:
    """Every case as (cell, outcome, split, number of its entry), in the plan's order."""
    return index.select(f"SELECT cell, outcome, split, id FROM cases_{known.table} ORDER BY id")


def spots(index: Index, known: Known, ids: Sequence[int]) -> list[Spot]:
    """Where these entries are, in this order."""
    found = {}
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        marks = ", ".join("?" * len(part))
        statement = f"SELECT id, cell, place, number, sample FROM cases_{known.table} WHERE id IN ({marks})"
        found |= {number: spot for number, *spot in index.select(statement, part)}
    return [tuple(found[number]) for number in ids]


def differing(
    index: Index, one: tuple[Known, int], two: tuple[Known, int], only: tuple[str, str] | None, skip: int
) -> tuple[list[tuple[Spot, Spot, str, str, str]], dict[tuple[str, str], int]]:
    """The cases that two cells share (behavior, case and sample), those with another outcome first, as (spot, spot,
    behavior, outcome, outcome); and how many there are of each pair of outcomes. only: of one such pair."""
    (a, cell_a), (b, cell_b) = one, two
    joined = (
        f"FROM cases_{a.table} AS a JOIN cases_{b.table} AS b ON b.cell = ? AND b.behavior = a.behavior "
        "AND b.number = a.number AND b.sample = a.sample WHERE a.cell = ?"
    )
    pairs = index.select(f"SELECT a.outcome, b.outcome, count(*) {joined} GROUP BY 1, 2", [cell_b, cell_a])
    chosen, values = ("AND a.outcome = ? AND b.outcome = ?", list(only)) if only else ("", [])
    found = index.select(
        f"SELECT a.place, b.place, a.number, a.sample, a.behavior, a.outcome, b.outcome {joined} {chosen} "
        f"ORDER BY a.outcome = b.outcome, a.id LIMIT {PAIRS} OFFSET ?",
        [cell_b, cell_a, *values, skip],
    )
    shared = [((cell_a, pa, n, s), (cell_b, pb, n, s), behavior, oa, ob) for pa, pb, n, s, behavior, oa, ob in found]
    return shared, {(left, right): n for left, right, n in pairs}


def options(known: Known) -> dict[str, list[str]]:
    """The values that a filter can have."""
    cells: Sequence[Json] = known.summary["cells"]
    categories = {part["category"] for cell in cells for part in cell["by_category"]}
    names = ("target", "defense", "attack", "suite")
    return {name: list(dict.fromkeys(cell[name] for cell in cells)) for name in names} | {
        "outcome": list(OUTCOMES),
        "category": sorted(categories - {""}),
    }


def _where(known: Known, wanted: Wanted) -> tuple[str, list[Any]]:
    """A condition on `c` with its values."""
    parts, values = ["1"], []
    cells = cells_of(known, wanted)
    if cells is not None:
        parts.append(f"cell IN ({', '.join('?' * len(cells))})")
        values += cells
    for name in ("outcome", "category"):
        if getattr(wanted, name):
            parts.append(f"{name} = ?")
            values.append(getattr(wanted, name))
    if wanted.text.strip():
        parts.append(f"id IN (SELECT rowid FROM words_{known.table} WHERE words_{known.table} MATCH ?)")
        values.append(matching(wanted.text))
    return " AND ".join(parts), values


def matching(text: str) -> str:
    """Words as people write them, as a full-text query: all of them, in any order; "in quotes" a phrase; the last may
    be a beginning."""
    clean = text.encode("utf-8", "replace").decode().replace("\0", " ")
    parts = [phrase or word for phrase, word in re.findall(r'"([^"]+)"|([^\s"]+)', clean)]
    quoted = [f'"{part}"' for part in parts if part.strip()]
    if quoted and not clean.rstrip().endswith('"'):
        quoted[-1] += "*"
    return " ".join(quoted) or '""'
