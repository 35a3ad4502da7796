"""An error on a store whose file was changed from outside says so; on a whole store it stays what it is."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from hostile import stores
from hostile.mutate import GOLDEN, read_store
from withstand.core import StoreError
from withstand.store.store import Store


def test_a_value_of_another_type_is_named(tmp_path: Path) -> None:
    file = tmp_path / "s.db"
    shutil.copy(GOLDEN / "old-store.sqlite", file)
    for whole in (file, tmp_path / "new.db"):  # a new one has an id, which is no JSON
        with pytest.raises(KeyError, match="a mistake of ours"), Store(str(whole)):
            raise KeyError("a mistake of ours")
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE run SET created = 'never'")
    with pytest.raises(StoreError, match="of run hold no created"):
        read_store(str(file))


def test_a_verdict_that_is_none_is_named(tmp_path: Path) -> None:
    made = stores.kitchen(tmp_path / "s.db")
    stores.change(made, "UPDATE \"row\" SET label = 'x' WHERE label = 'refused'")
    with pytest.raises(StoreError, match="a row of verdicts was changed"):
        read_store(str(made))
