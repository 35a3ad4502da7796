"""A text that looks like an erased one is a text: what was erased is a column's to say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

import withstand
from hostile import stores
from withstand.core import SpecError, digest
from withstand.results import labeling
from withstand.results.labels import labels_from
from withstand.store import tables
from withstand.store.attempts import Attempt, Turn, add
from withstand.store.merge import merge
from withstand.store.purge import purge
from withstand.store.store import Store

MARK = "purged:" + "0123456789abcdef" * 2
SPEC: dict[str, Any] = {
    "suite": "kitchen",
    "limit": 2,
    "benign": "none",
    "attack": "direct",
    "target": {"use": "scripted", "rules": [], "reply": MARK},
}


@pytest.fixture
def opened(where: str) -> Iterator[Store]:
    with Store(where) as store:
        yield store


def marks(store: Store) -> dict[str, int]:
    """How many entries of each table are marked as purged."""
    names = ("row", "behavior", "label", "attempt")
    return {
        name: store.select(sql.select(sql.func.count()).where(tables.tables.tables[name].c.purged == 1))[0][0]
        for name in names
    }


def before(store: Store) -> str:
    """Take a store back to schema 5, its attempts as findings; where it is."""
    with store.engine.begin() as connection:
        stores.with_findings(connection.exec_driver_sql)
        for name in ("row", "behavior", "label", "finding"):
            connection.exec_driver_sql(f'ALTER TABLE "{name}" DROP COLUMN purged')
        connection.exec_driver_sql('ALTER TABLE "label" DROP COLUMN annotator')
        stores.without_marks(connection.exec_driver_sql)
        connection.execute(sql.update(tables.meta).values(value="5"))
    store.close()
    return store.where if store.path else store.url.render_as_string(hide_password=False)


def test_an_answer_that_looks_erased_is_an_answer(opened: Store) -> None:
    withstand.run(SPEC, store=opened, name="r")
    again = withstand.run(SPEC, store=opened, name="r")
    assert again.tally is not None
    assert (again.tally.asks, again.tally.failed) == (0, 0)
    sent = withstand.run({**SPEC, "cases_from": "r"}, store=opened, name="transferred")
    assert {case["completion"] for case in sent.cases()} == {MARK}
    judged = withstand.run({**SPEC, "judge": "contains:soup"}, store=opened, name="judged")
    assert {case["outcome"] for case in judged.cases()} == {"failure"}


def test_a_purge_erases_it_and_says_so(opened: Store) -> None:
    run = withstand.run(SPEC, store=opened, name="r")
    item = labeling.queue(opened, run.row, "calibration")[0]
    labeling.add(opened, run.row, item, "success", "ana", "calibration")
    purge(opened, run.row, "ana")
    assert {case["completion"] for case in run.cases()} == {f"purged:{digest(MARK)}"}
    once = list(run.cases())
    purge(opened, run.row, "ana")
    assert list(run.cases()) == once
    with pytest.raises(SpecError, match="were purged"):
        withstand.run(SPEC, store=opened, name="r")
    with pytest.raises(SpecError, match="were purged"):
        withstand.run({**SPEC, "cases_from": "r"}, store=opened)
    with pytest.raises(SpecError, match="were purged"):  # no judge is asked of a digest
        labels_from("run:r", (), opened)


def test_texts_that_an_older_version_erased_stay_erased(opened: Store) -> None:
    run = withstand.run(SPEC, store=opened, name="r")
    withstand.run({**SPEC, "target": "scripted", "suite": "kitchen-benign"}, store=opened, name="kept")
    item = labeling.queue(opened, run.row, "calibration")[0]
    labeling.add(opened, run.row, item, "success", "ana", "calibration")
    add(opened, Attempt("F-1", (Turn("user", "t"),), "", "harmful", "ana", 1.0, 1.0, run=run.row.key, harm="new: h"))
    purge(opened, run.row, "ana")
    marked = marks(opened)
    assert all(marked.values())
    texts = list(run.cases())
    with Store(before(opened), create=False) as store:
        assert marks(store) == marked
        assert list(withstand.load("r", store).cases()) == texts
        store.marks.trust()
        with pytest.raises(SpecError, match="were purged"):
            withstand.run(SPEC, store=store, name="r")


def test_an_older_store_without_a_purge_has_nothing_erased(opened: Store) -> None:
    withstand.run(SPEC, store=opened, name="r")
    with Store(before(opened), create=False) as store:
        assert not any(marks(store).values())
        store.marks.trust()
        again = withstand.run(SPEC, store=store, name="r")
        assert again.tally is not None
        assert again.tally.asks == 0


def test_a_merge_keeps_what_was_erased(opened: Store, tmp_path: Path) -> None:
    run = withstand.run(SPEC, store=opened, name="r")
    purge(opened, run.row, "ana")
    with Store(str(tmp_path / "into.db")) as into:
        merge(opened, into)
        assert marks(into) == marks(opened)
