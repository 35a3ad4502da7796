"""Stores that somebody changed: programs inside the file, and specs that a command would take from it."""

from pathlib import Path
from typing import Any

import pytest

from hostile import stores
from withstand import api
from withstand.core import StoreError
from withstand.registry import grammar
from withstand.runner import foreign


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
    stores.rewrite_spec(path, target=[COMMAND, "openai:@/etc/hostname"])
    done = withstand("run", "--name", "kitchen", "--store", path)
    assert done.code == 2
    assert "somebody else recorded kitchen in" in done.err
    assert "withstand store trust" in done.err
    assert not (tmp_path / "ran").exists()


COMMAND = {"use": "http", "url": "http://127.0.0.1:9/", "body": "{prompt}", "token_command": "touch ran"}
CHANGES: list[dict[str, Any]] = [
    {"target": [COMMAND]},
    {"target": ["scripted-kitchen,defense=trap_module:Trap"]},
    {"target": [{"use": "scripted-kitchen", "defense": "trap_module:Trap"}]},
    {"target": ["openai:@/etc/hostname"]},
    {"judge": "llm:function:trap_module:answer"},
    {"until_success": {"use": "trap_module:Trap"}},
    {"attack": [{"use": "pair", "attacker": "function:trap_module:answer"}]},
    {"suite": [{"use": "csv", "path": "/etc/passwd"}]},
    {"benign": {"use": "jsonl", "path": "/etc/passwd"}},
    {"utility": "trap_module:Trap"},
    {"cases_from": "/etc/passwd"},
    {"gate": {"max_asr": 0.1, "attacks": [{"use": "story", "scenes": "@/etc/hostname"}]}},
]
"""What somebody may write into a spec that is not theirs to run."""


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there once something of a spec was run."""
    (tmp_path / "trap_module.py").write_text("open('ran', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "ran"


def test_a_spec_of_our_own_store_goes_on_as_we_wrote_it_alone(tmp_path: Path, trap: Path, withstand: Any) -> None:
    """What our own command wrote is ours, a file to read and code included; what anybody changed is not."""
    path = tmp_path / "ours.db"
    (tmp_path / "rows.csv").write_text("id,text\nbread,Bread?\n")
    (tmp_path / "app_of_ours.py").write_text("def answer(chat):\n    return 'Flour.'\n")
    run = stores.kitchen(path, suite="csv:rows.csv", limit=1, target="function:app_of_ours:answer")
    assert withstand("run", "--name", "kitchen", "--store", run).code == 0
    assert withstand("store", "merge", run, "--into", tmp_path / "all.db").code == 0
    assert withstand("run", "--name", "kitchen", "--store", tmp_path / "all.db").code == 0
    stores.rewrite_spec(path, seed=7)
    assert "somebody else recorded kitchen" in withstand("run", "--name", "kitchen", "--store", path).err
    rescored = withstand("toxicity", "--rescore", "kitchen", "--fresh", "--store", path)
    assert "somebody else recorded kitchen: its scorer is not run" in rescored.err


def test_a_spec_of_a_store_that_we_trust_is_data(tmp_path: Path, trap: Path, withstand: Any) -> None:
    path = stores.trusted(tmp_path)
    assert withstand("run", "--name", "kitchen", "--store", path).code == 0
    unchanged = {**stores.SPEC, "until_success": None, "utility": None, "cases_from": "", "gate": None}
    for change in CHANGES:
        stores.rewrite_spec(path, **{**unchanged, **change})
        done = withstand("run", "--name", "kitchen", "--store", path)
        assert done.code == 2, change
        assert "command line" in done.err or "--cases-from" in done.err or "no store or bundle" in done.err, done.err
    stores.rewrite_spec(path, **unchanged, seed=7)
    assert withstand("run", "--name", "kitchen", "--store", path).code == 2  # another plan, and nothing else against it
    assert not trap.exists()


def test_a_spec_of_a_bundle_is_data(tmp_path: Path, trap: Path, withstand: Any) -> None:
    """By the mark in the file, or by the manifest beside it, whatever the file is called."""
    store = stores.kitchen(tmp_path / "s.db")
    assert withstand("bundle", "kitchen", "-o", "b", "--store", store).code == 0
    spec = (tmp_path / "b" / "spec.toml").read_text()
    assert withstand("run", "b/spec.toml", "--store", tmp_path / "again.db").code == 0
    unmarked = "".join(line for line in spec.splitlines(True) if not line.startswith(foreign.FROM_BUNDLE))
    assert unmarked != spec
    for number, change in enumerate(CHANGES):
        for place, text in (("b", unmarked), (".", spec)):
            file = tmp_path / place / f"{number}.toml"
            kept = [line for line in text.splitlines() if line.partition(" ")[0] not in change]
            file.write_text("\n".join([*kept, grammar.to_toml(change)]))
            done = withstand("run", file, "--dry-run")
            assert done.code == 2, file
            assert "is of a bundle" in done.err, done.err
            if "target" in change:
                assert withstand("target", "check", file).code == 2
                assert withstand("run", file, "--dry-run", "--target", "scripted-kitchen").code == 0
    (tmp_path / "b" / "train.toml").write_text("base = 'smollm2'\n[[stage]]\nuse = 'trap_module:Trap'\n")
    assert withstand("train", "b/train.toml").code == 2
    assert not trap.exists()
