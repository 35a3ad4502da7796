"""BEAST on a tiny random Llama, whose tokens are single characters."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import torch

import white_box
import withstand
from withstand.attacks.search.beast import BEAST
from withstand.core import Behavior, SpecError, Target, to_json
from withstand.engine.engine import engine_of
from withstand.engine.text import allowed, make_prompt, survives, texts
from withstand.models.scripted import Scripted

BREAD = Behavior("b1", "Bake a loaf", target_string="Sure")
OTHER = Behavior("b2", "Fold it", "Paper is flat.", target_string="Sure, so")
SMALL: dict[str, Any] = {"beams": 3, "expansions": 4, "length": 6, "every": 2}


def walk(attack: BEAST, model: Any, behavior: Behavior = BREAD) -> list[Any]:
    """The states after each piece."""
    states: list[Any] = []
    while not states or not states[-1]["done"]:
        [state] = attack.advance(model, [{"behavior": to_json(behavior), "state": states[-1] if states else None}])
        states.append(state)
    return states


def loss(model: Any, slot: list[int], behavior: Behavior = BREAD) -> float:
    """Of the target string after the slot's text, by a forward pass of the model alone."""
    prompt, _ = make_prompt(model, behavior, "!")
    [text] = texts(model.load().tokenizer, prompt, [slot])
    return white_box.plain_loss(model, prompt.chat(text)[0].text, behavior)


def grown(attack: BEAST, model: Any, beams: list[list[int]], step: int, behavior: Behavior = BREAD) -> Any:
    prompt, _ = make_prompt(model, behavior, "!")
    return attack.grown(engine_of(model), model.load().tokenizer, prompt, beams, step)


@pytest.mark.parametrize("behavior", [BREAD, OTHER], ids=["alone", "with context"])
def test_the_loss_told_is_that_of_a_plain_pass_over_the_text(model: Any, behavior: Behavior) -> None:
    states = walk(BEAST(**SMALL), model, behavior)
    assert [state["step"] for state in states] == [2, 4, 6]
    for state in states:
        assert state["loss"] == pytest.approx(white_box.plain_loss(model, state["text"], behavior), abs=1e-4)
        assert state["loss"] == pytest.approx(state["lowest"], abs=1e-4)
        assert state["text"].startswith(behavior.prompt())
        assert len(state["best"]) <= state["step"]
    assert all(later["loss"] <= earlier["loss"] + 1e-6 for earlier, later in pairwise(states))


def test_every_step_keeps_the_beams_of_lowest_loss(model: Any) -> None:
    attack, beams = BEAST(**{**SMALL, "every": 1}), [[]]
    for step, state in enumerate(walk(attack, model)):
        drawn = [slot for siblings in grown(attack, model, beams, step) for slot in siblings]
        assert len(drawn) == (3 if step == 0 else 12)  # k1 at first, then k1 times k2
        assert all(slot[:-1] in beams for slot in drawn)
        beams = sorted(drawn, key=lambda slot: loss(model, slot))[:3]
        assert state["beams"] == beams
    assert step == 5


def test_next_tokens_are_drawn_without_replacement_from_the_models_own_distribution(model: Any) -> None:
    """Of three tokens a, b, c of chances p the first is a with p_a, the second b after a with p_a p_b / (1 - p_a)."""
    loaded = model.load()
    prompt, _ = make_prompt(model, BREAD, "!")
    beam = loaded.tokenizer(" so", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = loaded.model(torch.tensor([[*prompt.head, *beam]])).logits[0, -1].numpy()
    usable = allowed(loaded.tokenizer, len(logits))
    usable &= np.array(survives(loaded.tokenizer, prompt, [[*beam, token] for token in range(len(logits))]))
    chance = np.where(usable, np.exp((logits - logits.max()) / 2), 0)
    chance /= chance.sum()
    pairs = []
    for seed in range(30):
        for siblings in grown(BEAST(expansions=2, temperature=2.0, seed=seed), model, [beam] * 20, 3):
            assert siblings[0][:-1] == siblings[1][:-1] == beam
            pairs.append((siblings[0][-1], siblings[1][-1]))
    assert len(pairs) == 600
    assert all(one != two and usable[one] and usable[two] for one, two in pairs)
    a, b = np.argsort(-chance)[:2]
    for found, expected in (
        (np.mean([one == a for one, _ in pairs]), float(chance[a])),
        (np.mean([pair == (a, b) for pair in pairs]), float(chance[a] * chance[b] / (1 - chance[a]))),
    ):
        assert found == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 600) ** 0.5)


def test_with_beams_for_every_token_the_best_one_wins(model: Any) -> None:
    tokenizer = model.load().tokenizer
    prompt, _ = make_prompt(model, BREAD, "!")
    slots = [[int(token)] for token in np.flatnonzero(allowed(tokenizer, 98))]
    slots = [slot for slot, well in zip(slots, survives(tokenizer, prompt, slots), strict=True) if well]
    [state] = walk(BEAST(beams=98, length=1), model)
    assert len(state["beams"]) == len(slots)
    assert state["best"] == min(slots, key=lambda slot: loss(model, slot))


def test_what_would_not_come_back_from_its_text_is_never_drawn(model: Any) -> None:
    """A template trims a turn: no suffix may end with a space."""
    space = model.load().tokenizer(" ", add_special_tokens=False)["input_ids"]
    [siblings] = grown(BEAST(expansions=98), model, [space], 1)
    assert len(siblings) == 94  # all that is printable, but no space
    assert [*space, *space] not in siblings


@pytest.mark.parametrize("behavior", [BREAD, OTHER])
def test_pieces_of_any_length_walk_the_same_way(model: Any, behavior: Behavior) -> None:
    ends = [walk(BEAST(**{**SMALL, "every": every}), model, behavior)[-1] for every in (1, 4, 6)]
    for end in ends[1:]:
        assert (end["text"], end["beams"]) == (ends[0]["text"], ends[0]["beams"])


def test_a_seed_is_a_walk(model: Any) -> None:
    texts_of = [walk(BEAST(**SMALL, seed=seed), model)[-1]["beams"] for seed in (0, 0, 1)]
    assert texts_of[0] == texts_of[1] != texts_of[2]
    assert walk(BEAST(**SMALL), model, Behavior("b9", BREAD.text, target_string="Sure"))[-1]["beams"] != texts_of[0]


def test_a_test_case_after_each_piece_whose_score_is_the_negated_loss(model: Any) -> None:
    cases, pieces = white_box.played(BEAST(**SMALL).run(BREAD, Target(model)))
    assert [(case.chat[0].text, case.score) for case in cases] == [(p["text"], -p["loss"]) for p in pieces]
    assert len(cases) == 3


def test_it_ends_where_nothing_survives(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = BEAST.grown
    monkeypatch.setattr(BEAST, "grown", lambda self, *given: real(self, *given) if given[-1] < 3 else [[], []])
    [*_, last] = walk(BEAST(**SMALL), model)
    assert (last["step"], last["done"]) == (3, True)
    monkeypatch.setattr(BEAST, "grown", lambda self, *given: [[]])
    with pytest.raises(SpecError, match="survives") as caught:
        walk(BEAST(**SMALL), model)
    assert caught.value.hint


def test_what_cannot_be_attacked(model: Any) -> None:
    with pytest.raises(SpecError, match="the window 256"):
        walk(BEAST(length=240), model)
    with pytest.raises(SpecError, match="b1 has no target string"):
        walk(BEAST(), model, Behavior("b1", "Bake"))
    with pytest.raises(SpecError, match="needs weights"):
        next(BEAST().run(BREAD, Target(Scripted())))


@pytest.mark.parametrize(
    "fields",
    [{"beams": 0}, {"expansions": 0}, {"length": 0}, {"every": 0}, {"temperature": 0.0}, {"temperature": 10.1}],
)
def test_wrong_fields(fields: Any) -> None:
    with pytest.raises(SpecError, match=next(iter(fields))) as caught:
        BEAST(**fields)
    assert caught.value.hint


def test_through_the_runner_and_on_from_where_it_was_cut(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = tmp_path / "suite.jsonl"
    suite.write_text(
        "".join(
            json.dumps({"id": b.id, "text": b.text, "context": b.context, "target": b.target_string}) + "\n"
            for b in (BREAD, OTHER)
        )
    )
    spec = {
        "suite": {"use": "jsonl", "path": str(suite), "context": "context", "target_string": "target"},
        "target": {"use": "hf", "id": model.id, "dtype": "float32"},
        "attack": {"use": "beast", **SMALL},
        "judge": "contains:a",
        "benign": "none",
        "sampling": {"max_tokens": 4},
    }
    done: list[int] = []
    real, broken = BEAST.advance, [False]

    def counted(self: BEAST, model: Any, parts: Any) -> Any:
        if broken[0] and sum(done) >= 2:
            raise RuntimeError("the device is gone")
        states = real(self, model, parts)
        done.append(len(parts))
        return states

    whole = withstand.run(spec, store=tmp_path / "whole.db")
    monkeypatch.setattr(BEAST, "advance", counted)
    broken[0] = True
    assert withstand.run(spec, store=tmp_path / "cut.db").tally.failures
    broken[0] = False
    again = withstand.run(spec, store=tmp_path / "cut.db")
    assert (whole.cells[0]["error"], again.cells[0]["error"]) == (0, 0)
    assert sum(done) == 6  # two behaviors, three pieces each, none twice
    chats = [{case["behavior"]: case["chat"] for case in run.cases()} for run in (whole, again)]
    assert chats[0] == chats[1]
    assert OTHER.context in chats[0]["b2"][0]["text"]
