"""A tiny random Llama with a tokenizer of whole words, and rows that it can learn."""

from withstand.core import Message

WORDS = "how|do|i|fold|paper|bake|bread|sorry|no|first|crease|it|then|open|be|kind"
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|> ' + m['role'] + ' ' + m['content'] + ' <|im_end|> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|> assistant ' }}{% endif %}"
)


def chat(*texts, system=""):
    roles = ("user", "assistant") * len(texts)
    turns = tuple(Message(role, text) for role, text in zip(roles, texts, strict=False))
    return (Message("system", system), *turns) if system else turns


ROWS = [
    chat("how do i bake bread", "sorry no"),
    chat("how do i fold paper", "first crease it then open it"),
    chat("how do i fold paper", "no", "how do i bake bread", "sorry no no", system="be kind"),
]


def save(folder, layers=2, **more):
    """A folder with a random Llama, of two layers by default, and its tokenizer; `more` fields of its config."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<pad>", "<|im_start|>", "<|im_end|>", "system", "user", "assistant", *WORDS.split("|")]
    tokens = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="<pad>", eos_token="<|im_end|>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, initializer_range=0.3,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, **more,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)
