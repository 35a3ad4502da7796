"""Latent adversarial training by hand on a tiny model: ball, sign and losses; and that it trains and resumes."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

import learner
from withstand.core import Message, SpecError, user
from withstand.core.stage import How, Row, read, record_of
from withstand.training import _pairs
from withstand.training._losses import away
from withstand.training._pairs import Reading
from withstand.training.latent import Latent
from withstand.training.sft import SFT, tokenized

pytest.importorskip("trl")
import torch
from datasets import Dataset
from transformers import AutoTokenizer, LlamaForCausalLM

INNER = SFT(rank=2, alpha=4, lr=1e-2, batch=2, steps=3, max_length=64, log_every=1, save_every=0)
ROWS = [
    Row((*user("how do i bake bread"), Message("assistant", "sorry no")), rejected="first open it then", safe=True),
    Row((*user("bake it"), Message("assistant", "no")), rejected="first it", safe=True),
    Row((*user("how do i fold paper"), Message("assistant", "first crease it"))),
    Row((*user("fold it"), Message("assistant", "then open it"))),
]
STAGE = Latent(INNER, layers=(0, 2), epsilon=0.3, inner_steps=2, inner_lr=0.2, pairs=2, hold=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return learner.save(tmp_path_factory.mktemp("four"), layers=4)


def data(base):
    """The rows as the trainer has them: clean ones, the pairs with the safe answers, then with the unwanted ones."""
    unwanted = [(*row.chat[:-1], Message("assistant", row.rejected)) for row in ROWS[:2]]
    chats = [row.chat for row in (*ROWS[2:], *ROWS[:2])] + unwanted
    return [tokenized(AutoTokenizer.from_pretrained(base), chat) for chat in chats]


def texts(base):
    cut = _pairs.cut(STAGE, data(base)[2:])
    return cut[:2], cut[2:]


def logits(model, request, answer, deltas):
    """At the answer's tokens, one text alone: layer 0 by the embeddings, layer 2 in front of the third layer."""

    def put(_module, inputs):
        return (inputs[0] + padded(deltas[2]), *inputs[1:])

    def padded(delta):
        return torch.cat([delta[: len(request)], torch.zeros(len(answer), 16)])

    handle = model.model.layers[2].register_forward_pre_hook(put)
    embeds = model.model.embed_tokens(torch.tensor([[*request, *answer]])) + padded(deltas[0])
    out = model(inputs_embeds=embeds).logits[0, len(request) - 1 : -1]
    handle.remove()
    return out


def toward_and_away(model, aim, shun, deltas):
    """Both losses over the pairs, from probabilities."""
    sums = [0.0, 0.0]
    for i in range(len(aim)):
        row = {layer: delta[i] for layer, delta in deltas.items()}
        for side, (request, answer) in enumerate((aim[i], shun[i])):
            p = torch.softmax(logits(model, request, answer, row).double(), -1)[range(len(answer)), answer]
            losses = -torch.log(p) if side == 0 else torch.where(p.log() < -5, 0.0, -torch.log(1 - p))
            sums[side] = sums[side] + losses.mean() / len(aim)
    return sums


def test_the_search_is_projected_descent_on_the_adversarys_loss_at_the_requests_tokens_alone(base):
    model = LlamaForCausalLM.from_pretrained(base)
    safe, unwanted = texts(base)
    lengths = [len(request) for request, _ in safe]
    assert len(set(lengths)) == 2  # one request is padded
    states = [model(torch.tensor([request]), output_hidden_states=True).hidden_states for request, _ in safe]
    sizes = {layer: torch.cat([state[layer][0].norm(dim=-1) for state in states]).median() for layer in (0, 2)}
    deltas = {layer: torch.zeros(2, max(lengths), 16, requires_grad=True) for layer in (0, 2)}
    for _ in range(2):
        likely, unlikely = toward_and_away(model, unwanted, safe, deltas)
        slopes = torch.autograd.grad(0.5 * likely + 0.5 * unlikely, list(deltas.values()))
        moved = {}
        for (layer, delta), slope in zip(deltas.items(), slopes, strict=True):
            moved[layer] = delta.detach().clone()
            for i, length in enumerate(lengths):
                for token in range(length):
                    row = delta[i, token] - 0.2 * sizes[layer] * slope[i, token] / slope[i, token].norm()
                    outside = row.norm() > 0.3 * sizes[layer]
                    moved[layer][i, token] = row * 0.3 * sizes[layer] / row.norm() if outside else row
        deltas = {layer: delta.detach().requires_grad_() for layer, delta in moved.items()}
    got = STAGE.search(Reading(model), safe, unwanted)
    assert set(got) == {0, 2}
    for layer, delta in got.items():
        torch.testing.assert_close(delta, deltas[layer].detach(), atol=1e-5, rtol=0)
        assert not delta[lengths.index(min(lengths)), min(lengths) :].any()
        assert delta.norm(dim=-1).max() <= 0.3 * sizes[layer] * (1 + 1e-6)
    longer = replace(STAGE, inner_steps=12).search(Reading(model), safe, unwanted)
    zero = {layer: torch.zeros_like(delta) for layer, delta in got.items()}
    losses = [sum(toward_and_away(model, unwanted, safe, delta)).item() for delta in (zero, got, longer)]
    assert losses == sorted(losses, reverse=True)
    assert losses[2] < 0.7 * losses[0]
    by_hand = toward_and_away(model, safe, unwanted, got)
    loss = STAGE.loss(Reading(model), safe, unwanted, got, torch.tensor(7.0))
    assert loss.item() == pytest.approx((2 * 7 + 0.5 * by_hand[0] + 0.5 * by_hand[1]).item(), abs=1e-5)


def test_away_is_log_of_one_less_p_where_p_is_likely_and_finite_where_p_is_1():
    draws = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)) * 3
    labels = torch.arange(50) % 7
    p = torch.softmax(draws.double(), -1)[range(50), labels]
    wanted = torch.where(p.log() < -5, 0.0, -torch.log(1 - p))
    assert 0 < (wanted == 0).sum() < 50
    torch.testing.assert_close(away(draws, labels).double(), wanted, atol=1e-5, rtol=1e-5)
    sure = torch.tensor([[200.0, 0.0, 0.0], [-200.0, 0.0, 0.0]], requires_grad=True)
    losses = away(sure, torch.tensor([0, 0]))
    assert losses.tolist() == pytest.approx([200 - math.log(2), 0.0])
    [slope] = torch.autograd.grad(losses.sum(), sure)
    assert slope.isfinite().all()
    assert slope[0].tolist() == pytest.approx([1.0, -0.5, -0.5])


def test_a_perturbation_is_held_for_so_many_steps_and_drawn_by_their_turn(base):
    model = LlamaForCausalLM.from_pretrained(base)

    class Plain:
        def __init__(self, train_dataset):
            self.state = SimpleNamespace(global_step=0, num_input_tokens_seen=0)
            self.learned = len(train_dataset)

        def compute_loss(self, model, inputs, return_outputs=False):
            return torch.tensor(7.0), "outputs"

    trainer = _pairs.changed(replace(STAGE, pairs=1), Plain, 2, 2)(train_dataset=Dataset.from_list(data(base)))
    assert trainer.learned == 2
    seen, deltas = [], []
    for step in range(6):
        trainer.state.global_step = step
        trainer.compute_loss(model, {})
        seen.append(trainer.state.num_input_tokens_seen)
        deltas.append(trainer.deltas)
    assert [deltas[i] is deltas[i + 1] for i in range(5)] == [True, False, True, False, True]
    sizes = [sum(len(r) + len(a) for r, a in pair) for pair in zip(*texts(base), strict=True)]
    added = {seen[1] - seen[0], seen[3] - seen[2], seen[5] - seen[4]}
    assert added <= set(sizes)  # a step under a held perturbation reads one pair once


def test_it_trains_refusals_that_hold_and_a_killed_training_ends_with_the_same_weights(base, tmp_path):
    inner = replace(INNER, method="full", steps=12, save_every=5)
    stage = replace(STAGE, stage=inner, inner_steps=6, hold=4, toward=2, away=2, clean=1)

    class KilledError(Exception):
        pass

    def kill(step, loss):
        if step == 7:
            raise KilledError

    with pytest.raises(KilledError):
        stage.train(base, ROWS, tmp_path / "killed", How(log=kill))
    for name in ("killed", "whole"):
        stage.train(base, ROWS, tmp_path / name)
    assert record_of(tmp_path / "killed").resumed == 1
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("killed", "whole")]
    assert weights[0] == weights[1]
    assert read(tmp_path / "whole")["stage"]["use"] == "latent"
    inner.train(base, [row.chat for row in ROWS], tmp_path / "plain")
    safe, unwanted = texts(base)
    left = {}
    for name in ("whole", "plain"):
        reading = Reading(LlamaForCausalLM.from_pretrained(tmp_path / name))
        held = stage.losses(reading, safe, unwanted, stage.search(reading, safe, unwanted))
        left[name] = sum(loss.item() for loss in held)
    assert left["whole"] < 0.7 * left["plain"]
    tokens = [record_of(tmp_path / name).tokens for name in ("whole", "killed", "plain")]
    assert tokens[0] == tokens[1] > 5 * tokens[2]  # the search counts


def test_what_cannot_be_trained_is_told(base, tmp_path):
    with pytest.raises(SpecError, match="latent was given no unwanted answers"):
        STAGE.train(base, ROWS[2:], tmp_path / "a")
    with pytest.raises(SpecError, match="no clean rows"):
        STAGE.train(base, ROWS[:2], tmp_path / "b")
    with pytest.raises(SpecError, match="layer 4 of 4"):
        replace(STAGE, layers=(0, 4)).train(base, ROWS, tmp_path / "c")
    for field in ("inner_steps", "pairs", "hold", "epsilon", "inner_lr", "clean"):
        with pytest.raises(SpecError, match=field):
            replace(STAGE, **{field: 0})
    with pytest.raises(SpecError, match="toward and away are 0"):
        replace(STAGE, toward=0, away=0)
