"""Losses and gradients of target strings against plain forward passes and formulas worked by hand."""

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import zoo  # noqa: E402
from withstand.attacks.gradient._screen import scored  # noqa: E402
from withstand.attacks.gradient.gcg import GCG  # noqa: E402
from withstand.core import Behavior  # noqa: E402
from withstand.engine import engine as engine_module  # noqa: E402
from withstand.engine import packed  # noqa: E402
from withstand.engine.batched import Batched  # noqa: E402
from withstand.engine.engine import Engine, engine_of, first_change, reduced  # noqa: E402
from withstand.engine.objective import Objective  # noqa: E402
from withstand.engine.text import Prompt  # noqa: E402

LOSSES = ["ce", "ce_first", "mellowmax", "cw"]


def prompt(head: Sequence[int], tail: Sequence[int], target: Sequence[int]) -> Prompt:
    return Prompt(Behavior("b", "Bake"), "suffix", tuple(head), tuple(tail), tuple(target), "", "")


PROMPTS = [prompt([5, 6, 7, 8, 9], [40, 41], [50, 51, 52]), prompt([11], [], [60]), prompt([5, 6], [42], [50, 53])]
SLOTS = [[20, 21, 22, 23], [24], [25, 26, 27]]


def swaps(slot: Sequence[int], count: int, seed: int = 0) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    results = []
    for _ in range(count):
        changed = list(slot)
        changed[int(draw.integers(len(slot)))] = int(draw.integers(3, zoo.VOCABULARY))
        results.append(changed)
    return results


def plain_loss(logits: Any, target: Sequence[int], loss: str) -> Any:
    """From the formulas, one position after another."""
    per = []
    for row, token in zip(logits, target, strict=True):
        others = torch.cat([row[:token], row[token + 1 :]])
        entropy, margin = row.logsumexp(0) - row[token], (others.max() - row[token]).relu()
        per.append({"ce": entropy, "ce_first": entropy, "mellowmax": -row[token], "cw": margin}[loss])
    if loss == "mellowmax":
        return torch.stack([value.exp() for value in per]).mean().log()
    return torch.stack(per).mean() + (per[0] if loss == "ce_first" else 0)


def wanted(model: Any, prompt: Prompt, slot: Sequence[int], loss: str = "ce", tokens: int | None = None) -> float:
    return float(plain_loss(target_logits(model, prompt, slot, tokens), prompt.target[:tokens], loss))


def target_logits(model: Any, prompt: Prompt, slot: Sequence[int], tokens: int | None = None) -> Any:
    """The logits of the target's tokens, or of its first ones, by a plain pass: (tokens, vocabulary)."""
    target = prompt.target[:tokens]
    return zoo.plain(model, [*prompt.head, *slot, *prompt.tail, *target[:-1]], len(target))


@pytest.mark.parametrize("path", ["packed", "cached", "plain"])
@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_losses_of_candidates_are_those_of_plain_passes(name: str, path: str) -> None:
    model = zoo.make(name)
    engine = Engine(model, pack=40)
    engine.path = {"packed": packed, "cached": Batched(True), "plain": Batched(False)}[path]
    work = [(p, slot, [*swaps(slot, 9), slot]) for p, slot in zip(PROMPTS, SLOTS, strict=True)]  # the slot itself too
    work.append((PROMPTS[0], SLOTS[0], []))
    read = [[target_logits(model, p, candidate) for candidate in candidates] for p, _, candidates in work]
    for loss in LOSSES:
        results = engine.losses(work, loss)
        assert [len(losses) for losses in results] == [10, 10, 10, 0]
        for (p, _, candidates), logits, losses in zip(work, read, results, strict=True):
            exact = [float(plain_loss(rows, p.target, loss)) for rows in logits]
            assert losses.tolist() == pytest.approx(exact, rel=1e-4, abs=1e-4), loss
            for candidate, value in list(zip(candidates, losses.tolist(), strict=True))[::4]:
                alone = engine.loss_of([*p.head, *candidate, *p.tail], p, loss)
                assert alone == pytest.approx(value, rel=1e-4, abs=1e-4), loss


def test_the_first_tokens_of_the_target_string_alone() -> None:
    engine = Engine(zoo.make("llama"), pack=64)
    [losses] = engine.losses([(PROMPTS[0], SLOTS[0], swaps(SLOTS[0], 5))], tokens=2)
    assert losses.tolist() == pytest.approx(
        [wanted(engine.model, PROMPTS[0], c, tokens=2) for c in swaps(SLOTS[0], 5)], abs=1e-4
    )


def test_reduced_by_hand() -> None:
    """Targets 0, 1 | 2; logits with natural logs that cancel."""
    logits = torch.tensor([[1.0, 2.0, 4.0], [3.0, 2.0, 8.0], [1.0, 1.0, 2.0]]).log()
    targets = [[0, 1], [2]]
    ce = [-(math.log(1 / 7) + math.log(2 / 13)) / 2, math.log(2)]
    ce_first = [ce[0] + math.log(7), 2 * math.log(2)]
    mellowmax = [math.log((1 / 1 + 1 / 2) / 2), -math.log(2)]
    cw = [(math.log(4) + math.log(4)) / 2, 0.0]  # 4 over 1, 8 over 2; the second row's target leads
    for loss, values in (("ce", ce), ("ce_first", ce_first), ("mellowmax", mellowmax), ("cw", cw)):
        assert reduced(logits, targets, loss).tolist() == pytest.approx(values, abs=1e-6)


def test_reduction_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = torch.randn(7, 5), [[0, 1, 2], [3], [4, 0, 1]]
    whole = [reduced(logits, targets, loss) for loss in LOSSES]
    monkeypatch.setattr(engine_module, "READ_CPU", 2)
    for loss, values in zip(LOSSES, whole, strict=True):
        torch.testing.assert_close(reduced(logits, targets, loss), values)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["llama", "gemma", "gemma2", "gemma3", "gpt2", "opt"])
def test_the_gradient_by_tokens_is_that_of_the_one_hot_rows(name: str, loss: Any) -> None:
    model = zoo.make(name)
    engine = Engine(model, pack=64)
    embed = model.get_input_embeddings()
    table = embed.weight * getattr(embed, "embed_scale", 1.0)
    results = engine.gradients(list(zip(PROMPTS, SLOTS, strict=True)), loss)
    for p, slot, (gradient, value) in zip(PROMPTS, SLOTS, results, strict=True):
        whole = torch.tensor([*p.head, *slot, *p.tail, *p.target[:-1]])
        one_hot = torch.nn.functional.one_hot(whole, zoo.VOCABULARY).float().requires_grad_()
        logits = model(inputs_embeds=(one_hot @ table)[None], use_cache=False).logits[0, -len(p.target) :]
        exact = plain_loss(logits, p.target, loss)
        [by_one_hot] = torch.autograd.grad(exact, one_hot)
        by_one_hot = by_one_hot[len(p.head) : len(p.head) + len(slot)]
        off = float((engine.by_token(gradient) - by_one_hot).abs().max())
        assert off <= 1e-4 * float(by_one_hot.abs().max())
        assert value == pytest.approx(float(exact.detach()), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("path", ["packed", "cached", "plain"])
def test_soft_losses_of_embedded_tokens_are_their_losses(path: str) -> None:
    engine = Engine(zoo.make("gemma3"), pack=64)
    engine.path = {"packed": packed, "cached": Batched(True), "plain": Batched(False)}[path]
    soft = [engine.embeddings()[slot].requires_grad_() for slot in SLOTS]
    losses = engine.soft_losses(list(zip(PROMPTS, soft, strict=True)))
    exact = [wanted(engine.model, p, slot) for p, slot in zip(PROMPTS, SLOTS, strict=True)]
    assert losses.tolist() == pytest.approx(exact, abs=1e-4)
    several = engine.soft_losses([(PROMPTS[0], soft[0]), (PROMPTS[0], 2 * soft[0])])  # of one prompt
    assert float(several[0].detach()) == pytest.approx(exact[0], abs=1e-4)
    losses.sum().backward()
    assert all(float(slot.grad.abs().max()) > 0 for slot in soft)


def test_first_change() -> None:
    assert first_change([1, 2, 3], [1, 9, 3]) == 1
    assert first_change([1, 2, 3], [9, 2, 9]) == 0
    assert first_change([1, 2, 3], [1, 2, 3]) == 2


# --- screening -----------------------------------------------------------------------------------------------------


class Loaded:
    """A white-box model in two dtypes, each loaded once."""

    def __init__(self) -> None:
        model = zoo.make("llama")
        low = zoo.make("llama").bfloat16()
        self.by_dtype = {"": SimpleNamespace(model=model), "bfloat16": SimpleNamespace(model=low)}

    def load(self, dtype: str = "") -> Any:
        return self.by_dtype[dtype]


@pytest.mark.parametrize(("screen", "tokens"), [("none", 0), ("bfloat16", 0), ("none", 2), ("bfloat16", 2)])
def test_screening_scores_exactly_the_best_of_a_cheap_ranking(screen: str, tokens: int) -> None:
    model = Loaded()
    attack = GCG(screen=screen, screen_tokens=tokens, verify=4)  # type: ignore[arg-type]
    exact = engine_of(model)
    own: dict[str, Any] = {"model": model, "objective": Objective(model, exact, None), "to_beat": math.inf}
    searches = [
        SimpleNamespace(**own, prompt=p, slot=slot, candidates=swaps(slot, 12), scored=0, seen=0)
        for p, slot in zip(PROMPTS, SLOTS, strict=True)
    ]
    work = [(s.prompt, s.slot, s.candidates) for s in searches]
    whole = exact.losses(work)
    if screen == "none" and not tokens:
        assert all(torch.equal(a, b) for a, b in zip(scored(attack, searches), whole, strict=True))
        return
    cheap = engine_of(model, "" if screen == "none" else screen).losses(work, "ce", tokens or None)
    for losses, ranking, full in zip(scored(attack, searches), cheap, whole, strict=True):
        chosen = losses.isfinite()
        assert int(chosen.sum()) == 4
        assert float(ranking[chosen].max()) <= float(ranking[~chosen].min())
        torch.testing.assert_close(losses[chosen], full[chosen], atol=1e-4, rtol=1e-4)


# --- which engine, and memory ----------------------------------------------------------------------------------------


def test_an_engine_is_made_once_and_goes_with_what_is_loaded() -> None:
    import gc
    import weakref

    model = Loaded()
    assert engine_of(model) is engine_of(model)
    assert engine_of(model, "bfloat16") is not engine_of(model)
    gone = weakref.ref(engine_of(model).model)
    model.by_dtype.clear()
    gc.collect()
    assert gone() is None


def test_a_model_that_cannot_be_packed_gives_the_same_losses_with_a_warning() -> None:
    model = zoo.make("bloom")
    with pytest.warns(UserWarning, match="BloomForCausalLM cannot be packed"):
        engine = Engine(model, pack=32)
    candidates = swaps(SLOTS[0], 8)
    [losses] = engine.losses([(PROMPTS[0], SLOTS[0], candidates)])
    assert losses.tolist() == pytest.approx([wanted(model, PROMPTS[0], c) for c in candidates], abs=1e-4)
    [(gradient, value)] = engine.gradients([(PROMPTS[0], SLOTS[0])])
    assert value == pytest.approx(wanted(model, PROMPTS[0], SLOTS[0]), abs=1e-4)
    assert gradient.shape == (4, 32)


class Scarce:
    """A path that runs out of memory beyond so many tokens."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.sizes: list[int] = []

    def grow(self, *args: Any) -> Any:
        return packed.grow(*args)

    def forward(self, model: Any, rows: Sequence[packed.Row]) -> Any:
        self.sizes.append(sum(len(row.ids) for row in rows))
        if self.sizes[-1] > self.most:
            raise torch.OutOfMemoryError("no memory")
        return packed.forward(model, rows)


def test_memory_that_runs_out_halves_the_pack_which_grows_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "CALM", 3)
    engine = Engine(zoo.make("llama"), pack=200)
    work = [(PROMPTS[0], SLOTS[0], swaps(SLOTS[0], 60))]
    [whole] = engine.losses(work)
    engine.path = path = Scarce(60)
    [halved] = engine.losses(work)
    torch.testing.assert_close(halved, whole, atol=1e-5, rtol=1e-5)
    assert path.sizes[0] > 100
    assert path.sizes[1] <= path.sizes[0] // 2
    assert path.sizes[2] <= 60
    assert any(size > 60 for size in path.sizes[3:])  # it tried to grow, and halved again
    path.most = 1000
    for _ in range(3):
        engine.losses(work)
    assert engine.pack == engine.first == 200


def test_memory_that_runs_out_for_one_row_is_an_error() -> None:
    engine = Engine(zoo.make("llama"), pack=200)
    engine.path = Scarce(3)
    with pytest.raises(torch.OutOfMemoryError):
        engine.losses([(PROMPTS[0], SLOTS[0], swaps(SLOTS[0], 4))])
    with pytest.raises(torch.OutOfMemoryError):
        engine.gradients([(PROMPTS[0], SLOTS[0])])


def test_gradients_split_where_memory_runs_out() -> None:
    engine = Engine(zoo.make("llama"), pack=200)
    work = list(zip(PROMPTS, SLOTS, strict=True))
    whole = engine.gradients(work)
    engine.path = Scarce(10)
    for (half, value), (gradient, loss) in zip(engine.gradients(work), whole, strict=True):
        torch.testing.assert_close(half, gradient, atol=1e-5, rtol=1e-4)
        assert value == pytest.approx(loss, abs=1e-5)


def test_memory_bounds_the_pack() -> None:
    model = zoo.make("llama")
    assert Engine(model, pack=512).pack == 512
    token = 4 * (3 * zoo.VOCABULARY + 32 * 32)
    assert Engine(model, pack=512, memory=100.5 * token / 2**30).pack == 100
    assert Engine(model, pack=512, memory=1e-9).pack == 1
