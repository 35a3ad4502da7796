"""Packed passes against plain ones, on tiny random models of the real classes."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import zoo  # noqa: E402
from withstand.engine import packed  # noqa: E402
from withstand.engine.packed import Row, Trunk  # noqa: E402


@pytest.mark.parametrize("name", zoo.PACKED)
def test_packed_logits_are_those_of_plain_passes(name: str) -> None:
    model = zoo.make(name)
    before = model.config._attn_implementation
    for seed in range(8):
        zoo.check(model, packed, seed)
    assert model.config._attn_implementation == before


@pytest.fixture(params=["mistral", "gemma2", "gemma3"])
def local(request: pytest.FixtureRequest) -> Any:
    """With a sliding window of 5."""
    return zoo.make(request.param)


def test_a_window_shorter_than_the_trunk(local: Any) -> None:
    head, tail = list(range(10, 40)), list(range(50, 62))
    trunk = packed.grow(local, Trunk(), 0, head)
    starts = [30, 29, 12, 4]
    logits = packed.forward(local, [Row(trunk, start, tail, 12) for start in starts])
    for start, part in zip(starts, torch.split(logits, 12), strict=True):
        torch.testing.assert_close(part, zoo.plain(local, head[:start] + tail, 12), atol=1e-4, rtol=1e-4)


def test_a_trunk_grown_in_pieces_is_the_one_grown_at_once(local: Any) -> None:
    ids = list(range(10, 30))
    whole = packed.grow(local, Trunk(), 0, ids)
    pieces = packed.grow(local, packed.grow(local, Trunk(), 0, ids[:8]), 8, ids[8:12])
    assert packed.grow(local, pieces, 12, []) is pieces
    pieces = packed.grow(local, pieces, 10, ids[10:])  # two of its tokens again
    assert (pieces.length, pieces.ids) == (whole.length, whole.ids) == (20, tuple(ids))
    for layer, (key, value) in whole.layers.items():
        torch.testing.assert_close(pieces.layers[layer][0], key, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(pieces.layers[layer][1], value, atol=1e-5, rtol=1e-4)


def test_a_row_depends_on_no_other() -> None:
    """In float64 rounding is too small to see: neighbors, their number and their order change nothing."""
    model = zoo.make("llama").double()
    trunk = packed.grow(model, Trunk(), 0, [5, 6, 7, 8])
    rows = [Row(trunk, 4 - i % 3, [10 + i, 20, 30 + i][: 1 + i % 3], 1) for i in range(9)]
    together = packed.forward(model, rows)
    turned = packed.forward(model, rows[::-1]).flip(0)
    alone = torch.cat([packed.forward(model, [row]) for row in rows])
    # the softmax is in float32, as transformers' own
    torch.testing.assert_close(turned, together, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)


def test_rows_that_read_nothing_give_no_logits() -> None:
    model = zoo.make("llama")
    assert packed.forward(model, [Row(Trunk(), 0, [5, 6])]).shape == (0, zoo.VOCABULARY)
    assert packed.forward(model, [Row(Trunk(), 0, [5, 6]), Row(Trunk(), 0, [7, 8], 1)]).shape == (1, zoo.VOCABULARY)


def test_the_attention_is_put_back_after_an_error() -> None:
    model = zoo.make("llama")
    before = model.config._attn_implementation
    with pytest.raises(IndexError):
        packed.forward(model, [Row(Trunk(), 0, [zoo.VOCABULARY], 1)])
    assert model.config._attn_implementation == before
