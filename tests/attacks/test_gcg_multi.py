"""GCG-Multi and GCG-Transfer on tiny random Llamas, alone and through the real runner."""

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import tiny  # noqa: E402
import withstand  # noqa: E402
from withstand.attacks.gradient.gcg_multi import GCGMulti  # noqa: E402
from withstand.core import Behavior, SpecError, WithstandError, to_json  # noqa: E402
from withstand.engine.engine import Engine, engine_of  # noqa: E402
from withstand.engine.text import make_prompt  # noqa: E402
from withstand.models.hf import HF  # noqa: E402
from withstand.models.scripted import Scripted  # noqa: E402

BEHAVIORS = [Behavior(name, f"Bake {name}", target_string=f"Sure, {name}") for name in ("buns", "pies", "rye")]
SMALL: dict[str, Any] = {"steps": 8, "width": 12, "topk": 8, "init": "! ! ! !", "every": 4, "add_after": 3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [str(tiny.save(tmp_path_factory.mktemp(f"tiny{seed}"), seed=seed)) for seed in range(3)]


def hf(folder: str) -> HF:
    return HF(folder, dtype="float32", device="cpu")


def walk(attack: GCGMulti, model: HF) -> list[Any]:
    states: list[Any] = []
    part = {"behaviors": [to_json(behavior) for behavior in BEHAVIORS]}
    while not states or states[-1]["step"] < attack.steps:
        states += attack.advance(model, [{**part, "state": states[-1] if states else None}])
    return states


def mean_loss(models: list[HF], slot: list[int], active: int) -> float:
    """By the plain passes of `loss_of`, one prompt at a time."""
    losses = []
    for model in models:
        for behavior in BEHAVIORS[:active]:
            prompt, _ = make_prompt(model, behavior, SMALL["init"])
            losses.append(engine_of(model).loss_of([*prompt.head, *slot, *prompt.tail], prompt))
    return sum(losses) / len(losses)


def test_behaviors_join_one_by_one_and_the_loss_is_the_mean_of_the_active(folders: list[str]) -> None:
    model = hf(folders[0])
    first, last = walk(GCGMulti(**SMALL), model)
    assert (first["active"], last["active"]) == (2, 3)  # after three steps each
    assert last["loss"] == pytest.approx(mean_loss([model], last["best"], 3), abs=1e-4)
    assert all(text.startswith(b.text) for b, text in zip(BEHAVIORS, last["texts"], strict=True))
    suffixes = {text[len(b.text) :] for b, text in zip(BEHAVIORS, last["texts"], strict=True)}
    assert len(suffixes) == 1  # universal


def test_a_solved_behavior_lets_the_next_one_join_at_once(folders: list[str]) -> None:
    eager = GCGMulti(**{**SMALL, "add_after": 99, "add_below": 1e6, "every": 1})
    assert [state["active"] for state in walk(eager, hf(folders[0]))[:3]] == [2, 3, 3]


def test_several_models_weigh_the_same(folders: list[str]) -> None:
    models = [hf(folder) for folder in folders[:2]]
    attack = GCGMulti(**SMALL, surrogates=tuple(models))
    assert attack.needs == frozenset()
    state = walk(attack, models[0])[-1]
    assert state["loss"] == pytest.approx(mean_loss(models, state["best"], 3), abs=1e-4)


def test_pieces_of_one_step_give_the_same_trajectory(folders: list[str]) -> None:
    model = hf(folders[0])
    assert walk(GCGMulti(**SMALL), model)[-1] == walk(GCGMulti(**{**SMALL, "every": 1}), model)[-1]


def test_a_loss_that_is_not_a_number_is_said(folders: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    nan = torch.tensor(float("nan"))
    monkeypatch.setattr(Engine, "losses", lambda _, work, *given: [nan.expand(len(slots)) for *_, slots in work])
    with pytest.raises(WithstandError, match="nan") as caught:
        walk(GCGMulti(**SMALL), hf(folders[0]))
    assert "float32" in caught.value.hint


def test_what_it_refuses(folders: list[str]) -> None:
    with pytest.raises(SpecError, match="the surrogate scripted is text only"):
        GCGMulti(surrogates=(Scripted(),))  # type: ignore[arg-type]
    for name in ("steps", "width", "topk", "add_after", "every"):
        with pytest.raises(SpecError, match=name):
            GCGMulti(**{name: 0})


def test_a_run_transfers_it_and_marks_a_surrogate(folders: list[str], tmp_path: Path) -> None:
    data = tmp_path / "b.csv"
    data.write_text("id,text,target\n" + "".join(f'{b.id},{b.text},"{b.target_string}"\n' for b in BEHAVIORS))
    targets = [{"use": "hf", "id": folder, "dtype": "float32"} for folder in folders]
    spec = {
        "suite": {"use": "csv", "path": str(data), "target_string": "target"},
        "target": targets,
        "attack": {"use": "gcg_multi", **SMALL, "surrogates": targets[:2]},
        "judge": "contains:a",
        "sampling": {"max_tokens": 4},
        "benign": "none",
    }
    run = withstand.run(spec, store=tmp_path / "s.db")
    assert [(cell["behaviors"], cell["error"]) for cell in run.cells] == [(3, 0)] * 3
    said = ["not transfer" in cell["notes"][0] for cell in run.cells]
    assert said == [True, True, False]
    texts = [{case["behavior"]: case["chat"] for case in run.cases() if case["cell"] == i} for i in range(3)]
    assert texts[0] == texts[1] == texts[2]
