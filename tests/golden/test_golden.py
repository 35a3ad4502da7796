"""Rows of old stores are reused: a store and keys that release 0.1 wrote must mean the same to the code of today.

`make_store.py` made the store, and `keys.json` was recorded at the same commit. `trained/` is what two stages leave,
without weights: the functions of release 0.1 wrote its keys and records, and no training ran. A new component needs no
entry. Where a component's answers change, it raises its `version`, and its entries in `keys.json` alone are
replaced, with a line in CHANGELOG.md.
"""

import json
import shutil
import sqlite3
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import withstand as package
from withstand import api
from withstand.core import Ask, AskError, Behavior, Message, SpecError, Target, Work, digest, to_json, user
from withstand.core.stage import Row
from withstand.registry import find
from withstand.runner import chain

HERE = Path(__file__).parent
FIGURES = json.loads((HERE / "figures.json").read_text())
KEYS = json.loads((HERE / "keys.json").read_text())
STORE = "old-store.sqlite"
TABLES = {
    "answer": "key",
    "row": "key",
    "want": "run, stage, cell, behavior, number, sample, key",
    "run": "key, name",
    "behavior": "key",
    "label": "key",
    "calibration": "key",
    "probe": "key",
}
"""The tables whose entries are named by content, and the columns that name them."""

SPECS = [
    "kitchen",
    "kitchen-other-judge",
    "searches",
    "own",
    "work",
    "error",
    "budget",
    "until-success",
    "decided",
    "people",
    "transfer",
    "transfer-baseline",
]


RAISED = {"llm": 1, "refusal_words": 1}
"""Judges of the store whose answers have changed since, with their version in it. Their rows are made anew, by right:
the tests below set the version back, to see that all other rows are reused."""

RAISED_ATTACKS = dict.fromkeys(
    ["actor", "autodan_turbo", "crescendo", "few_shot", "goat", "pair", "pap", "tactics", "tap", "zero_shot"], 1
)
"""Attacks alike; `as_before` has them search as they did then."""

RECOUNTED = "until-success"
"""A run in which 0.1 did not count the draws that grade a search: today a run of its own, of the same answers."""


@pytest.fixture
def golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this folder, as the current folder, with its store as the user's own."""
    folder = tmp_path / "golden"
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for module in ("own_attack", "own_parts"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with api.open_store(STORE, create=False) as store:
        store.marks.trust()  # as its user does once: release 0.1 marked no row with its writer
    return folder


def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """PAIR with one system prompt, TAP without an evaluator, writers with the keys that they had, and attacks that are
    told of no defense."""

    def kept(self: Any, behavior: Any, leaves: Any) -> Any:
        yield from ()
        return leaves

    monkeypatch.setattr("withstand.attacks.llm._writer.keyed", find.describe)
    monkeypatch.setattr("withstand.attacks.llm.pair.approaches", lambda: [""])
    monkeypatch.setattr(find.resolve("attack", "tap")[0], "_on_topic", kept)
    monkeypatch.setattr(find.resolve("defense", "self_reminder")[0], "bypasses", (), raising=False)


@pytest.fixture
def asked(golden: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls of models and of pieces of work; all of them fail."""
    calls: list[str] = []
    for judge, version in RAISED.items():
        monkeypatch.setattr(find.resolve("judge", judge)[0], "version", version)
    for attack, version in RAISED_ATTACKS.items():
        monkeypatch.setattr(find.resolve("attack", attack)[0], "version", version)
    as_before(monkeypatch)

    def generate(self: Any, chats: Any, sampling: Any, seeds: Any) -> Any:
        calls.append(f"{type(self).__name__} was asked {len(chats)} chats")
        raise AskError("a stored answer was not reused")

    def advance(self: Any, model: Any, parts: Any) -> Any:
        calls.append(f"{type(self).__name__} worked on {len(parts)} parts")
        raise AskError("a stored piece of work was not reused")

    for model in ("scripted", "function:own_parts:answer", "own_parts:Weights"):
        monkeypatch.setattr(type(find.build("target", model)), "generate", generate)
    monkeypatch.setattr(type(find.build("attack", "own_parts:Climbing")), "advance", advance)
    return calls


def entries() -> dict[str, list[Any]]:
    """What names the entries of the store, by table."""
    store = sqlite3.connect(STORE)
    try:
        return {
            table: sorted(store.execute(f'SELECT {columns} FROM "{table}"').fetchall())
            for table, columns in TABLES.items()
        }
    finally:
        store.close()


def figures(name: str) -> dict[str, Any]:
    """The recorded figures of a run, as they are today."""
    summary = package.load(name, STORE).summary
    names = FIGURES["runs"][name]["cells"][0]
    cells = [{field: cell[field] for field in names} for cell in summary["cells"]]
    return {"state": summary["run"]["state"], "key": summary["run"]["key"], "cells": cells}


def test_a_rerun_asks_nothing_and_adds_nothing(asked: list[str]) -> None:
    before = entries()
    assert min(len(rows) for rows in before.values()) > 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in (name for name in SPECS if name != RECOUNTED):
            package.run(f"specs/{name}.toml", store=STORE, name=name).store.close()
            assert asked == [], name
        assert entries() == before
        package.run(f"specs/{RECOUNTED}.toml", store=STORE).store.close()
        assert asked == []
    changed = [str(warning.message) for warning in caught if "changed its source" in str(warning.message)]
    assert [message for message in changed if not message.startswith((*RAISED, *RAISED_ATTACKS))] == []
    after = entries()
    added = {table: len(rows) - len(before[table]) for table, rows in after.items() if rows != before[table]}
    assert added == {"row": 8, "want": 3 * 8, "run": 1}
    runs = RECOUNTED, next(name for _, name in set(after["run"]) - set(before["run"]))
    old, new = ([(c["cases"], c["success"]) for c in package.load(name, STORE).cells] for name in runs)
    assert old == new


def test_the_figures_are_the_recorded_ones(golden: Path) -> None:
    for name, recorded in FIGURES["runs"].items():
        assert figures(name) == recorded, name


@pytest.mark.parametrize("change", ["version", "field", "source"])
def test_a_changed_component_is_asked_again(asked: list[str], monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """The tests above can fail."""
    spec = {"version": "budget", "field": "budget", "source": "own"}[change]
    before = entries()
    if change == "version":
        monkeypatch.setattr(type(find.build("attack", "best_of_n")), "version", 99)
    elif change == "field":
        text = Path(f"specs/{spec}.toml").read_text()
        Path(f"specs/{spec}.toml").write_text(text.replace("n = 12", "n = 13"))
    else:
        with Path("own_attack.py").open("a") as file:
            file.write("# another source\n")
    package.run(f"specs/{spec}.toml", store=STORE).store.close()
    assert asked != []
    assert len(entries()["want"]) > len(before["want"])


def test_the_baseline_opens_and_the_gate_counts_the_same(golden: Path, withstand: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(golden)
    for run, recorded in FIGURES["gates"].items():
        done = withstand("gate", run, "--baseline", "baseline.json", "--max-worse", "0.2", "--store", STORE, "--json")
        names = recorded["lines"][0]
        lines = [{name: line[name] for name in names} for line in done.json["lines"]]
        assert lines == recorded["lines"], run


def test_an_imported_run_keeps_its_verdicts(asked: list[str], golden: Path, withstand: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(golden)
    before = entries()
    words = ["judge", "run", "imported", "--judge", "contains:Sure", "--name", "imported-judged", "--store", STORE]
    assert withstand(*words).code == 0
    assert entries() == before


def test_an_old_bundle_verifies(golden: Path, withstand: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(golden)
    assert withstand("bundle", "verify", "bundle.zip").code == 0


# --- keys --------------------------------------------------------------------------------------------------------


@pytest.fixture
def constant(golden: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Builds components; the identity of a model with weights is a constant, since it has no weights here."""
    monkeypatch.setenv("CONTRACT_KEY", "sk-contract")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def build(kind: str, spec: Any) -> Any:
        component = find.build(kind, spec)
        for cls in {type(part) for part in find.parts(component)}:
            if cls.__module__.rpartition(".")[2] in ("hf", "vllm", "encoder"):
                monkeypatch.setattr(cls, "identity", lambda self: {"weights": "golden"})
        return component

    return build


def described(kind: str, component: Any) -> Any:
    """What is in a key. Of a suite without its version, a hash of its source, which is in no row's key."""
    value = find.describe(component)
    return {**value, "version": "of its source"} if kind == "suite" else value


def first_item(attack: Any, build: Any) -> Any:
    """The first ask or piece of work of an attack, as it stands in the keys of answers; None where it asks nothing."""
    behavior = Behavior("rye", "Bake a rye loaf", target_string="Sure, here is how")
    model = build("target", "hf:builtin:smollm2" if "weights" in attack.needs else "scripted")
    target = Target(model)
    flow = attack.run_together([behavior], target) if hasattr(attack, "run_together") else attack.run(behavior, target)
    for item in flow:
        if isinstance(item, Ask):
            return [to_json(item.chats), to_json(item.sampling)]
        if isinstance(item, Work):
            owner: Any = item.do
            return [find.describe(owner.__self__), owner.__name__, item.part]
    return None


def stage_key(stage: Any) -> str:
    """The key of a training step with this stage."""
    rows = [Row((*user("Fry it?"), Message("assistant", "No.")), safe=True)]
    return chain.key_of(chain.Step(stage, rows, at=(2,), labels={"arm": "a"}), {"weights": "golden"})


def keys_of(kind: str, spec: Any, build: Any) -> dict[str, Any]:
    """An entry of `keys.json`."""
    component = build(kind, spec)
    value = described(kind, component)
    entry = {"kind": kind, "spec": spec, "described": value, "digest": digest(value)}
    if kind == "attack":
        entry["first"] = digest(to_json(first_item(component, build)))
    return entry | ({"key": stage_key(component)} if kind == "stage" else {})


def test_keys_are_the_recorded_ones(constant: Any) -> None:
    lacking = []
    for recorded in KEYS["components"]:
        try:
            keys = keys_of(recorded["kind"], recorded["spec"], constant)
        except (SpecError, ImportError) as error:
            lacking.append(str(error))
            continue
        assert keys == recorded, recorded["spec"]
    assert [why for why in lacking if "not installed" not in why and "No module named" not in why] == []
    assert len(lacking) < len(KEYS["components"]) / 2


def test_the_recorded_keys_are_of_all_kinds() -> None:
    recorded = {(entry["kind"], entry["spec"]["use"]) for entry in KEYS["components"]}
    assert {kind for kind, _ in recorded} == set(find.ROOMS)
    assert len(recorded) > 90


# --- training ----------------------------------------------------------------------------------------------------


def training() -> tuple[Any, list[Any], Path]:
    """The model, the steps and the folder of the recorded training; its files stand for weights."""
    base = find.build("target", {"use": "hf", "id": "inputs", "dtype": "float32"})
    rows = [Row((*user("Fry it?"), Message("assistant", "No.")), rejected="Yes.", safe=True)]
    steps = [
        chain.Step(find.build("stage", "sft,steps=2,lr=0.001"), rows, labels={"arm": "a"}),
        chain.Step(find.build("stage", "dpo,steps=2"), rows),
    ]
    return base, steps, Path("trained")


def test_a_finished_training_is_not_done_again(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(find.resolve("stage", "sft")[0], "version", 1)  # raised since, for its default rate
    base, steps, folder = training()

    def train(*_: Any) -> Path:
        raise AssertionError("a finished stage was trained again")

    for step in steps:
        monkeypatch.setattr(type(step.stage), "train", train)
    before = sorted(path.name for path in folder.iterdir())
    done = chain.train(base, steps, folder)
    assert [stage.key for stage in done] == json.loads((HERE / "trained.json").read_text())
    assert [stage.labels for stage in done] == [{"arm": "a"}, {}]
    assert [stage.record.steps for stage in done] == [2, 2]
    assert sorted(path.name for path in folder.iterdir()) == before
    with pytest.raises(AssertionError, match="trained again"):
        chain.train(base, [replace(steps[0], labels={"arm": "b"})], folder)
