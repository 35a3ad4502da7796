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


def test_a_killed_search_continues_as_if_it_had_not_been(tmp_path: Path) -> None:
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


def answers(path: Path) -> list[Any]:
    """What the store has of each piece of work: the results, and where to resume by the digest of all tensors."""
    with Store(str(path)) as store:
        stored = store.select(sql.select(tables.answer.c.value).where(tables.answer.c.value.is_not(None)))
        return sorted(json.dumps(json.loads(value)["value"]) for (value,) in stored)


@pytest.mark.parametrize(
    "attack",
    [
        {"use": "gbda", "steps": 6, "every": 2, "n": 2, "length": 4, "check": 3, "samples": 1},
        {"use": "pgd", "steps": 6, "every": 2, "length": 4, "together": 1, "patience": 2},
        {"use": "embedding_attack", "steps": 5, "every": 2, "length": 4},
        {"use": "pez", "steps": 6, "every": 2, "n": 2, "length": 4},
    ],
    ids=lambda attack: attack["use"],
)
def test_a_killed_search_for_relaxed_tokens_resumes_at_its_last_piece(
    tmp_path: Path, attack: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two behaviors of three pieces each: it is killed in the second one of the second behavior."""
    data = tmp_path / "two.csv"
    data.write_text("id,text,target\na,Bake a,Sure\nb,Bake b,Sure\n")
    spec = {
        "suite": {"use": "csv", "path": str(data), "target_string": "target"},
        "target": {"use": "hf", "id": str(tiny.save(tmp_path / "m")), "dtype": "float32"},
        "attack": attack, "judge": "contains:a", "sampling": {"max_tokens": 4}, "benign": "none",
    }  # fmt: skip
    path, cache = tmp_path / "cut" / "s.db", tmp_path / "cut" / "cache" / "searches"
    worker = Worker(search, spec, str(path), 4)
    assert [worker.hear() for _ in range(4)] == ["piece"] * 4
    until(lambda: path.exists() and len(answers(path)) == 3)  # the driver saves on another thread
    worker.kill()
    assert worker.process.exitcode == -signal.SIGKILL
    assert 2 <= len(list(cache.iterdir())) <= 4  # at most two of each search
    *again, state = Worker(search, spec, str(path)).end()
    assert state == "complete"
    assert len(again) == 3  # of six
    assert not list(cache.iterdir())
    monkeypatch.setenv("WITHSTAND_CACHE", str(tmp_path / "cache"))
    whole, cut = (withstand.run(spec, store=store) for store in (tmp_path / "whole.db", path))
    assert answers(path) == answers(tmp_path / "whole.db")
    assert [case["chat"] for case in cut.cases()] == [case["chat"] for case in whole.cases()]
