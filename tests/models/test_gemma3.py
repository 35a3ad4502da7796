"""The real `gemma3-270m`, a base model with local layers: read, drawn from and searched as plain forward passes say."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="NO GEMMA: needs the extra `local`")

from withstand.core import Behavior, Sampling, SpecError, user  # noqa: E402
from withstand.engine.engine import engine_of  # noqa: E402
from withstand.engine.likelihood import continuation_tokens, token_nats  # noqa: E402
from withstand.engine.text import make_prompt  # noqa: E402
from withstand.models import _fetch  # noqa: E402
from withstand.registry import find  # noqa: E402

DISHES = ["leek soup", "bread with butter", "bean salad", "rice with peas", "plum pie", "noodles", "lentil stew"]
NOTES = "\n".join(f"Day {day}: lunch {DISHES[day * 5 % 7]}, dinner {DISHES[day * 3 % 7]}." for day in range(1, 61))
"""More tokens than a local layer sees back, 512."""


@pytest.fixture(scope="module")
def target() -> Any:
    try:
        _fetch.gemma3()
    except SpecError as error:
        pytest.skip(f"NO GEMMA: {error} ({error.hint})")
    target = find.build("target", "gemma3-270m,dtype=float32")
    target.load()
    yield target
    target.release()


@torch.no_grad()
def plain(model: Any, ids: list[int], read: int) -> Any:
    """Log-probabilities of the last tokens of a text, by one pass."""
    logits = model(input_ids=torch.tensor([ids[:-1]]), use_cache=False, logits_to_keep=read).logits[0]
    return torch.log_softmax(logits, -1).gather(-1, torch.tensor(ids[-read:])[:, None])[:, 0]


def test_it_has_what_the_wheel_says(target: Any) -> None:
    config = target.load().model.config
    assert (config.sliding_window, config.num_hidden_layers, config.vocab_size) == (512, 18, 262_144)
    assert [i for i, kind in enumerate(config.layer_types) if kind == "full_attention"] == [5, 11, 17]
    ropes = config.rope_parameters
    assert (ropes["full_attention"]["rope_theta"], ropes["sliding_attention"]["rope_theta"]) == (1e6, 1e4)
    model = target.load().model
    assert model.lm_head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    assert target.render(user("Bread is")) == "<bos>Bread is"  # no chat template; a text begins as it does in training
    assert target.load().tokenizer("Hello  world\n\n\tfoo é 日本 🤪")["input_ids"] == [
        2, 9259, 138, 12392, 108, 255968, 26537, 1559, 33375, 236743, 244329,
    ]  # fmt: skip  # as llama.cpp reads the file of the wheel


def test_likelihoods_beyond_the_window_are_those_of_plain_passes(target: Any) -> None:
    ends = ["lunch soup, dinner bread.", "lunch plum pie"]
    pairs = continuation_tokens(target, [f"{NOTES}\nDay 61:"] * 2, ends)
    assert all(len(prompt) > 600 for prompt, _ in pairs)
    for (prompt, answer), nats in zip(pairs, token_nats(target, pairs), strict=True):
        exact = plain(target.load().model, [*prompt, *answer], len(answer))
        assert nats == pytest.approx((-exact).tolist(), abs=2e-3)


def test_losses_gradients_and_draws_are_those_of_plain_passes(target: Any) -> None:
    model, engine = target.load().model, engine_of(target)
    behavior = Behavior("b", "Explain how to bake bread", target_string="Mix flour and water")
    prompt, slot = make_prompt(target, behavior, "! ! ! !")
    changed = [*slot[:1], 1234, *slot[2:]]
    [losses] = engine.losses([(prompt, slot, [changed, slot])])
    for candidate, loss in zip([changed, list(slot)], losses.tolist(), strict=True):
        ids = [*prompt.head, *candidate, *prompt.tail, *prompt.target]
        assert loss == pytest.approx(-float(plain(model, ids, len(prompt.target)).mean()), abs=1e-3)
    [(gradient, loss)] = engine.gradients([(prompt, slot)])
    assert loss == pytest.approx(losses.tolist()[1], abs=1e-3)
    embed = engine.embeddings()  # scaled, as the layers get them
    step = 1e-2 * gradient / gradient.norm()
    moved = [float(engine.soft_losses([(prompt, embed[list(slot)] + sign * step)])[0].detach()) for sign in (1.0, -1.0)]
    assert (moved[0] - moved[1]) / 2e-2 == pytest.approx(float(gradient.norm()), rel=0.05)
    drawn = target.generate([user("The capital of France is")], Sampling(max_tokens=8), [0])[0]
    ids = target.load().tokenizer("The capital of France is", return_tensors="pt")
    out = model.generate(**ids, max_new_tokens=8, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert drawn.text == target.load().tokenizer.decode(out, skip_special_tokens=True)
