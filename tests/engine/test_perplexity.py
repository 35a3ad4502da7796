"""Nats of bare texts and the suspicion that they raise, against plain forward passes of a tiny random model."""

import pytest

pytest.importorskip("torch")
import torch

import tiny
from withstand.core import Behavior, Message, user
from withstand.engine.engine import engine_of
from withstand.engine.likelihood import head_of
from withstand.engine.perplexity import PerplexityTerm, text_nats, windows
from withstand.engine.text import make_prompt
from withstand.models.hf import HF

TEXTS = ["Bake a loaf", "Bake a cake!", "Bake", "B", "", "x" * 40]
CAKE = Behavior("cake", "Bake it", "Flour", target_string="Sure")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return HF(str(tiny.save(tmp_path_factory.mktemp("a"), positions=64)), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def with_bos(tmp_path_factory):
    """A model whose tokenizer puts a token before each text."""
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    folder = tiny.save(tmp_path_factory.mktemp("b"), positions=64)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|system|> $A", special_tokens=[("<|system|>", 1)]
    )
    tokenizer.save_pretrained(folder)
    return HF(str(folder), dtype="float32", device="cpu")


def plain(model, text):
    """-log p of each token after the first, special ones included, by one pass of the model alone."""
    loaded = model.load()
    ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"].long()
    if ids.shape[1] < 2:
        return []
    with torch.no_grad():
        logits = loaded.model(ids).logits[0, :-1].float()
    return torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none").tolist()


def test_nats_are_those_of_a_plain_pass(model, with_bos):
    assert (head_of(model.load()), head_of(with_bos.load())) == ([], [1])
    for reader in (model, with_bos):
        for several in (TEXTS, TEXTS[:2], TEXTS[:1], ["Bake a loaf", "Bake a loaf"], []):
            assert [pytest.approx(plain(reader, text), abs=1e-4) for text in several] == text_nats(reader, several)


def test_a_text_longer_than_the_window_is_read_to_its_end(model, with_bos):
    text = "".join(chr(33 + i * 7 % 90) for i in range(150))
    for reader, length in ((model, 149), (with_bos, 150)):
        [nats, _] = text_nats(reader, [text, text[:-1]])
        head = 64 - len(head_of(reader.load()))
        assert len(nats) == length
        first = plain(reader, text[: head - 1])
        assert nats[: len(first)] == pytest.approx(first, abs=1e-4)
        loaded, cut = reader.load(), 63  # the second part, by hand: after the last token of the first
        ids = torch.tensor([loaded.tokenizer(text, add_special_tokens=False)["input_ids"][cut - 1 : cut + 10]])
        with torch.no_grad():
            logits = loaded.model(ids).logits[0, :-1]
        hand = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none").tolist()
        at = len(nats) - len(text) + cut
        assert nats[at : at + 10] == pytest.approx(hand, abs=1e-4)


def test_windows_follow_one_another_and_the_last_is_what_is_left():
    nats = [1.0, 3.0, 2.0, 2.0, 9.0]
    assert windows(nats, 2) == [2.0, 2.0, 9.0]
    assert windows(nats, 0) == [17 / 5]
    assert windows([], 2) == windows([], 0) == []
    term = PerplexityTerm(None, 2.0, 2, same=True)
    assert term.suspicion(nats) == 4.5  # 1 and what 9 / 2 is above it: as the filter's own score
    assert term.suspicion([6.0, 0.0, 8.0, 0.0, 1.0]) == 1 + 0.5 + 1.0  # means 3, 4 and 1 over 2
    assert term.suspicion([1.0, 1.0, 3.0]) == 1.5
    assert term.suspicion([2.0, 1.0]) == 0.75
    assert term.suspicion([]) == 0


@pytest.mark.parametrize("placement", ["suffix", "prefix"])
@pytest.mark.parametrize("window", [0, 3])
def test_the_gradient_by_tokens_is_that_of_a_plain_pass(model, with_bos, window, placement):
    for reader in (model, with_bos):
        prompt, slot = make_prompt(reader, CAKE, "!a!b!", placement)
        loaded, engine = reader.load(), engine_of(reader)
        sent = "Flour\n\n---\n\nBake it !a!b!" if placement == "suffix" else "Flour\n\n---\n\n!a!b! Bake it"
        ids = loaded.tokenizer(sent)["input_ids"]
        place = next(i for i in range(len(ids)) if ids[i : i + len(slot)] == list(slot))
        threshold = 0.9 * min(windows(plain(reader, sent), window)[-2:])
        term = PerplexityTerm(reader, threshold, window, same=True)

        one_hot = torch.nn.functional.one_hot(torch.tensor(ids), len(loaded.tokenizer)).float()
        leaf = one_hot[place : place + len(slot)].clone().requires_grad_()
        soft = torch.cat([one_hot[:place], leaf, one_hot[place + len(slot) :]])
        embeds = soft @ loaded.model.get_input_embeddings().weight
        log_p = torch.log_softmax(loaded.model(inputs_embeds=embeds[None]).logits[0, :-1], -1)
        nats = -(soft[1:] * log_p).sum(-1)
        size = window or len(nats)
        ratios = torch.stack([part.mean() for part in nats.split(size)]) / threshold
        suspicion = 1 + (ratios - 1).clamp(min=0).sum()
        suspicion.backward()

        assert term.suspicions([user(sent)]) == pytest.approx([suspicion.item()], rel=1e-5)
        torch.testing.assert_close(term.gradient(engine, prompt, slot), leaf.grad, rtol=1e-4, atol=1e-5)
    assert PerplexityTerm(reader, threshold, window, same=False).gradient(engine, prompt, slot) is None


def test_every_turn_that_the_caller_wrote_counts(model):
    term = PerplexityTerm(model, 100.0, 0, same=True)
    odd, plain = "Bake a loaf", "Bake a cake"
    bare = [term.suspicions([user(text)])[0] for text in (odd, plain)]
    talk = (Message("system", odd), *user(plain), Message("assistant", odd), *user("B"), Message("assistant", plain))
    assert term.suspicions([talk, (*talk, *user(odd)), talk[:1]]) == pytest.approx([bare[1], max(bare), 0.0])
