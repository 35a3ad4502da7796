"""What the attacks share that have a model write for them: its answers read, refusals and broken formats asked anew."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from withstand.attacks.llm._objects import spoken
from withstand.core import (
    AskError,
    Behavior,
    Chat,
    Flow,
    Json,
    Message,
    Model,
    RejectedDrafts,
    Sampling,
    SpecError,
    TestCase,
    ask,
    at_least,
    user,
    within,
)
from withstand.core.refusal import refusal_in

V = TypeVar("V")

LONGEST = 100_000
"""Characters of an attacker's answer; a longer one is malformed. What it is asked for has a few thousand at most."""


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
    seen: set[Any] | None = None,
    parts: bool = False,
) -> Flow[list[Draft[V] | None]]:
    """For each chat the attacker's answer as `parse` reads it; None where `tries` answers were refused or malformed.

    What it thinks before it answers is no part of the draft, and never sent.
    parse: gives None for an answer in another format. A text, and texts in a dict, are themselves looked through for a
        refusal. tries: 1 or more; each asks anew, for the lost ones alone.
    opening: first words of the answer, put into the attacker's mouth where it gives "prefill"; `parse` sees them too.
    seen: the drafts of a search so far; those of this ask are added, and those that were there before are counted.
    parts: the draft is a list, of which an answer that was cut off at its most tokens gives what it holds.
    """
    seeded = bool(opening) and "prefill" in attacker.gives
    kept: list[Draft[V] | None] = [None] * len(chats)
    left = list(range(len(chats)))
    for _ in range(tries if chats else 0):
        asked = [(*chats[i], Message("assistant", opening)) if seeded else chats[i] for i in left]
        answers = yield from ask(attacker, asked, sampling)
        refused = malformed = long = 0
        for i, answer in zip(left, answers, strict=True):
            text = (opening if seeded else "") + spoken(answer.text)
            cut = len(text) > LONGEST or (answer.finish == "length" and not parts)
            value = None if cut else parse(text)
            texts = value.values() if isinstance(value, dict) else [value if isinstance(value, str) else text]
            if answer.finish == "filtered" or any(map(refusal_in, texts)):
                refused += 1
            elif cut:
                long += 1
            elif value is None:
                malformed += 1
            else:
                kept[i] = Draft(text, value)
        left = [i for i in left if kept[i] is None]
        if not left:
            break
        yield RejectedDrafts(refused, malformed, long)
    values = [draft.value for draft in kept if draft and seen is not None]
    if repeated := len(values) - len({*values} - (seen or set())):
        yield RejectedDrafts(repeated=repeated)
    if seen is not None:
        seen.update(values)
    return kept


def final_cases(
    attack: Any,
    behavior: Behavior,
    chats: Sequence[Chat],
    parse: Callable[[str], str | None],
    sampling: Sampling | None = None,
    opening: str = "",
    parts: bool = False,
) -> Flow[None]:
    """A final test case for each chat that the attacker answers with a usable text; `AskError` where it never does.

    attack: has the fields attacker, tries, attacker_tokens and temperature. The rest is as in `drafts`.
    """
    sampling = sampling or Sampling(attack.attacker_tokens, attack.temperature)
    written = yield from drafts(attack.attacker, chats, parse, sampling, attack.tries, opening, set(), parts)
    if not any(written):
        raise no_draft(attack.tries)
    for draft in filter(None, written):
        yield TestCase(behavior.id, user(behavior.prompt(draft.value)))


def check_writer(attack: Any, alike: int = 1, field: str = "") -> None:
    """Raise `SpecError` for a field out of its range: those that every attack has whose attacker writes.

    alike: how many drafts are asked for with the same words, by `field`: at temperature 0 they would be one.
    """
    at_least(1, attack, "tries", "attacker_tokens")
    within(0, 10, attack, "temperature")
    if attack.temperature == 0 and alike > 1:
        setting = f"{field} = {getattr(attack, field)}"
        raise SpecError(f"at temperature 0 several drafts would be one ({setting})", hint="raise temperature")


def no_draft(tries: int) -> AskError:
    """What an attack raises that was left without a single usable draft: a refusal is never a test case."""
    return AskError(
        f"the attacker gave no usable answer in {tries} tries",
        hint="it refuses, cannot keep the format or is cut off: use another, or raise tries or attacker_tokens",
    )


def unquoted(text: str) -> str:
    """Without the white space and the one pair of quotes around it."""
    text = text.strip()
    for first, last in ('""', "''", "\u201c\u201d", "``"):
        if len(text) > 1 and text[0] == first and text[-1] == last:
            return text[1:-1].strip()
    return text
