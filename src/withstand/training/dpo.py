"""Direct preference optimization: the better of two answers, without a reward. Rafailov et al. 2023, arXiv:2305.18290.

By TRL's DPOTrainer. The reference is the base as it is before the first step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from withstand.core import SpecError
from withstand.core.errors import positive
from withstand.core.records import as_dicts
from withstand.core.stage import How, Loading, Row, Rows, as_rows
from withstand.training import _run
from withstand.training._model import Adapter, Optimizer, arguments, check, check_length, load, tokenizer_of


@dataclass(frozen=True)
class _Beta:
    """The first field of `DPO`, before those that it shares with other stages."""

    beta: float = 0.1


@dataclass(frozen=True)
class DPO(Optimizer, Adapter, _Beta):
    """Each row has a chat that ends with the better answer, and `rejected`, the worse one.

    beta: how strongly the model is kept near the reference, above 0, default 0.1.
    lr: peak learning rate of AdamW, above 0, default 1e-4.
    """

    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check(self)
        positive(self, "beta")

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """See `withstand.core.stage.Stage`. Raises `SpecError` for a row without two answers, by its number."""
        given = as_rows(rows)
        check_pairs(given)
        make = partial(self._trainer, base, given, how.unchanged(self).loading)
        return _run.train(self, make, base, given, folder, how)

    def _trainer(self, base: str, rows: Sequence[Row], loading: Loading, output: Path) -> Any:
        from datasets import Dataset
        from trl.trainer.dpo_config import DPOConfig
        from trl.trainer.dpo_trainer import DPOTrainer

        tokenizer = tokenizer_of(base, loading)
        data = []
        for number, row in enumerate(rows, start=1):
            turns = as_dicts(row.chat)
            pair = {"prompt": turns[:-1], "chosen": turns[-1:], "rejected": [{**turns[-1], "content": row.rejected}]}
            for name in ("chosen", "rejected"):
                text = tokenizer.apply_chat_template([*pair["prompt"], *pair[name]], tokenize=False)
                count = len(tokenizer(text, add_special_tokens=False)["input_ids"])
                check_length(self, number, count, f" with its {name} answer")
            data.append(pair)
        model, adapter = load(base, self, loading)
        config = DPOConfig(**arguments(self, output, loading), beta=self.beta, max_length=None)
        return DPOTrainer(
            model=model, args=config, train_dataset=Dataset.from_list(data), processing_class=tokenizer,
            peft_config=adapter,
        )  # fmt: skip


def check_pairs(rows: Sequence[Row]) -> None:
    """Raise `SpecError` with the number of the first row that is no pair."""
    if not rows:
        raise SpecError("there are no rows to train on", hint="give at least one chat with a rejected answer")
    for number, row in enumerate(rows, start=1):
        if len(row.chat) < 2 or row.chat[-1].role != "assistant" or row.chat[-2].role == "assistant":
            raise SpecError(
                f"row {number} does not end with an answer to a user",
                hint="a row is a chat whose last message is the better answer",
            )
        if not row.rejected.strip() or not row.chat[-1].text.strip():
            raise SpecError(f"row {number} lacks an answer", hint="dpo needs a better and a worse answer in each row")
        if row.rejected == row.chat[-1].text:
            raise SpecError(f"row {number} has the same answer twice", hint="leave the row out")
