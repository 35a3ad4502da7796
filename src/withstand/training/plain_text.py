"""Running text: what training teaches that has nothing to do with requests and answers. Ours.

The control for forgetting. Rows in the chat template teach how requests are answered, and that is what a safety stage
does.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from withstand.core.stage import How, Rows, as_rows
from withstand.training._around import Around


@dataclass(frozen=True, slots=True)
class PlainText(Around):
    """Trains by an SFT stage on the texts of each row, joined by spaces: no chat template, and every token is learned,
    the one that ends a text included.

    stage: the stage that trains: sft; no default.
    """

    version: ClassVar[int] = 1

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """The inner stage's `train`, which checks and records the rows as the chats that they are given as."""
        texts = [" ".join(message.text for message in row.chat) for row in as_rows(rows)]
        return self.stage.train(base, rows, folder, how.inside(self, lambda trainer: self.changed(trainer, texts)))

    def changed(self, trainer: type, texts: list[str]) -> type:
        """TRL's trainer with running texts in place of its rows."""

        class Running(trainer):  # type: ignore[misc, valid-type, unused-ignore]
            def __init__(self, *given: Any, train_dataset: Any, processing_class: Any, **named: Any) -> None:
                from datasets import Dataset

                end = processing_class.eos_token_id
                rows = []
                for row, text in zip(train_dataset, texts, strict=True):
                    ids = [*processing_class(text, add_special_tokens=False)["input_ids"], end]
                    rows.append({**row, "input_ids": ids, "completion_mask": [1] * len(ids)})
                super().__init__(
                    *given, train_dataset=Dataset.from_list(rows), processing_class=processing_class, **named
                )

        return Running
