"""Batches of one prompt against plain passes, and which path serves which model."""

import warnings

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `local`")
transformers = pytest.importorskip("transformers", reason="needs the extra `local`")

import zoo  # noqa: E402
from withstand.engine import packed  # noqa: E402
from withstand.engine.batched import Batched  # noqa: E402
from withstand.engine.packed import Row, Trunk  # noqa: E402
from withstand.engine.path import mismatch, path_of  # noqa: E402


@pytest.mark.parametrize("one_end", [True, False])
@pytest.mark.parametrize(
    ("name", "cached"),
    [("llama", True), ("mistral", True), ("gemma3", True), ("bloom", True), ("bloom", False), ("mamba", False)],
)
def test_batched_logits_are_those_of_plain_passes(name: str, cached: bool, one_end: bool) -> None:
    model = zoo.make(name)
    for seed in range(5):
        zoo.check(model, Batched(cached), seed, one_end)


@pytest.mark.parametrize("cached", [True, False])
def test_the_gradient_by_embeddings_is_that_of_a_plain_pass(cached: bool) -> None:
    model = zoo.make("bloom")
    trunk = Batched(cached).grow(model, Trunk(), 0, [5, 6, 7])
    soft = model.get_input_embeddings()(torch.tensor([8, 9, 10])).requires_grad_()
    [gradient] = torch.autograd.grad(
        Batched(cached).forward(model, [Row(trunk, 3, [0, 0, 0], 2, soft)]).square().sum(), soft
    )
    whole = torch.cat([model.get_input_embeddings()(torch.tensor([5, 6, 7])), soft])[None]
    [wanted] = torch.autograd.grad(model(inputs_embeds=whole).logits[0, -2:].square().sum(), soft)
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-4)


def test_the_trunk_is_lent_and_comes_back_as_it_was() -> None:
    model, path = zoo.make("bloom"), Batched(cached=True)
    trunk = path.grow(model, Trunk(), 0, [5, 6, 7, 8])
    before = {i: (key.clone(), value.clone()) for i, (key, value) in trunk.layers.items()}
    path.forward(model, [Row(trunk, 3, [9, 9], 1)] * 3)
    path.grow(model, trunk, 2, [9, 9, 9])
    for i, (key, value) in trunk.layers.items():
        assert torch.equal(key, before[i][0])
        assert torch.equal(value, before[i][1])


@pytest.mark.parametrize("name", zoo.PACKED)
def test_what_can_be_packed_is_packed_without_a_word(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert path_of(zoo.make(name)) is packed


def test_a_model_in_bfloat16_is_compared_less_strictly() -> None:
    assert not mismatch(zoo.make("llama").bfloat16(), packed)


def test_attention_that_ignores_the_interface_is_batched() -> None:
    with pytest.warns(UserWarning, match=r"BloomForCausalLM cannot be packed \(logits are off .*using batches"):
        assert path_of(zoo.make("bloom")) == Batched(cached=True)


def test_a_state_space_model_gets_full_passes() -> None:
    with pytest.warns(UserWarning, match="MambaForCausalLM cannot be packed .*using full passes"):
        assert path_of(zoo.make("mamba")) == Batched(cached=False)


def test_an_error_of_the_model_counts_as_cannot_be_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = zoo.make("llama")

    def refuse(_: str) -> None:
        raise ValueError("eager alone")

    monkeypatch.setattr(model, "set_attn_implementation", refuse)
    with pytest.warns(UserWarning, match=r"cannot be packed \(ValueError: eager alone\): using batches"):
        assert path_of(model) == Batched(cached=True)
