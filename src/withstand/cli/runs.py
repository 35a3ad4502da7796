"""`withstand runs`."""

from typing import TYPE_CHECKING

from withstand.cli import console
from withstand.cli.options import Result, command

if TYPE_CHECKING:
    from withstand.store.store import Store


@command(store=True, json=True)
def runs(store: "Store") -> Result:
    """List the runs in a store, oldest first."""
    from withstand.results.listing import listing
    from withstand.results.names import renamed

    rows = listing(store)
    columns = ("run", "created", "suites", "targets", "attacks", "cells", "verdicts")
    texts = [[renamed(str(row[name]), row["names"]) for name in columns] for row in rows]
    return Result(rows, lambda: console.table(texts, columns))
