"""What is wrong with a store's file, where something went wrong with what was read from it."""

from typing import TYPE_CHECKING

import sqlalchemy as sql

from withstand.store.tables import tables

if TYPE_CHECKING:
    from withstand.store.store import Store

STORED = {str: ("text",), int: ("integer",), float: ("real", "integer"), bool: ("integer",)}
"""What SQLite holds for each type. It keeps any value in any column, so a changed bit may change the type."""


def damage(store: "Store") -> str:
    """The first sign that the file was changed from outside; "" where there is none, or the store is on PostgreSQL.

    SQLite's own check of the pages, then the types of all columns, and that each JSON is some. Takes a whole reading.
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
                wrong = kind.not_in((*kinds, *(["null"] if column.nullable else [])))
                if column.name in ("value", "spec", "plan"):
                    wrong |= sql.func.json_valid(column) == 0
                if count := connection.execute(sql.select(sql.func.count()).select_from(table).where(wrong)).scalar():
                    return f"{count} of {table.name} hold no {column.name}"
    return ""
