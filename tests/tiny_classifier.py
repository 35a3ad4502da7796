"""Tiny random BERT and RoBERTa classifiers, saved as folders: real transformers models for tests."""

from pathlib import Path
from typing import Any

WORDS = (
    "[PAD]",
    "[CLS]",
    "[SEP]",
    "[UNK]",
    *"abcdefghijklmnopqrstuvwxyz",
    *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
)


def save(folder: Path, labels: tuple[str, ...], problem: str | None, kind: str = "bert", window: int = 16) -> Path:
    """Weights that tell texts apart, and a tokenizer of one token a letter. window: tokens that it reads."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        PreTrainedTokenizerFast,
        RobertaConfig,
        RobertaForSequenceClassification,
    )

    inner = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]").save_pretrained(folder)
    config, model = (
        (BertConfig, BertForSequenceClassification)
        if kind == "bert"
        else (RobertaConfig, RobertaForSequenceClassification)
    )
    torch.manual_seed(0)
    built: Any = model(
        config(
            vocab_size=len(WORDS), hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=window + (kind == "roberta"), pad_token_id=0, problem_type=problem,
            id2label=dict(enumerate(labels)), label2id={name: i for i, name in enumerate(labels)},
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.5,
        )
    )  # fmt: skip
    built.save_pretrained(folder)
    return folder
