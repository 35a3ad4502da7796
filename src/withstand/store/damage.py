"""What is wrong with a store's file, where something went wrong with what was read from it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sql

from withstand.core import Json, TestCase, digest
from withstand.core.outcomes import OUTCOMES
from withstand.core.shape import misfit
from withstand.store.tables import (
    BESIDE,
    CASES,
    STAGES,
    VERDICTS,
    behavior,
    calibration,
    component,
    draw,
    label,
    meta,
    probe,
    row,
    run,
    tables,
    want,
)

if TYPE_CHECKING:
    from withstand.store.store import Store


@dataclass(frozen=True, slots=True)
class _Expansion:
    """What a plan says of a set of attacks on one target."""

    set: str
    attacks: tuple[Mapping[str, Any], ...]
    labels: tuple[str, ...]
    left_out: tuple[str, ...]
    suite: int
    target: str
    defense: str


LATEST = 253_402_300_799
"""Seconds since 1970: the end of the year 9999."""
LABEL: Mapping[str, type | tuple[type, ...]] = {
    "vote": str, "labeler": str, "purpose": str, "place": str, "behavior": dict, "prompt": str, "completion": str,
    "created": (int, float),
}  # fmt: skip
"""What every label has."""
STORED = {str: ("text",), int: ("integer",), float: ("real", "integer"), bool: ("integer",)}
"""What SQLite holds for each type. It keeps any value in any column, so a changed bit may change the type."""


def damage(store: "Store") -> str:
    """The first sign that the file was changed from outside; "" where there is none, or the store is on PostgreSQL.

    SQLite's own check of the pages, then the types of all columns, that each JSON is some, and that each run's plan is
    the one of its key. Takes a whole reading.
    """
    if not store.path:
        return ""
    with store.errors(), store.engine.connect() as connection:
        if (pages := connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()) != "ok":
            return " ".join(str(pages).split())
        names = set(sql.inspect(connection).get_table_names())
        for table in tables.sorted_tables:
            for column in table.columns if table.name in names else ():
                kinds = STORED.get(column.type.python_type)
                if kinds is None:
                    continue
                kind = sql.func.typeof(column)
                wrong: sql.ColumnElement[bool] = kind.not_in((*kinds, *(["null"] if column.nullable else [])))
                if table is not meta and (column.name == "value" or (table is run and column.name in ("spec", "plan"))):
                    wrong |= sql.func.json_valid(column) == 0
                if count := connection.execute(sql.select(sql.func.count()).select_from(table).where(wrong)).scalar():
                    return f"{count} of {table.name} hold no {column.name}"
        return next(_changed(connection), "") if set(tables.tables) <= names else ""


def _changed(connection: sql.Connection) -> Iterator[str]:
    """What is not as it was written, of what has its digest as its key; then what cannot have been written so."""
    for entry in connection.execute(sql.select(run)):
        if key_of(entry.plan) != entry.key:
            yield f"the plan of {entry.name} was changed"
        plan = json.loads(entry.plan)
        if misfit(Mapping[str, str], plan.get("prompts", {})):
            yield f"the prompts of {entry.name} were changed"
        beside = misfit(Mapping[str, Mapping[str, str]], plan.get("aliases", {}))
        beside = beside or misfit(Mapping[str, str], plan.get("clusters", {}))
        beside = beside or misfit(Mapping[str, str], plan.get("knows", {}))
        beside = beside or misfit(Mapping[str, tuple[str, ...]], plan.get("marked", {}))
        beside = beside or misfit(tuple[_Expansion, ...], plan.get("sets", []))
        beside = beside or misfit(tuple[Mapping[str, tuple[str, ...]], ...], plan.get("taxonomy", []))
        if beside or not isinstance(json.loads(entry.spec), dict):
            yield f"the spec of {entry.name} was changed"
        if not 0 <= entry.created <= LATEST:
            yield f"{entry.name} was begun at no time"
    for table in (behavior, component, calibration, probe, draw):
        for facts in map(dict, connection.execute(sql.select(table)).mappings()):
            value = json.loads(facts["value"])
            names = ("run", "annotator") if table is draw else ("judge",) if "judge" in facts else ()
            whole = [*(facts[name] for name in names), value] if names else value
            if facts["key"] != digest(whole) and not facts.get("purged"):
                yield f"an entry of {table.name} was changed"
    for (text,) in connection.execute(sql.select(label.c.value)):
        value = json.loads(text)
        if not isinstance(value, dict) or wrong_label(value):
            yield "a label was changed"
    columns = (want.c.stage, row.c.label, row.c.value, row.c.created)
    for stage, called, text, created in connection.execute(
        sql.select(*columns).join_from(want, row, want.c.key == row.c.key)
    ):
        value = json.loads(text)
        fits = not misfit(tuple[TestCase, ...], value) if stage == CASES else isinstance(value, dict)
        fits &= stage != VERDICTS or called in OUTCOMES
        if not fits or not 0 <= created <= LATEST:
            yield f"a row of {STAGES.get(stage, 'no stage')} was changed"
    for key, plan in connection.execute(sql.select(run.c.key, run.c.plan)).all():
        cells, suites = (json.loads(plan)[name] for name in ("cells", "suites"))
        sizes = [len(suites[cell["suite"]]["behaviors"]) for cell in cells]
        for cell, place in connection.execute(sql.select(want.c.cell, want.c.behavior).where(want.c.run == key)):
            if not (0 <= cell < len(sizes) and 0 <= place < sizes[cell]):
                yield "what a run wants was changed"


def wrong_label(value: Mapping[str, Json]) -> bool:
    """Whether a label lacks what every label has, or has it of another type."""
    return any(not isinstance(value.get(name), kind) for name, kind in LABEL.items())


def key_of(plan: str) -> str:
    """The key of a run by its plan as stored, without what is in no key."""
    return digest({name: value for name, value in json.loads(plan).items() if name not in BESIDE})
