"""Running text: no template, every token learned."""

import pytest

from withstand.core import Message, user
from withstand.core.stage import read
from withstand.training.plain_text import PlainText
from withstand.training.sft import SFT

pytest.importorskip("trl")
from transformers import AutoTokenizer

ROWS = [(*user("first crease it"), Message("assistant", "then fold it")), (*user("do"), Message("assistant", "it"))]


def test_every_token_of_a_text_is_learned_and_no_template(base, tmp_path):
    stage = PlainText(SFT(rank=2, alpha=4, batch=2, steps=1, max_length=64, save_every=0))
    assert read(stage.train(base, ROWS, tmp_path / "out"))["stage"]["use"] == "plain_text"
    tokenizer = AutoTokenizer.from_pretrained(base)
    texts = ["first crease it then fold it", "do it"]
    rows = stage.changed(Kept, texts)(train_dataset=[{"lead": 3}] * 2, processing_class=tokenizer).rows
    wanted = [[*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id] for text in texts]
    assert [row["input_ids"] for row in rows] == wanted
    assert all(all(row["completion_mask"]) for row in rows)


class Kept:
    def __init__(self, train_dataset, processing_class):
        self.rows = list(train_dataset)
