"""The sentence encoder, on a tiny BERT of the real classes and on MiniLM where it can be had."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("transformers", reason="needs the extra `local`")

from withstand.core import AskError, Sampling, SpecError, user
from withstand.models import _fetch
from withstand.models.encoder import Encoder

TEXTS = ["abc", "a", "cab bac", "b c a b c a", "c"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, a token a letter between [CLS] and [SEP], a tokenizer.json that would pad and cut by itself."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *"abc", *(f"##{letter}" for letter in "abc")]
    inner = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    inner.enable_padding(length=12)
    inner.enable_truncation(4)
    PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", model_max_length=32).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=32, **sizes)).save_pretrained(folder)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 8}')
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "minilm" not in request.fixturenames:
        monkeypatch.setenv("WITHSTAND_CACHE", str(tmp_path / "cache"))


def plain(folder: Path, ids: list[int]) -> Any:
    """The mean of the last states of one text alone, at length 1."""
    import torch
    from transformers import AutoModel

    with torch.no_grad():
        mean = AutoModel.from_pretrained(folder)(torch.tensor([ids])).last_hidden_state[0].mean(0)
    return (mean / mean.norm()).numpy()


def test_a_vector_is_the_mean_over_the_tokens_of_the_text_alone(folder: Path) -> None:
    vectors, cut = Encoder(str(folder), width=3).encode(TEXTS)
    ids = [[1, 4, 8, 9, 2], [1, 4, 2], [1, 6, 7, 8, 5, 7, 9, 2], [1, 5, 6, 4, 5, 6, 4, 2], [1, 6, 2]]
    for vector, row in zip(vectors, ids, strict=True):
        assert vector == pytest.approx(plain(folder, row), abs=1e-5)
    assert cut == [0] * 5
    assert vectors.dtype == "float32"
    assert Encoder(str(folder)).encode([])[0].shape == (0, 16)


def test_a_long_text_keeps_its_head_and_its_end_token(folder: Path) -> None:
    """8 tokens are read, of which the last is [SEP]."""
    vectors, cut = Encoder(str(folder)).encode(["a b c a b c a b c", "a b c a b c"])
    assert cut == [11, 0]
    assert vectors[0] == pytest.approx(plain(folder, [1, 4, 5, 6, 4, 5, 6, 2]), abs=1e-5)
    assert vectors[0] == pytest.approx(vectors[1], abs=1e-5)


def test_half_a_surrogate_pair_is_read_as_a_question_mark(folder: Path) -> None:
    vectors, _ = Encoder(str(folder)).encode(["a \ud83d", "a ?"])
    assert vectors[0] == pytest.approx(vectors[1], abs=1e-5)


def test_the_key_holds_content_and_no_path(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert Encoder(str(copy)).identity() == Encoder(str(folder)).identity()
    shorter = tmp_path / "other"
    shutil.copytree(folder, shorter)
    (shorter / "sentence_bert_config.json").write_text('{"max_seq_length": 7}')
    assert Encoder(str(shorter)).identity() != Encoder(str(folder)).identity()


def test_what_does_not_pool_by_the_mean_or_is_asked_is_refused(folder: Path, tmp_path: Path) -> None:
    Encoder(str(folder)).check()
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "1_Pooling").mkdir()
    pooling = copy / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}))
    Encoder(str(copy)).check()
    pooling.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
    with pytest.raises(SpecError, match="does not pool by the mean"):
        Encoder(str(copy)).check()
    with pytest.raises(AskError, match="answers nothing"):
        Encoder(str(folder)).generate([user("Hi")], Sampling(), [0])
    with pytest.raises(SpecError, match="width is 0"):
        Encoder(str(folder), width=0)


@pytest.fixture(scope="module")
def minilm() -> Path:
    try:
        return _fetch.minilm()
    except SpecError as error:
        pytest.skip(f"NO REAL MODEL: {error} ({error.hint})")


def test_minilm_gives_the_published_similarities(minilm: Path) -> None:
    """The quick start of the library sentence-transformers shows them for this model."""
    texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    vectors, _ = Encoder("builtin:minilm").encode(texts)
    published = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    assert (vectors @ vectors.T).tolist() == [pytest.approx(row, abs=1e-4) for row in published]
    _, cut = Encoder("builtin:minilm").encode(["bread " * 254, "bread " * 255])
    assert cut == [0, 257]  # it reads 256 with its two marks, as that library does
