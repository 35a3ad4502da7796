"""What is wrong with a store's file, where something went wrong with what was read from it."""

import json
from typing import TYPE_CHECKING

import sqlalchemy as sql

from withstand.core import digest
from withstand.store.tables import meta, run, tables

if TYPE_CHECKING:
    from withstand.store.store import Store

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
                if column.name in ("value", "spec", "plan") and table is not meta:
                    wrong |= sql.func.json_valid(column) == 0
                if count := connection.execute(sql.select(sql.func.count()).select_from(table).where(wrong)).scalar():
                    return f"{count} of {table.name} hold no {column.name}"
        entries = connection.execute(sql.select(run.c.key, run.c.name, run.c.plan)).all() if "run" in names else []
    return next((f"the plan of {name} was changed" for key, name, plan in entries if key_of(plan) != key), "")


def key_of(plan: str) -> str:
    """The key of a run by its plan as stored: aliases and gate may change, and are in no key."""
    return digest({name: value for name, value in json.loads(plan).items() if name not in ("aliases", "gate")})
