"""Triage of findings: status, owner, severity by two raters, duplicates. Every edit is the next revision.

Two people who edit one revision both keep what they wrote: the first stands, and the second gets a `ConflictError` with
both. What was sent and answered is evidence and is never edited.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

from withstand.core import Json, SpecError, WithstandError, did_you_mean, digest, to_json
from withstand.core.shape import misfit
from withstand.core.text import count
from withstand.redteam.dates import refused
from withstand.redteam.plan.records import MINDSETS, Plan
from withstand.stats import agreement
from withstand.store.attempts import NEW_HARM, SEVERE, Attempt, Rating, Status, add, attempts, history
from withstand.store.purge import without_texts
from withstand.store.store import Store

EDITABLE = (
    "verdict", "harm", "feature", "persona", "mindset", "language", "severity", "technique", "notes", "status",
    "duplicate_of", "mitigation", "owner", "due", "sensitivity", "output_description", "behavior",
)  # fmt: skip
"""Fields that an edit may change."""
_LIST = f"fields: {', '.join(EDITABLE)}"
STATUSES: tuple[str, ...] = get_args(Status)
CLOSED = ("duplicate", "not_reproduced", "fixed")
"""Statuses of a finding that leaves nothing to do."""
FEW = 10
"""Findings below which a kappa says little."""


class ConflictError(WithstandError):
    """Somebody else edited the revision that an edit was made on. theirs: what stands.   yours: what you wrote."""

    def __init__(self, theirs: Attempt, yours: Attempt) -> None:
        self.theirs, self.yours = theirs, yours
        changed = ", ".join(sorted({name for name, *_ in differences(theirs, yours)})) or "nothing"
        super().__init__(
            f"{theirs.id} was edited by {theirs.editor or 'somebody'} meanwhile: revision {theirs.revision} stands, "
            f"and differs from yours in {changed}",
            hint="nothing of yours was kept in the store: look at both, and edit again what should still change",
        )


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far raters agree on severity, over the findings that two people rated. kappa: quadratic weights; None where
    there are none, or all ratings are one number.   apart: findings whose raters differ."""

    findings: int
    kappa: float | None
    interval: tuple[float, float] | None
    apart: tuple[str, ...]

    @property
    def few(self) -> bool:
        return self.findings < FEW


# --- reading -----------------------------------------------------------------------------------------------------


def last(store: Store, attempt_id: str) -> Attempt:
    """The last revision of an attempt. Raises `SpecError` where there is none."""
    revisions = history(store, attempt_id)
    if not revisions:
        near = did_you_mean(attempt_id, [attempt.id for attempt in attempts(store)], "`withstand plan findings list`")
        raise SpecError(f"the store has no finding {attempt_id!r}", hint=near)
    return revisions[-1]


def people(attempt: Attempt) -> dict[str, int]:
    """The severity by each person who rated it: the tester first, then by time. A later rating of a person counts."""
    rated = {attempt.tester: attempt.severity} if attempt.severity else {}
    by_time = sorted(attempt.ratings, key=lambda rating: rating.at)
    return rated | {rating.rater: rating.severity for rating in by_time}


def is_apart(attempt: Attempt) -> bool:
    """Whether the people who rated it differ. The higher severity counts."""
    return len(set(people(attempt).values())) > 1


def lacks_rater(attempt: Attempt) -> bool:
    """Whether a second person has to rate it: one alone found it severe."""
    return (attempt.rated or 0) >= SEVERE and attempt.raters < 2


def is_confirmed(attempt: Attempt) -> bool:
    """Whether a report may call it confirmed: so is its status, and it was rated, by two people where it is severe."""
    return attempt.status == "confirmed" and attempt.rated is not None and not lacks_rater(attempt)


def agreement_of(listed: Iterable[Attempt]) -> Agreement:
    """Over the first two people who rated each finding."""
    rated = {attempt.id: list(people(attempt).values())[:2] for attempt in listed if attempt.is_finding}
    pairs = {name: (two[0], two[1]) for name, two in rated.items() if len(two) == 2}
    counts = agreement.rated_pairs(list(pairs.values()), 4)
    apart = tuple(name for name, (first, second) in pairs.items() if first != second)
    return Agreement(len(pairs), agreement.weighted_kappa(counts), agreement.weighted_kappa_interval(counts), apart)


def differences(before: Attempt, after: Attempt) -> list[tuple[str, Json, Json]]:
    """The fields that differ, with both values, without what every revision changes."""
    own = ("revision", "created", "editor", "foreign", "purged")
    pairs = ((f.name, getattr(before, f.name), getattr(after, f.name)) for f in fields(Attempt) if f.name not in own)
    return [(name, to_json(old), to_json(new)) for name, old, new in pairs if old != new]


# --- editing -----------------------------------------------------------------------------------------------------


def edit(
    store: Store, attempt_id: str, editor: str, at: float, changes: Mapping[str, Any], base: int | None = None,
    plan: Plan | None = None,
) -> Attempt:  # fmt: skip
    """Write the next revision of an attempt; what stands where nothing changes.

    base: the revision that the editor saw, default the last.   plan: whose ids are checked.   at: seconds since 1970.

    Raises `SpecError` for a value that does not fit, `ConflictError` where another revision followed the base.
    """
    now = last(store, attempt_id)
    seen = now if base is None else _revision(store, now, base)
    check(store, seen, changes, plan)
    return keep(store, now, seen, replace(seen, **changes), editor, at)


def keep(store: Store, now: Attempt, seen: Attempt, wanted: Attempt, editor: str, at: float) -> Attempt:
    """Write what an editor made of the revision `seen`; now: the one that stands. Raises `ConflictError`."""
    if now.purged:
        raise SpecError(f"the texts of {now.id} were erased: it can be read, and not edited")
    if not differences(seen, wanted):
        return now
    new = replace(wanted, revision=seen.revision + 1, created=at, editor=editor, foreign="")
    if seen.revision != now.revision or not add(store, new):
        raise ConflictError(last(store, now.id), new)
    return new


def rate(store: Store, attempt_id: str, rater: str, severity: int, at: float) -> Attempt:
    """Add a person's rating. It stands beside those of others, so that an edit meanwhile is no conflict."""
    check(store, last(store, attempt_id), {"severity": severity}, None)
    if not rater.strip():
        raise SpecError("a rating has a rater", hint="say who rates it")
    while True:
        now = last(store, attempt_id)
        others = tuple(rating for rating in now.ratings if rating.rater != rater)
        try:
            return keep(store, now, now, replace(now, ratings=(*others, Rating(rater, severity, at))), rater, at)
        except ConflictError:
            continue  # another revision came between reading and writing


def _revision(store: Store, now: Attempt, number: int) -> Attempt:
    seen = next((revision for revision in history(store, now.id) if revision.revision == number), None)
    if seen is None:
        raise SpecError(f"{now.id} has no revision {number}", hint=f"its last is {now.revision}")
    return seen


def check(store: Store, seen: Attempt, changes: Mapping[str, Any], plan: Plan | None) -> None:
    """Raise `SpecError` that lists every change that cannot be."""
    wrong = [*problems(changes, plan)]
    wanted = {name: changes.get(name, getattr(seen, name)) for name in ("status", "duplicate_of")}
    wrong += duplicate_problems(store, seen.id, wanted["status"], wanted["duplicate_of"]) if not wrong else []
    if wrong:
        raise SpecError(f"{seen.id}: {'; '.join(wrong)}", hint="nothing was changed")


def problems(changes: Mapping[str, Any], plan: Plan | None) -> Iterable[str]:
    """What is wrong with these values of fields."""
    for name, value in changes.items():
        if name not in EDITABLE:
            yield f"{name} cannot be edited ({did_you_mean(name, EDITABLE, _LIST)})"
        elif wrong := misfit(FIELDS[name], value):
            yield f"{name}: {wrong}"
        elif name == "severity" and value is not None and not 1 <= value <= 4:
            yield f"severity is {value}: it must be 1, 2, 3 or 4"
        elif name == "mindset" and value not in ("", *MINDSETS):
            yield f"mindset is {value!r}: it must be one of {', '.join(MINDSETS)}"
        elif name == "due" and value:
            yield from refused("due", value)
        elif plan is not None and (unknown := _unknown(plan, name, value)):
            yield unknown


def _unknown(plan: Plan, name: str, value: str) -> str:
    ids: dict[str, Sequence[str]] = {
        "harm": [harm.id for harm in plan.harms], "feature": [feature.id for feature in plan.features],
        "persona": [persona.id for persona in plan.personas],
    }  # fmt: skip
    if name not in ids or not value or value in ids[name] or (name == "harm" and value.startswith(NEW_HARM)):
        return ""
    extra = f"; for another one write {NEW_HARM}..." if name == "harm" else ""
    near = did_you_mean(value, ids[name], f"it has: {', '.join(ids[name])}")
    return f"the plan has no {name} {value!r} ({near}{extra})"


def duplicate_problems(store: Store, attempt_id: str, status: str, of: str) -> Iterable[str]:
    """What is wrong with the status of an attempt and with what it is a duplicate of."""
    if (status == "duplicate") != bool(of):
        yield "a duplicate has the status duplicate and says of which finding (duplicate_of)"
    elif of == attempt_id:
        yield "it cannot be a duplicate of itself"
    elif of:
        original = next(iter(attempts(store, ids=[of])), None)
        if original is None:
            yield f"duplicate_of: the store has no finding {of!r}"
        elif original.duplicate_of:
            yield f"duplicate_of: {of} is itself a duplicate, of {original.duplicate_of}: name that one"


def _kinds() -> dict[str, Any]:
    from typing import get_type_hints

    return get_type_hints(Attempt)


FIELDS = _kinds()
"""The type of each field of an attempt."""


def redacted(attempt: Attempt) -> Json:
    """An attempt as JSON, with the length and a digest in the place of each text. A harm in the tester's words stays:
    it names the finding."""
    return without_texts(to_json(attempt), _hidden) | {"harm": attempt.harm}


def _hidden(text: str) -> str:
    return f"[{count(len(text), 'character')}, {digest(text)[:12]}]"
