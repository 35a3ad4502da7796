"""GBDA on a tiny model: its formulas on given numbers, its texts by a plain forward pass."""

import math
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import torch

from white_box import BREAD, plain_loss, played, random_losses
from withstand.attacks.gradient import gbda
from withstand.attacks.gradient._free import Free
from withstand.attacks.gradient.gbda import GBDA, gumbel, softened, unlikely
from withstand.core import SpecError, Target, WithstandError, dumps, to_json

SMALL = GBDA(n=2, length=5, steps=20, check=10, samples=3)


def test_the_temperature_falls_in_a_line_from_the_first_step_to_the_last():
    attack = GBDA(steps=10)
    assert [round(attack.temperature(step), 12) for step in range(10)] == [
        1,
        0.9,
        0.8,
        0.7,
        0.6,
        0.5,
        0.4,
        0.3,
        0.2,
        0.1,
    ]
    assert GBDA(steps=1).temperature(0) == 1
    assert GBDA(hot=2.0, cold=4.0, steps=3).temperature(1) == 3


def test_the_soft_sample_by_formula():
    theta, noise = [0.0, 1.0, -1.0], [0.5, -0.25, 0.0]
    for temperature in (1.0, 0.1):
        powers = [math.exp((a + b) / temperature) for a, b in zip(theta, noise, strict=True)]
        wanted = [power / sum(powers) for power in powers]
        found = softened(torch.tensor(theta), torch.tensor(noise), temperature).tolist()
        assert found == pytest.approx(wanted, abs=1e-6)
    # at temperature 1: e^.5 = 1.64872, e^.75 = 2.117, e^-1 = .36788, sum 4.13360
    assert softened(torch.tensor(theta), torch.tensor(noise), 1.0).tolist() == pytest.approx(
        [0.39886, 0.51214, 0.08900], abs=1e-4
    )


def test_the_noise_is_gumbels():
    """Mean: Euler's constant; variance: pi squared over 6; the argmax of theta + noise is a draw of softmax(theta)."""
    noise = gumbel((100_000, 3), torch.Generator().manual_seed(0))
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.01)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, abs=0.03)
    theta = torch.tensor([0.0, 1.0, -1.0])
    share = torch.bincount((theta + noise).argmax(-1)) / 100_000
    torch.testing.assert_close(share, theta.softmax(-1), atol=0.01, rtol=0)


def test_fluency_is_the_cross_entropy_under_the_model(model):
    """For one-hot tokens it is minus the mean log-probability of each after those before it."""
    free = Free.of(SMALL, model, {"behavior": to_json(BREAD)})
    loaded = model.load()
    suffix = loaded.tokenizer(", nice", add_special_tokens=False)["input_ids"][:5]
    soft = (free.ids[None, :] == torch.tensor(suffix)[:, None]).float()[None]
    found = unlikely(free, soft, soft @ free.table)
    head = loaded.tokenizer("<|user|>bake bread", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = loaded.model(torch.tensor([head + suffix])).logits[0, len(head) - 1 : -1]
    wanted = torch.nn.functional.cross_entropy(logits, torch.tensor(suffix))
    torch.testing.assert_close(found, wanted[None], rtol=1e-4, atol=1e-4)
    mixed = torch.full((1, 5, len(free.ids)), 1 / len(free.ids))  # and linear in the soft token that is predicted
    embeds = mixed @ free.table
    before = loaded.model.get_input_embeddings()(torch.tensor(head))
    logits = loaded.model(inputs_embeds=torch.cat([before, embeds[0]])[None]).logits[0, len(head) - 1 : -1]
    wanted = -logits.log_softmax(-1)[:, free.ids].mean(-1).mean()
    torch.testing.assert_close(unlikely(free, mixed, embeds), wanted[None], rtol=1e-4, atol=1e-4)


def test_the_texts_are_what_was_scored_and_no_forbidden_token_is_in_them(model):
    cases, [best] = played(SMALL.run(BREAD, Target(model)))
    assert [case.score for case in cases] == [None, None]
    dumps(best)
    for case, (loss, text) in zip(cases, best, strict=True):
        assert case.chat[0].text == text
        assert text.startswith("bake bread")
        assert len(text) == len("bake bread") + 5  # one token a character
        assert "<|" not in text
        assert text.isascii()
        assert text.isprintable()
        assert plain_loss(model, text) == pytest.approx(loss, abs=1e-4)


def test_the_best_of_argmax_and_draws_of_every_reading_is_returned(model, monkeypatch):
    read = []
    scored = Free.scored
    monkeypatch.setattr(Free, "scored", lambda self, slot, _: read.append(scored(self, slot)) or read[-1])
    _, [best] = played(replace(SMALL, n=1).run(BREAD, Target(model)))
    assert len(read) == 2 * (1 + 3)  # two readings, the argmax and three draws each
    assert best == [min(read)]


def test_the_distribution_moves_to_better_texts(model, monkeypatch):
    """The texts of the last reading are on average better than random ones, for four cases together."""
    read = []
    scored = Free.scored
    monkeypatch.setattr(Free, "scored", lambda self, slot, _: read.append(scored(self, slot)[0]) or scored(self, slot))
    attack = replace(SMALL, n=4, length=10, steps=150, check=150, samples=10)
    played(attack.run(BREAD, Target(model)))
    monkeypatch.undo()
    free = Free.of(attack, model, {"behavior": to_json(BREAD)})
    assert len(read) == 44
    assert sum(read) / 44 < sum(random_losses(free, 200)) / 200 - 0.2  # a few standard errors of either mean


def test_seed_cases_and_readings(model):
    two = played(SMALL.run(BREAD, Target(model)))[0]
    assert played(SMALL.run(BREAD, Target(model)))[0] == two
    assert played(replace(SMALL, seed=1).run(BREAD, Target(model)))[0] != two
    [one], [[[loss, _]]] = played(replace(SMALL, n=1).run(BREAD, Target(model)))
    assert (one.chat, one.score) == (two[0].chat, -loss)
    first, second = SMALL.advance(model, [{"behavior": to_json(replace(BREAD, id=i))} for i in ("bread", "other")])
    assert first != second
    assert [text for _, text in first] == [case.chat[0].text for case in two]


def test_it_stops_below_stop_loss(model, monkeypatch):
    steps = []
    monkeypatch.setattr(gbda, "softened", lambda *args: steps.append(1) or softened(*args))
    played(replace(SMALL, stop_loss=100.0).run(BREAD, Target(model)))
    assert len(steps) == 10  # the first reading


def test_no_number_is_said(model, monkeypatch):
    monkeypatch.setattr(gbda, "softened", lambda theta, *_: theta * float("nan"))
    with pytest.raises(WithstandError, match="nan") as caught:
        played(SMALL.run(BREAD, Target(model)))
    assert caught.value.hint == "try dtype=float32"


@pytest.mark.parametrize(
    "fields",
    [{"n": 0}, {"length": 0}, {"steps": 0}, {"check": 0}, {"samples": -1}, {"lr": 0.0}, {"spread": -0.1},
     {"hot": 0.0}, {"cold": -1.0}, {"fluency": -1.0}, {"stop_loss": -1.0}],
)  # fmt: skip
def test_wrong_fields(fields):
    with pytest.raises(SpecError, match=next(iter(fields))) as caught:
        GBDA(**fields)
    assert caught.value.hint


def test_most_and_needs():
    assert (GBDA().most().cases, GBDA.needs) == (5, {"weights", "gradients"})
