"""Where a person's session stands: a fold of its events.

Events are append-only, so a session that was killed stands where its last event left it. Kinds: `begin`, `draft` (a
text that is being written, or waits for its answer), `turn` (a text and its answer), `move` (another place in the
conversations), `branch` (from somebody else's session), `context`, `mark`, `seen`, `shot`, `note`, `skip`, `pause`,
`resume`, `end`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from withstand.core import Json, from_json
from withstand.redteam.hours import IDLE
from withstand.store.attempts import Attachment, Turn
from withstand.store.revisions import Event

QUIET = ("draft", "shot", "seen")
"""Kinds of events that change nothing that another window must have read."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a member works on, as ids of the plan. system: the prompt that a new conversation begins with."""

    layer: str = ""
    feature: str = ""
    persona: str = ""
    harm: str = ""
    system: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A text that was sent, and its answer.

    number: in the session, from 1.   parent: the exchange that it follows, 0 at the start of a conversation.   origin:
    the one that it was edited or repeated from, 0 for none.   key: of the answer's row in the store.   asked: digest of
    the target that answered.   label: its name.   at: when the answer came.   tokens, seconds: of the call.

    by_hand: it comes from a user interface.   description: of an answer that is no text.   branched: the attempt of
    somebody else's session that it is a copy of.   rows: keys of the answer and its verdicts.   behavior: what judges
    were asked to look for, "" for the text.   mitigations: a defense outside a plan.   purged: its texts were erased.
    """

    number: int
    parent: int
    turn: Turn
    answer: str
    at: float
    context: Context = field(default_factory=Context)
    origin: int = 0
    key: str = ""
    asked: str = ""
    label: str = ""
    finish: str = "stop"
    reasoning: str = ""
    tokens: int = 0
    seconds: float = 0.0
    judged: tuple[Json, ...] = ()
    params: Json = None
    by_hand: bool = False
    description: str = ""
    branched: str = ""
    rows: tuple[str, ...] = ()
    behavior: str = ""
    mitigations: str = ""
    purged: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A text that was not sent, or whose answer has not come. key: of the answer it waits for, "" for none.

    parent, origin: as of the exchange that it will be.   error: why no answer came.
    """

    text: str = ""
    converter: str = ""
    converted: str = ""
    parent: int = 0
    origin: int = 0
    key: str = ""
    error: str = ""
    probe: Json = None


@dataclass(frozen=True, slots=True)
class Marked:
    """That an exchange is recorded. attempt: its id.   stored: whether its texts may be."""

    attempt: str
    verdict: str
    severity: int | None = None
    stored: bool = True


@dataclass(frozen=True, slots=True)
class State:
    """A session after an event. number: of that event.   step: of the last one that is not `QUIET`, which other
    windows of the session must have read before they write.   head: the exchange that the next text follows, or 0.

    waiting: texts that were sent and have no answer yet.   active: seconds of work; since_break: since the last break.
    severe: whether severity 4 was recorded since then.
    """

    session: str
    plan: str = ""
    round: str = ""
    member: str = ""
    number: int = -1
    step: int = -1
    context: Context = field(default_factory=Context)
    exchanges: tuple[Exchange, ...] = ()
    head: int = 0
    draft: Draft = field(default_factory=Draft)
    waiting: tuple[Draft, ...] = ()
    marks: Mapping[int, Marked] = field(default_factory=dict)
    shots: tuple[Attachment, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    seen: frozenset[str] = frozenset()
    paused: bool = False
    ended: bool = False
    started: float = 0.0
    last: float = 0.0
    active: float = 0.0
    since_break: float = 0.0
    severe: bool = False

    def exchange(self, number: int) -> Exchange | None:
        return self.exchanges[number - 1] if 0 < number <= len(self.exchanges) else None

    def path(self, number: int | None = None) -> tuple[Exchange, ...]:
        """The conversation that ends with an exchange (default: the head), its first one first."""
        steps: list[Exchange] = []
        current = self.exchange(self.head if number is None else number)
        while current is not None:
            steps.append(current)
            current = self.exchange(current.parent)
        return tuple(reversed(steps))

    @property
    def unmarked(self) -> tuple[Exchange, ...]:
        """The exchanges that nobody recorded."""
        return tuple(
            entry for entry in self.exchanges if entry.number not in self.marks and not (entry.branched or entry.purged)
        )


def state_of(events: Iterable[Event]) -> State | None:
    """The session after its events; None without any."""
    start: State | None = None
    return reduce(after, events, start)


def after(state: State | None, event: Event) -> State:
    """The session after one more event."""
    if state is None:
        state = State(event.session, event.plan, event.round, event.member, started=event.created, last=event.created)
    gap = 0.0 if state.paused or state.ended else max(0.0, event.created - state.last)
    rested = gap > IDLE
    state = replace(
        state,
        number=event.number,
        step=state.step if event.kind in QUIET else event.number,
        last=event.created,
        active=state.active + min(gap, IDLE),
        since_break=0.0 if rested else state.since_break + gap,
        severe=state.severe and not rested,
    )
    change = CHANGES.get(event.kind)
    return change(state, event) if change else state


# --- what each kind of event changes -------------------------------------------------------------------------------


def _begin(state: State, event: Event) -> State:
    return replace(state, context=from_json(Context, event.value["context"]), ended=False, paused=False)


def _draft(state: State, event: Event) -> State:
    new: Draft = from_json(Draft, event.value)
    waiting = tuple(draft for draft in state.waiting if draft.key != new.key)
    return replace(state, draft=new, waiting=(*waiting, new) if new.key and not new.error else waiting)


def _turn(state: State, event: Event) -> State:
    """An exchange; its number is the session's to give. Of an answer that two windows kept, the one with verdicts."""
    value: dict[str, Any] = {**event.value, "number": 0}
    new: Exchange = from_json(Exchange, value | ({"purged": True} if event.purged else {}))
    draft = Draft() if new.by_hand or state.draft.key == new.key else state.draft
    state = replace(state, draft=draft, waiting=tuple(entry for entry in state.waiting if entry.key != new.key))
    for entry in state.exchanges:
        if new.key and entry.key == new.key:
            fuller = replace(new, number=entry.number) if new.rows[1:] else entry
            return replace(state, exchanges=_put(state.exchanges, fuller))
    number = len(state.exchanges) + 1
    new = replace(new, number=number)
    return replace(state, exchanges=(*state.exchanges, new), head=number)


def _put(exchanges: tuple[Exchange, ...], new: Exchange) -> tuple[Exchange, ...]:
    return tuple(new if entry.number == new.number else entry for entry in exchanges)


def _move(state: State, event: Event) -> State:
    return replace(state, head=event.value["head"])


def _branch(state: State, event: Event) -> State:
    """The conversation of somebody else, as exchanges of this session."""
    for copied in event.value["path"]:
        number = len(state.exchanges) + 1
        parent = state.head if copied is not event.value["path"][0] else 0
        purged = {"purged": True} if event.purged else {}
        new = from_json(Exchange, {**copied, "number": number, "parent": parent, "origin": 0, **purged})
        state = replace(state, exchanges=(*state.exchanges, new), head=number)
    return state


def _context(state: State, event: Event) -> State:
    """Another layer or system prompt begins a new conversation."""
    new: Context = from_json(Context, event.value)
    fresh = (new.layer, new.system) != (state.context.layer, state.context.system)
    return replace(state, context=new, head=0 if fresh else state.head)


def _mark(state: State, event: Event) -> State:
    attempt = event.value["attempt"]
    stored = attempt.get("sensitivity") != "not_stored"
    new = Marked(attempt["id"], attempt["verdict"], attempt.get("severity"), stored)
    severe = state.severe or new.severity == 4
    return replace(state, marks={**state.marks, event.value["exchange"]: new}, shots=(), notes=(), severe=severe)


def _shot(state: State, event: Event) -> State:
    return replace(state, shots=(*state.shots, from_json(Attachment, event.value)))


def _note(state: State, event: Event) -> State:
    return replace(state, notes=(*state.notes, event.value["text"])) if event.value.get("about") == "pair" else state


def _pause(state: State, _: Event) -> State:
    return replace(state, paused=True, since_break=0.0, severe=False)


CHANGES: Mapping[str, Callable[[State, Event], State]] = {
    "begin": _begin,
    "draft": _draft,
    "turn": _turn,
    "move": _move,
    "branch": _branch,
    "context": _context,
    "mark": _mark,
    "shot": _shot,
    "note": _note,
    "pause": _pause,
    "seen": lambda state, event: replace(state, seen=state.seen | {event.value["attempt"]}),
    "skip": lambda state, event: replace(state, skipped=(*state.skipped, event.value["harm"])),
    "resume": lambda state, _: replace(state, paused=False),
    "end": lambda state, _: replace(state, ended=True),
}
