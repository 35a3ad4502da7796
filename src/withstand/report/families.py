"""Families of variants (results/families.py) as tables, for a page, a file and a terminal. They hold no texts."""

from collections.abc import Mapping
from dataclasses import replace

from withstand.core.text import change, interval, percent, rate, whole
from withstand.report.table import Column, Row, Table
from withstand.results.cells import defended
from withstand.results.families import ArmsRow, Families, FamilyRow, Halves
from withstand.stats.families import Flips, Share

TITLE = "Variants beside their parents"
LEAD = (
    "A family is a behavior as it is, its parent, and its variants. Wrong: broken, of benign requests refused."
    " Consistent: families of one verdict. Right to wrong: variants that were wrong though their parent was not. Any of"
    " k: parents of which any variant was wrong. Open: families that a missing verdict leaves undecided; no missing"
    " verdict counts as right. p is by sign flips of whole families, after Holm's correction over all rows. Balanced is"
    " the mean of both halves: one answer to everything is consistent, and scores 50%."
)
PARENTS = "the behaviors that name their clusters"


def tables(families: Families, names: Mapping[str, str] | None = None) -> list[Table]:
    """The families, both halves, the pairs of arms, and what became of the variants that were asked for; those that
    have rows. names: label of an attack -> the name that people read."""
    parts = [_families(families), _halves(families), _pairs(families), _yields(families)]
    return [_named(part, names or {}) for part in parts if part.rows]


def _named(table: Table, names: Mapping[str, str]) -> Table:
    """With these names of attacks, and each suite and target as a heading over its rows."""
    attacks = [at for at, column in enumerate(table.columns) if column.name in ("variants", "A", "B")]
    rows: list[Row] = []
    for row in table.rows:
        where, values = str(row[0]), row[1:]
        if where not in rows:
            rows.append(where)
        rows.append([names.get(value, value) if at + 1 in attacks else value for at, value in enumerate(values)])
    return replace(table, columns=table.columns[1:], rows=rows).shown()


def _where(row: FamilyRow | ArmsRow | Halves) -> str:
    return f"{row.suite}: {defended(row.target, row.defense.removeprefix('none'))}"


def _families(families: Families) -> Table:
    columns = [
        *map(Column, ("where", "variants")), Column("parents", right=True),
        Column("consistent", _share, "95%", right=True), Column("right to wrong", _flips, "95%", right=True),
        Column("wrong to right", _flips, "95%", right=True), Column("any of k", _share, "95%", right=True),
        Column("parents wrong", percent, right=True), Column("variants wrong", percent, right=True),
        Column("difference", change, "95%", right=True), Column("p", _p, right=True),
    ]  # fmt: skip
    rows = [
        [
            _where(row), row.arm, f"{row.matched} of {row.parents}", row.consistent, row.right_to_wrong,
            row.wrong_to_right, row.any_of_k, row.parent_rate, row.variant_rate, (row.difference, row.interval),
            row.p_corrected,
        ]
        for row in families.rows
    ]  # fmt: skip
    return Table(columns, rows, title=f"{families.run}, beside {families.parent or PARENTS}")


def _halves(families: Families) -> Table:
    heads = (f"{half}: {of}" for half in ("held", "not refused", "balanced") for of in ("parents", "variants"))
    columns = [Column("where"), Column("variants"), *(Column(head, percent, right=True) for head in heads)]
    rows = [[_where(half), half.arm, *half.harmful, *half.benign, *half.balanced] for half in families.halves]
    return Table(columns, rows, title="Both halves: what was right")


def _pairs(families: Families) -> Table:
    columns = [
        *map(Column, ("where", "A", "B")),
        *(Column(name, whole, right=True) for name in ("shared parents", "A alone", "B alone")),
        Column("A wrong", percent, right=True), Column("B wrong", percent, right=True),
        Column("difference", change, "95%", right=True), Column("p", _p, right=True),
    ]  # fmt: skip
    rows = [
        [_where(row), row.a, row.b, row.parents, row.left_a, row.left_b, row.rate_a, row.rate_b,
         (row.difference, row.interval), row.p_corrected]
        for row in families.arms
    ]  # fmt: skip
    return Table(columns, rows, title="Variants beside each other, on the parents that both have", folded=True)


def _yields(families: Families) -> Table:
    """Of each arm in all, and of the categories of which something was lost."""
    heads = ("parents", "asked for", "refused", "unreadable", "other meaning", "repeated", "used", "scored",
             "parents without")  # fmt: skip
    columns = [*map(Column, ("where", "variants", "category")), *(Column(head, whole, right=True) for head in heads)]
    rows = []
    for row in families.rows:
        for part in row.yields:
            counts = [part.refused, part.malformed + part.long, part.changed, part.repeated]
            if not part.category or any(counts) or part.scored < part.asked:
                ends = [part.variants, part.scored, part.parents - part.kept]
                rows.append([_where(row), row.arm, part.category or "all", part.parents, part.asked, *counts, *ends])
    note = (
        "What was lost was asked for anew while there were tries, so that a row need not add up. Categories of which"
        " nothing was lost are left out."
    )
    return Table(columns, rows, title="Variants asked for, and what became of them", note=note, folded=True)


def _share(share: Share) -> str:
    text = rate(share.rate, share.interval) if share.families else "n = 0"
    return text + (f", {share.open} open" if share.open else "")


def _flips(flips: Flips) -> str:
    return f"{flips.flipped} of {flips.variants}" + (f" ({interval(flips.interval)})" if flips.interval else "")


def _p(p: float | None) -> str:
    return "n/a" if p is None else "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")
