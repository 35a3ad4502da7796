"""What a session asks of its plan: what a member may work on, how many severe findings a day holds; codes."""

from withstand.core import Behavior, SpecError, TestCase, WithstandError
from withstand.redteam.console.state import Context, value_of
from withstand.redteam.dates import DAY
from withstand.redteam.findings.triage import SEVERE
from withstand.redteam.plan.records import Plan
from withstand.registry import find
from withstand.store import attempts
from withstand.store.attempts import Attempt
from withstand.store.revisions import events
from withstand.store.store import Store

"""Seconds."""


class OvertakenError(WithstandError):
    """Another window of the session wrote first. Nothing of this step was kept; the session is read again."""


class CapReachedError(WithstandError):
    """This member met as many severe findings today as the plan allows."""


def check_context(plan: Plan, round_id: str, member: str, context: Context) -> None:
    """Raise `SpecError` for what the plan does not have, or a layer that the round does not test."""
    this_round, person = plan.round(round_id), plan.member(member)
    plan.check_part(person, this_round)
    layer = plan.layer(context.layer)
    if layer.id not in this_round.layers:
        raise SpecError(
            f"the round {round_id} does not test {layer.id}", hint=f"layers: {', '.join(this_round.layers)}"
        )
    for name, records in (("feature", plan.features), ("persona", plan.personas)):
        wanted, ids = getattr(context, name), [record.id for record in records]
        if wanted and wanted not in ids:
            raise SpecError(f"the plan has no {name} {wanted!r}", hint=f"it has: {', '.join(ids) or 'none'}")
    if context.harm and not context.harm.startswith(attempts.NEW_HARM) and person.opts_out(plan.harm(context.harm)):
        raise SpecError(f"{member} has opted out of {context.harm}", hint="choose another harm")


def exposure(store: Store, plan: str, member: str, now: float) -> int:
    """Severe findings that a member recorded or read on the day (UTC) of `now`, each once."""
    since = now - now % DAY
    marked = events(store, plan, kind="mark", member=member, since=since)
    recorded: list[Attempt] = [value_of(mark, "attempt", Attempt) for mark in marked]
    ids = {attempt.id for attempt in recorded if (attempt.severity or 0) >= SEVERE}
    ids |= {value_of(seen, "attempt") for seen in events(store, plan, kind="seen", member=member, since=since)}
    return len(ids)


def convert(converter: str, text: str) -> str:
    """A text through a code of the attack `transform`, as base64. Raises `SpecError` for one that needs a model."""
    attack = find.build("attack", {"use": "transform", "chain": [part.strip() for part in converter.split("|")]})
    case = next(attack.run(Behavior("probe", text), None))
    if not isinstance(case, TestCase):
        raise SpecError(f"{converter} asks a model", hint="use a code, such as base64, rot13 or leetspeak")
    return case.chat[-1].text
