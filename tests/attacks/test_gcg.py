"""GCG on a tiny random Llama, alone and through the real runner."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import tiny  # noqa: E402
import withstand  # noqa: E402
from withstand.attacks.gradient._candidates import draw_candidates, top_tokens  # noqa: E402
from withstand.attacks.gradient._search import Search  # noqa: E402
from withstand.attacks.gradient.gcg import GCG  # noqa: E402
from withstand.core import Behavior, SpecError, Target, TestCase, WithstandError, Work, Worked, to_json, user  # noqa: E402
from withstand.engine.text import make_prompt, survives, texts  # noqa: E402
from withstand.models.hf import HF  # noqa: E402
from withstand.models.scripted import Scripted  # noqa: E402
from withstand.registry import find  # noqa: E402

BEHAVIOR = Behavior("b1", "Bake a loaf of bread", target_string="Sure, here")
OTHER = Behavior("b2", "Fold a plane", "Paper is flat.", target_string="Sure")
SMALL: dict[str, Any] = {"steps": 6, "width": 16, "topk": 8, "init": "! ! ! !", "every": 3}


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
        tokenizer(part, add_special_tokens=False)["input_ids"]
        for part in (model.render(user(text)), behavior.target_string)
    )
    with torch.no_grad():
        logits = model.load().model(input_ids=torch.tensor([ids + target]), use_cache=False).logits[0]
    return float(torch.nn.functional.cross_entropy(logits[len(ids) - 1 : -1], torch.tensor(target)))


@pytest.mark.parametrize("behavior", [BEHAVIOR, OTHER], ids=["alone", "with context"])
@pytest.mark.parametrize("fields", [{}, {"placement": "prefix"}, {"buffer": 0}, {"screen_tokens": 2, "verify": 4}])
def test_the_loss_told_is_that_of_a_plain_pass_over_the_text(model: HF, behavior: Behavior, fields: Any) -> None:
    for state in walk(GCG(**SMALL, **fields), model, behavior):
        assert state["loss"] == pytest.approx(plain_loss(model, behavior, state["text"]), abs=1e-4)
        assert state["loss"] == pytest.approx(state["lowest"], abs=1e-4)
        assert behavior.text in state["text"]
        assert behavior.context in state["text"]


def test_the_loss_never_rises_with_a_buffer(model: HF) -> None:
    states = walk(GCG(**{**SMALL, "steps": 12, "every": 1}), model)
    lowest = [state["lowest"] for state in states]
    assert len(lowest) == 12
    assert lowest == sorted(lowest, reverse=True)
    assert lowest[-1] < plain_loss(model, BEHAVIOR, f"{BEHAVIOR.text} ! ! ! !") - 0.1
    assert all(state["slot"] == state["best"] for state in states)


@pytest.mark.parametrize("buffer", [0, 1])
def test_the_first_slot_competes_too(model: HF, buffer: int) -> None:
    start = plain_loss(model, BEHAVIOR, f"{BEHAVIOR.text} ! ! ! !")
    states = [
        walk(GCG(**{**SMALL, "steps": 1, "width": 1, "topk": 90}, buffer=buffer, seed=seed), model)[-1]
        for seed in range(8)
    ]
    assert max(state["lowest"] for state in states) == pytest.approx(start, abs=1e-4)


def test_without_a_buffer_the_walk_may_rise_and_the_best_is_told(model: HF) -> None:
    states = walk(GCG(**{**SMALL, "steps": 25, "every": 1, "width": 2, "topk": 64, "buffer": 0}), model)
    tokenizer = model.load().tokenizer
    prompt, _ = make_prompt(model, BEHAVIOR, SMALL["init"])
    at_hand = [
        plain_loss(model, BEHAVIOR, prompt.chat(texts(tokenizer, prompt, [state["slot"]])[0])[0].text)
        for state in states
    ]
    assert any(later > earlier + 1e-3 for earlier, later in pairwise(at_hand))
    start = plain_loss(model, BEHAVIOR, f"{BEHAVIOR.text} ! ! ! !")
    assert states[-1]["loss"] == pytest.approx(min(start, *at_hand), abs=1e-4)


def test_a_larger_buffer_keeps_the_best_slots_in_order(model: HF) -> None:
    kept = walk(GCG(**{**SMALL, "buffer": 3}), model)[-1]["kept"]
    assert len(kept) == 3
    assert [loss for loss, _ in kept] == sorted(loss for loss, _ in kept)


def same(a: Any, b: Any) -> None:
    assert (a["text"], a["slot"], a["best"], a["step"]) == (b["text"], b["slot"], b["best"], b["step"])
    assert a["lowest"] == pytest.approx(b["lowest"], abs=1e-4)


@pytest.mark.parametrize("fields", [{}, {"momentum": 0.5}, {"buffer": 0}, {"buffer": 3, "n_replace": 2}])
def test_pieces_of_any_length_walk_the_same_way(model: HF, fields: Any) -> None:
    whole = walk(GCG(**{**SMALL, **fields, "every": 6}), model)
    single = walk(GCG(**{**SMALL, **fields, "every": 1}), model)
    assert (len(whole), len(single)) == (1, 6)
    same(whole[-1], single[-1])
    same(whole[-1], walk(GCG(**{**SMALL, **fields, "every": 4}), model)[-1])


def test_momentum_changes_the_walk_and_is_carried_on(model: HF) -> None:
    fields = {**SMALL, "every": 1, "topk": 2}
    states = walk(GCG(**fields, momentum=0.9), model)
    assert [bool(state["gradient"]) for state in states] == [True] * 5 + [False]
    assert [s["slot"] for s in states] != [s["slot"] for s in walk(GCG(**fields), model)]


def test_a_seed_is_a_walk(model: HF) -> None:
    ends = [walk(GCG(**SMALL, seed=seed), model)[-1] for seed in (0, 0, 1)]
    assert ends[0] == ends[1]
    assert ends[0]["slot"] != ends[2]["slot"]
    assert walk(GCG(**SMALL), model, Behavior("b9", BEHAVIOR.text, target_string="Sure, here"))[-1] != ends[0]


@pytest.mark.parametrize("together", [1, 4])
def test_two_behaviors_at_once_walk_as_one_after_another(model: HF, together: int) -> None:
    attack = GCG(**SMALL, together=together)
    alone = [walk(attack, model, behavior)[0] for behavior in (BEHAVIOR, OTHER)]
    both = attack.advance(model, [{"behavior": to_json(b), "state": None} for b in (BEHAVIOR, OTHER)])
    for packed, single in zip(both, alone, strict=True):
        same(packed, single)
    uneven = [
        {"behavior": to_json(BEHAVIOR), "state": walk(attack, model)[-1]},
        {"behavior": to_json(OTHER), "state": None},
    ]
    done, under_way = attack.advance(model, uneven)  # one of them has no step to go
    assert done["step"] == 6
    same(under_way, alone[1])


def test_it_stops_below_a_loss(model: HF) -> None:
    start = plain_loss(model, BEHAVIOR, f"{BEHAVIOR.text} ! ! ! !")
    [state] = walk(GCG(**{**SMALL, "every": 6}, stop_loss=start - 0.01), model)
    assert 1 <= state["step"] < 6
    assert state["loss"] < start - 0.01 + 1e-4


def test_a_loss_that_is_no_number_names_the_way_out(model: HF) -> None:
    search = Search.start(GCG(**SMALL), model, {"behavior": to_json(BEHAVIOR), "state": None})
    with pytest.raises(WithstandError) as caught:
        search.turned(torch.zeros(len(search.slot), 32), math.nan)
    assert "float32" in caught.value.hint


# --- candidates ------------------------------------------------------------------------------------------------------


def test_top_tokens_by_hand() -> None:
    gradient = torch.tensor([[0.5, -2.0, 1.0, -1.0], [-3.0, 0.0, -1.0, 4.0]])
    assert top_tokens(gradient, np.array([True, False, True, True]), 2).tolist() == [[3, 0], [0, 2]]
    assert top_tokens(gradient, np.array([False, False, True, True]), 9).tolist() == [[3, 2], [2, 3]]


def drawn(model: HF, positions: Any, width: int = 40, n_replace: int = 1, seed: int = 0) -> tuple[Any, list[list[int]]]:
    tokenizer = model.load().tokenizer
    prompt, slot = make_prompt(model, BEHAVIOR, "! ! ! !")
    tokens = np.tile(np.arange(4, 98), (len(slot), 1))  # all that is printable, and the space
    candidates = draw_candidates(tokenizer, [prompt], slot, tokens, width, n_replace, positions, (seed, "b1", 0))
    assert all(survives(tokenizer, prompt, candidates))
    return np.array(slot), candidates


@pytest.mark.parametrize("n_replace", [1, 3])
def test_candidates_are_distinct_and_survive_and_differ_in_n_replace_places(model: HF, n_replace: int) -> None:
    slot, candidates = drawn(model, "random", n_replace=n_replace)
    assert len({tuple(candidate) for candidate in candidates}) == len(candidates) == 40
    assert {int((np.array(candidate) != slot).sum()) for candidate in candidates} == {n_replace}
    assert drawn(model, "random", n_replace=n_replace)[1] == candidates
    assert drawn(model, "random", n_replace=n_replace, seed=1)[1] != candidates


def places(slot: Any, candidates: list[list[int]]) -> list[int]:
    return [int(np.flatnonzero(np.array(candidate) != slot)[0]) for candidate in candidates]


def test_where_candidates_change(model: HF) -> None:
    length = 8
    even = places(*drawn(model, "even"))
    assert max(even.count(i) for i in range(length)) - min(even.count(i) for i in range(length)) <= 2
    assert len({*places(*drawn(model, "random", width=80))}) == length
    drawn_places = [places(*drawn(model, "one", seed=seed)) for seed in range(12)]
    assert all(len({*at}) == 1 for at in drawn_places)
    assert len({at[0] for at in drawn_places}) > 3  # another place in another step
    _, candidates = drawn(model, "one", width=500)
    assert 80 < len(candidates) <= 94  # so many there are, each once


# --- as a component --------------------------------------------------------------------------------------------------


def test_presets() -> None:
    assert find.build("attack", "autoprompt") == GCG(positions="one")
    assert find.build("attack", "gcg-harmbench") == GCG(positions="even", buffer=0)


@pytest.mark.parametrize(
    "fields",
    [{n: 0} for n in ("steps", "width", "topk", "n_replace", "verify", "every", "together")]
    + [{"buffer": -1}, {"screen_tokens": -1}, {"stop_loss": -0.1}, {"momentum": 1.0}, {"momentum": -0.1}],
)  # fmt: skip
def test_wrong_fields(fields: Any) -> None:
    with pytest.raises(SpecError, match=next(iter(fields))):
        GCG(**fields)


def test_a_target_without_weights_names_the_way_out() -> None:
    with pytest.raises(SpecError) as caught:
        next(GCG().run(BEHAVIOR, Target(Scripted())))
    assert "needs weights" in str(caught.value)
    assert "--cases-from" in caught.value.hint


def test_a_test_case_after_each_piece_whose_score_is_the_negated_loss(model: HF) -> None:
    flow, items = GCG(**SMALL).run(BEHAVIOR, Target(model)), []
    item = next(flow)
    for state in walk(GCG(**SMALL), model):
        assert isinstance(item, Work)
        items.append(flow.send(Worked(item.do(item.model, [item.part])[0])))
        assert items[-1] == TestCase("b1", user(state["text"]), score=-state["loss"])
        item = next(flow, None)
    assert item is None


@pytest.fixture
def spec(model: HF, tmp_path: Path) -> dict[str, Any]:
    suite = tmp_path / "suite.jsonl"
    suite.write_text(
        "".join(json.dumps({"id": b.id, "text": b.text, "target": b.target_string}) + "\n" for b in (BEHAVIOR, OTHER))
    )
    return {
        "suite": {"use": "jsonl", "path": str(suite), "target_string": "target"},
        "target": {"use": "hf", "id": model.id, "dtype": "float32", "device": "cpu"},
        "attack": {"use": "gcg", **SMALL},
        "judge": "refusal_words",
        "benign": "none",
        "sampling": {"max_tokens": 4},
    }


def failing(monkeypatch: pytest.MonkeyPatch, after: int) -> list[int]:
    """The parts done by each call of `advance`, which fails from so many calls on."""
    done: list[int] = []
    real = GCG.advance

    def counted(self: GCG, model: Any, parts: Any) -> Any:
        if len(done) >= after:
            raise RuntimeError("the device is gone")
        states = real(self, model, parts)
        done.append(len(parts))
        return states

    monkeypatch.setattr(GCG, "advance", counted)
    return done


def chats(run: withstand.Run) -> dict[str, Any]:
    return {case["behavior"]: case["chat"] for case in run.cases()}


def test_through_the_runner(spec: Any, model: HF, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = failing(monkeypatch, after=99)
    whole = withstand.run(spec, store=tmp_path / "whole.db")
    assert whole.summary["run"]["state"] == "complete"
    assert sum(done) == 4  # two behaviors, two pieces each
    withstand.run(spec, store=tmp_path / "whole.db")
    assert sum(done) == 4  # nothing anew
    monkeypatch.undo()

    done = failing(monkeypatch, after=1)
    cut = withstand.run(spec, store=tmp_path / "cut.db")
    assert cut.summary["run"]["state"] != "complete"
    first = sum(done)
    assert 1 <= first <= 2
    monkeypatch.undo()
    done = failing(monkeypatch, after=99)
    again = withstand.run(spec, store=tmp_path / "cut.db")
    assert again.summary["run"]["state"] == "complete"
    assert first + sum(done) == 4  # it went on where it was cut
    assert chats(again) == chats(whole)
    assert {*chats(whole)} == {"b1", "b2"}


def test_a_draft_ranks_and_the_target_decides(model: HF, tmp_path: Path) -> None:
    draft = HF(str(tiny.save(tmp_path / "draft", seed=5)), dtype="float32", device="cpu")
    attack = GCG(**SMALL, draft=draft, verify=4)
    [state] = walk(attack, model)[-1:]
    assert state["loss"] == pytest.approx(plain_loss(model, BEHAVIOR, state["text"]), abs=1e-4)
    assert state["best"] != walk(GCG(**SMALL), model)[-1]["best"]  # it saw four candidates of sixteen
    with pytest.raises(SpecError, match="the draft scripted is text only"):
        GCG(draft=Scripted())  # type: ignore[arg-type]


def test_a_draft_with_other_tokens_is_refused(model: HF, tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "other")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["A"], vocabulary["B"] = vocabulary["B"], vocabulary["A"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    attack = GCG(**SMALL, draft=HF(str(folder), dtype="float32", device="cpu"))
    with pytest.raises(SpecError, match="the draft's tokenizer is not the target's"):
        walk(attack, model)


def test_suffixes_found_on_one_model_are_sent_to_another(model: HF, tmp_path: Path) -> None:
    """One command scores what was found on A against B and C, with intervals."""
    data = tmp_path / "two.csv"
    data.write_text("id,text,target\na,Bake bread,Sure\nb,Fry eggs,Sure\n")
    suite = {"use": "csv", "path": str(data), "target_string": "target"}
    others = [{"use": "hf", "id": str(tiny.save(tmp_path / f"m{i}", seed=i)), "dtype": "float32"} for i in (7, 8)]
    short = {"judge": "contains:a", "sampling": {"max_tokens": 8}, "benign": "none"}
    first = {"use": "hf", "id": model.id, "dtype": "float32"}
    store = tmp_path / "s.db"
    searched = withstand.run(
        {"suite": suite, "target": first, "attack": {"use": "gcg", **SMALL}, **short}, store=store, name="found"
    )
    sent = withstand.run({"suite": suite, "target": others, "cases_from": "found", **short}, store=store)
    assert len(sent.cells) == 2
    assert all(cell["attack"].startswith("gcg") and cell["asr_interval"] for cell in sent.cells)
    chats = [{case["behavior"]: case["chat"] for case in run.cases()} for run in (searched, sent)]
    assert chats[0] == chats[1]
