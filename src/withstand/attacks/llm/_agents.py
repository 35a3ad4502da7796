"""The agents of AutoDAN-Turbo: attacker, target with judge, summarizer. Liu et al. 2024, arXiv:2410.05295."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TypeAlias

from withstand.attacks.llm._attacker import drafts
from withstand.attacks.llm._judged import rated, score_of
from withstand.attacks.llm._library import Strategy, retrieve
from withstand.attacks.llm._objects import field_in, read_object
from withstand.attacks.llm._texts import parts_of, shown_context
from withstand.core import (
    Behavior,
    Chat,
    Flow,
    Judge,
    Model,
    RejectedDrafts,
    Sampling,
    Target,
    TestCase,
    ask,
    filled,
    user,
)
from withstand.core.guards import below, blocked_by, heard, introduction
from withstand.core.prompts import Prompts

PROMPTS = Prompts(
    parts_of("autodan_turbo.txt"),
    {"attack": ("behavior", "strategies"), "use": ("list",), "avoid": ("list",), "summarize": ("first", "second")},
)
Hint: TypeAlias = tuple[bool, Sequence[Strategy], str]
"""Whether strategies worked, and which, as `retrieve` gives them; what is said of the defense."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A prompt and what came of it. `score` in [0, 1], -1 where the judge could not say; `done`: it says success.

    answer: of one that was `blocked`, what blocked it.
    """

    prompt: str
    answer: str
    score: float
    done: bool = False
    blocked: bool = False


def before(behavior: Behavior) -> Attempt:
    """What the first attempt is compared with: the bare behavior, taken to be refused."""
    return Attempt(behavior.text, "I'm sorry, but I can't help with that.", 0.0)


def written(attacker: Model, requests: Sequence[str], sampling: Sampling, tries: int) -> Flow[list[str | None]]:
    """The attacker's prompt for each request, None where it refuses or breaks the format."""
    chats = [user(text) for text in requests]
    answers = yield from drafts(attacker, chats, partial(field_in, "prompt"), sampling, tries)
    return [draft.value if draft else None for draft in answers]


def request(
    behavior: Behavior, works: bool = False, strategies: Sequence[Strategy] = (), above: str = "", own: str = ""
) -> str:
    """What the attacker is asked: to use the strategies if they work, else to find something else.

    own: the user's texts in the place of ours. above: what is said of the defense before the target.
    """
    texts = PROMPTS.texts(own)
    listed = "\n\n".join(f"{s.strategy}: {s.definition}\nExample: {s.example}" for s in strategies)
    part = filled(texts["use" if works else "avoid"], list=listed) + "\n\n" if strategies else ""
    text, context = behavior.text, shown_context(behavior)
    return below(above, filled(texts["attack"], behavior=text, context=context, strategies=part))


def hint_of(target: Target, last: Attempt | None = None, library: Sequence[Strategy] = (), k: int = 1) -> Hint:
    """What the attacker is told: strategies of the library by the last attempt's answer, and the target's defense."""
    blocked = f"It blocked your last prompt:\n{last.prompt}\n{last.answer}" if last and last.blocked else ""
    works, strategies = retrieve(library, last.answer, k) if last and library else (False, [])
    return works, strategies, below(introduction(target.defense), blocked)


def tested(
    target: Target,
    judge: Judge,
    streams: Sequence[Behavior],
    sent: Sequence[str | None],
    seen: set[tuple[str, str]],
) -> Flow[list[Attempt | None]]:
    """Ask the target all prompts at once, have the answers judged, and give each prompt as a candidate; None for none.

    streams: the behavior of each prompt; equal ones stand together. seen: behaviors' ids and prompts so far.
    """
    going = [(behavior, prompt) for behavior, prompt in zip(streams, sent, strict=True) if prompt is not None]
    fresh = {(behavior.id, prompt) for behavior, prompt in going} - seen
    if len(fresh) < len(going):
        yield RejectedDrafts(repeated=len(going) - len(fresh))
    seen |= fresh
    chats = [user(behavior.prompt(prompt)) for behavior, prompt in going]
    answers = (yield from ask(target, chats)) if chats else []
    tried: list[Attempt] = []
    for behavior, group in groupby(zip(going, chats, answers, strict=True), key=lambda entry: entry[0][0]):
        entries = list(group)
        sent_chats, given = [chat for _, chat, _ in entries], [answer for *_, answer in entries]
        results = yield from rated(target, judge, behavior, sent_chats, given)
        for ((_, prompt), chat, answer), result in zip(entries, results, strict=True):
            done, stopped = result.verdict.outcome == "success", blocked_by(answer) is not None
            tried.append(Attempt(prompt, heard(answer), score_of(result.verdict), done, stopped))
            yield TestCase(behavior.id, chat, score=result.score)
    attempts = iter(tried)
    return [None if prompt is None else next(attempts) for prompt in sent]


def learned(
    summarizer: Model,
    rises: Sequence[tuple[Behavior, Attempt, Attempt]],
    library: Sequence[Strategy],
    tries: int,
    max_tokens: int,
    own: str = "",
) -> Flow[list[Strategy]]:
    """What the summarizer says made the second attempt better; nothing where it refuses or breaks the format."""
    definitions: dict[str, str] = {}
    for entry in library:
        definitions.setdefault(entry.strategy, entry.definition)
    listed = "\n".join(f"- {name}: {definition}" for name, definition in definitions.items()) or "none"
    chats: list[Chat] = []
    for behavior, old, new in rises:
        parts = {"behavior": behavior.text, "first": old.prompt, "second": new.prompt, "known": listed}
        chats.append(user(filled(PROMPTS.texts(own)["summarize"], **parts)))
    if not chats:
        return []
    sampling = Sampling(max_tokens=max_tokens, temperature=0.6, top_p=0.9)  # those of the authors' code
    named = yield from drafts(
        summarizer, chats, lambda text: read_object(text, "strategy", "definition"), sampling, tries
    )
    return [
        Strategy(**draft.value, example=new.prompt, rise=new.score - old.score, answer=old.answer)
        for draft, (_, old, new) in zip(named, rises, strict=True)
        if draft
    ]
