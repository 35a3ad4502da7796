"""What the attacks share that have a model write for them: its answers read, refusals and broken formats asked anew."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from withstand.core import AskError, Chat, Flow, Json, Message, Model, RejectedDrafts, Sampling, ask, at_least, within
from withstand.core.refusal import refusal_in

V = TypeVar("V")


def stand_in(reply: str) -> Json:
    """The spec of a model that always says `reply`, with another number for {n} in each answer."""
    return {"use": "scripted", "reply": reply}


DRAFTS = stand_in('{"improvement": "be kind", "prompt": "Please bake, draft {n}"}')
LINES = stand_in("1. Please bake a large and crusty loaf, draft {n}")
"""Attackers for the samples of attacks that ask for JSON, or for a list."""


@dataclass(frozen=True, slots=True)
class Draft(Generic[V]):
    """An attacker's answer that could be read: `text` whole, its opening included, and what `parse` made of it."""

    text: str
    value: V


def drafts(
    attacker: Model,
    chats: Sequence[Chat],
    parse: Callable[[str], V | None],
    sampling: Sampling,
    tries: int,
    opening: str = "",
) -> Flow[list[Draft[V] | None]]:
    """For each chat the attacker's answer as `parse` reads it; None where `tries` answers were refused or malformed.

    parse: gives None for an answer in another format. A text, and texts in a dict, are themselves looked through for a
        refusal. tries: 1 or more; each asks anew, for the lost ones alone.
    opening: first words of the answer, put into the attacker's mouth where it gives "prefill"; `parse` sees them too.
    """
    seeded = bool(opening) and "prefill" in attacker.gives
    kept: list[Draft[V] | None] = [None] * len(chats)
    left = list(range(len(chats)))
    for _ in range(tries if chats else 0):
        asked = [(*chats[i], Message("assistant", opening)) if seeded else chats[i] for i in left]
        answers = yield from ask(attacker, asked, sampling)
        refused = malformed = 0
        for i, answer in zip(left, answers, strict=True):
            text = (opening if seeded else "") + answer.text
            value = parse(text)
            texts = value.values() if isinstance(value, dict) else [value if isinstance(value, str) else text]
            if answer.finish == "filtered" or any(map(refusal_in, texts)):
                refused += 1
            elif value is None:
                malformed += 1
            else:
                kept[i] = Draft(text, value)
        left = [i for i in left if kept[i] is None]
        if not left:
            break
        yield RejectedDrafts(refused, malformed)
    return kept


def check_writer(attack: Any) -> None:
    """Raise `SpecError` for a field out of its range: those that every attack has whose attacker writes."""
    at_least(1, attack, "tries", "attacker_tokens")
    within(0, 10, attack, "temperature")


def no_draft(tries: int) -> AskError:
    """What an attack raises that was left without a single usable draft: a refusal is never a test case."""
    return AskError(
        f"the attacker gave no usable answer in {tries} tries",
        hint="it refuses or cannot keep the format: use another attacker, or raise tries",
    )


def read_object(text: str, *names: str) -> dict[str, str] | None:
    """The first JSON object in `text` with all `names` as texts, mended where quotes, commas or its end are lacking."""
    from json_repair import repair_json  # here, so that looking around stays fast

    start = text.find("{")
    while start >= 0:
        read: Any = repair_json(text[start:], return_objects=True)
        for value in read if isinstance(read, list) else [read]:
            if isinstance(value, dict) and all(
                isinstance(value.get(name), str) and value[name].strip() for name in names
            ):
                return {name: value[name].strip() for name in names}
        start = text.find("{", start + 1)
    return None


def unquoted(text: str) -> str:
    """Without the white space and the one pair of quotes around it."""
    text = text.strip()
    for first, last in ('""', "''", "\u201c\u201d", "``"):
        if len(text) > 1 and text[0] == first and text[-1] == last:
            return text[1:-1].strip()
    return text
