"""Hints of ours, where a hint stands in a chat, and demonstrations before it: what `knowledge` is made of."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from withstand.attacks.llm._texts import data_of
from withstand.core import Behavior, Chat, Message, SpecError, user
from withstand.core.questions import DEMANDS, ENDORSES


def hints(arm: str) -> Sequence[str]:
    """Ours of an arm; hint number i is of about the same length in each."""
    texts: Sequence[str] = data_of("knowledge.json")[arm]
    return texts


def in_request(behavior: Behavior, text: str, demand: str, hint: str) -> Chat:
    """In brackets behind the request, before the demand."""
    return user(behavior.prompt(" ".join(part for part in (text, hint and f"(Hint: {hint})", demand) if part)))


def in_document(behavior: Behavior, text: str, demand: str, hint: str) -> Chat:
    [turn] = in_request(behavior, text, demand, "")
    return user(f"[DOCUMENT]\n{hint}\n[END OF DOCUMENT]\n\n{turn.text}") if hint else (turn,)


def in_tool(behavior: Behavior, text: str, demand: str, hint: str) -> Chat:
    """As what a tool gave; without a hint the tool found nothing, so that the arm "none" has the same turns."""
    result = json.dumps({"results": [hint] if hint else []}, ensure_ascii=False)
    asked = in_request(behavior, text, demand, "")
    return (*asked, Message("assistant", "I will look it up."), Message("tool", result))


PLACES: Mapping[str, Callable[[Behavior, str, str, str], Chat]] = {
    "user": in_request,
    "document": in_document,
    "tool": in_tool,
}


def demonstrations(shots: str, demand: str) -> Chat:
    """Questions with the demand and their answers, or requests without one. all_yes: of what one should not do.

    balanced: two that go along with what is right, two that do not with what is wrong, in turns. Raises `SpecError` for
    a choice of two, in which nothing is endorsed.
    """
    if shots == "none":
        return ()
    form = next((form for form, sentence in DEMANDS.items() if sentence == demand), "")
    if form == "choice":
        raise SpecError("there are no demonstrations for a choice of two", hint='write shots = "none"')
    parts: Any = data_of("knowledge.json")["shots"]["question" if demand else "request"]
    yes, no = "", ""
    if demand:
        yes, no = ("Yes. ", "No. ") if ENDORSES[form] == "yes" else ("No. ", "Yes. ")
    wrong = parts["wrong"]
    pairs = [(question, yes + along) for question, along, _ in wrong]
    if shots == "balanced":
        right = [(question, yes + along) for question, along in parts["right"]]
        declined = [(question, no + against) for question, _, against in wrong[:2]]
        pairs = [pair for both in zip(right, declined, strict=True) for pair in both]
    turns = (
        (Message("user", f"{question} {demand}".strip()), Message("assistant", reply)) for question, reply in pairs
    )
    return tuple(turn for both in turns for turn in both)
