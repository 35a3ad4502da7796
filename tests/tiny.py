"""A tiny random Llama with a chat template, saved as a folder: a real transformers model for tests."""

from pathlib import Path
from typing import Any

TEMPLATE = """
{%- for message in messages %}
{%- if message['role'] == 'tool' %}{{ raise_exception('no tool') }}{% endif %}
{{- '<|' + message['role'] + '|>' + message['content'] }}
{%- if not (loop.last and message['role'] == 'assistant')%}{{ '<|end|>' }}{% endif %}
{%- endfor %}
{%- if date_string is defined %}{{ '[' + date_string + ']' }}{% endif %}
{%- if enable_thinking is defined and not enable_thinking %}{{ '[no thinking]' }}{% endif %}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""


def save(folder: Path, seed: int = 0, template: str | None = TEMPLATE, positions: int = 256) -> Path:
    """Weights, tokenizer (one token per ASCII character) and template in `folder`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    specials = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    alphabet = [*(chr(code) for code in range(33, 127)), "\u0120", "\u010a"]  # ASCII, space and line break
    vocabulary = {token: i for i, token in enumerate([*specials, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
    if template is not None:
        fast.chat_template = template
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=positions,
            eos_token_id=0, bos_token_id=None, pad_token_id=0,
        )
    )  # fmt: skip
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return folder


def adapter(base: Path, folder: Path) -> Path:
    """A LoRA adapter with random weights."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    model: Any = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    )
    model.save_pretrained(folder)
    return folder
