"""What the pages of the console show of a session."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from withstand.explorer.app import PageRequest
from withstand.explorer.read import LONGEST, SNIPPET, Part, part
from withstand.redteam.console import peers
from withstand.redteam.console.marking import is_restricted
from withstand.redteam.console.probing import is_by_hand
from withstand.redteam.console.session import Session
from withstand.redteam.console.state import Exchange, Marked, State
from withstand.redteam.plan import hours
from withstand.redteam.plan.records import Plan

CONVERTERS = (
    "base64", "hex", "binary", "rot13", "caesar", "atbash", "reverse", "leetspeak", "morse", "spaces", "pig_latin",
    "code",
)  # fmt: skip
"""Codes of the attack `transform` that ask no model."""


@dataclass(frozen=True, slots=True)
class ExchangeView:
    """An exchange as a page shows it. place: for the request to show its texts.   shown: whether it does.

    sent, came, original: its texts.   mark: how it was recorded, None: not yet.
    """

    entry: Exchange
    place: str
    shown: bool
    sent: Part
    came: Part
    original: Part | None
    mark: Marked | None


def exchange_view(
    asked: PageRequest, plan: Plan | None, state: State, entry: Exchange, reader: str = "", longest: int = LONGEST
) -> ExchangeView:  # fmt: skip
    """An exchange for a page. One's own texts are shown, but for those of restricted harms; others' once asked for.

    reader: the member who reads somebody else's session, "" for one's own. What they opted out of they do not see.
    """
    place = f"probe/{state.session}.{entry.number}"
    veiled = bool(reader) or is_restricted(plan, entry.context.harm)
    opted_out = (
        plan is not None
        and bool(reader)
        and entry.context.harm in peers.hidden_harms(asked.explorer.store, plan, reader)
    )
    shown = not opted_out and (not veiled or asked.shows(place) or asked.shows(f"probe/{state.session}"))
    turn = entry.turn
    original = part("written as", turn.original, shown, longest) if turn.converter else None
    sent, came = part("user", turn.text, shown, longest), part("assistant", entry.answer, shown, longest)
    return ExchangeView(entry, place, shown, sent, came, original, state.marks.get(entry.number))


def session_view(asked: PageRequest, session: Session) -> dict[str, Any]:
    """What the page of a session shows: the conversation at hand, the other exchanges, the person's day."""
    state, plan = session.state, session.plan
    on_path = {entry.number for entry in state.path()}
    views = [exchange_view(asked, plan, state, entry) for entry in state.path()]
    aside = [
        exchange_view(asked, plan, state, entry, longest=SNIPPET)
        for entry in state.exchanges
        if entry.number not in on_path
    ]
    head = state.exchange(state.head)
    return {
        "state": state, "plan": plan, "views": views, "aside": aside, "head": head,
        "head_view": views[-1] if views else None, "converters": CONVERTERS, "by_hand": _is_by_hand(plan, state),
        **(_of_plan(session, plan) if plan else {}),
    }  # fmt: skip


def _is_by_hand(plan: Plan | None, state: State) -> bool:
    return plan is not None and is_by_hand(plan.layer(state.context.layer))


def _of_plan(session: Session, plan: Plan) -> Mapping[str, Any]:
    state = session.state
    this_round = plan.round(state.round)
    used = hours.active(session.store, plan.id).get((state.round, state.member), 0.0)
    hidden, exposure = peers.hidden_harms(session.store, plan, state.member), session.exposure
    return {
        "round": this_round, "used": used, "exposure": exposure, "cap": session.cap,
        "at_cap": exposure >= session.cap, "break_due": session.break_due,
        "hours": plan.member(state.member).hours_per_round,
        "layers": [plan.layer(name) for name in this_round.layers],
        "sendable": [layer.id for layer in plan.layers if layer.id in this_round.layers and not is_by_hand(layer)],
        "harms": [harm for harm in plan.active if harm.id not in hidden],
        "enough": peers.had_enough(session.store, plan, state.member),
        "tasks": peers.tasks(session.store, plan, state.round, state.member),
    }  # fmt: skip


def beside_view(asked: PageRequest, session: Session, numbers: str) -> list[ExchangeView]:
    """The exchanges that the query names, as "5.6", side by side; none for what it should not be."""
    chosen = [
        session.state.exchange(int(name)) for name in numbers.split(".")[:2] if name.isdecimal() and len(name) < 7
    ]
    return [exchange_view(asked, session.plan, session.state, entry) for entry in chosen if entry]
