"""The embedding attack on a tiny model: its steps by formula, its answer by a plain loop."""

from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

import torch

from white_box import BREAD, played
from withstand.attacks.gradient import _unsent
from withstand.attacks.gradient._unsent import greedy
from withstand.attacks.gradient.embedding_attack import EmbeddingAttack
from withstand.core import AskError, Sampling, SpecError, Target, WithstandError, dumps, user
from withstand.engine.engine import Engine

SMALL = EmbeddingAttack(length=6, steps=20, lr=0.01)
SHORT = Sampling(max_tokens=12)


@pytest.fixture
def found(model, monkeypatch):
    """The test case, the answer of the work, and the embeddings that the model answered to."""
    seen = []
    monkeypatch.setattr(_unsent, "greedy", lambda loaded, embeds, most: (
        seen.append(embeds) or greedy(loaded, embeds, most)))  # fmt: skip
    [case], [answer] = played(SMALL.run(BREAD, Target(model, sampling=SHORT)))
    return case, answer, seen[0]


def pieces(model):
    loaded = model.load()

    def encode(text):
        return torch.tensor(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])

    weight = loaded.model.get_input_embeddings().weight.detach()
    return loaded, weight, encode


def test_the_embeddings_are_those_of_signed_gradient_descent(model, found):
    """The same steps with an own forward pass, the best of all."""
    _, answer, embeds = found
    loaded, weight, encode = pieces(model)
    head, tail, target = (
        weight[encode("<|user|>bake bread")],
        weight[encode("<|end|><|assistant|>")],
        encode("Sure, bake"),
    )
    free = weight[encode(" ! ! !")].clone()
    losses, seen = [], []
    for _ in range(21):
        free = free.detach().requires_grad_()
        logits = loaded.model(inputs_embeds=torch.cat([head, free, tail, weight[target]])[None]).logits
        loss = torch.nn.functional.cross_entropy(logits[0, -len(target) - 1 : -1], target)
        losses.append(loss.item())
        seen.append(free.detach())
        loss.backward()
        free = free - 0.01 * free.grad.sign()
    assert answer["first"] == pytest.approx(losses[0], abs=1e-4)
    assert answer["loss"] == pytest.approx(min(losses), abs=1e-3)
    assert answer["loss"] < answer["first"] - 0.5
    wanted = torch.cat([head, seen[losses.index(min(losses))], tail])
    torch.testing.assert_close(embeds, wanted, atol=1e-5, rtol=0)


def test_the_answer_is_that_of_a_plain_loop(model, found):
    case, _, embeds = found
    loaded, weight, _ = pieces(model)
    ids = []
    with torch.no_grad():
        for _ in range(12):
            logits = loaded.model(inputs_embeds=torch.cat([embeds, weight[ids]])[None], use_cache=False).logits
            token = logits[0, -1].argmax().item()
            if token in loaded.ends:
                break
            ids.append(token)
    completion = case.completion
    assert completion.text == loaded.tokenizer.decode(ids, skip_special_tokens=True)
    assert (completion.finish, completion.answer_tokens) == ("length" if len(ids) == 12 else "stop", len(ids))
    assert completion.prompt_tokens == len(embeds) == len("bake bread") + 1 + 6 + 2


def test_finish_is_stop_where_the_model_ends(model, monkeypatch):
    """Against the target's own answers; every fourth token ends one, so that some end and some do not."""
    loaded, weight, encode = pieces(model)
    monkeypatch.setattr(loaded, "ends", frozenset(range(0, 96, 4)))
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", sorted(loaded.ends))
    ended = []
    for letter in "abcdefghij":
        embeds = weight[encode(f"<|user|>{letter}<|end|><|assistant|>")]
        ids, stopped = greedy(loaded, embeds, 4)
        [plain] = model.generate([user(letter)], Sampling(max_tokens=4), [0])
        assert (plain.finish == "stop", plain.answer_tokens) == (stopped, len(ids))
        assert loaded.tokenizer.decode(ids, skip_special_tokens=True) == plain.text
        ended.append(stopped)
    assert set(ended) == {True, False}


def test_settings_in_the_models_folder_do_not_change_the_answer(model, found, monkeypatch):
    case, _, embeds = found
    loaded, *_ = pieces(model)
    for name, value in {"repetition_penalty": 3.0, "do_sample": True, "num_beams": 3, "min_length": 30}.items():
        monkeypatch.setattr(loaded.model.generation_config, name, value)
    ids, _ = greedy(loaded, embeds, 12)
    assert loaded.tokenizer.decode(ids, skip_special_tokens=True) == case.completion.text


def test_the_case_says_what_it_is(model, found):
    case, *_ = found
    assert EmbeddingAttack.upper_bound
    assert case.score is None
    assert case.chat[0].text == "bake bread [6 optimized embeddings]"
    assert case.completion.chat == case.chat
    context = replace(BREAD, context="Flour")
    [other], [answer] = played(replace(SMALL, steps=1).run(context, Target(model, sampling=SHORT)))
    assert other.chat[0].text == "Flour\n\n---\n\nbake bread [6 optimized embeddings]"
    dumps(answer)


def test_nothing_is_drawn(model, found):
    case, *_ = found
    warm = Sampling(max_tokens=12, temperature=1.0)
    assert played(replace(SMALL, seed=7).run(BREAD, Target(model, sampling=warm)))[0] == [case]


def test_stop_strings_and_thinking(model):
    tokenizer = model.load().tokenizer

    def said(text, *stops):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        completion = model.read((), ids, stops)
        assert completion.answer_tokens + completion.reasoning_tokens == len(ids)
        return completion.text, completion.reasoning

    assert said("one two three", "two") == ("one ", "")
    assert said("<think>hm</think>\nYes") == ("Yes", "hm")
    assert said("<think>hm, wait") == ("", "hm, wait")
    assert said("Yes") == ("Yes", "")


def test_it_stops_below_stop_loss(model, monkeypatch):
    taken = []
    losses = Engine.soft_losses
    monkeypatch.setattr(Engine, "soft_losses", lambda self, work: taken.append(1) or losses(self, work))
    played(replace(SMALL, stop_loss=100.0).run(BREAD, Target(model, sampling=SHORT)))
    assert len(taken) == 1


def test_a_window_too_short_is_said_before_any_step(model):
    with pytest.raises(AskError, match="window of 256"):
        played(SMALL.run(BREAD, Target(model, sampling=Sampling(max_tokens=250))))


def test_no_number_is_said(model, monkeypatch):
    monkeypatch.setattr(Engine, "soft_losses", lambda self, work: work[0][1].sum()[None] * float("nan"))
    with pytest.raises(WithstandError, match="nan") as caught:
        played(SMALL.run(BREAD, Target(model, sampling=SHORT)))
    assert caught.value.hint == "try dtype=float32"


@pytest.mark.parametrize("fields", [{"length": 0}, {"steps": 0}, {"lr": 0.0}, {"stop_loss": -1.0}])
def test_wrong_fields(fields):
    with pytest.raises(SpecError, match=next(iter(fields))) as caught:
        EmbeddingAttack(**fields)
    assert caught.value.hint


def test_most_and_needs():
    most = EmbeddingAttack().most()
    assert (most.cases, most.drawn, EmbeddingAttack.needs) == (1, True, {"weights", "gradients"})
