"""What happens to a store's file from outside: removed or replaced."""

from pathlib import Path
from typing import Any

import pytest

from withstand.core.errors import StoreGoneError
from withstand.models.scripted import Scripted
from withstand.store.store import Row, Store

RUN = ("run", "--suite", "kitchen", "--limit", "4", "--target", "scripted-kitchen", "--attack", "direct")


@pytest.mark.parametrize("replaced", [False, True])
def test_a_store_removed_in_mid_run_ends_it(
    replaced: bool, tmp_path: Path, withstand: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, answered = tmp_path / "s.db", Scripted.generate

    def generate(self: Any, *given: Any) -> Any:
        path.unlink(missing_ok=True)
        if replaced:
            path.write_bytes(b"")
        return answered(self, *given)

    monkeypatch.setattr(Scripted, "generate", generate)
    done = withstand(*RUN, "--store", path)
    assert done.code == 3
    assert "was removed or replaced while it was written to" in done.err


def test_a_write_to_a_removed_store_is_an_error(tmp_path: Path) -> None:
    with Store(str(tmp_path / "s.db")) as store:
        store.add(rows=[Row("a", "x", 1)])
        (tmp_path / "s.db").unlink()
        with pytest.raises(StoreGoneError) as caught:
            store.add(rows=[Row("b", "x", 1)])
    assert caught.value.hint
