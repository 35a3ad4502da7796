"""UAT on a tiny random Llama, and its score worked by hand."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import tiny  # noqa: E402
from withstand.attacks.gradient import uat as uat_module  # noqa: E402
from withstand.attacks.gradient.uat import UAT, _Trigger  # noqa: E402
from withstand.core import Behavior, SpecError, Target, TestCase, WithstandError, Work, Worked, to_json, user  # noqa: E402
from withstand.engine.engine import Engine  # noqa: E402
from withstand.engine.text import Prompt  # noqa: E402
from withstand.models.hf import HF  # noqa: E402

BEHAVIOR = Behavior("b1", "Bake a loaf of bread", target_string="Sure")
OTHER = Behavior("b2", "Fold a plane", "Paper is flat.", target_string="Sure")
SMALL: dict[str, Any] = {"init": "! ! !", "every": 1000}
PLACES = 6  # of the init: three times a space and a mark


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> HF:
    return HF(str(tiny.save(tmp_path_factory.mktemp("tiny"))), dtype="float32", device="cpu")


def walk(attack: Any, model: HF, behavior: Behavior = BEHAVIOR) -> list[Any]:
    """The states after each piece."""
    states: list[Any] = []
    while not states or not states[-1]["done"]:
        [state] = attack.advance(model, [{"behavior": to_json(behavior), "state": states[-1] if states else None}])
        states.append(state)
    return states


def plain_loss(model: HF, behavior: Behavior, text: str) -> float:
    tokenizer = model.load().tokenizer
    ids, target = (
        tokenizer(each, add_special_tokens=False)["input_ids"]
        for each in (model.render(user(text)), behavior.target_string)
    )
    with torch.no_grad():
        logits = model.load().model(input_ids=torch.tensor([ids + target]), use_cache=False).logits[0]
    return float(torch.nn.functional.cross_entropy(logits[len(ids) - 1 : -1], torch.tensor(target)))


def test_the_tokens_of_the_highest_score_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two dimensions, five tokens, gradient (1, -2) at the second place: scores -1, 2, -2, 5, 4."""
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [-1.0, 2.0], [0.0, 2.0]])
    engine: Any = SimpleNamespace(embeddings=lambda: embeddings)
    gradient = Engine.by_token(engine, torch.tensor([[9.0, 9.0], [1.0, -2.0]]))
    assert (-gradient[1]).tolist() == [-1, 2, -2, 5, 4]
    allowed = np.ones(5, dtype=bool)
    monkeypatch.setattr(uat_module, "allowed", lambda *_: allowed)
    monkeypatch.setattr(uat_module, "survives", lambda _, __, slots: [slot[1] != 2 for slot in slots])
    trigger = _Trigger(None, Prompt(BEHAVIOR, "suffix", (), (), (), "", ""), [0, 4], 1.0, visited=3, gradient=gradient)
    attack = UAT(candidates=2)
    assert attack.swaps(None, trigger) == [[0, 3], [0, 1]]  # 4 is there already
    allowed[3] = False
    assert attack.swaps(None, trigger) == [[0, 1], [0, 0]]
    assert UAT(candidates=9).swaps(None, trigger) == [[0, 1], [0, 0]]  # 2 does not survive as text


@pytest.mark.parametrize("behavior", [BEHAVIOR, OTHER], ids=["alone", "with context"])
@pytest.mark.parametrize("placement", ["suffix", "prefix"])
def test_monotone_and_the_loss_told_is_that_of_the_text(model: HF, behavior: Behavior, placement: Any) -> None:
    states = walk(UAT(init="! ! !", every=1, passes=3, placement=placement), model, behavior)
    lowest = [state["lowest"] for state in states]
    assert lowest == sorted(lowest, reverse=True)
    own = f"{behavior.text} ! ! !" if placement == "suffix" else f"! ! ! {behavior.text}"
    assert lowest[-1] < plain_loss(model, behavior, behavior.prompt(own)) - 0.1
    for state in states:
        assert state["loss"] == pytest.approx(plain_loss(model, behavior, state["text"]), abs=1e-4)
        assert state["loss"] == pytest.approx(state["lowest"], abs=1e-4)


def test_one_place_changes_at_a_time_and_only_to_a_better_token(model: HF) -> None:
    states = walk(UAT(init="! ! !", every=1, passes=2), model)
    for place, (before, after) in enumerate(pairwise(states), start=1):
        changed = [i for i, (old, new) in enumerate(zip(before["slot"], after["slot"], strict=True)) if old != new]
        assert changed in ([], [place % PLACES])
        assert (after["failures"] == 0) == bool(changed) == (after["lowest"] < before["lowest"])


def test_it_stops_after_more_than_a_whole_pass_without_improvement(model: HF) -> None:
    [state] = walk(UAT(**SMALL), model)
    assert state["failures"] == PLACES + 1
    assert state["visited"] < 100 * PLACES
    again = UAT(**SMALL).advance(model, [{"behavior": to_json(BEHAVIOR), "state": state}])
    assert again == [state]  # nothing is left to do


def test_it_stops_after_the_last_pass(model: HF) -> None:
    [state] = walk(UAT(**SMALL, passes=1), model)
    assert (state["visited"], state["done"]) == (PLACES, True)


def test_pieces_of_any_length_walk_the_same_way(model: HF) -> None:
    [whole] = walk(UAT(**SMALL, passes=2), model)
    for every in (1, 5):
        last = walk(UAT(init="! ! !", every=every, passes=2), model)[-1]
        assert (last["text"], last["visited"]) == (whole["text"], whole["visited"])
        assert last["loss"] == pytest.approx(whole["loss"], abs=1e-4)


@pytest.mark.parametrize("together", [1, 4])
def test_two_behaviors_at_once_walk_as_one_after_another(model: HF, together: int) -> None:
    attack = UAT(**SMALL, passes=2, together=together)
    both = attack.advance(model, [{"behavior": to_json(behavior), "state": None} for behavior in (BEHAVIOR, OTHER)])
    for state, behavior in zip(both, (BEHAVIOR, OTHER), strict=True):
        [alone] = walk(attack, model, behavior)
        assert (state["text"], state["visited"]) == (alone["text"], alone["visited"])
        assert state["loss"] == pytest.approx(alone["loss"], abs=1e-4)


def test_as_a_flow(model: HF) -> None:
    attack = UAT(init="! ! !", every=PLACES, passes=2)
    flow = attack.run(BEHAVIOR, Target(model))
    item = next(flow)
    for state in walk(attack, model):
        assert isinstance(item, Work)
        case = flow.send(Worked(item.do(item.model, [item.part])[0]))
        assert case == TestCase("b1", user(state["text"]), score=-state["loss"])
        item = next(flow, None)
    assert item is None


def test_a_loss_that_is_no_number_names_the_way_out(model: HF, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Engine, "gradients", lambda _, work, loss: [(torch.zeros(PLACES, 32), float("nan")) for _ in work]
    )
    with pytest.raises(WithstandError) as caught:
        walk(UAT(**SMALL), model)
    assert "float32" in caught.value.hint


@pytest.mark.parametrize("name", ["candidates", "passes", "every", "together"])
def test_wrong_fields(name: str) -> None:
    with pytest.raises(SpecError, match=name):
        UAT(**{name: 0})
