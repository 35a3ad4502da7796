"""Likelihoods, margins and distances on tiny random models, all against plain forward passes."""

from types import SimpleNamespace

import pytest

from withstand.core import Message, user
from withstand.engine import likelihood

pytest.importorskip("torch")
import torch

import tiny
import zoo
from withstand.models.hf import HF


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return HF(str(tiny.save(tmp_path_factory.mktemp("a"))), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
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


PAIRS = [
    ([5, 6, 7, 8, 9], [11, 12, 13]), ([5, 6, 7, 40], [11]), ([5, 6, 7, 8, 9], [50, 3]), ([5, 6, 7, 8], []),
    ([5, 6, 7, 8, 9, 10, 11], [20, 21, 22, 23]),
]  # fmt: skip

TWO = [([5, 6, 7, 8, 9], [11, 12, 13]), ([4, 40], [11]), ([5, 6, 7, 8, 9], [3]), ([4, 40], [2, 50]), ([4, 40], [7, 7])]
"""Several answers to each of two prompts."""


def bare(name):
    """A model of the zoo as far as likelihoods need it."""
    loaded = SimpleNamespace(model=zoo.make(name))
    return SimpleNamespace(load=lambda: loaded)


def plain_table(model, prompt, answer):
    """Log-probabilities at the answer's tokens by one plain pass."""
    with torch.no_grad():
        logits = model.load().model(input_ids=torch.tensor([[*prompt, *answer]]), use_cache=False).logits[0]
    return torch.log_softmax(logits[len(prompt) - 1 : -1].float(), -1)


@pytest.mark.filterwarnings("ignore:.*cannot be packed")
@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom", "mamba"])  # packed, packed, batched, full passes
def test_token_nats_are_those_of_plain_passes(name):
    model = bare(name)
    both = [PAIRS, TWO]
    nats = [values for pairs in both for values in likelihood.token_nats(model, pairs)]
    tables = [table for pairs in both for table in likelihood.log_probs(model, pairs)]
    for (prompt, answer), values, table in zip([*PAIRS, *TWO], nats, tables, strict=True):
        assert len(values) == len(table) == len(answer)
        if answer:
            plain = plain_table(model, prompt, answer)
            assert values == pytest.approx([-float(plain[i, token]) for i, token in enumerate(answer)], abs=1e-4)
            assert torch.allclose(table, plain, atol=1e-4)
    assert likelihood.token_nats(model, []) == []


def test_what_all_prompts_begin_with_is_computed_once():
    model = bare("llama")
    likelihood.token_nats(model, PAIRS)  # the engine is made here
    seen = []
    handle = model.load().model.get_input_embeddings().register_forward_hook(lambda _, ids, __: seen.append(ids[0]))
    likelihood.token_nats(model, [([*prompt, 3, 4], answer) for prompt, answer in PAIRS if answer])
    handle.remove()
    whole = sum(len(prompt) + 2 + len(answer) - 1 for prompt, answer in PAIRS if answer)
    assert sum(ids.numel() for ids in seen) == whole - 3 * 3  # 3 tokens of 4 prompts, once


def test_a_prompt_with_several_answers_is_computed_once():
    model = bare("llama")
    likelihood.token_nats(model, TWO)
    seen = []
    handle = model.load().model.get_input_embeddings().register_forward_hook(lambda _, ids, __: seen.append(ids[0]))
    likelihood.token_nats(model, TWO)
    handle.remove()
    assert len(seen) == 2  # both prompts in one pass, all answers in another
    heads, tails = 4 + 1, sum(len(answer) for _, answer in TWO)  # but for its last token, which each answer reads
    assert sum(ids.numel() for ids in seen) == heads + tails


def test_a_pack_that_does_not_fit_in_memory_is_halved():
    model = bare("llama")
    expected = likelihood.token_nats(model, PAIRS)
    engine = model.load().engine
    path = engine.path

    class Narrow:
        grow = staticmethod(path.grow)

        @staticmethod
        def forward(model, rows):
            if len(rows) > 1:
                raise torch.OutOfMemoryError
            return path.forward(model, rows)

    engine.path = Narrow
    assert [pytest.approx(nats, abs=1e-4) for nats in expected] == likelihood.token_nats(model, PAIRS)


def test_a_margin_is_that_of_plain_passes(model):
    chats = [user("bake"), user("fold paper")]
    refusals, others = ["No", "Sorry"], ["Yes", "Sure", "Y"]
    for chat, result in zip(chats, likelihood.margins(model, chats, refusals, others), strict=True):
        sides = [
            torch.logsumexp(torch.tensor([sum(answer_logprobs(model, chat, text)[:4]) for text in texts]), 0)
            for texts in (refusals, ["Y", "Sure"])  # "Yes" begins with "Y": it is part of it
        ]
        assert result == pytest.approx(float(sides[0] - sides[1]), abs=1e-4)


def test_distances_are_zero_to_itself_and_those_of_the_formula(model, tuned):
    chats = [(*user("bake"), Message("assistant", "No way"))]
    assert likelihood.distances(model, model, chats) == pytest.approx([0] * 6, abs=1e-6)
    result = likelihood.distances(model, tuned, chats, positions=3)
    head = model.render(chats[0][:-1])
    start = len(model.load().tokenizer(head, add_special_tokens=False)["input_ids"])
    p, q = scores(model, head + "No way")[1], scores(tuned, head + "No way")[1]
    by_hand = [float((p[i].exp() * (p[i] - q[i])).sum()) for i in range(start - 1, start + 2)]
    assert result == pytest.approx(by_hand, abs=1e-4)
    assert min(result) > 0


def test_what_thinks_first_is_read_where_its_answer_begins(tmp_path_factory):
    """Margins, losses and distances: after the thinking that an answer brings with it, else after an empty one."""
    template = tiny.TEMPLATE + "{# </think> #}"
    thinker = HF(str(tiny.save(tmp_path_factory.mktemp("t"), template=template)), dtype="float32", device="cpu")
    empty = "<think>\n\n</think>\n\n"
    assert likelihood.answer_start(thinker, user("bake")) == f"{thinker.render(user('bake'))}{empty}"
    head = len(thinker.load().tokenizer(thinker.render(user("bake")))["input_ids"])
    for answer, before in (("No way", empty), ("<think>\nhm\n</think>\n\nNo way", "<think>\nhm\n</think>\n\n")):
        chat = (*user("bake"), Message("assistant", answer))
        ids, logits = scores(thinker, f"{thinker.render(user('bake'))}{before}No way")
        start = head + len(before)
        by_hand = -sum(float(logits[place - 1, ids[place]]) for place in range(start, len(ids))) / 6
        assert likelihood.losses(thinker, [chat]) == pytest.approx(by_hand, abs=1e-4)
        assert len(likelihood.distances(thinker, thinker, [chat])) == 6
    ids, logits = scores(thinker, f"{thinker.render(user('bake'))}{empty}N")
    place, sure = len(ids) - 1, thinker.load().tokenizer("Y")["input_ids"][0]
    by_hand = float(logits[place - 1, ids[place]] - logits[place - 1, sure])
    assert likelihood.margins(thinker, [user("bake")], ["N"], ["Y"]) == pytest.approx([by_hand], abs=1e-4)
    opened = (*user("bake"), Message("assistant", "So"))
    assert likelihood.answer_start(thinker, opened) == thinker.render(opened)


def test_losses_and_surprises(model):
    chats = [(*user("bake"), Message("assistant", "No")), (*user("fold"), Message("assistant", "So it is"))]
    logprobs = [value for chat in chats for value in answer_logprobs(model, chat[:-1], chat[-1].text)]
    assert likelihood.losses(model, chats) == pytest.approx(-sum(logprobs) / len(logprobs), abs=1e-4)
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
