"""What a session asks of its plan: what a member may work on, codes."""

from withstand.core import Behavior, SpecError, TestCase, WithstandError
from withstand.redteam.console.state import Context
from withstand.redteam.plan.records import Plan
from withstand.registry import find
from withstand.store import attempts


class OvertakenError(WithstandError):
    """Another window of the session wrote first. Nothing of this step was kept; the session is read again."""


class CapReachedError(WithstandError):
    """This member met as many severe items today as one day allows."""


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
        raise SpecError(
            f"{member} has opted out of {context.harm}",
            hint="choose another one, or choose it first, on the page Labelers",
        )


def convert(converter: str, text: str) -> str:
    """A text through a code of the attack `transform`, as base64. Raises `SpecError` for one that needs a model."""
    attack = find.build("attack", {"use": "transform", "chain": [part.strip() for part in converter.split("|")]})
    case = next(attack.run(Behavior("probe", text), None))
    if not isinstance(case, TestCase):
        raise SpecError(f"{converter} asks a model", hint="use a code, such as base64, rot13 or leetspeak")
    return case.chat[-1].text
