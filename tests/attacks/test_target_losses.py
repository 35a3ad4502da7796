"""Losses of whole chats against a plain forward pass of one chat at a time."""

from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import white_box
from withstand.core import Message, SpecError, user
from withstand.engine.likelihood import BEYOND, target_losses

TEXTS = ["bake bread", "bake", "bake bread and butter, slowly", "a", "bake bread"]


def test_they_are_those_of_a_plain_forward_pass(model: Any) -> None:
    losses = target_losses(model, [user(text) for text in TEXTS], "Sure, bake")
    assert losses == pytest.approx([white_box.plain_loss(model, text) for text in TEXTS], abs=1e-4)
    assert target_losses(model, [user("a")], "Sure, bake") == pytest.approx([losses[3]], abs=1e-4)
    assert target_losses(model, [], "Sure") == []


def test_a_conversation_is_read_whole(model: Any) -> None:
    talk = (*user("bake"), Message("assistant", "no"), *user("please"))
    one, other = target_losses(model, [talk, user("please")], "Sure")
    assert one != pytest.approx(other, abs=1e-3)


def test_bad_input(model: Any) -> None:
    with pytest.raises(SpecError, match="no target string"):
        target_losses(model, [user("a")], "")
    one, beyond = target_losses(model, [user("a"), user("bread " * 5000)], "Sure")
    assert one < beyond == BEYOND
    with pytest.raises(SpecError, match="the window"):
        target_losses(model, [user("bread " * 5000)], "Sure")
