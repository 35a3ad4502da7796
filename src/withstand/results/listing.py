"""The runs of a store as a list, from the store alone."""

import sqlalchemy as sql

from withstand.core import Json
from withstand.results.counts import iso
from withstand.results.names import plan_names
from withstand.store.store import Store
from withstand.store.tables import VERDICTS, row, want


def listing(store: Store) -> list[Json]:
    """The runs of a store, oldest first, each with how many verdicts it has."""
    w = want.c
    counts = {
        key: (wanted, missing)
        for key, wanted, missing in store.select(
            sql.select(w.run, sql.func.count(), sql.func.sum(sql.case((row.c.key.is_(None), 1), else_=0)))
            .select_from(want.outerjoin(row, row.c.key == w.key))
            .where(w.stage == VERDICTS)
            .group_by(w.run)
        )
    }
    listed = []
    for run in store.runs():
        wanted, missing = counts.get(run.key, (0, 0))
        cells, names = run.plan["cells"], plan_names(run.plan)
        listed.append(
            {
                "run": run.name,
                "created": iso(run.created),
                "suites": ", ".join(suite["name"] for suite in run.plan["suites"]),
                "targets": ", ".join(dict.fromkeys(cell["target"] for cell in cells)),
                "attacks": ", ".join(dict.fromkeys(cell["attack"] for cell in cells)),
                "cells": len(cells),
                "verdicts": f"{wanted - missing} of {wanted}",
                "names": {label: names[label] for label in sorted(names)},
            }
        )
    return listed
