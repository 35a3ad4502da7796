"""Whose a store is: the user's own, or a stranger's."""

import contextlib
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from hostile import stores
from withstand import api
from withstand.core import home

GOLDEN = Path(__file__).parent.parent / "golden" / "old-store.sqlite"


def is_own(path: Path) -> bool:
    with contextlib.closing(api.open_store(path, create=False)) as store:
        return store.is_own


def test_a_store_is_of_whoever_made_it(tmp_path: Path) -> None:
    path = stores.kitchen(tmp_path / "s.db")
    assert is_own(path)
    with stores.somebody_else(tmp_path):
        assert not is_own(path)
        theirs = stores.kitchen(tmp_path / "theirs.db")
        assert is_own(theirs)
    assert not is_own(theirs)


def test_a_store_cannot_say_that_it_is_ours(tmp_path: Path) -> None:
    ours = stores.kitchen(tmp_path / "ours.db")
    with contextlib.closing(api.open_store(ours)) as store:
        facts = store.facts()
    with stores.somebody_else(tmp_path):
        theirs = stores.kitchen(tmp_path / "theirs.db")
    for owner in (facts["owner"], "", "0" * 64, "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")):
        stores.change(theirs, "UPDATE meta SET value = ? WHERE key = 'owner'", owner)
        assert not is_own(theirs)
    stores.change(theirs, "DELETE FROM meta WHERE key IN ('id', 'owner')")
    assert not is_own(theirs)


def test_trusting_a_store_takes_it_for_our_own(tmp_path: Path, withstand: Any) -> None:
    with stores.somebody_else(tmp_path):
        path = stores.kitchen(tmp_path / "theirs.db")
    assert "is trusted from now on: 1 run" in withstand("store", "trust", path).out
    assert is_own(path)
    assert "is yours already" in withstand("store", "trust", path).out
    assert withstand("store", "trust", tmp_path / "none.db").code == 2


def test_a_store_of_release_0_1_opens_and_is_ours_once_trusted(tmp_path: Path, withstand: Any) -> None:
    path = Path(shutil.copy(GOLDEN, tmp_path / "old.db"))
    assert not is_own(path)
    assert withstand("report", "--store", path, "--format", "json", "kitchen").code == 0
    assert withstand("store", "trust", path).code == 0
    assert is_own(path)


def test_merging_makes_no_store_ours(tmp_path: Path, withstand: Any) -> None:
    old = Path(shutil.copy(GOLDEN, tmp_path / "old.db"))
    ours = stores.kitchen(tmp_path / "ours.db", "ours")
    assert withstand("store", "merge", ours, "--into", old).code == 0
    assert not is_own(old)


def test_the_secret_is_private_and_can_be_lent_to_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WITHSTAND_HOME", str(tmp_path / "home"))
    path = stores.kitchen(tmp_path / "s.db")
    assert stat.S_IMODE((tmp_path / "home" / "identity").stat().st_mode) == 0o600
    secret = home.identity()
    assert home.identity() == secret
    with stores.somebody_else(tmp_path):
        assert not is_own(path)
        monkeypatch.setenv("WITHSTAND_IDENTITY", secret.decode())
        assert is_own(path)
        monkeypatch.setenv("WITHSTAND_IDENTITY", "short")  # one that can be guessed is none
        assert home.identity() == b""
        assert not is_own(path)


def test_without_a_folder_that_can_be_written_nothing_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WITHSTAND_HOME", str(tmp_path / "file" / "home"))
    path = stores.kitchen(tmp_path / "s.db")
    assert not is_own(path)
    assert home.identity() == b""
