"""Direct preference optimization: the better of two answers, without a reward. Rafailov et al. 2023, arXiv:2305.18290.

By TRL's DPOTrainer. The reference is the base as it is before the first step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from withstand.core import SpecError, rng
from withstand.core.errors import positive
from withstand.core.records import as_dicts
from withstand.core.stage import How, Loading, Row, Rows, as_rows
from withstand.training import _run
from withstand.training._model import Adapter, Optimizer, arguments, check, check_length, load, tokenizer_of
from withstand.training._pairs import Reading


@dataclass(frozen=True)
class _Beta:
    """The first field of `DPO`, before those that it shares with other stages."""

    beta: float = 0.1


@dataclass(frozen=True)
class DPO(Optimizer, Adapter, _Beta):
    """Rows with `rejected` are pairs: their chat ends with the better answer, and `rejected` is the worse one.

    Rows without are ordinary ones, such as harmless chats that keep what the model knows: `batch` of them, drawn anew
    at each step, add `clean` times the mean cross-entropy of their answers' tokens, as in sft. With pairs alone the
    loss is the paper's.

    beta: how strongly the model is kept near the reference, above 0, default 0.1.
    lr: peak learning rate of AdamW, above 0, default 1e-4.
    clean: weight of the ordinary rows, above 0, default 1, that of Pang et al. 2024, arXiv:2404.19733, for the
        cross-entropy beside dpo.
    """

    version: ClassVar[int] = 1
    clean: float = field(default=1.0, metadata={"added": "0.2"})

    def __post_init__(self) -> None:
        check(self)
        positive(self, "beta", "clean")

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """See `withstand.core.stage.Stage`. Raises `SpecError` without a pair, and for a bad row by its number."""
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
            worse = {**turns[-1], "content": row.rejected or row.chat[-1].text}  # of an ordinary row it is not read
            pair = {"prompt": turns[:-1], "chosen": turns[-1:], "rejected": [worse]}
            for name in ("chosen", "rejected"):
                text = tokenizer.apply_chat_template([*pair["prompt"], *pair[name]], tokenize=False)
                count = len(tokenizer(text, add_special_tokens=False)["input_ids"])
                check_length(self, number, count, f" with its {name} answer")
            data.append(pair)
        model, adapter = load(base, self, loading)
        config = DPOConfig(**arguments(self, output, loading), beta=self.beta, max_length=None)
        ordinary = [number for number, row in enumerate(rows) if not row.rejected]
        return self.beside(DPOTrainer, ordinary)(
            model=model, args=config, train_dataset=Dataset.from_list(data), processing_class=tokenizer,
            peft_config=adapter,
        )  # fmt: skip

    def beside(self, trainer: Any, ordinary: Sequence[int]) -> Any:
        """TRL's trainer, of whose rows those with the numbers `ordinary` are learned beside the pairs."""
        if not ordinary:
            return trainer
        stage = self

        class Beside(trainer):  # type: ignore[misc, valid-type, unused-ignore]
            train_dataset: Any

            def __init__(self, *given: Any, **named: Any) -> None:
                super().__init__(*given, **named)
                data, apart = self.train_dataset, set(ordinary)
                self.ordinary = [(row["prompt_ids"], row["chosen_ids"]) for row in data.select(ordinary)]
                self.train_dataset = data.select([number for number in range(len(data)) if number not in apart])

            def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **more: Any) -> Any:
                loss = super().compute_loss(model, inputs, return_outputs, **more)
                draw = rng(stage.seed, "dpo", self.state.global_step)  # by the step: a resumed run draws the same
                texts = draw.sample(self.ordinary, min(stage.batch, len(self.ordinary)))
                reading = Reading(model)
                learned = stage.clean * cross_entropy(reading.answers(texts, {}))
                self.state.num_input_tokens_seen += reading.tokens
                return (loss[0] + learned, *loss[1:]) if return_outputs else loss + learned

        return Beside


def cross_entropy(answers: Sequence[tuple[Any, Any]]) -> Any:
    """The mean over all tokens of the answers, given as logits and ids, in nats."""
    import torch

    logits, ids = zip(*answers, strict=True)
    return torch.nn.functional.cross_entropy(torch.cat(logits), torch.cat(ids))


def check_pairs(rows: Sequence[Row]) -> None:
    """Raise `SpecError` where no row is a pair, or with the number of the first bad row."""
    if not rows:
        raise SpecError("there are no rows to train on", hint="give at least one chat with a rejected answer")
    if not any(row.rejected for row in rows):
        raise SpecError(
            f"none of the {len(rows)} rows has a rejected answer",
            hint="dpo needs a better and a worse answer to a chat",
        )
    for number, row in enumerate(rows, start=1):
        if len(row.chat) < 2 or row.chat[-1].role != "assistant" or row.chat[-2].role == "assistant":
            raise SpecError(
                f"row {number} does not end with an answer to a user",
                hint="a row is a chat whose last message is the better answer",
            )
        if row.rejected.isspace() or not row.chat[-1].text.strip():
            raise SpecError(f"row {number} has an empty answer", hint="leave the row out")
        if row.rejected == row.chat[-1].text:
            raise SpecError(f"row {number} has the same answer twice", hint="leave the row out")
