"""Reinforcement learning from a judge's verdicts: RLOO (Ahmadian et al. 2024, arXiv:2402.14740) or GRPO, by TRL.

GRPO: Shao et al. 2024, arXiv:2402.03300. The model answers, the judge grades, and answers that are better than the
others to the same chat become likelier.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from withstand.core import Ask, Behavior, Chat, Completion, Flow, Judge, SpecError, Target, at_least, within
from withstand.core.records import as_dicts
from withstand.core.stage import How, Row, Rows, as_rows
from withstand.training import _run
from withstand.training._model import Adapter, Optimizer, arguments, check, check_length, load, tokenizer_of


@dataclass(frozen=True)
class _Reward:
    """The first fields of `RL`, before those that it shares with other stages."""

    judge: Judge
    algorithm: Literal["rloo", "grpo"] = "rloo"
    draws: int = 4
    max_tokens: int = 64
    temperature: float = 1.0
    beta: float = 0.05


@dataclass(frozen=True)
class RL(Optimizer, Adapter, _Reward):
    """Each row is a chat that ends with a user's message; an answer after that message is ignored.

    The reward is 1 or 0. In a row marked `safe` an answer gets 1 if the judge calls it refused. In any other row it
    gets 1 if it is not empty and the judge does not call it refused. An answer that the judge cannot score gets 0.

    judge: decides whether an answer refuses.
    algorithm: "rloo" (default) or "grpo".
    draws: answers to each chat, 2 or more, default 4; `batch` must be a multiple of it.
    max_tokens: most tokens of an answer, 1 or more, default 64.
    temperature: sampling temperature of the answers, above 0, default 1.
    beta: weight of the KL divergence from the base, 0 or more, default 0.05.
    lr: peak learning rate of AdamW, above 0, default 1e-5.
    """

    version: ClassVar[int] = 1
    lr: float = 1e-5

    def __post_init__(self) -> None:
        check(self)
        at_least(2, self, "draws")
        at_least(1, self, "max_tokens")
        at_least(0, self, "beta")
        within(1e-6, 10, self, "temperature")
        if self.algorithm not in ("rloo", "grpo"):
            raise SpecError(f"algorithm is {self.algorithm!r}", hint='it must be "rloo" or "grpo"')
        if self.batch % self.draws:
            raise SpecError(f"batch is {self.batch}, no multiple of draws, {self.draws}", hint="4 draws, batch 8")

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """See `withstand.core.stage.Stage`; the loss that `log` gets says little here."""
        given = [Row(asked(row.chat), "", row.safe) for row in as_rows(rows)]
        for number, row in enumerate(given, start=1):
            if not row.chat or row.chat[-1].role != "user":
                raise SpecError(f"row {number} asks nothing", hint="a row is a chat that ends with a user's message")
        if not given:
            raise SpecError("there are no rows to train on", hint="give at least one chat that ends with a question")
        make = partial(self._trainer, base, given)
        return _run.train(self, make, base, given, folder, how.unchanged(self))

    def _trainer(self, base: str, rows: Sequence[Row], output: Path) -> Any:
        import trl
        from datasets import Dataset

        tokenizer = tokenizer_of(base)
        data = []
        for number, row in enumerate(rows):
            turns = as_dicts(row.chat)
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            count = len(tokenizer(text, add_special_tokens=False)["input_ids"]) + self.max_tokens
            check_length(self, number + 1, count, " with the longest answer")
            data.append({"prompt": turns, "number": number})
        model, adapter = load(base, self)

        def reward(completions: Sequence[Any], number: Sequence[int], **_: Any) -> list[float]:
            texts = [
                completion[0]["content"] if isinstance(completion, list) else completion for completion in completions
            ]
            return [self.reward(rows[place], text) for place, text in zip(number, texts, strict=True)]

        name = "RLOO" if self.algorithm == "rloo" else "GRPO"
        config: Any = getattr(trl, f"{name}Config")
        kind: Any = getattr(trl, f"{name}Trainer")
        return kind(
            model=model,
            reward_funcs=reward,
            args=config(
                **arguments(self, output),
                num_generations=self.draws,
                max_completion_length=self.max_tokens,
                beta=self.beta,
                temperature=self.temperature,
                generation_batch_size=self.batch,
            ),
            train_dataset=Dataset.from_list(data),
            processing_class=tokenizer,
            peft_config=adapter,
        )

    def reward(self, row: Row, text: str) -> float:
        """1 for a good answer to the row's chat, else 0."""
        if not text.strip():
            return 0.0
        behavior = Behavior(id="row", text=row.chat[-1].text, benign=not row.safe)
        outcome = answered(self.judge.grade(behavior, [Completion(row.chat, text)]))[0].outcome
        return float(outcome == "refused") if row.safe else float(outcome in ("success", "failure"))


def asked(chat: Chat) -> Chat:
    """The chat without an answer at its end."""
    return chat[:-1] if chat and chat[-1].role == "assistant" else chat


def answered(flow: Flow[Any]) -> Any:
    """Run a judge's flow to its end, here and now: the trainer waits for its reward."""
    answer: Any = None
    while True:
        try:
            item = flow.send(answer)
        except StopIteration as done:
            return done.value
        if not isinstance(item, Ask):
            raise SpecError(
                f"a judge that yields {type(item).__name__} gives no reward", hint="use one that asks or rules"
            )
        model = item.model.model if isinstance(item.model, Target) else item.model
        answer = model.generate(item.chats, item.sampling, [0] * len(item.chats))
