"""PGD on a tiny model: its projections by hand and by bisection, its texts by a plain forward pass."""

import math
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import torch

from white_box import BREAD, plain_loss, played, random_losses
from withstand.attacks.gradient._free import Free
from withstand.attacks.gradient._relaxed import Relaxed
from withstand.attacks.gradient._soft import to_entropy, to_simplex
from withstand.attacks.gradient.pgd import PGD
from withstand.core import SpecError, Target, WithstandError, dumps, to_json
from withstand.engine.engine import Engine

SMALL = PGD(length=5, steps=30, warm=10, period=10, anneal=10, patience=5)


@pytest.mark.parametrize(
    ("point", "nearest"),
    [
        ([0.5, 0.3, 0.2], [0.5, 0.3, 0.2]),  # on it already
        ([1.0, 1.0, 0.0], [0.5, 0.5, 0.0]),
        ([2.0, 0.0, 0.0], [1.0, 0.0, 0.0]),
        ([0.6, 0.4, -1.0], [0.6, 0.4, 0.0]),
        ([0.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]),
        # sorted 1, .5, .1; (1.5 - 1)/2 = .25 < .5, (1.6 - 1)/3 = .2 > .1: two stay, less .25 each
        ([0.1, 1.0, 0.5], [0.0, 0.75, 0.25]),
        ([-1.0, -2.0, -1.5], [0.75, 0.0, 0.25]),  # the same, moved: all sums below 0
    ],
)
def test_the_simplex_projection_by_hand(point, nearest):
    assert to_simplex(torch.tensor([point]))[0].tolist() == pytest.approx(nearest, abs=1e-6)


@pytest.mark.parametrize(("size", "scale"), [(3, 1.0), (50, 0.1), (5000, 1.0), (50_000, 1e-3)])
def test_the_simplex_projection_by_bisection(size, scale):
    """The projection is max(x - theta, 0) for the theta at which it sums to 1."""
    x = torch.randn((4, size), generator=torch.Generator().manual_seed(size)) * scale
    low, high = x.double().amin(-1, keepdim=True) - 1, x.double().amax(-1, keepdim=True)
    for _ in range(100):
        theta = (low + high) / 2
        over = (x - theta).clamp(min=0).sum(-1, keepdim=True) > 1
        low, high = torch.where(over, theta, low), torch.where(over, high, theta)
    found = to_simplex(x)
    torch.testing.assert_close(found.double(), (x - theta).clamp(min=0), atol=2e-6, rtol=0)
    assert found.min() >= 0
    assert found.sum(-1).tolist() == pytest.approx([1] * 4, abs=1e-3)


def gini(x):
    return 1 - (x * x).sum(-1)


def test_the_entropy_projection_by_hand():
    # support 2, center (.5, .5), away (.1, -.1), norm .14142; radius sqrt(.4 / 2) = .44721: 3.16228 times as far
    found = to_entropy(torch.tensor([[0.6, 0.4, 0.0]]), 0.4)
    assert found[0].tolist() == pytest.approx([0.816228, 0.183772, 0.0], abs=1e-5)
    assert gini(found).item() == pytest.approx(0.6 * 0.5, abs=1e-6)  # (1 - .4) of the most for a support of 2
    peaked = torch.tensor([[0.9, 0.1, 0.0], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])  # below, one token, no direction
    torch.testing.assert_close(to_entropy(peaked, 0.4), peaked)
    torch.testing.assert_close(to_entropy(torch.tensor([[0.5, 0.3, 0.2]]), 0.0), torch.tensor([[0.5, 0.3, 0.2]]))
    assert to_entropy(torch.tensor([[0.6, 0.4, 0.0]]), 1.0)[0].tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-5)


def test_the_entropy_projection_stays_on_the_simplex_and_sharpens():
    x = to_simplex(torch.rand((20, 200), generator=torch.Generator().manual_seed(1)) / 100)
    for strength in (0.1, 0.4, 0.9):
        found = to_entropy(x, strength)
        assert found.min() >= 0
        assert found.sum(-1).tolist() == pytest.approx([1] * 20, abs=1e-4)
        assert (gini(found) <= gini(x) + 1e-6).all()
        support = (x > 0).sum(-1)
        bound = (1 - strength) * (support - 1) / support
        inside = (found > 0).sum(-1) == support  # where nothing was cut away it is on the sphere
        torch.testing.assert_close(gini(found)[inside], torch.minimum(gini(x), bound)[inside], atol=1e-4, rtol=0)


def test_the_learning_rate_is_torchs_schedule():
    """The authors' SequentialLR of ConstantLR and CosineAnnealingWarmRestarts, step by step."""
    attack = PGD()
    adam = torch.optim.Adam([torch.zeros(1)], lr=0.11)
    schedule = torch.optim.lr_scheduler.SequentialLR(
        adam,
        [
            torch.optim.lr_scheduler.ConstantLR(adam, factor=1),
            torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(adam, T_0=60, eta_min=0.325),
        ],
        [100],
    )
    for step in range(400):
        assert attack.rate(step) == pytest.approx(adam.param_groups[0]["lr"], abs=1e-9), step
        adam.step()
        schedule.step()


def test_the_strength_of_the_entropy_projection():
    flat = PGD(lr=0.1, lr_end=0.1, warm=10_000)
    assert [flat.strength(step, 1.0) for step in (0, 125, 250, 999)] == pytest.approx([0, 0.2, 0.4, 0.4])
    # a gap of .05 below .1: .05/.9 = .05556; 1/(1 + 17^2) = .003448
    assert flat.strength(250, 0.05) == pytest.approx(0.4 / 290, rel=1e-6)
    assert (flat.strength(250, -1.0), flat.strength(250, 0.1)) == pytest.approx((0.0, 0.4))
    assert replace(flat, gap=0.0).strength(250, -1.0) == pytest.approx(0.4)
    assert PGD(warm=0, anneal=0).strength(29, 1.0) == pytest.approx(0.4 * (0.11 + 0.325) / 2 / 0.325)  # half a period


def test_the_gradient_of_a_token_is_clipped_by_its_norm(model):
    slot = Relaxed(SMALL, Free.of(SMALL, model, {"behavior": to_json(BREAD)}))
    gradient = torch.zeros_like(slot.x)
    gradient[0, :2] = torch.tensor([30.0, 40.0])  # norm 50: to 20
    gradient[1, 0] = 3.0
    slot.take(0, 1.0, gradient)
    assert slot.x.grad[0, :2].tolist() == pytest.approx([12.0, 16.0])
    assert slot.x.grad[1, 0].item() == 3.0
    assert slot.x.grad[2].abs().max() == 0


def test_the_relaxed_tokens_stay_on_the_simplex_and_patience_goes_back(model, monkeypatch):
    starts = []
    restart = Relaxed.restart
    monkeypatch.setattr(Relaxed, "restart", lambda self, x: starts.append(x.detach().clone()) or restart(self, x))
    slot = Relaxed(SMALL, Free.of(SMALL, model, {"behavior": to_json(BREAD)}))
    monkeypatch.setattr(Free, "scored", lambda self, tokens, _: (5.0, "never better"))
    for step in range(7):
        slot.take(step, 1.0, torch.randn(slot.x.shape, generator=torch.Generator().manual_seed(step)))
        assert slot.x.min() >= 0
        assert slot.x.sum(-1).tolist() == pytest.approx([1] * 5, abs=1e-4)
        if step == 0:
            best = slot.tokens
    assert len(starts) == 2  # at first, and after five steps without a better text
    assert starts[0].sum(-1).tolist() == pytest.approx([1] * 5, abs=1e-5)
    assert (starts[1].argmax(-1).tolist(), starts[1].amax(-1).tolist()) == (best.tolist(), [1.0] * 5)


def test_the_text_is_what_was_scored_and_no_forbidden_token_is_in_it(model):
    [case], [[loss, text]] = played(SMALL.run(BREAD, Target(model)))
    assert (case.chat[0].text, case.score) == (text, -loss)
    assert text.startswith("bake bread")
    assert len(text) == len("bake bread") + 5  # one token a character
    assert "<|" not in text
    assert text.isascii()
    assert text.isprintable()
    assert plain_loss(model, text) == pytest.approx(loss, abs=1e-4)
    dumps([loss, text])


def test_seeds_and_behaviors_together(model):
    [case], _ = played(SMALL.run(BREAD, Target(model)))
    assert played(SMALL.run(BREAD, Target(model)))[0] == [case]
    assert played(replace(SMALL, seed=1).run(BREAD, Target(model)))[0] != [case]
    parts = [{"behavior": to_json(replace(BREAD, id=name))} for name in ("bread", "b", "c")]
    found = replace(SMALL, together=2).advance(model, parts)
    assert found[0][1] == case.chat[0].text
    assert found[0][0] == pytest.approx(-case.score, abs=1e-5)
    assert len({text for _, text in found}) == 3


def test_the_search_lowers_both_losses(model, monkeypatch):
    """The relaxed loss falls by half; on average of four the text beats the best of as many random ones."""
    relaxed = []
    take = Relaxed.take
    monkeypatch.setattr(Relaxed, "take", lambda self, i, loss, *g: relaxed.append(loss) or take(self, i, loss, *g))
    attack = PGD(length=10, steps=100)
    found = attack.advance(model, [{"behavior": to_json(replace(BREAD, id=name))} for name in "abcd"])
    assert sum(relaxed[4 * 50 : 4 * 60]) / 10 < sum(relaxed[:4]) / 2  # four at a time
    free = Free.of(attack, model, {"behavior": to_json(BREAD)})
    random = random_losses(free, 400)
    assert sum(loss for loss, _ in found) < sum(min(random[i::4]) for i in range(4))


def test_it_stops_below_stop_loss(model, monkeypatch):
    taken = []
    take = Relaxed.take
    monkeypatch.setattr(Relaxed, "take", lambda self, *rest: taken.append(1) or take(self, *rest))
    played(replace(SMALL, stop_loss=100.0).run(BREAD, Target(model)))
    assert len(taken) == 1


def test_no_number_is_said(model, monkeypatch):
    monkeypatch.setattr(Engine, "soft_losses", lambda self, work: sum(slot.sum() for _, slot in work)[None] * math.nan)
    with pytest.raises(WithstandError, match="nan") as caught:
        played(SMALL.run(BREAD, Target(model)))
    assert caught.value.hint == "try dtype=float32"


@pytest.mark.parametrize(
    "fields",
    [{"length": 0}, {"steps": 0}, {"period": 0}, {"together": 0}, {"warm": -1}, {"anneal": -1}, {"patience": -1},
     {"stop_loss": -1.0}, {"lr": 0.0}, {"lr_end": 0.0}, {"clip": 0.0}, {"entropy": 1.5}, {"gap": 1.0}],
)  # fmt: skip
def test_wrong_fields(fields):
    with pytest.raises(SpecError, match=next(iter(fields))) as caught:
        PGD(**fields)
    assert caught.value.hint


def test_most_and_needs():
    assert (PGD().most().cases, PGD.needs) == (1, {"weights", "gradients"})
