"""Inject: hide another attack's request in a document that the user only asks about. Greshake et al. 2023,
arXiv:2302.12173.

The paper plants instructions in what an application fetches. We leave it in that there is no application: the chat
holds the document, tool result or passage as it would have been fetched, and success is the behavior itself.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from withstand.attacks.llm._around import around, check_inner, inner, instead
from withstand.attacks.llm._texts import data_of
from withstand.core import Attack, Behavior, Chat, Flow, Message, SpecError, Target, UpperBounds, user
from withstand.core.records import last_asked


@dataclass(frozen=True, slots=True)
class Inject:
    """The last user turn of each chat of `attack`, context included, moves into the carrier; earlier turns stay.

    attack: a black-box attack on one behavior; default none: the behavior itself, as one test case.
    carrier: "document" (default) and "passage" stand below the task in one user turn; "tool": the user's task, the
        assistant's word that it will look, a turn of role "tool", for a target that takes "forged" turns and that role.
    document: the text, with {attack} where the attack goes; default "": a harmless one of ours for each carrier. In
        our tool result, which is JSON, the attack is escaped.
    task: the user's harmless question about it; default "": one of ours for each carrier.
    seed: any whole number, default 0; changes nothing here. `attack` has its own.
    """

    version: ClassVar[int] = 1
    informed: ClassVar[bool] = True
    attack: Attack | None = None
    carrier: Literal["document", "tool", "passage"] = "document"
    document: str = ""
    task: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.carrier not in carriers():
            raise SpecError(f"carrier is {self.carrier!r}", hint=f"it must be one of {', '.join(carriers())}")
        if self.document and "{attack}" not in self.document:
            raise SpecError("document has no {attack}", hint="write {attack} where the attack's text belongs")
        check_inner("inject", self.attack)

    @property
    def needs(self) -> frozenset[str]:
        own = {"turns", "forged"} if self.carrier == "tool" else set()
        return (self.attack.needs if self.attack else frozenset()) | own

    def most(self) -> UpperBounds:
        return self.attack.most() if self.attack else UpperBounds()

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        yield from around(inner(self.attack, behavior, target), self._wrap)

    def _wrap(self, chats: Sequence[Chat]) -> Flow[list[Chat | None]]:
        yield from ()
        return [instead(chat, self._carried(last_asked(chat))) for chat in chats]

    def _carried(self, text: str) -> Chat:
        ours = carriers()[self.carrier]
        task = self.task or ours["task"]
        if self.carrier == "tool" and not self.document:
            text = json.dumps(text, ensure_ascii=False)[1:-1]
        carrier = (self.document or ours["text"]).replace("{attack}", text)
        if self.carrier == "tool":
            return (*user(task), Message("assistant", "I will look it up."), Message("tool", carrier))
        name = self.carrier.upper()
        return user(f"{task}\n\n[{name}]\n{carrier}\n[END OF {name}]")


def carriers() -> Any:
    """Our task and text for each carrier."""
    return data_of("inject.json")
