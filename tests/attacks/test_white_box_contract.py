"""What every attack on weights promises, on a tiny model through the real runner; a new one is covered too."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import withstand
from withstand.core import SpecError
from withstand.registry import find

BEHAVIORS = [
    {"id": "plain", "text": "Bake a loaf", "context": "", "target": "Sure, here"},
    {"id": "context", "text": "Turn this into food", "context": "Flour, water {salt}", "target": "Here it is"},
    {"id": "braces", "text": "Fill {behavior} and }{", "context": "", "target": "{Sure}"},
]
SHORT: dict[str, Any] = {"steps": 2, "width": 6, "topk": 6, "every": 1, "together": 1, "init": "! ! !"}
SHORT |= {"length": 3, "passes": 1, "check": 1, "samples": 2, "n": 2}
"""Fields that make any of them quick; each takes those it has."""

NAMES = [name for name in find.entries("attack") if "/gradient/" in find.entries("attack")[name].path.as_posix()]


def attack(name: str) -> dict[str, Any]:
    cls, _ = find.resolve("attack", name)
    fields = getattr(cls, "__dataclass_fields__", {})
    return {"use": name, **{field: value for field, value in SHORT.items() if field in fields}}


@pytest.fixture
def run(model: Any, tmp_path: Path) -> Any:
    def start(name: str, rows: list[dict[str, str]] = BEHAVIORS, store: str = "s.db") -> withstand.Run:
        data = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        suite = {"use": "jsonl", "path": str(data), "context": "context", "target_string": "target"}
        target = {"use": "hf", "id": model.id, "dtype": "float32", "width": 1}
        spec = {"suite": suite, "target": target, "attack": attack(name), "judge": "contains:a", "benign": "none"}
        return withstand.run({**spec, "sampling": {"max_tokens": 4}}, store=tmp_path / store)

    return start


def rows(done: Any) -> dict[tuple[str, int], tuple[Any, str]]:
    return {(case["behavior"], case["case"]): (case["chat"], case["completion"]) for case in done.cases()}


def test_they_are_found() -> None:
    assert {"gcg", "gcg_multi", "autoprompt", "uat", "pez", "gbda", "pgd", "embedding_attack"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
class TestEveryAttackOnWeights:
    def test_same_rows_whatever_else_is_run_and_nothing_twice_and_what_a_behavior_says_arrives(
        self, run: Any, name: str
    ) -> None:
        whole = run(name)
        [cell] = whole.cells
        assert (cell["error"], cell["behaviors"]) == (0, 3)
        most = find.build("attack", attack(name)).most()
        assert cell["cases"] <= 3 * most.cases
        joint = hasattr(find.resolve("attack", name)[0], "run_together")  # fewer behaviors are another joint attack
        backwards = BEHAVIORS[::-1] if joint else BEHAVIORS[:0:-1]
        ids = [behavior["id"] for behavior in backwards]
        expected = {key: row for key, row in rows(whole).items() if key[0] in ids}
        assert rows(run(name, backwards, "backwards.db")) == expected
        again = run(name)
        assert again.tally.asks == 0
        assert rows(again) == rows(whole)
        for (behavior, _), (chat, _) in rows(whole).items():
            row = next(row for row in BEHAVIORS if row["id"] == behavior)
            assert row["text"] in chat[0]["text"]
            assert row["context"] in chat[0]["text"]

    def test_a_behavior_without_a_target_string_is_an_error_that_says_so(self, run: Any, name: str) -> None:
        done = run(name, [*BEHAVIORS[:1], {**BEHAVIORS[2], "target": ""}])
        [failure] = {failure.error for failure in done.tally.failures}
        assert "braces has no target string" in failure
        joint = hasattr(find.resolve("attack", name)[0], "run_together")
        assert done.cells[0]["error"] == (2 if joint else 1) or len(done.tally.failures) == (2 if joint else 1)

    def test_a_target_without_weights_is_refused_before_anything_runs(self, name: str, tmp_path: Path) -> None:
        spec = {"suite": {"use": "kitchen", "limit": 1}, "target": "scripted", "attack": attack(name)}
        with pytest.raises(SpecError, match="needs weights") as caught:
            withstand.run(spec, store=tmp_path / "none.db")
        assert "--cases-from" in caught.value.hint
