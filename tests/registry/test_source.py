"""A run warns of a component whose code changed, and of nothing else."""

import re
import sqlite3
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest

import withstand
from withstand.core.describe import source_hash
from withstand.registry.source import code_hash

CODE = '''"""An attack."""

import os
from dataclasses import dataclass
from typing import ClassVar

from withstand.core import TestCase, user


@dataclass(frozen=True)
class Loud:
    """Shouts."""

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset()
    mark: str = "!"
    """What stands at the end."""
    seed: int = 0

    def most(self):
        from withstand.core import UpperBounds

        return UpperBounds(cases=1)

    def run(self, behavior, target):
        yield TestCase(behavior.id, user(behavior.text.upper() + self.mark))  # loud
'''

SILENT = {
    "imports": CODE.replace("import os\n", "").replace("user\n", "user as user\nimport json\n"),
    "an import in a function": CODE.replace(
        "        from withstand.core import UpperBounds\n", "        from withstand import core\n"
    ),
    "a docstring": CODE.replace("Shouts.", "Shouts loudly."),
    "the docstring of a field": CODE.replace('    """What stands at the end."""\n', ""),
    "a comment": CODE.replace("# loud", "# very loud"),
    "white space": CODE.replace("\n\n", "\n\n\n"),
}
LOUD = {
    "a body": CODE.replace("upper", "lower"),
    "a default": CODE.replace('"!"', '"?"'),
    "a string that is used": CODE.replace("+ self.mark", "+ self.mark + ''"),
    "a decorator": CODE.replace("frozen=True", "frozen=True, order=True"),
}


def component(folder: Path, code: str) -> Any:
    """The class of `code`, as if it were imported for the first time."""
    file = folder / "loud.py"
    file.write_text(code)
    module = types.ModuleType("loud")
    module.__file__ = str(file)
    sys.modules["loud"] = module
    exec(compile(code, str(file), "exec"), vars(module))
    return module.Loud  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No module `loud` is left behind."""
    monkeypatch.setitem(sys.modules, "loud", types.ModuleType("loud"))


def changes(folder: Path, code: str) -> list[str]:
    """What a run warns of that uses `code`."""
    component(folder, code)
    spec = {"suite": "kitchen", "limit": 1, "benign": "none", "target": "scripted", "attack": "loud:Loud"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        withstand.run(spec, store=folder / "s.db").store.close()
    return [str(warning.message) for warning in caught if "changed its source" in str(warning.message)]


@pytest.mark.parametrize("change", list(SILENT))
def test_what_changes_no_behavior_keeps_the_hash(tmp_path: Path, change: str) -> None:
    assert SILENT[change] != CODE
    first = component(tmp_path, CODE)
    hashes = code_hash(first), source_hash(first)
    second = component(tmp_path, SILENT[change])
    assert code_hash(second) == hashes[0]
    assert source_hash(second) != hashes[1]  # which is in keys of components without a version


@pytest.mark.parametrize("change", list(LOUD))
def test_changed_code_changes_the_hash(tmp_path: Path, change: str) -> None:
    assert LOUD[change] != CODE
    first = code_hash(component(tmp_path, CODE))
    assert re.fullmatch(r"ast3\.\d+:[0-9a-f]{32}", first)
    assert code_hash(component(tmp_path, LOUD[change])) != first


def test_a_file_that_is_not_python_is_hashed_whole(tmp_path: Path) -> None:
    cls = component(tmp_path, CODE)
    (tmp_path / "loud.py").write_bytes(b"\x7fELF\x00\xff")
    assert code_hash(cls) == f"file:{source_hash(cls)}"


def test_a_run_warns_of_changed_code_alone(tmp_path: Path) -> None:
    assert changes(tmp_path, CODE) == []
    assert [changes(tmp_path, code) for code in SILENT.values()] == [[]] * len(SILENT)
    [warning] = changes(tmp_path, LOUD["a body"])
    assert warning.startswith("loud:Loud changed its source but not its version")


@pytest.mark.parametrize("old", ["0" * 32, "ast3.1:" + "0" * 32, "file:" + "0" * 32, ""])
def test_hashes_of_another_scheme_are_not_compared(tmp_path: Path, old: str) -> None:
    changes(tmp_path, CODE)
    store = sqlite3.connect(tmp_path / "s.db")
    with store:
        changed = store.execute("UPDATE component SET value = json_set(value, '$.source', ?)", (old,))
        assert changed.rowcount > 0
    store.close()
    assert changes(tmp_path, LOUD["a body"]) == []
