"""Runs with outcomes that a test names, in one store that the commands use too."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from withstand import api

TOYS = str(Path(__file__).parent.parent / "toys")


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., api.Run]:
    """`ran("name", {"benign": "none"}, success=[0, 1])`: the second argument overrides fields of the spec."""
    monkeypatch.syspath_prepend(TOYS)

    def run(
        name: str, more: dict[str, Any] | None = None, behaviors: int = 40, revision: str = "1", **outcomes: Any
    ) -> api.Run:
        monkeypatch.setenv("WITHSTAND_STORE", str(tmp_path / "s.db"))
        sys.modules.pop("withstand_toys", None)
        import withstand_toys  # type: ignore[import-not-found,unused-ignore]

        spec = withstand_toys.spec_of_outcomes(tmp_path, behaviors, revision, **outcomes) | (more or {})
        return api.run(spec, store=tmp_path / "s.db", name=name)

    return run
