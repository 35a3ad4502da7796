"""Recorded: what a person sent when a finding was made, turn by turn, as a regression test sends it again. Ours."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from withstand.core import Behavior, Flow, SpecError, Target, TestCase, UpperBounds, converse, user
from withstand.formats.recorded import chat_of


@dataclass(frozen=True, slots=True)
class Recorded:
    """One test case: the conversation in the behavior's tags, as `withstand plan findings regress` writes it; of a
    behavior without one its own words, as `direct` sends them.

    earlier: "recorded" (default) sends the target's earlier answers as they were recorded; "own" has the target give
        them anew, for targets that keep the conversation themselves.
    seed: any whole number, default 0; changes nothing.
    """

    version: ClassVar[int] = 1
    adapts: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    conversations: ClassVar[bool] = True
    earlier: Literal["recorded", "own"] = "recorded"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.earlier not in ("recorded", "own"):
            raise SpecError(f"earlier is {self.earlier!r}", hint='it must be "recorded" or "own"')

    def most(self) -> UpperBounds:
        return UpperBounds(cases=1, asks={"target": 40} if self.earlier == "own" else {}, drawn=self.earlier == "own")

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        chat = chat_of(behavior) or user(behavior.prompt())
        roles = [turn.role for turn in chat]
        wants = {"system": "system" in roles, "turns": roles.count("user") > 1}
        wants |= {"forged": self.earlier == "recorded" and bool({"assistant", "tool"} & {*roles[:-1]})}
        if lacking := sorted(name for name, wanted in wants.items() if wanted and name not in target.model.gives):
            hint = "recorded,earlier=own has the target give its earlier answers" if lacking == ["forged"] else ""
            raise SpecError(f"{behavior.id}: the target does not take {', '.join(lacking)}", hint=hint)
        if self.earlier == "recorded" or roles.count("user") < 2:
            yield TestCase(behavior.id, chat)
            return
        sent, answer = yield from converse(target, chat)
        yield TestCase(behavior.id, sent, completion=answer)
