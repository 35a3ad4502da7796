"""A person's session of manual probing, for the web and the terminal alike: nothing here prints or asks a person.

Every step is an event that is in the store before its effect shows, so a kill loses nothing. Of two windows of a
session the one whose step comes second is told (`OvertakenError`), and goes on from where the session stands by then.
"""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from withstand.core import Behavior, Chat, Json, Message, SpecError, digest, to_json
from withstand.core.text import count
from withstand.redteam.console import peers, probing
from withstand.redteam.console.marking import Mark, attempt_of, check_mark
from withstand.redteam.console.probing import Answer, Probe
from withstand.redteam.console.rules import CapReachedError, OvertakenError, check_context, convert
from withstand.redteam.console.state import QUIET, Context, Draft, Exchange, State, after, state_of, value_of
from withstand.redteam.plan.opted import with_choices
from withstand.redteam.plan.records import Plan
from withstand.results.exposure import cap_of, exposure, read_settings
from withstand.store import attempts
from withstand.store.attempts import SEVERE, Attachment, Attempt, Turn
from withstand.store.purge import purge_exchanges
from withstand.store.revisions import Event, add_event, events
from withstand.store.store import Store

TURNS = 40
"""Exchanges of a conversation."""
Clock = Callable[[], float]


def salt() -> str:
    """What no other session has."""
    return os.urandom(8).hex()


@dataclass
class Session:
    """A session that is open in a window. plan: None outside a plan.   state: as this window read it last."""

    store: Store
    plan: Plan | None
    state: State
    clock: Clock = time.time
    offline: bool = False

    # --- opening ---

    @classmethod
    def begin(
        cls, store: Store, plan: Plan | None, round_id: str, member: str, context: Context, clock: Clock = time.time
    ) -> "Session":  # fmt: skip
        """A new session. Raises `SpecError` for a round, member or context that the plan lacks."""
        if plan is not None:
            check_context(with_choices(store, plan), round_id, member, context)
            context = replace(context, system=context.system or plan.layer(context.layer).system)
        now = clock()
        name = f"S-{time.strftime('%Y%m%d', time.gmtime(now))}-{digest([member, round_id, now, salt()])[:8]}"
        first = Event(name, 0, "begin", plan.id if plan else "", round_id, member, now, {"context": to_json(context)})
        add_event(store, first)
        return cls(store, plan, after(None, first), clock)

    @classmethod
    def open(cls, store: Store, plan: Plan | None, session: str, clock: Clock = time.time) -> "Session":
        """A session as its last event left it; what a kill left half done is completed. Raises `SpecError`."""
        steps = events(store, session=session)
        state = state_of(steps)
        if state is None or state.plan != (plan.id if plan else ""):
            raise SpecError(f"there is no session {session!r}", hint="begin a new one")
        opened = cls(store, plan, state, clock)
        opened._mend(steps)
        return opened

    def _mend(self, steps: Iterable[Event]) -> None:
        """Keep the answers of asks whose window was killed, and the attempts of marks."""
        for draft in self.state.waiting:
            answer = probing.kept(self.store, self._chat(draft), draft.key)
            if answer is not None:
                self._answered(draft, Answer(answer))
        marks = [value_of(e, "attempt", Attempt) for e in steps if e.kind == "mark" and not e.purged]
        for lost in attempts.missing(self.store, marks):
            attempts.add(self.store, lost)
        self._forget()

    def _forget(self) -> None:
        """Erase the texts of exchanges of which none may be stored, where they are not erased yet."""
        secret = {n for n, mark in self.state.marks.items() if not mark.stored}
        gone = [entry for number in secret for entry in self.state.path(number) if not entry.purged]
        if not gone:
            return
        steps = events(self.store, session=self.state.session)
        beside = {step.number for step in steps if step.kind in ("draft", "shot", "note")}
        rows = {row for entry in gone for row in (entry.key, *entry.rows)}
        purge_exchanges(self.store, self.state.session, beside, rows, self.state.member)
        peers.forget()
        self.refresh()

    def refresh(self) -> State:
        state = state_of(events(self.store, session=self.state.session))
        assert state is not None
        self.state = state
        return state

    def at(self, step: int) -> None:
        """Raise `OvertakenError` if the session went on since a window read it at this step."""
        if self.refresh().step != step:
            raise _overtaken()

    def add(self, kind: str, value: Json, anyway: bool = False) -> State:
        """Keep a step. anyway: also where another window went on meanwhile, as for an answer that has come.

        Raises `OvertakenError`.
        """
        while True:
            state = self.state
            new = Event(
                state.session, state.number + 1, kind, state.plan, state.round, state.member, self.clock(), value
            )
            if add_event(self.store, new):
                self.state = after(state, new)
                return self.state
            if self.refresh().step != state.step and not anyway and kind not in QUIET:
                raise _overtaken()

    # --- writing and sending ---

    def keep_draft(self, text: str, converter: str = "") -> None:
        """Keep a text that is being written. One that waits for its answer stands."""
        if self.state.draft.key and not self.state.draft.error:
            return
        new = replace(self.state.draft, text=text[: probing.LONGEST], converter=converter, key="", error="")
        if new != self.state.draft:
            self.add("draft", to_json(new))

    def send(
        self, text: str, probe: Probe, converter: str = "", behavior: str = "", parent: int | None = None,
        origin: int = 0,
    ) -> Exchange:  # fmt: skip
        """Send a text after the head (or `parent`, 0: a new conversation) and keep its answer.

        converter: a code of the attack `transform` that it goes through first.   behavior: for the judges, by default
        the text.   origin: the exchange that it is another form of.

        Raises `SpecError`, `CapReachedError`, `OvertakenError`.
        """
        self._check_may_send(text, probe)
        parent = self.state.head if parent is None else parent
        if len(self.state.path(parent)) >= TURNS:
            raise SpecError(f"a conversation has at most {TURNS} exchanges", hint="begin a new one")
        before = self.state.exchange(parent)
        if before is not None and before.asked != probe.digest:
            raise SpecError(
                "the target of this conversation is another one than now",
                hint="begin a new conversation, so that one target has all of it",
            )
        converted = convert(converter, text) if converter else ""
        draft = Draft(text, converter, converted, parent, origin, probe=_settings(probe, behavior))
        chat = self._chat(draft)
        probe.check(chat, self.offline)
        draft = replace(draft, key=probing.new_key(self.state.session, probe, chat, self.clock()))
        self.add("draft", to_json(draft))
        wanted = Behavior("probe", behavior or text)
        try:
            answer = probing.ask(self.store, probe, wanted, chat, draft.key)
        except SpecError as error:
            self.add("draft", to_json(replace(draft, error=str(error))), anyway=True)
            raise
        return self._answered(draft, answer)

    def _answered(self, draft: Draft, came: Answer) -> Exchange:
        settings, answer = draft.probe or {}, came.completion
        turn = Turn("user", draft.converted or draft.text, draft.text if draft.converter else "", draft.converter)
        new = Exchange(
            0, draft.parent, turn, answer.text, self.clock(), self.state.context, draft.origin, draft.key,
            settings.get("asked", ""), settings.get("label", ""), answer.finish, answer.reasoning, answer.tokens,
            answer.seconds, came.judged, settings.get("params"), rows=came.rows,
            behavior=settings.get("behavior", ""), mitigations=settings.get("mitigations", ""),
        )  # fmt: skip
        self.add("turn", _without_number(new), anyway=True)
        return next(entry for entry in self.state.exchanges if entry.key == new.key)

    def _chat(self, draft: Draft) -> Chat:
        """All that is sent with a draft: system prompt, earlier exchanges, the text."""
        path = self.state.path(draft.parent)
        system = path[0].context.system if path else self.state.context.system
        chat = [Message("system", system)] if system else []
        for entry in path:
            chat += [Message("user", entry.turn.text), Message("assistant", entry.answer)]
        return (*chat, Message("user", draft.converted or draft.text))

    def _check_may_send(self, text: str, probe: Probe) -> None:
        if self.state.ended:
            raise SpecError("this session has ended", hint="begin a new one")
        if self.state.paused:
            raise SpecError("you are on a break", hint="resume first")
        if not text.strip() or len(text) > probing.LONGEST:
            raise SpecError("write a text to send", hint=f"1 to {probing.LONGEST:,} characters")
        if self.at_cap:
            raise CapReachedError(
                f"you met {count(self.exposure, 'severe item')} today, as many as one day allows",
                hint="go on tomorrow; what you have can still be recorded, and nothing counts against you",
            )

    def retry(self, times: int, probe: Probe) -> list[Exchange]:
        """Send the text of the head again, so many times; each answer is an exchange beside it."""
        head = self._head()
        text = head.turn.original or head.turn.text
        return [
            self.send(text, probe, head.turn.converter, "", head.parent, head.number) for _ in range(min(times, 20))
        ]

    def record_by_hand(self, text: str, answer: str, description: str = "", endpoint: str = "") -> Exchange:
        """Keep what was sent and what came back in a user interface. Raises `SpecError` where one is missing."""
        if not text.strip() or not (answer.strip() or description.strip() or self.state.shots):
            raise SpecError(
                "an input and its output are needed",
                hint="paste both; where the output is no text, describe it or attach a screenshot",
            )
        layer = self.plan.layer(self.state.context.layer) if self.plan and self.state.context.layer else None
        label, now = endpoint or (layer.target if layer else ""), self.clock()
        key = digest(["by hand", self.state.session, now, text, answer])
        new = Exchange(
            0, 0, Turn("user", text), answer, now, self.state.context, key=key, label=label, by_hand=True,
            description=description,
        )  # fmt: skip
        self.add("turn", _without_number(new))
        return self.state.exchanges[-1]

    # --- moving ---

    def new(self) -> None:
        """Begin a new conversation."""
        self.add("move", {"head": 0})

    def undo(self) -> None:
        """Go back before the last exchange of the conversation. It stays in the session."""
        self.add("move", {"head": self._head().parent})

    def branch(self, number: int) -> None:
        """Go on after an exchange of this session, on its layer. Raises `SpecError` where there is none."""
        path = self.state.path(number)
        if not path:
            there = f"it has 1 to {len(self.state.exchanges)}" if self.state.exchanges else "nothing was sent yet"
            raise SpecError(f"this session has no exchange {number}", hint=there)
        self.change(layer=path[-1].context.layer, system=path[0].context.system)
        self.add("move", {"head": number})

    def branch_from(self, source: State, number: int) -> None:
        """Go on after an exchange of somebody else's session: it is copied into this one."""
        path = source.path(number)
        if not path:
            raise SpecError(f"that session has no exchange {number}", hint="choose one that it shows")
        if any(entry.purged for entry in path):
            raise SpecError("the texts of that conversation were erased", hint="choose another one")
        copies = []
        for entry in path:
            mark = source.marks.get(entry.number)
            origin = mark.attempt if mark else entry.branched or f"{source.session}:{entry.number}"
            copies.append(_without_number(replace(entry, branched=origin)))
        self.change(layer=path[-1].context.layer, system=path[0].context.system)
        self.add("branch", {"from": source.session, "path": copies})

    def change(self, **names: str) -> None:
        """Another layer, feature, persona, harm or system prompt; the first and the last begin a new conversation.

        A layer comes with its own system prompt.
        """
        new = replace(self.state.context, **names)
        if self.plan is not None:
            if new.layer != self.state.context.layer and "system" not in names:
                new = replace(new, system=self.plan.layer(new.layer).system)
            check_context(with_choices(self.store, self.plan), self.state.round, self.state.member, new)
        if new != self.state.context:
            self.add("context", to_json(new))

    # --- recording ---

    def mark(self, given: Mark, number: int = 0) -> Attempt:
        """Record an exchange (default: the head) as an attempt; again, as its next revision.

        Raises `SpecError` for what the plan requires and the mark lacks, and for an attempt that others edited.
        """
        entry = self._head() if not number else self.state.exchange(number)
        if entry is None:
            raise SpecError(f"this session has no exchange {number}", hint="choose one that it shows")
        check_mark(self.plan, self.state, entry, given)
        old = self.state.marks.get(entry.number)
        before = attempts.history(self.store, old.attempt) if old else []
        new = attempt_of(self.plan, self.state, entry, given, self.clock(), before[-1] if before else None)
        self.add("mark", {"exchange": entry.number, "attempt": to_json(new)})
        if not attempts.add(self.store, new):
            raise SpecError(f"{new.id} was edited by somebody else meanwhile", hint="look at it and record it again")
        self._forget()
        return new

    def attach(self, file: Attachment) -> None:
        """Attach a file to the next mark."""
        self.add("shot", to_json(file))

    def note(self, text: str, about: Literal["pair", "question", "access"] = "pair") -> None:
        """A note: for the next mark, or a question or an access problem for who runs the round."""
        self.add("note", {"text": text, "about": about})

    def see(self, source: State, numbers: Iterable[int]) -> None:
        """Count the severe findings among exchanges of somebody else that the member is about to read.

        Raises `CapReachedError` at the cap.
        """
        ids = [source.marks[number].attempt for number in numbers if number in source.marks]
        for seen in attempts.attempts(self.store, ids=ids) if ids else ():
            if (seen.rated or 0) < SEVERE or seen.id in self.state.seen or seen.tester == self.state.member:
                continue
            if self.at_cap:
                raise CapReachedError("you met as many severe items today as one day allows", hint="go on tomorrow")
            self.add("seen", {"attempt": seen.id})

    def skip(self, reason: str = "") -> None:
        """Leave the harm at hand to others. Nothing counts against the member."""
        if not self.state.context.harm:
            raise SpecError("no harm is chosen", hint="there is nothing to skip")
        self.add("skip", {"harm": self.state.context.harm, "reason": reason})
        self.change(harm="")

    def pause(self) -> None:
        if not self.state.paused:
            self.add("pause", {})

    def resume(self) -> None:
        if self.state.paused:
            self.add("resume", {})

    def end(self) -> None:
        if not self.state.ended:
            self.add("end", {})

    def _head(self) -> Exchange:
        head = self.state.exchange(self.state.head)
        if head is None:
            raise SpecError("this conversation has no exchange yet", hint="send something first")
        return head

    # --- well-being ---

    @property
    def exposure(self) -> int:
        """Severe items that the member met today (UTC): findings of severity 3 and 4 that they recorded or read, and
        what they read to label."""
        return exposure(self.store, self.state.member, self.clock())

    @property
    def at_cap(self) -> bool:
        return self.exposure >= self.cap

    @property
    def cap(self) -> int:
        """Severe items that one person meets in a day, at most."""
        return cap_of(read_settings(self.store), self.plan.purpose.exposure_cap if self.plan else None)

    @property
    def break_due(self) -> bool:
        """Whether a break is due: after `break_minutes` of work, and at once after a finding of severity 4."""
        if self.plan is None or self.state.paused:
            return False
        now = self.state.since_break + max(0.0, self.clock() - self.state.last)
        return self.state.severe or now >= 60 * self.plan.purpose.break_minutes


def _overtaken() -> OvertakenError:
    return OvertakenError("another window went on with this session", hint="read what it did; then go on from there")


def _without_number(entry: Exchange) -> dict[str, Any]:
    value: dict[str, Any] = to_json(entry)
    del value["number"]
    return value


def _settings(probe: Probe, behavior: str) -> Json:
    sampling = probe.target.sampling
    params = {"temperature": sampling.temperature, "max_tokens": sampling.max_tokens}
    return {
        "asked": probe.digest, "label": probe.label, "params": params, "behavior": behavior,
        "mitigations": probe.mitigations,
    }  # fmt: skip


def open_session(store: Store, plan: Plan | None, session: str) -> Session | None:
    """A session that has not ended; None for none."""
    try:
        opened = Session.open(store, plan, session)
    except SpecError:
        return None
    return None if opened.state.ended else opened
