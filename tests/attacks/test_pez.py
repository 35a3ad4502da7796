"""PEZ on a tiny model: its projection by hand, its steps by formula, its texts by a plain forward pass."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import torch

import tiny
from white_box import BREAD, plain_loss, played
from withstand.attacks.gradient import pez
from withstand.attacks.gradient._free import Free
from withstand.attacks.gradient._projected import Projected
from withstand.attacks.gradient._soft import packed
from withstand.attacks.gradient.pez import PEZ, nearest
from withstand.core import SpecError, Target, TestCase, WithstandError, Work, Worked, dumps, to_json
from withstand.engine.engine import Engine
from withstand.engine.text import survives
from withstand.models.hf import HF

SMALL = PEZ(n=2, length=5, steps=24, lr=0.1, every=10)


def test_the_projection_by_hand():
    # unit rows: right, up, down-left; lengths do not matter, angles do
    table = torch.tensor([[10.0, 0.0], [0.0, 0.1], [-3.0, -3.0]])
    vectors = torch.tensor([[1.0, 0.9], [0.9, 1.0], [-1.0, 0.1], [0.001, -0.0001], [1.0, 1.0]])
    # (-1, .1): cosine .78 ... with (-1,-1)/sqrt 2 it is .9/(1.005*1.414) = .633, with up .0995, with right -.995
    # (1, 1): .707 with right and up alike: the first of equals
    for chunk in (1, 2, 3):
        assert nearest(vectors, table, chunk).tolist() == [0, 1, 2, 0, 0]


def test_the_gradient_is_that_at_the_projection_passed_straight_through(model):
    """Against an own straight-through estimator on an own forward pass."""
    free = Free.of(SMALL, model, {"behavior": to_json(BREAD)})
    vectors = free.table[:10].reshape(2, 5, -1) * 1.7 + 0.05
    gradient, _ = SMALL.look(free, vectors, [])
    loaded = model.load()
    weight = loaded.model.get_input_embeddings().weight.detach()
    unit = weight[free.ids] / weight[free.ids].norm(dim=1, keepdim=True)

    def encode(text):
        return torch.tensor(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])

    head, tail = weight[encode("<|user|>bake bread")], weight[encode("<|end|><|assistant|>")]
    target = encode("Sure, bake")
    for sample, got in zip(vectors, gradient, strict=True):
        leaf = sample.clone().requires_grad_()
        closest = free.ids[(leaf.detach() @ unit.T).argmax(1)]  # the vector's own length does not change the argmax
        through = leaf + (weight[closest] - leaf).detach()
        embeds = torch.cat([head, through, tail, weight[target]])[None]
        logits = loaded.model(inputs_embeds=embeds).logits[0, -len(target) - 1 : -1]
        torch.nn.functional.cross_entropy(logits, target).backward()
        torch.testing.assert_close(got, leaf.grad, rtol=1e-3, atol=1e-5)


def test_a_step_is_adams(model):
    """Kingma and Ba 2015, Algorithm 1, after two steps by formula; the learning rate falls along a cosine."""
    attack = replace(SMALL, steps=4, every=2, n=1)
    free = Free.of(attack, model, {"behavior": to_json(BREAD)})
    state = Projected(attack, free, None)
    for _ in range(2):
        attack.step([state])
    draw = free.generator(attack.seed, 0)
    x = free.table[torch.randint(len(free.ids), (5,), generator=draw)][None]
    m = v = torch.zeros_like(x)
    for t, lr in ((1, 0.1), (2, 0.1 * (1 + 2**-0.5) / 2)):  # cos(pi/4) = 2**-.5
        g, _ = attack.look(free, x, [])
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        x = x - lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    torch.testing.assert_close(state.vectors, x, rtol=1e-4, atol=1e-5)


def test_the_texts_are_what_was_scored_and_no_forbidden_token_is_in_them(model):
    cases, [*pieces, best] = played(SMALL.run(BREAD, Target(model)))
    assert [case.score for case in cases] == [None, None]
    assert [piece["step"] for piece in pieces] == [10, 20]
    assert len(dumps(pieces)) < 1000  # the vectors are in the cache
    for case, (loss, text) in zip(cases, best, strict=True):
        assert case.chat[0].text == text
        assert text.startswith("bake bread")
        assert len(text) == len("bake bread") + 5  # one token a character
        assert "<|" not in text
        assert text.isascii()
        assert text.isprintable()
        assert plain_loss(model, text) == pytest.approx(loss, abs=1e-4)


def test_pieces_change_nothing(model):
    whole = played(replace(SMALL, every=100).run(BREAD, Target(model)))
    parts = played(SMALL.run(BREAD, Target(model)))
    assert whole[0] == parts[0]
    assert whole[1] == parts[1][-1:]


def test_a_search_of_0_1_goes_on_from_its_last_piece(model):
    """Its pieces held the tensors themselves, and began with the same part."""
    whole, _ = played(SMALL.run(BREAD, Target(model)))
    search = Projected(SMALL, Free.of(SMALL, model, {"behavior": to_json(BREAD)}), None)
    for _ in range(10):
        SMALL.step([search])
    adam = search.adam.state[search.vectors]
    tensors = {"vectors": search.vectors, "mean": adam["exp_avg"], "square": adam["exp_avg_sq"]}
    old = {"step": 10, "best": search.texts, "done": False, **{name: packed(x) for name, x in tensors.items()}}
    flow = SMALL.run(BREAD, Target(model))
    first = next(flow)
    assert first.part == {"behavior": to_json(BREAD), "state": None}
    second = flow.send(Worked(old))
    assert second.part == {"behavior": to_json(BREAD), "state": old}
    [third] = second.do(model, [second.part])
    rest = flow.send(Worked(third))
    cases = []
    while True:
        if isinstance(rest, TestCase):
            cases.append(rest)
        answer = Worked(rest.do(model, [rest.part])[0]) if isinstance(rest, Work) else None
        try:
            rest = flow.send(answer)
        except StopIteration:
            break
    assert cases == whole
    done = SMALL.run(BREAD, Target(model))
    next(done)
    assert done.send(Worked({**old, "done": True})).chat[0].text == search.texts[0][1]


def test_seed_and_number_of_cases(model):
    two = played(SMALL.run(BREAD, Target(model)))[0]
    assert played(SMALL.run(BREAD, Target(model)))[0] == two
    assert played(replace(SMALL, seed=1).run(BREAD, Target(model)))[0] != two
    cases, pieces = played(replace(SMALL, n=1).run(BREAD, Target(model)))
    assert cases[-1].chat == two[0].chat
    assert cases[-1].score == -pieces[-1][0][0]
    assert len(cases) == len(pieces)  # a candidate after each piece
    assert all(later <= earlier for earlier, later in pairwise(-case.score for case in cases))
    whole = replace(SMALL, every=24)
    first, second = whole.advance(
        model, [{"behavior": to_json(replace(BREAD, id=name)), "state": None} for name in ("a", "b")]
    )
    assert first != second


def test_it_stops_below_stop_loss(model, monkeypatch):
    steps = []
    monkeypatch.setattr(pez, "tell_step", lambda _, number, *__: steps.append(number))
    played(replace(SMALL, stop_loss=100.0).run(BREAD, Target(model)))
    assert steps == [1]


def test_a_slot_that_does_not_survive_is_scored_as_its_text_reads(tmp_path, monkeypatch):
    """In this tokenizer x and y side by side are one token: the tokens x, y, z never come back from their text."""
    monkeypatch.setenv("WITHSTAND_CACHE", str(tmp_path / "cache"))
    folder = tiny.save(tmp_path / "merging")
    file = folder / "tokenizer.json"
    said = json.loads(file.read_text())
    said["model"]["vocab"]["xy"] = said["model"]["vocab"].pop("~")
    said["model"]["merges"] = [["x", "y"]]
    file.write_text(json.dumps(said))
    merging = HF(str(folder), dtype="float32")
    free = Free.of(replace(SMALL, length=3), merging, {"behavior": to_json(BREAD)})
    tokenizer = merging.load().tokenizer
    slot = tokenizer.convert_tokens_to_ids(["x", "y", "z"])
    loss, text = free.scored(slot)
    assert text == "bake breadxyz"
    assert not survives(tokenizer, free.prompt, [slot])[0]
    assert loss == pytest.approx(plain_loss(merging, text), abs=1e-4)
    [[_, of_the_slot]] = free.engine.gradients([(free.prompt, slot)])
    assert abs(of_the_slot - loss) > 1e-3


def test_a_prefix_stands_before_the_behavior(model):
    cases, _ = played(replace(SMALL, n=1, placement="prefix").run(BREAD, Target(model)))
    text = cases[-1].chat[0].text
    assert text.endswith(" bake bread")
    assert -cases[-1].score == pytest.approx(plain_loss(model, text), abs=1e-4)


def test_no_number_is_said(model, monkeypatch):
    monkeypatch.setattr(Engine, "loss_of", lambda *_: float("nan"))
    with pytest.raises(WithstandError, match="nan") as caught:
        played(SMALL.run(BREAD, Target(model)))
    assert caught.value.hint == "try dtype=float32"


@pytest.mark.parametrize(
    "fields",
    [{"n": 0}, {"length": 0}, {"steps": 0}, {"every": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"stop_loss": -1}],
)
def test_wrong_fields(fields):
    with pytest.raises(SpecError, match=next(iter(fields))) as caught:
        PEZ(**fields)
    assert caught.value.hint


def test_most_and_needs():
    assert (PEZ().most().cases, PEZ.needs) == (5, {"weights", "gradients"})
