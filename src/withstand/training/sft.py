"""Supervised fine-tuning on chats, of an adapter (Hu et al. 2021, arXiv:2106.09685) or all weights, by TRL and PEFT."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from withstand.core import Chat, SpecError
from withstand.core.records import as_dicts
from withstand.core.stage import How, Row, Rows, as_rows
from withstand.training import _run
from withstand.training._model import (
    ADAPTER,
    CLOSE,
    OPEN,
    Adapter,
    Optimizer,
    arguments,
    check,
    check_length,
    load,
    rate_of,
    tokenizer_of,
)

FILES = ADAPTER


@dataclass(frozen=True)
class _Dropout:
    """The field of `SFT` between those that it shares with other stages."""

    dropout: float = 0.0


@dataclass(frozen=True)
class SFT(Optimizer, _Dropout, Adapter):
    """The model learns the last assistant message of each row, its end-of-turn token included, and nothing else.

    If the message before it is an assistant's too, the two form one turn: the first is the given beginning, as after a
    prefill, and only the second is learned.

    dropout: dropout before the adapter, in [0, 1), default 0.
    lr: peak learning rate of AdamW, 0 or more. Default 0: by the number of parameters. Of an adapter 2e-4 up to 20e9
        (TRL's guide, QLoRA's table 9, arXiv:2305.14314) and 1e-4 above (QLoRA); of all weights 2e-5 up to 10e9 (TRL's
        default; Alpaca 7B; Qi et al. 2024, arXiv:2310.03693) and 1e-5 above (Alpaca 13B).

    The same fields, rows, library versions and machine give the same weights. Training uses one device: a GPU if there
    is one.
    """

    version: ClassVar[int] = 2
    lr: float = 0.0

    def __post_init__(self) -> None:
        check(self if self.lr else self.sized(1))

    def sized(self, parameters: int) -> "SFT":
        """It with the learning rate for a model of so many parameters, where none is given."""
        return self if self.lr else replace(self, lr=rate_of(self.method, parameters))

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """Train on `rows`, chats that end with the answer to learn; the result lies in `folder`, which is returned.

        base: a folder with model and tokenizer, or a hub id. `how.log` gets step and mean loss (nats per answer token)
        since the last call. An adapter is saved in float16, all weights in float32, each file by rename: an
        interrupted run leaves an old one whole.
        Sets the global random state of torch, numpy and random, as the libraries below do.

        Raises `SpecError` for rows that cannot be trained on, by their number, and for a missing extra;
        `TrainingError` when the disk is full, or when the training diverged before it was better than the base. Where
        it diverges later, the best weights are saved and the record says so.
        """
        given = as_rows(rows)
        check_rows(given)
        return _run.train(self, lambda output: self._trainer(base, given, output, how), base, given, folder, how)

    def _trainer(self, base: str, rows: Rows, output: Path = Path(), how: How = How()) -> Any:
        """The SFTTrainer of this stage, its rows tokenized."""
        from datasets import Dataset
        from trl.trainer.sft_config import SFTConfig
        from trl.trainer.sft_trainer import SFTTrainer

        tokenizer = tokenizer_of(base, how.loading)
        given = as_rows(rows)
        data = [tokenized(tokenizer, row.chat) for row in given]
        for number, (row, ids) in enumerate(zip(given, data, strict=True), start=1):
            check_length(self, number, len(ids["input_ids"]), beginning=head(row.chat))
        model, adapter = load(base, self, how.loading)
        config = SFTConfig(
            **arguments(self.sized(model.num_parameters()), output, how.loading),
            max_length=None,  # checked above: nothing is cut
            padding_free=True,  # chats lie end to end, none sees another: half the tokens of a padded batch
            completion_only_loss=True,
        )
        kind: Any = SFTTrainer
        for change in how.changes:
            kind = change(kind)
        return kind(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(data),
            processing_class=tokenizer,
            peft_config=adapter,
            callbacks=list(how.more),
        )


def check_rows(rows: Sequence[Row]) -> None:
    """Raise `SpecError` with the number of the first row that cannot be trained on."""
    if not rows:
        raise SpecError("there are no rows to train on", hint="give at least one chat that ends with an answer")
    for number, row in enumerate(rows, start=1):
        chat = row.chat
        if len(chat) < 2 or chat[-1].role != "assistant":
            raise SpecError(
                f"row {number} does not end with an assistant message after another one: {head(chat)}",
                hint="a row is a chat whose last message is the answer to learn",
            )
        empty = [message.role for message in chat if not message.text.strip() and message.role != "system"]
        if empty:
            raise SpecError(f"row {number} has an empty {empty[0]} message: {head(chat)}", hint="leave the row out")
        if any(message.images for message in chat):
            raise SpecError(f"row {number} has images: {head(chat)}", hint="SFT trains on text alone")


def head(chat: Chat) -> str:
    """The beginning of a chat, to recognize a row by."""
    return repr(chat[0].text[:60]) if chat else "an empty chat"


def tokenized(tokenizer: Any, chat: Chat) -> dict[str, Any]:
    """A row as TRL takes it ready made: the ids of the rendered chat, and a mask of what is to be learned.

    `lead`: how many of the learned tokens stand before the answer: those that the template writes, and the thinking.
    """
    turns = as_dicts(chat)
    goes_on = turns[-2]["role"] == "assistant"
    asked = tokenizer.apply_chat_template(
        turns[:-1], tokenize=False, add_generation_prompt=not goes_on, continue_final_message=goes_on
    )
    if goes_on:
        turns = [*turns[:-2], {"role": "assistant", "content": turns[-2]["content"] + turns[-1]["content"]}]
    text = opened(asked, tokenizer.apply_chat_template(turns, tokenize=False), chat[-1].text)
    if not text.startswith(asked):
        raise SpecError(
            f"the chat template renders a chat without its last answer differently: {head(chat)}",
            hint="use a template whose text only grows with the chat",
        )
    prompt, answer = (
        tokenizer(part, add_special_tokens=False)["input_ids"] for part in (asked, text[len(asked) :])
    )  # apart, as a model that is asked reads them
    lead = tokenizer(lead_of(text[len(asked) :], chat[-1].text), add_special_tokens=False)["input_ids"]
    same = next((i for i, (a, b) in enumerate(zip(lead, answer, strict=False)) if a != b), len(lead))
    mask = [0] * len(prompt) + [1] * len(answer)
    return {"input_ids": prompt + answer, "completion_mask": mask, "lead": same}


def opened(asked: str, text: str, answer: str) -> str:
    """A rendered chat that goes on from the prompt `asked`. Some templates open a block of thinking in the prompt and
    leave it out of an answer, as DeepSeek-R1's does: then it holds the answer's own thinking, or none."""
    before = asked.rstrip().removesuffix(OPEN)
    if text.startswith(asked) or not asked.rstrip().endswith(OPEN) or not text.startswith(before):
        return text
    thought, closed, _ = answer.partition(CLOSE)
    rest = text[len(before) :].rpartition(CLOSE)[2].lstrip()
    return f"{asked}{thought.replace(OPEN, '').strip() if closed else ''}\n{CLOSE}\n\n{rest}"


def lead_of(rendered: str, answer: str) -> str:
    """What stands in a rendered answer before the answer itself: the template's own words and the thinking."""
    _, closed, rest = answer.rpartition(CLOSE)
    thought = rendered.find(CLOSE) + len(CLOSE) if CLOSE in rendered else 0
    place = rendered.find((rest if closed else answer).strip(), thought)
    return rendered[: max(place, 0)]
