"""The same store on a real PostgreSQL: set WITHSTAND_TEST_POSTGRES to the URL of a server that may make databases."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql

import withstand
from withstand.core import StoreError
from withstand.store import Failure, Row, Store, answer, row

SERVER = os.environ.get("WITHSTAND_TEST_POSTGRES", "")
pytestmark = pytest.mark.skipif(not SERVER, reason="NO POSTGRESQL: set WITHSTAND_TEST_POSTGRES=postgresql://...")

SPEC = {
    "suite": "kitchen",
    "limit": 6,
    "target": {
        "use": "scripted",
        "rules": [[".", "Step 1: mix {n}.", 0.5]],
        "reply": "I cannot help.",
        "seconds": 0.02,
    },
    "attack": ["direct", {"use": "best_of_n", "n": 6}],
    "sampling": {"temperature": 1.0},
}


@pytest.fixture
def url() -> Iterator[str]:
    """A database of its own."""
    name = f"withstand_{uuid.uuid4().hex[:12]}"
    server = sql.create_engine(SERVER.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield sql.make_url(SERVER).set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    server.dispose()


def content(store: Store) -> set[tuple[str, str]]:
    return {(key, label) for key, label in store.select(sql.select(row.c.key, row.c.label))}


def test_rows_equal_those_of_a_file(url: str, tmp_path: Path) -> None:
    there, here = Store(url), Store(str(tmp_path / "s.db"))
    first, second = withstand.run(SPEC, store=there), withstand.run(SPEC, store=here)
    assert content(there) == content(here)
    for mine, theirs in zip(first.cells, second.cells, strict=True):
        drop = {"seconds", "used"}
        assert {k: v for k, v in mine.items() if k not in drop} == {k: v for k, v in theirs.items() if k not in drop}
    again = withstand.run(SPEC, store=there)
    assert again.tally is not None
    assert again.tally.asks == 0
    assert [case["completion"] for case in first.cases()] == [case["completion"] for case in second.cases()]


def test_the_first_writer_stands(url: str) -> None:
    one, two = Store(url), Store(url)
    assert one.add(answers={"k": {"text": "first"}}) == {}
    assert two.add(answers={"k": {"text": "second"}, "other": {"text": "mine"}}) == {"k": {"text": "first"}}
    one.add(rows=[Row("r", "stop", {"text": "first"})], failures=[Failure("r", 2, "broken")])
    two.add(rows=[Row("r", "stop", {"text": "second"})])
    assert two.rows(["r"])["r"].value == {"text": "first"}


def test_merging_both_ways_is_a_union(url: str, tmp_path: Path) -> None:
    there, here = Store(url), Store(str(tmp_path / "s.db"))
    withstand.run(SPEC, store=here)
    added = there.merge(here)
    assert added["row"] == len(content(here)) > 0
    assert content(there) == content(here)
    assert set(there.merge(here).values()) == {0}
    back = here.merge(there)
    assert {name for name, new in back.items() if new} <= {"writer"}  # the process that merged


def test_processes_share_a_run_and_a_kill_loses_nothing(url: str, tmp_path: Path) -> None:
    slow = {**SPEC, "target": {**SPEC["target"], "width": 1, "seconds": 0.2}}  # type: ignore[dict-item]
    victim = subprocess.Popen([sys.executable, "-c", f"import withstand; withstand.run({slow!r}, store={url!r})"])
    watch = Store(url)
    deadline = time.monotonic() + 60
    while not watch.select(sql.select(answer.c.key).limit(3)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert victim.poll() is None
    victim.kill()
    victim.wait()
    script = f"import withstand; withstand.run({SPEC!r}, store={url!r})"
    both = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    whole = Store(str(tmp_path / "whole.db"))
    withstand.run(SPEC, store=whole)
    assert content(watch) == content(whole)


def test_a_server_that_refuses_is_said_without_the_password(url: str) -> None:
    wrong = sql.make_url(url).set(password="wr0ng").render_as_string(hide_password=False)
    with pytest.raises(StoreError) as caught:
        Store(wrong)
    assert "wr0ng" not in str(caught.value)
    assert "check the address" in caught.value.hint
