"""Reinforcement learning from a judge's verdicts and a teacher's likelihood: RLOO or GRPO, by TRL.

RLOO: Ahmadian et al. 2024, arXiv:2402.14740; GRPO: Shao et al. 2024, arXiv:2402.03300. The model answers, each answer
gets a reward, and answers that are better than the others to the same chat become likelier: the advantage of RLOO is an
answer's reward less the mean reward of the others. Where all rewards are equal nothing is learned, so that a judge
whose word never differs needs a teacher beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from withstand.core import Ask, Behavior, Chat, Completion, Flow, Judge, Model, SpecError, Target, at_least, within
from withstand.core.records import as_dicts
from withstand.core.stage import How, Loading, Row, Rows, TrainingError, as_rows
from withstand.engine import likelihood
from withstand.training import _run
from withstand.training._model import (
    CLOSE,
    OPEN,
    Adapter,
    Optimizer,
    arguments,
    check,
    check_length,
    load,
    tokenizer_of,
)


@dataclass(frozen=True)
class _Reward:
    """The first fields of `RL`, before those that it shares with other stages."""

    judge: Judge
    algorithm: Literal["rloo", "grpo"] = "rloo"
    draws: int = 4
    max_tokens: int = 64
    temperature: float = 1.0
    beta: float = 0.05
    teacher: Model | None = None
    penalty: float = 5.0


ROUNDING = 1e-6
"""Rewards of answers to a chat that differ by less are one reward."""
FLOOR = -10.0
"""Nats a token that an answer of the teacher's likelihood gets at worst, and an empty one always."""


@dataclass(frozen=True)
class RL(Optimizer, Adapter, _Reward):
    """Each row is a chat that ends with a user's message; an answer after that message is ignored.

    The judge's word is 1 or 0. In a row marked `safe` an answer gets 1 if the judge calls it refused. In any other row
    it gets 1 if it is not empty and the judge does not call it refused. An answer that the judge cannot score gets 0.
    Without a teacher that is the reward. With one the reward is `penalty` times that word plus the answer's mean
    log-likelihood a token under the teacher, in nats and at least -10. The thinking of an answer is not rewarded.

    judge: decides whether an answer refuses.
    teacher: a local model whose likelihood tells good answers from bad ones; default none. It stays in memory.
    penalty: nats a token that an answer loses by the judge's word, beside a teacher, 0 or more, default 5.
    algorithm: "rloo" (default) or "grpo".
    draws: answers to each chat, 2 or more, default 4; `batch` must be a multiple of it.
    max_tokens: most tokens of an answer, 1 or more, default 64.
    temperature: sampling temperature of the answers, above 0, default 1.
    beta: weight of the KL divergence from the base, 0 or more, default 0.05.
    lr: peak learning rate of AdamW, above 0, default 1e-5.

    Raises `TrainingError` where no weight moved, or none by a reward.
    """

    version: ClassVar[int] = 2
    lr: float = 1e-5

    def __post_init__(self) -> None:
        check(self)
        at_least(2, self, "draws")
        at_least(1, self, "max_tokens")
        at_least(0, self, "beta", "penalty")
        within(1e-6, 10, self, "temperature")
        if self.algorithm not in ("rloo", "grpo"):
            raise SpecError(f"algorithm is {self.algorithm!r}", hint='it must be "rloo" or "grpo"')
        if self.batch % self.draws:
            raise SpecError(f"batch is {self.batch}, no multiple of draws, {self.draws}", hint="4 draws, batch 8")
        if self.teacher is not None and "weights" not in self.teacher.gives:
            raise SpecError("the teacher of rl has no weights to read a likelihood from", hint="a local model: hf:ID")

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """See `withstand.core.stage.Stage`; the loss that `log` gets says little here."""
        given = [Row(asked(row.chat), "", row.safe) for row in as_rows(rows)]
        for number, row in enumerate(given, start=1):
            if not row.chat or row.chat[-1].role != "user":
                raise SpecError(f"row {number} asks nothing", hint="a row is a chat that ends with a user's message")
        if not given:
            raise SpecError("there are no rows to train on", hint="give at least one chat that ends with a question")
        make = partial(self._trainer, base, given, how.unchanged(self).loading)
        return _run.train(self, make, base, given, folder, how)

    def _trainer(self, base: str, rows: Sequence[Row], loading: Loading, output: Path) -> Any:
        import trl
        from datasets import Dataset

        tokenizer = tokenizer_of(base, loading)
        data = []
        for number, row in enumerate(rows):
            turns = as_dicts(row.chat)
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            count = len(tokenizer(text, add_special_tokens=False)["input_ids"]) + self.max_tokens
            check_length(self, number + 1, count, " with the longest answer")
            data.append({"prompt": turns, "number": number})
        model, adapter = load(base, self, loading)
        signals: list[bool] = []

        def reward(completions: Sequence[Any], number: Sequence[int], **_: Any) -> list[float]:
            texts = [
                completion[0]["content"] if isinstance(completion, list) else completion for completion in completions
            ]
            thought = CLOSE in tokenizer.chat_template
            answers = [without_thinking(text) if thought else text for text in texts]
            rewards = self.rewards([rows[place] for place in number], answers)
            signals.append(differ(number, rewards))
            return rewards

        name = "RLOO" if self.algorithm == "rloo" else "GRPO"
        config: Any = getattr(trl, f"{name}Config")
        kind: Any = getattr(trl, f"{name}Trainer")
        return kind(
            model=model,
            reward_funcs=reward,
            args=config(
                **arguments(self, output, loading) | {"include_num_input_tokens_seen": "no"},  # TRL counts here itself
                num_generations=self.draws,
                max_completion_length=self.max_tokens,
                beta=self.beta,
                temperature=self.temperature,
                generation_batch_size=self.batch,
            ),
            train_dataset=Dataset.from_list(data),
            processing_class=tokenizer,
            peft_config=adapter,
            callbacks=[_moved(signals)],
        )

    def rewards(self, rows: Sequence[Row], texts: Sequence[str]) -> list[float]:
        """The reward of each answer to its row's chat."""
        words = [self.reward(row, text) for row, text in zip(rows, texts, strict=True)]
        if self.teacher is None:
            return words
        teacher: Any = self.teacher
        means = likelihood.mean_log_probs(teacher, [row.chat for row in rows], texts)
        return [
            self.penalty * word + (max(float(mean), FLOOR) if text.strip() else FLOOR)
            for word, mean, text in zip(words, means, texts, strict=True)
        ]

    def reward(self, row: Row, text: str) -> float:
        """The judge's word: 1 for a good answer to the row's chat, else 0."""
        if not text.strip():
            return 0.0
        behavior = Behavior(id="row", text=row.chat[-1].text, benign=not row.safe)
        outcome = answered(self.judge.grade(behavior, [Completion(row.chat, text)]))[0].outcome
        return float(outcome == "refused") if row.safe else float(outcome in ("success", "failure"))


def without_thinking(text: str) -> str:
    """The answer behind a block of thinking; "" where the block does not end."""
    thought, closed, answer = text.partition(CLOSE)
    if closed:
        return answer.lstrip()
    return "" if thought.lstrip().startswith(OPEN) else text


def differ(chats: Sequence[int], rewards: Sequence[float]) -> bool:
    """Whether answers to a chat have other rewards than each other, by more than rounding."""
    sides: dict[int, list[float]] = {}
    for chat, reward in zip(chats, rewards, strict=True):
        sides.setdefault(chat, []).append(reward)
    return any(max(side) - min(side) > ROUNDING for side in sides.values())


def _moved(signals: Sequence[bool]) -> Any:
    """A callback that ends the training with an error where it taught nothing: no trained weight is another than at
    first, or `signals` say that no reward told answers apart. Then weights move by the rounding of the KL term, which
    AdamW makes as large as any step."""
    from transformers import TrainerCallback

    class Moved(TrainerCallback):  # type: ignore[misc, unused-ignore]
        before: Any = None
        resumed = False

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.resumed = state.global_step > 0  # what was rewarded before is not known

        def on_init_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            self.before = _sums(model)  # before a checkpoint is loaded: a resumed training may have moved them earlier

        def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            blind = not any(signals) and not self.resumed
            if blind or _sums(model) == self.before:
                raise TrainingError(
                    f"nothing was learned in {state.global_step} steps: all answers to a chat had one reward",
                    hint="teacher=MODEL rewards by likelihood; or a judge that tells answers apart, or more steps",
                )

    return Moved()


def _sums(model: Any) -> dict[str, tuple[float, float]]:
    """The trained weights by name, as sum and sum of squares."""
    return {
        name: (float(weight.detach().double().sum()), float(weight.detach().double().square().sum()))
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


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
