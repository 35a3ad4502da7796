"""Stores that somebody changed: programs inside the file, and specs that a command would take from it."""

from pathlib import Path
from typing import Any

import pytest

from hostile import stores
from withstand import api
from withstand.core import StoreError


@pytest.mark.parametrize(
    "program",
    [
        'CREATE TRIGGER flip AFTER INSERT ON "row" BEGIN DELETE FROM audit; END',
        "CREATE VIEW extra AS SELECT * FROM meta",
        "CREATE VIRTUAL TABLE extra USING fts5(text)",
    ],
)
def test_programs_in_a_store_are_refused_at_opening(program: str, tmp_path: Path, withstand: Any) -> None:
    path = stores.kitchen(tmp_path / "s.db")
    stores.change(path, program)
    for create in (True, False):
        with pytest.raises(StoreError, match="which no store has") as caught:
            api.open_store(path, create=create)
        assert caught.value.hint
    assert withstand("report", "--store", path).code == 2
    assert withstand("store", "merge", path, "--into", tmp_path / "all.db").code == 2


def test_no_spec_of_a_stranger_s_store_is_run(tmp_path: Path, withstand: Any) -> None:
    with stores.somebody_else(tmp_path):
        path = stores.kitchen(tmp_path / "theirs.db")
    command = {"use": "http", "url": "http://127.0.0.1:9/", "body": "{prompt}", "token_command": "touch ran"}
    stores.rewrite_spec(path, target=[command, "openai:@/etc/hostname"])
    done = withstand("run", "--name", "kitchen", "--store", path)
    assert done.code == 2
    assert "somebody else's, so its spec is not run" in done.err
    assert "withstand store trust" in done.err
    assert not (tmp_path / "ran").exists()


def test_a_spec_of_our_own_store_goes_on(tmp_path: Path, withstand: Any) -> None:
    path = stores.kitchen(tmp_path / "ours.db")
    assert withstand("run", "--name", "kitchen", "--store", path).code == 0
