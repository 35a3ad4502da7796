"""Margins and distances on a tiny random model, each against plain forward passes."""

import pytest

from withstand.core import Message, user
from withstand.engine import likelihood

pytest.importorskip("torch")
import torch

import tiny
from withstand.models.hf import HF


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return HF(str(tiny.save(tmp_path_factory.mktemp("a"))), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return HF(str(tiny.save(tmp_path_factory.mktemp("b"), seed=1)), dtype="float32", device="cpu")


def scores(model, text):
    """Log-probabilities of each next token of a text, by one plain pass."""
    loaded = model.load()
    ids = torch.tensor([loaded.tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        logits = torch.log_softmax(loaded.model(ids).logits[0].float(), -1)
    return ids[0], logits


def answer_logprobs(model, chat, answer):
    head = model.render(chat)
    ids, logits = scores(model, head + answer)
    start = len(model.load().tokenizer(head, add_special_tokens=False)["input_ids"])
    return [float(logits[place - 1, ids[place]]) for place in range(start, len(ids))]


def test_a_margin_is_that_of_plain_passes(model):
    chats = [user("bake"), user("fold paper")]
    refusals, others = ["No", "Sorry"], ["Yes", "Sure", "Y"]
    for chat, found in zip(chats, likelihood.margins(model, chats, refusals, others), strict=True):
        sides = [
            torch.logsumexp(torch.tensor([sum(answer_logprobs(model, chat, text)[:4]) for text in texts]), 0)
            for texts in (refusals, ["Y", "Sure"])  # "Yes" begins with "Y": it is part of it
        ]
        assert found == pytest.approx(float(sides[0] - sides[1]), abs=1e-4)


def test_distances_are_zero_to_itself_and_those_of_the_formula(model, other):
    chats = [(*user("bake"), Message("assistant", "No way"))]
    assert likelihood.distances(model, model, chats) == pytest.approx([0] * 6, abs=1e-6)
    found = likelihood.distances(model, other, chats, positions=3)
    head = model.render(chats[0][:-1])
    start = len(model.load().tokenizer(head, add_special_tokens=False)["input_ids"])
    p, q = scores(model, head + "No way")[1], scores(other, head + "No way")[1]
    by_hand = [float((p[i].exp() * (p[i] - q[i])).sum()) for i in range(start - 1, start + 2)]
    assert found == pytest.approx(by_hand, abs=1e-4)
    assert min(found) > 0


def test_losses_and_surprises(model):
    chats = [(*user("bake"), Message("assistant", "No")), (*user("fold"), Message("assistant", "So it is"))]
    each = [value for chat in chats for value in answer_logprobs(model, chat[:-1], chat[-1].text)]
    assert likelihood.losses(model, chats) == pytest.approx(-sum(each) / len(each), abs=1e-4)
    assert likelihood.losses(model, []) is None
    ids, logits = scores(model, "<|user|>zim")
    by_hand = -sum(float(logits[i - 1, ids[i]]) for i in range(1, 4)) / 3
    assert likelihood.surprises(model, ["zim"]) == [pytest.approx(by_hand, abs=1e-4)]


def test_the_openings_of_refusals():
    texts = ["I'm sorry, but no.", "I'm sorry, but never.", "I can't help it", ""]
    assert likelihood.refusals_of(texts) == ["I'm sorry, but", "I can't help"]
    assert likelihood.refusals_of([]) == list(likelihood.REFUSALS)


def test_an_answer_is_opened_by_tokens(model):
    tokenizer = model.load().tokenizer
    assert likelihood.opened(user("bake"), tokenizer, "Sure, so", 0) == user("bake")
    assert likelihood.opened(user("bake"), tokenizer, "Sure, so", 3)[-1] == Message("assistant", "Sur")
