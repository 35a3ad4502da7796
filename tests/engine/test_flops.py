"""Operations of local models beside what torch itself counts, and how calls share them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tiny
from withstand.core import Completion, Sampling, user
from withstand.core.device import computed, taken
from withstand.runner.lanes import Queue, Waiting

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel, Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

from withstand.engine.flops import watch
from withstand.models.hf import HF

SIZES = {
    "vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
IDS = torch.arange(1, 13).reshape(2, 6)


def llama(tied: bool) -> Any:
    return LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=1, tie_word_embeddings=tied))


def gemma() -> Any:
    return Gemma2ForCausalLM(Gemma2Config(**SIZES, num_key_value_heads=1, head_dim=8))


def small(model: Any) -> int:
    """Norms and biases: of the parameters, but in no matrix product."""
    return sum(weight.numel() for weight in model.parameters() if weight.dim() < 2)


def products(counter: Any) -> float:
    """What torch counted, attention left out."""
    return sum(n for op, n in counter.get_flop_counts()["Global"].items() if "mm" in str(op) and "bmm" not in str(op))


@pytest.mark.parametrize("make", [lambda: llama(True), lambda: llama(False), gemma], ids=["tied", "untied", "gemma"])
def test_a_pass_counts_what_torch_counts_but_attention(make: Any) -> None:
    model = make().eval()
    watch(model)
    taken()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(input_ids=IDS)
    assert taken() == products(counter) + 2 * small(model) * IDS.numel()


def test_a_gradient_by_the_embeddings_counts_twice() -> None:
    model = llama(False).eval().requires_grad_(False)
    watch(model)
    taken()
    embeds = model.get_input_embeddings()(IDS).detach().requires_grad_()
    with FlopCounterMode(display=False) as counter:
        model(inputs_embeds=embeds).logits.sum().backward()
    # torch lists the layers' gradient by their input alone, as the weights want none
    assert taken() == products(counter) + 4 * small(model) * IDS.numel()


def test_an_encoder_looks_its_embeddings_up() -> None:
    model = BertModel(BertConfig(**SIZES), add_pooling_layer=False).eval()
    watch(model)
    taken()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(input_ids=IDS)
    tables = model.embeddings.position_embeddings.weight.numel() + model.embeddings.token_type_embeddings.weight.numel()
    assert taken() == products(counter) + 2 * (small(model) + tables) * IDS.numel()


def waiting(*texts: str) -> list[Waiting]:
    return [Waiting(None, place, f"{place:08x}", user(text)) for place, text in enumerate(texts)]


def test_a_local_model_says_what_each_answer_took(tmp_path: Path) -> None:
    model = HF(str(tiny.save(tmp_path)), width=1)
    short, two = (Queue(model, Sampling(max_tokens=n)).answer(waiting("hello"))[0] for n in (1, 4))
    loaded = model.load().model
    parameters = loaded.num_parameters() - loaded.get_input_embeddings().weight.numel()
    assert short.flops == 2 * parameters * short.prompt_tokens  # the one token comes out of reading the prompt
    assert two.flops == 2 * parameters * (two.prompt_tokens + two.answer_tokens - 1)
    assert Queue(model, lambda _model, parts: [len(parts)] * len(parts)).answer(waiting("a"))[0].flops == 0.0
    model.release()


def test_rows_of_a_batch_share_by_their_tokens_and_an_api_does_not_know() -> None:
    def generate(chats: Any, *_: Any) -> list[Completion]:
        computed(600.0)
        return [Completion(chat, "x", prompt_tokens=len(chat[0].text)) for chat in chats]

    local: Any = SimpleNamespace(place="cpu", generate=generate, width=2)
    assert [answer.flops for answer in Queue(local, Sampling()).answer(waiting("ab", "abcd"))] == [200.0, 400.0]
    api: Any = SimpleNamespace(place="api", generate=lambda chats, *_: [Completion(c, "x") for c in chats], width=2)
    computed(1.0)  # left over by somebody
    assert [answer.flops for answer in Queue(api, Sampling()).answer(waiting("ab", "abcd"))] == [None, None]
