"""What pages ask of the index: which cases, how many of each outcome, and which differ."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from withstand.core.outcomes import OUTCOMES
from withstand.core.text import unique
from withstand.explorer.index import COLUMNS, Entry, Index, RunIndex
from withstand.explorer.numbers import whole
from withstand.results.cases import Spot
from withstand.results.cells import WORDS

PAGE = 50
PAIRS = 25
MOST = 1_000
"""Matches of a search that are counted; beyond, a page says "more than"."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which cases a page shows; empty: all. `after` is the number of the last case of the page before.

    in_texts: whether `text` is searched for in prompts and completions, or only in what every page shows.
    outcome: what was measured and the word for what came of it, as "over-refusal:answered"; or the outcome alone.
    """

    text: str = ""
    outcome: str = ""
    target: str = ""
    defense: str = ""
    attack: str = ""
    category: str = ""
    suite: str = ""
    after: int = 0
    in_texts: bool = False

    @staticmethod
    def of(given: Mapping[str, str], in_texts: bool) -> "Wanted":
        """From a query string; what makes no sense is left out."""
        names = ("text", "outcome", "target", "defense", "attack", "category", "suite")
        chosen = {name: given.get(name, "")[:500].encode("utf-8", "backslashreplace").decode() for name in names}
        return Wanted(**chosen, after=whole(given.get("after", "")) or 0, in_texts=in_texts)

    def fits(self, measure: str, outcome: str) -> bool:
        """Whether a case with this outcome, of a cell that measures this, has the wanted outcome."""
        return self.outcome in ("", outcome, f"{measure}:{WORDS[measure][outcome]}")

    def query(self, **changed: Any) -> dict[str, Any]:
        """As the parts of a query string."""
        values = {name: getattr(self, name) for name in self.__slots__} | changed
        return {name: value for name, value in values.items() if value and name != "in_texts"}


def cells_of(indexed: RunIndex, wanted: Wanted) -> list[int] | None:
    """The cells that a page is about; None for all."""
    names = [name for name in ("target", "defense", "attack", "suite") if getattr(wanted, name)]
    measure, _, word = wanted.outcome.partition(":")
    if not names and not word:
        return None
    cells = [cell for cell in indexed.summary.cells if not word or cell.measures == measure]
    return [c.index for c in cells if all(getattr(c, name) == getattr(wanted, name) for name in names)]


def find(index: Index, indexed: RunIndex, wanted: Wanted, limit: int = PAGE) -> list[Entry]:
    """Cases in the plan's order."""
    return _next(index, indexed, wanted, wanted.after, limit)


def _next(
    index: Index, indexed: RunIndex, wanted: Wanted, number: int, limit: int, order: str = "> ? ORDER BY {} ASC"
) -> list[Entry]:
    """The cases wanted behind the one with this number; with another `order`, before it."""
    source, where, values = _where(indexed, wanted)
    by = "t.rowid" if wanted.text.strip() else "c.id"  # of a search, the number that can be had in order
    statement = f"SELECT c.{COLUMNS} FROM {source} WHERE {where} AND {by} {order.format(by)} LIMIT {limit}"
    return [Entry(*row) for row in index.select(statement, [*values, number])]


def count(index: Index, indexed: RunIndex, wanted: Wanted) -> dict[tuple[str, str], int]:
    """How many cases there are by what was measured and outcome, whatever outcome is wanted; of a search at most `MOST`
    in all."""
    every = replace(wanted, outcome="", after=0)
    return _count(index, indexed, every) if every.text else indexed.once(every, lambda: _count(index, indexed, every))


def _count(index: Index, indexed: RunIndex, every: Wanted) -> dict[tuple[str, str], int]:
    source, where, values = _where(indexed, every)
    inner = f"SELECT outcome, cell FROM {source} WHERE {where}" + (f" LIMIT {MOST + 1}" if every.text else "")
    counts: Counter[tuple[str, str]] = Counter()
    for outcome, cell, cases in index.select(
        f"SELECT outcome, cell, count(*) FROM ({inner}) GROUP BY outcome, cell", values
    ):
        counts[indexed.summary.cells[cell].measures, outcome] += cases
    return counts


def facets(counts: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    """What was measured and the outcomes under it, each with its word and how many cases have it."""
    groups = []
    for measure, words in WORDS.items():
        choices: dict[str, dict[str, Any]] = {}
        for outcome, word in words.items():
            value = f"{measure}:{word}"
            choice = choices.setdefault(word, {"value": value, "word": word, "outcome": outcome, "cases": 0})
            choice["cases"] += counts.get((measure, outcome), 0)
        if any(choice["cases"] for choice in choices.values()):
            groups.append({"measures": measure, "choices": list(choices.values())})
    return groups


def beside(index: Index, indexed: RunIndex, wanted: Wanted, number: int) -> tuple[Spot | None, Spot | None]:
    """The cases before and after this one among those wanted."""
    before = _next(index, indexed, wanted, number, 1, "< ? ORDER BY {} DESC")
    after = _next(index, indexed, wanted, number, 1)
    return before[0].spot if before else None, after[0].spot if after else None


def entry_of(index: Index, indexed: RunIndex, spot: Spot) -> Entry | None:
    """The index's entry of one case."""
    where = "cell = ? AND place = ? AND number = ? AND sample = ?"
    rows = index.select(f"SELECT {COLUMNS} FROM cases_{indexed.table} WHERE {where}", spot)
    return Entry(*rows[0]) if rows else None


def entry_at(index: Index, indexed: RunIndex, number: int) -> Entry:
    """The entry with this number."""
    return Entry(*index.select(f"SELECT {COLUMNS} FROM cases_{indexed.table} WHERE id = ?", [number])[0])


def strata(index: Index, indexed: RunIndex) -> list[tuple[int, str, bool, list[tuple[int, Spot]]]]:
    """Every case by its (cell, outcome, split), as the number of its entry and its spot."""
    packed = "group_concat(id || ':' || place || ':' || number || ':' || sample)"
    rows = index.select(
        f"SELECT cell, outcome, split, {packed} FROM cases_{indexed.table} GROUP BY cell, outcome, split"
    )
    listed = []
    for cell, outcome, split, ids in rows:
        parts = (map(int, entry.split(":")) for entry in ids.split(","))
        listed.append((cell, outcome, bool(split), [(entry, (cell, *spot)) for entry, *spot in parts]))
    return listed


def differing(
    index: Index, a_side: tuple[RunIndex, int], b_side: tuple[RunIndex, int], only: tuple[str, str] | None, skip: int
) -> tuple[list[tuple[Spot, Spot, str, str, str]], dict[tuple[str, str], int]]:
    """The cases that two cells share (behavior, case and sample), those with another outcome first, as (spot, spot,
    behavior, outcome, outcome); and how many there are of each pair of outcomes. only: of one such pair.

    Where over-refusal is measured, what was answered is one outcome, "failure", whatever the answer shows.
    """
    (a, cell_a), (b, cell_b) = a_side, b_side
    left, right = (_as_read(indexed, cell, table) for indexed, cell, table in ((a, cell_a, "a"), (b, cell_b, "b")))
    key = ("pairs", cell_a, b.run.key, b.table, cell_b)
    joined = (
        f"FROM cases_{a.table} AS a NOT INDEXED JOIN cases_{b.table} AS b ON b.cell = ? AND b.behavior = a.behavior "
        "AND b.number = a.number AND b.sample = a.sample WHERE a.id BETWEEN ? AND ?"
    )
    bounds = index.select(f"SELECT min(id), max(id) FROM cases_{a.table} WHERE cell = ?", [cell_a])[0]  # one stretch
    values = [cell_b, *bounds]
    counted = f"SELECT {left}, {right}, count(*) {joined} GROUP BY 1, 2"
    pairs = a.once(key, lambda: {(before, after): n for before, after, n in index.select(counted, values)})
    changed = sum(n for (before, after), n in pairs.items() if before != after)

    def page(condition: str, more: Sequence[Any], limit: int, offset: int) -> list[Any]:
        return index.select(
            f"SELECT a.place, b.place, a.number, a.sample, a.behavior, {left}, {right} {joined} AND {condition} "
            "ORDER BY a.id LIMIT ? OFFSET ?",
            [*values, *more, limit, offset],
        )

    if only:
        listed = page(f"{left} = ? AND {right} = ?", only, PAIRS, skip)
    else:
        listed = page(f"{left} <> {right}", (), PAIRS, skip) if skip < changed else []
        if len(listed) < PAIRS:
            listed += page(f"{left} = {right}", (), PAIRS - len(listed), max(0, skip - changed))
    return [((cell_a, pa, n, s), (cell_b, pb, n, s), name, oa, ob) for pa, pb, n, s, name, oa, ob in listed], pairs


def _as_read(indexed: RunIndex, cell: int, table: str) -> str:
    """The outcome of a case as SQL, equal where people read the same word."""
    if indexed.summary.cells[cell].measures == "over-refusal":
        return f"CASE {table}.outcome WHEN 'success' THEN 'failure' ELSE {table}.outcome END"
    return f"{table}.outcome"


def options(indexed: RunIndex) -> dict[str, Any]:
    """The values that a filter can have, with what people read for them."""
    cells = indexed.summary.cells
    categories = {part.category for cell in cells for part in cell.by_category}
    names = ("target", "defense", "attack", "suite")
    return {name: unique((getattr(cell, name), cell.printed(name)) for cell in cells) for name in names} | {
        "outcome": {
            measure: unique((f"{measure}:{word}", word) for word in words.values())
            for measure, words in WORDS.items()
            if any(cell.measures == measure for cell in cells)
        },
        "category": [(category, category) for category in sorted(categories - {""})],
    }


def _where(indexed: RunIndex, wanted: Wanted) -> tuple[str, str, list[Any]]:
    """A source with the entries as `c`, and a condition with its values."""
    parts: list[str] = ["1"]
    values: list[Any] = []
    source = f"cases_{indexed.table} AS c"
    if wanted.text.strip():  # first: its matches come in the order of their numbers
        source = f"words_{indexed.table} AS t CROSS JOIN cases_{indexed.table} AS c ON c.id = t.rowid"
        parts.append(f"t.words_{indexed.table} MATCH ?")
        values.append(matching(wanted.text, wanted.in_texts))
    cells = cells_of(indexed, wanted)
    if cells is not None:
        parts.append(f"cell IN ({', '.join('?' * len(cells))})")
        values += cells
    if wanted.outcome:
        measure = wanted.outcome.partition(":")[0]
        outcomes = [name for name in OUTCOMES if wanted.fits(measure if measure in WORDS else "harm", name)]
        parts.append(f"outcome IN ({', '.join('?' * len(outcomes))})")
        values += outcomes
    if wanted.category:
        parts.append("category = ?")
        values.append(wanted.category)
    return source, " AND ".join(parts), values


def matching(text: str, in_texts: bool) -> str:
    """Words as people write them, as a full-text query: all of them, in any order; "in quotes" a phrase; the last may
    be a beginning. Without `in_texts` they are searched for in the ids of behaviors alone."""
    clean = text.encode("utf-8", "replace").decode().replace("\0", " ")
    parts = [phrase or word for phrase, word in re.findall(r'"([^"]+)"|([^\s"]+)', clean)]
    quoted = [f'"{part}"' for part in parts if part.strip()]
    if quoted and not clean.rstrip().endswith('"'):
        quoted[-1] += "*"
    words = " ".join(quoted) or '""'
    return words if in_texts else f"name : ({words})"
