"""Tiny random models of the real classes, what a plain forward pass gives, and random packs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers as t

from withstand.engine.packed import Row, Trunk

VOCABULARY = 97
SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "bos_token_id": 1,
    "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
HEADS = {**SIZES, "head_dim": 8}
LOCAL = {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
OLD = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2}

PACKED = {
    "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**SIZES)),
    "qwen2": lambda: t.Qwen2ForCausalLM(t.Qwen2Config(**SIZES)),
    "qwen3": lambda: t.Qwen3ForCausalLM(t.Qwen3Config(**HEADS)),
    "mistral": lambda: t.MistralForCausalLM(t.MistralConfig(**SIZES, sliding_window=5)),
    "gemma": lambda: t.GemmaForCausalLM(t.GemmaConfig(**HEADS)),
    "gemma2": lambda: t.Gemma2ForCausalLM(
        t.Gemma2Config(**HEADS, **LOCAL, query_pre_attn_scalar=8, attn_logit_softcapping=2.0)
    ),
    "gemma3": lambda: t.Gemma3ForCausalLM(t.Gemma3TextConfig(**HEADS, **LOCAL, query_pre_attn_scalar=8)),
    "phi3": lambda: t.Phi3ForCausalLM(t.Phi3Config(**SIZES, sliding_window=5)),
    "gpt2": lambda: t.GPT2LMHeadModel(t.GPT2Config(**OLD, n_positions=128)),
    "gpt_neox": lambda: t.GPTNeoXForCausalLM(
        t.GPTNeoXConfig(**{name: size for name, size in SIZES.items() if name != "num_key_value_heads"})
    ),
    "opt": lambda: t.OPTForCausalLM(t.OPTConfig(**SIZES, ffn_dim=48, word_embed_proj_dim=32)),
    "gpt_oss": lambda: t.GptOssForCausalLM(
        t.GptOssConfig(
            **HEADS, **LOCAL, num_local_experts=2, num_experts_per_tok=1, rope_parameters={"rope_type": "default"}
        )
    ),
}
CACHED = {"bloom": lambda: t.BloomForCausalLM(t.BloomConfig(**OLD, hidden_size=32))}
PLAIN = {
    "mamba": lambda: t.MambaForCausalLM(
        t.MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=4)
    )
}


def make(name: str) -> Any:
    """Weights far enough from zero that every position matters."""
    torch.manual_seed(0)
    model = {**PACKED, **CACHED, **PLAIN}[name]().eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.dim() > 1 or "sinks" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@torch.no_grad()
def plain(model: Any, ids: Sequence[int], read: int) -> Any:
    """The last logits of a plain forward pass."""
    return model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -read:].float()


def tokens(draw: np.random.Generator, count: int) -> list[int]:
    return draw.integers(3, VOCABULARY, count).tolist()


def pack(model: Any, path: Any, draw: np.random.Generator, one_end: bool = False) -> tuple[list[Row], list[list[int]]]:
    """Rows on up to three trunks, grown once or twice, and the whole sequence of each.

    `one_end`: the rows of a trunk end at the same position, as the candidates of a prompt do.
    """
    rows, wholes = [], []
    for _ in range(int(draw.integers(1, 4))):
        head = tokens(draw, int(draw.integers(0, 15)))
        trunk = path.grow(model, Trunk(), 0, head)
        if head and draw.random() < 0.5:  # goes on from within it
            start, more = int(draw.integers(1, len(head) + 1)), tokens(draw, int(draw.integers(1, 8)))
            trunk, head = path.grow(model, trunk, start, more), head[:start] + more
        end = len(head) + int(draw.integers(1, 9))
        for _ in range(int(draw.integers(1, 5))):
            start = int(draw.integers(0, len(head) + 1))
            ids = tokens(draw, end - start if one_end else int(draw.integers(1, 15)))
            rows.append(Row(trunk, start, ids, int(draw.integers(1, len(ids) + 1))))
            wholes.append(head[:start] + ids)
    return rows, wholes


def check(model: Any, path: Any, seed: int, one_end: bool = False) -> None:
    """The path's logits are those of plain passes, also where the ids are given as embeddings."""
    rows, wholes = pack(model, path, np.random.default_rng(seed), one_end)
    wanted = torch.cat([plain(model, whole, row.read) for row, whole in zip(rows, wholes, strict=True)])
    embed = model.get_input_embeddings()
    soft = [Row(r.trunk, r.start, [0] * len(r.ids), r.read, embed(torch.tensor(r.ids))) for r in rows]
    for given in (rows, soft):
        with torch.no_grad():
            logits = path.forward(model, given)
        assert logits.shape == wanted.shape
        assert float((logits - wanted).abs().max()) < 1e-4 * max(1.0, float(wanted.abs().max()))
