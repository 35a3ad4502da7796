"""How far a round is, by member: `plan status` (R1, R2). Counts and hours, and never a share of findings.

A reminder is a text to send by hand; nothing here sends. It asks for no reason and names no opt-out.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal, TypeAlias

from withstand.core import SpecError
from withstand.core.text import count
from withstand.redteam.coverage.cells import Cell, Group, Outside, coverage
from withstand.redteam.coverage.numbers import suggest
from withstand.redteam.plan import hours
from withstand.redteam.plan.assign import assignment
from withstand.redteam.plan.matching import Skipped, Task
from withstand.redteam.plan.past import skipped
from withstand.redteam.plan.records import Plan, Round
from withstand.store.revisions import append, events, records
from withstand.store.store import Store

SILENT = 2 * 86_400.0
"""Seconds without an attempt or a step of a session, in a round that runs, after which a member is silent."""
ANSWER = "answer"
"""Kind of the record that closes a question or an access problem."""
State: TypeAlias = Literal["waits", "running", "over"]


@dataclass(frozen=True, slots=True)
class MemberProgress:
    """What a member did in a round. planned, worked: hours.   tasks: assigned; left: those with no attempt yet, whose
    layer can be reached.

    last: of an attempt or a step, in seconds since 1970.   silent: whether nothing came for so long that one asks.
    """

    member: str
    planned: float
    worked: float
    attempts: int
    tasks: int
    left: tuple[Task, ...]
    last: float | None
    silent: bool


@dataclass(frozen=True, slots=True)
class Question:
    """What a member asked or could not reach. id: of the note.   about: "question" or "access".

    answer: "" while it is open.   purged: the texts were erased.
    """

    id: str
    member: str
    about: str
    text: str
    created: float
    answer: str = ""
    purged: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """A round as it stands. days: that are left of it, today included; None without dates.

    cells: state -> number.   outside: attempts that are in no cell, with the reason.   next: the cells to test next.
    blocked: layer -> why it cannot be reached.   skipped: harms that a member left to others: assign the round again.
    """

    plan: str
    round: str
    mode: str
    state: State
    days: int | None
    members: tuple[MemberProgress, ...]
    questions: tuple[Question, ...]
    cells: Mapping[str, int]
    outside: tuple[Outside, ...]
    next: tuple[Cell, ...]
    blocked: Mapping[str, str]
    skipped: tuple[str, ...] = ()


def progress(store: Store, plan: Plan, now: float, round_id: str | None = None, cells: int = 5) -> Progress:
    """How far a round is. now: seconds since 1970.   round_id: None: the one that runs.   cells: to propose next.

    Raises `SpecError` for a round that the plan has not, and for a plan without rounds.
    """
    today = datetime.fromtimestamp(now, UTC).date()
    of = plan.round(round_id) if round_id else running(plan, today)
    covered = coverage(store, plan, of.id)
    tasks, left_out = assignment(store, plan, of.id), skipped(store, plan)
    members = _members(store, plan, of, covered.groups, tasks, left_out, now)
    states: dict[str, int] = defaultdict(int)
    for cell in covered.cells:
        states[cell.state] += 1
    return Progress(
        plan.id, of.id, of.mode, _state(of, today), _days(of, today), members,
        questions(store, plan, of.id), dict(states), covered.outside, tuple(suggest(covered, plan, cells)),
        {layer.id: layer.blocked for layer in plan.layers if layer.blocked and layer.id in of.layers},
        tuple(sorted({task.harm for task in tasks if (task.member, task.harm) in left_out})),
    )  # fmt: skip


def running(plan: Plan, today: date) -> Round:
    """The round that runs, or the last one that began, or the first."""
    if not plan.rounds:
        raise SpecError("the plan has no round", hint="add a table [[round]]")
    begun = [of for of in plan.in_order if of.starts and date.fromisoformat(of.starts) <= today]
    return begun[-1] if begun else plan.in_order[0]


def _state(of: Round, today: date) -> State:
    if of.starts and today < date.fromisoformat(of.starts):
        return "waits"
    return "over" if of.ends and today > date.fromisoformat(of.ends) else "running"


def _days(of: Round, today: date) -> int | None:
    return max(0, (date.fromisoformat(of.ends) - today).days + 1) if of.ends else None


def _members(
    store: Store, plan: Plan, of: Round, groups: Sequence[Group], tasks: Sequence[Task], left_out: Skipped, now: float
) -> tuple[MemberProgress, ...]:  # fmt: skip
    """Each member of a round. groups: what was recorded in it; what ended in an error is no attempt."""
    attempts: dict[str, int] = defaultdict(int)
    tried: dict[str, set[tuple[str, str]]] = defaultdict(set)
    times: dict[str, list[float]] = defaultdict(list)
    for group in groups:
        harm, *_, layer, _ = group.spot
        attempts[group.tester] += group.attempts
        tried[group.tester] |= {(harm, layer), ("", layer)}
        times[group.tester] += [group.last] if group.last is not None else []
    for name, created in hours.last_steps(store, plan.id, of.id).items():
        times[name].append(created)
    worked = hours.active(store, plan.id)
    blocked = {layer.id for layer in plan.layers if layer.blocked}
    listed = []
    for member in plan.members_of(of):
        own = [task for task in tasks if task.member == member.id]
        open_tasks = [task for task in own if task.layer not in blocked and (member.id, task.harm) not in left_out]
        left = tuple(task for task in open_tasks if (task.harm, task.layer) not in tried[member.id])
        seen = max(times[member.id], default=None)
        listed.append(
            MemberProgress(
                member.id, member.hours_per_round or 0.0, worked.get((of.id, member.id), 0.0) / 3600,
                attempts[member.id], len(own), left, seen, _silent(of, seen, now),
            )
        )  # fmt: skip
    return tuple(listed)


def _silent(of: Round, last: float | None, now: float) -> bool:
    """Whether to ask how a member is: nothing for `SILENT` in a round that runs, or nothing at all in one before."""
    state = _state(of, datetime.fromtimestamp(now, UTC).date())
    if state == "waits" or (state == "over" and last is not None):
        return False
    begun = datetime.fromisoformat(of.starts).replace(tzinfo=UTC).timestamp() if of.starts else 0.0
    return state == "over" or now - max(begun, last or 0.0) > SILENT


# --- questions ----------------------------------------------------------------------------------------------------


def questions(store: Store, plan: Plan, round_id: str) -> tuple[Question, ...]:
    """The questions and access problems of a round, the open ones first, then by age."""
    answers = {record.id: record for record in records(store, ANSWER, plan.id)}
    listed = []
    for event in events(store, plan.id, kind="note"):
        about = event.value.get("about", "pair")
        if event.round != round_id or about == "pair":
            continue
        own = f"{event.session}:{event.number}"
        answer = answers.get(own)
        text = ("(erased)" if answer.purged else answer.value["text"]) if answer else ""
        asked = "" if event.purged else event.value["text"]
        listed.append(Question(own, event.member, about, asked, event.created, text, event.purged))
    return tuple(sorted(listed, key=lambda question: (bool(question.answer), question.created)))


def answer(store: Store, plan: Plan, question_id: str, text: str, now: float) -> None:
    """Close a question or an access problem, by the start of its id. Raises `SpecError` for one that is not there."""
    asked = [question for of in plan.rounds for question in questions(store, plan, of.id)]
    fitting = [question for question in asked if question.id == question_id]  # s:1 is the start of s:10 too
    fitting = fitting or [question for question in asked if question.id.startswith(question_id)]
    if len(fitting) != 1:
        listed = ", ".join(question.id for question in asked if not question.answer) or "none"
        what = "several questions begin" if fitting else "no question begins"
        raise SpecError(f"{what} with {question_id!r}", hint=f"open ones: {listed}")
    [question] = fitting
    append(store, ANSWER, question.id, plan.id, now, {"text": text})


# --- reminders ----------------------------------------------------------------------------------------------------


def reminders(plan: Plan, of: Progress) -> dict[str, str]:
    """Member -> a text to send them: those who are silent, have time and tasks left, or got an answer."""
    texts = {}
    for entry in of.members:
        answered = [question for question in of.questions if question.member == entry.member and question.answer]
        behind = of.state == "running" and bool(entry.left) and entry.worked < entry.planned
        if entry.silent or behind or answered:
            texts[entry.member] = "\n".join(_lines(plan, of, entry, answered))
    return texts


def _lines(plan: Plan, of: Progress, entry: MemberProgress, answered: Sequence[Question]) -> list[str]:
    one_round = plan.round(of.round)
    until = f", until {one_round.ends}" if one_round.ends else ""
    lines = [f"Hello {entry.member}, this is about round {of.round} of {plan.purpose.name}{until}."]
    if entry.left or entry.silent:
        lines.append(
            f"You recorded {count(entry.attempts, 'attempt')} in {entry.worked:.1f} of {entry.planned:g} hours."
        )
    if entry.left:
        harms = sorted({f"{task.harm} on {task.layer}" if task.harm else task.layer for task in entry.left})
        lines.append(f"Not tried yet: {', '.join(harms)}.")
    for question in answered:
        lines += [f"You asked: {question.text or '(erased)'}", f"The answer: {question.answer}"]
    lines += [f"You cannot reach {layer} now: {why}." for layer, why in of.blocked.items()]
    contact = plan.purpose.contact or plan.purpose.owner
    lines.append(
        f"Is something in the way? Ask {contact}." if contact else "Is something in the way? Answer this message."
    )
    lines.append("If you have no time, or want no more of it, say so or skip it: that is fine, and nobody asks why.")
    return lines
