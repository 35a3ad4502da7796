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

from withstand.core import Json, StoreError, from_json
from withstand.core.outcomes import OUTCOMES
from withstand.core.shape import misfit
from withstand.redteam.plan.hours import IDLE
from withstand.store.attempts import Attachment, Attempt, Turn
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
        state = State(event.session, event.plan, event.round, event.member, last=event.created)
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


def _read(kind: Any, value: Json, event: Event) -> Any:
    """A record of an event's value. Raises `StoreError` where somebody wrote one that is none."""
    if wrong := misfit(kind, value):
        raise _damaged(event, wrong)
    return from_json(kind, value)


def _damaged(event: Event, wrong: str) -> StoreError:
    return StoreError(
        f"step {event.number} of the session {event.session} is damaged: {wrong}",
        hint="restore the store from a backup",
    )


def value_of(event: Event, name: str, kind: Any = str) -> Any:
    """A value that every event of its kind has. Raises `StoreError` for one that lacks it."""
    value = event.value.get(name) if isinstance(event.value, dict) else None
    return _read(kind, value, event)


def _exchange(state: State, event: Event, value: Json, parent: int | None = None) -> Exchange:
    """An exchange as the last one of the session. parent: of a copy, whose own numbers are of another session."""
    if not isinstance(value, dict):
        raise _damaged(event, "it holds no exchange")
    purged = {"purged": True} if event.purged else {}
    place = {} if parent is None else {"parent": parent, "origin": 0}
    new: Exchange = _read(Exchange, {**value, **purged, **place, "number": len(state.exchanges) + 1}, event)
    if not (0 <= new.parent < new.number and 0 <= new.origin < new.number):
        raise _damaged(event, "it follows what comes later")
    if not all(isinstance(v, dict) and v.get("outcome") in OUTCOMES and v.get("judge") for v in new.judged):
        raise _damaged(event, "it holds no verdicts")
    return new


def _begin(state: State, event: Event) -> State:
    return replace(state, context=value_of(event, "context", Context), ended=False, paused=False)


def _draft(state: State, event: Event) -> State:
    new: Draft = _read(Draft, event.value, event)
    waiting = tuple(draft for draft in state.waiting if draft.key != new.key)
    return replace(state, draft=new, waiting=(*waiting, new) if new.key and not new.error else waiting)


def _turn(state: State, event: Event) -> State:
    """An exchange; its number is the session's to give. Of an answer that two windows kept, the one with verdicts."""
    new = _exchange(state, event, event.value)
    draft = Draft() if new.by_hand or state.draft.key == new.key else state.draft
    state = replace(state, draft=draft, waiting=tuple(entry for entry in state.waiting if entry.key != new.key))
    for entry in state.exchanges:
        if new.key and entry.key == new.key:
            fuller = replace(new, number=entry.number) if new.rows[1:] else entry
            return replace(state, exchanges=_put(state.exchanges, fuller))
    return replace(state, exchanges=(*state.exchanges, new), head=new.number)


def _put(exchanges: tuple[Exchange, ...], new: Exchange) -> tuple[Exchange, ...]:
    return tuple(new if entry.number == new.number else entry for entry in exchanges)


def _move(state: State, event: Event) -> State:
    return replace(state, head=value_of(event, "head", int))


def _branch(state: State, event: Event) -> State:
    """The conversation of somebody else, as exchanges of this session."""
    parent = 0
    for copied in value_of(event, "path", tuple[Json, ...]):
        new = _exchange(state, event, copied, parent)
        state, parent = replace(state, exchanges=(*state.exchanges, new), head=new.number), new.number
    return state


def _context(state: State, event: Event) -> State:
    """Another layer or system prompt begins a new conversation."""
    new: Context = _read(Context, event.value, event)
    fresh = (new.layer, new.system) != (state.context.layer, state.context.system)
    return replace(state, context=new, head=0 if fresh else state.head)


def _mark(state: State, event: Event) -> State:
    attempt: Attempt = value_of(event, "attempt", Attempt)
    new = Marked(attempt.id, attempt.verdict, attempt.severity, attempt.sensitivity != "not_stored")
    severe = state.severe or new.severity == 4
    marks = {**state.marks, value_of(event, "exchange", int): new}
    return replace(state, marks=marks, shots=(), notes=(), severe=severe)


def _shot(state: State, event: Event) -> State:
    return replace(state, shots=(*state.shots, _read(Attachment, event.value, event)))


def _note(state: State, event: Event) -> State:
    own = value_of(event, "about") == "pair"
    return replace(state, notes=(*state.notes, value_of(event, "text"))) if own else state


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
    "seen": lambda state, event: replace(state, seen=state.seen | {value_of(event, "attempt")}),
    "skip": lambda state, event: replace(state, skipped=(*state.skipped, value_of(event, "harm"))),
    "resume": lambda state, _: replace(state, paused=False),
    "end": lambda state, _: replace(state, ended=True),
}
