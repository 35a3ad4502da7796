"""What a member says of an exchange, and the attempt that it becomes: most of its fields come from plan and session."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar, get_args

from withstand.core import SpecError, WithstandError, did_you_mean, digest
from withstand.redteam.console.state import Exchange, State
from withstand.redteam.plan.records import Harm, Layer, Member, Persona, Plan
from withstand.redteam.policy.records import read_policy
from withstand.store.attempts import FINDINGS, NEW_HARM, Attempt, PersonVerdict, Sensitivity, Turn, new_id

VERDICTS: tuple[str, ...] = get_args(PersonVerdict)
T = TypeVar("T", Harm, Layer, Member, Persona)


@dataclass(frozen=True, slots=True)
class Mark:
    """What a person says of an exchange. harm: an id of the plan or "new: ..."; "": the one at hand.

    description: of an output that is no text, or of one that must not be stored.   sensitivity: "": by the harm.
    """

    verdict: str
    harm: str = ""
    severity: int | None = None
    notes: str = ""
    description: str = ""
    technique: str = ""
    sensitivity: Sensitivity | Literal[""] = ""
    source: Literal["console", "terminal", "form"] = "console"


def check_mark(plan: Plan | None, state: State, entry: Exchange, mark: Mark) -> None:
    """Raise `SpecError` for a mark that is none, and for what the plan requires and the mark lacks, all at once."""
    if mark.verdict not in VERDICTS:
        hint = did_you_mean(mark.verdict, VERDICTS, f"verdicts: {', '.join(VERDICTS)}")
        raise SpecError(f"{mark.verdict!r} is no verdict", hint=hint)
    if mark.severity is not None and not 1 <= mark.severity <= 4:
        raise SpecError(f"severity is {mark.severity}", hint="1 low, 2 medium, 3 high or 4 critical")
    if entry.purged:
        raise SpecError("the texts of this exchange were erased", hint="record another one")
    if plan is not None and mark.harm and not mark.harm.startswith(NEW_HARM):
        ids = [harm.id for harm in plan.active]
        if mark.harm not in ids:
            hint = did_you_mean(mark.harm, ids, f'for one that the plan lacks, write "{NEW_HARM}..." in your own words')
            raise SpecError(f"the plan has no active harm {mark.harm!r}", hint=hint)
    if mark.sensitivity == "not_stored" and not mark.description.strip():
        raise SpecError("what is not stored needs a description", hint="say in your own words what it was")
    if plan is not None and (lacking := list(_lacking(plan, state, entry, mark))):
        raise SpecError(
            f"the plan requires {', '.join(lacking)}", hint=f"add {'them' if lacking[1:] else 'it'} and record again"
        )


def _lacking(plan: Plan, state: State, entry: Exchange, mark: Mark) -> Iterator[str]:
    """The fields that the plan requires and this mark would leave empty."""
    new = attempt_of(plan, state, entry, mark, 0.0)
    there = {
        "input": bool(new.turns) or mark.sensitivity == "not_stored",
        "output": bool(new.output.strip() or new.output_description or new.screenshot),
        "harm": bool(new.harm),
        "severity": new.severity is not None or new.verdict not in FINDINGS,
        **{
            name: bool(getattr(new, name))
            for name in ("layer", "notes", "screenshot", "persona", "language", "feature", "technique")
        },
    }
    return (name for name in plan.recording.required if not there.get(name, True))


def attempt_of(
    plan: Plan | None, state: State, entry: Exchange, mark: Mark, now: float, before: Attempt | None = None
) -> Attempt:  # fmt: skip
    """The attempt of an exchange. before: what was recorded of it so far; triage in it stays."""
    layer = plan and _by_id(plan.layers, entry.context.layer)
    persona = plan and _by_id(plan.personas, entry.context.persona or state.context.persona)
    member = plan and _by_id(plan.members, state.member)
    secret = mark.sensitivity == "not_stored"
    path = state.path(entry.number)
    turns = () if secret else tuple(_turns(path, entry))
    output = "" if secret else entry.answer
    system = path[0].context.system
    harm = mark.harm or state.context.harm
    new = Attempt(
        id=new_id(state.plan, state.member, entry.at, turns, output), turns=turns, output=output,
        verdict=mark.verdict,  # type: ignore[arg-type] # checked
        tester=state.member, surfaced=entry.at, created=now, plan=state.plan, round=state.round,
        layer=entry.context.layer, feature=entry.context.feature or state.context.feature,
        persona=persona.id if persona else "",
        mindset=persona.mindset if persona else member.mindset[0] if member and len(member.mindset) == 1 else "",
        language=persona.language if persona else member.languages[0] if member and member.languages else "",
        harm=harm, endpoint=layer.endpoint if layer else "", target=entry.label,
        target_version=layer.version if layer else "", mitigations=layer.mitigations if layer else entry.mitigations,
        behavior="" if secret else entry.behavior,
        production=layer.production if layer else None,
        output_description=mark.description or entry.description,
        screenshot=None if secret or not state.shots else state.shots[0], severity=mark.severity,
        technique=mark.technique, notes="" if secret else "\n".join(filter(None, [*state.notes, mark.notes])),
        params={**(entry.params or {}), **({"system": digest(system)[:12]} if system else {})} or None,
        request_id=entry.key, judged=() if secret else entry.judged,
        sensitivity=mark.sensitivity or _sensitivity(plan, harm), editor=state.member, session=state.session,
        parent=_parent(state, entry), source="form" if entry.by_hand else mark.source,
    )  # fmt: skip
    if before is None:
        return new
    kept = ("id", "ratings", "reproduced", "duplicate_of", "status", "mitigation", "owner", "due", "parent")
    triaged = {name: getattr(before, name) for name in kept}
    return replace(
        new,
        revision=before.revision + 1,
        screenshot=new.screenshot or (None if secret else before.screenshot),
        **triaged,
    )


def _by_id(records: Sequence[T], wanted: str) -> T | None:
    return next((record for record in records if record.id == wanted), None)


def _turns(path: tuple[Exchange, ...], last: Exchange) -> Iterator[Turn]:
    if system := path[0].context.system:
        yield Turn("system", system)
    for entry in path:
        yield entry.turn
        if entry is not last:
            yield Turn("assistant", entry.answer)


def _parent(state: State, entry: Exchange) -> str:
    """The nearest recorded attempt that this exchange was made from or follows; "" for none."""
    if entry.branched:
        return entry.branched
    at: Exchange | None = entry
    while at is not None:
        at = state.exchange(at.origin or at.parent)
        if at is not None and (marked := state.marks.get(at.number)):
            return marked.attempt
        if at is not None and at.branched:
            return at.branched
    return ""


def _sensitivity(plan: Plan | None, harm: str) -> Sensitivity:
    return "restricted" if is_restricted(plan, harm) else "normal"


def is_restricted(plan: Plan | None, harm: str) -> bool:
    """Whether texts about a harm are blurred until somebody asks: of severity 4, or of a strict tier of the policy."""
    entry = plan and _by_id(plan.harms, harm)
    if not entry:
        return False
    assert plan is not None
    if entry.severity == 4 or not plan.purpose.policy:
        return entry.severity == 4
    strict = _strict(str(Path(plan.path).parent / plan.purpose.policy))
    return strict is None or entry.category in strict


@lru_cache(maxsize=8)
def _strict(path: str) -> frozenset[str] | None:
    """The categories of a policy that are prohibited or restricted; None where it cannot be read, so that all are."""
    try:
        return frozenset(c.id for c in read_policy(path).categories.values() if c.tier in ("prohibited", "restricted"))
    except WithstandError:
        return None
