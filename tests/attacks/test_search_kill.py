"""kill -9 in the middle of a search: it resumes at its last piece of work and ends with the same trajectory."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import sqlalchemy as sql

import tiny
import withstand
from clocks import until
from killed import Worker, search
from withstand.store import tables
from withstand.store.store import Store


def states(run: Any) -> list[Any]:
    """The state after each piece, in the order of the steps: the whole trajectory."""
    found = run.store.select(sql.select(tables.answer.c.value))
    values = [value for (text,) in found if isinstance(value := json.loads(text).get("value"), dict)]
    return sorted([v["step"], v["slot"], v["best"], v["lowest"], v["loss"]] for v in values if "lowest" in v)


def test_a_killed_search_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    data = tmp_path / "two.csv"
    data.write_text("id,text,target\na,Bake bread,Sure\nb,Fry eggs,Sure\n")
    spec = {
        "suite": {"use": "csv", "path": str(data), "target_string": "target"},
        "target": {"use": "hf", "id": str(tiny.save(tmp_path / "m")), "dtype": "float32"},
        "attack": {"use": "gcg", "steps": 12, "every": 2, "width": 8, "init": "! ! ! !", "momentum": 0.5},
        "judge": "contains:a", "sampling": {"max_tokens": 4}, "benign": "none",
    }  # fmt: skip
    whole = withstand.run(spec, store=tmp_path / "whole.db")
    assert len(states(whole)) == 12
    kills = 0
    for pieces in (2, 2, 1):
        worker = Worker(search, spec, str(tmp_path / "cut.db"))
        assert [worker.hear() for _ in range(pieces)] == ["piece"] * pieces
        worker.kill()
        kills += worker.process.exitcode == -signal.SIGKILL
    assert kills == 3
    again = withstand.run(spec, store=tmp_path / "cut.db")
    assert again.summary["run"]["state"] == "complete"
    assert states(again) == states(whole)
    assert [case["chat"] for case in again.cases()] == [case["chat"] for case in whole.cases()]


def searched(path: Path) -> int:
    """How many pieces of work the store of a search that runs holds."""
    with Store(str(path)) as store:
        return len(store.select(sql.select(tables.answer.c.value).where(tables.answer.c.value.is_not(None))))


@pytest.mark.parametrize(
    "attack",
    [
        {"use": "gbda", "steps": 4, "n": 1, "length": 4, "check": 2, "samples": 1, "fluency": 0.0},
        {"use": "pgd", "steps": 4, "length": 4, "together": 1},
    ],
    ids=lambda attack: attack["use"],
)
def test_what_was_found_for_some_behaviors_is_saved_before_the_others_are_searched(
    tmp_path: Path, attack: dict[str, Any]
) -> None:
    data = tmp_path / "four.csv"
    data.write_text("id,text,target\n" + "".join(f"{name},Bake {name},Sure\n" for name in "abcd"))
    spec = {
        "suite": {"use": "csv", "path": str(data), "target_string": "target"},
        "target": {"use": "hf", "id": str(tiny.save(tmp_path / "m")), "dtype": "float32"},
        "attack": attack, "judge": "contains:a", "sampling": {"max_tokens": 4}, "benign": "none",
    }  # fmt: skip
    worker = Worker(search, spec, str(tmp_path / "cut.db"), 3)
    assert [worker.hear() for _ in range(3)] == ["piece"] * 3  # one behavior each; it stays in the third
    until(lambda: searched(tmp_path / "cut.db") == 2)  # the driver saves on another thread
    worker.kill()
    assert worker.process.exitcode == -signal.SIGKILL
    rest = Worker(search, spec, str(tmp_path / "cut.db"))
    *pieces, state = rest.end()
    assert state == "complete"
    assert len(pieces) == 2  # of four
    whole, cut = (withstand.run(spec, store=tmp_path / name) for name in ("whole.db", "cut.db"))
    assert [case["chat"] for case in cut.cases()] == [case["chat"] for case in whole.cases()]
