"""What a defense costs: asks, tokens and seconds an answer, false alarms on benign prompts, guards that failed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import sqlalchemy as sql

from withstand.core import Json
from withstand.core.text import count, series
from withstand.results.cells import Interval, defended
from withstand.results.graded import Graded, clusters_of
from withstand.stats import paired, rates
from withstand.store.store import RunRow, Store, chunks
from withstand.store.tables import COMPLETIONS, row, want


class Answer(NamedTuple):
    """What one answer of a target took; of a defended one, also chats that the defense sent, and its checks. One that
    was not `asked` for here is an attack's own draw, whose cost is in the attack's row."""

    tokens: int
    seconds: float
    cost: float
    asks: int = 1
    checks: Sequence[Json] = ()
    filtered: bool = False
    asked: bool = True


Answers: TypeAlias = Mapping[str, Sequence[Answer]]
"""By the key of their behavior."""


@dataclass(frozen=True, slots=True)
class PerAnswer:
    """Means of an answer, over behaviors: tokens of all models behind it, seconds, US dollars."""

    tokens: float
    seconds: float
    cost: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What an answer takes with the defense, and without it on the same `behaviors`.

    asks: chats that the defense sends to any model for an answer, as a mean.   prompts: "benign", or "static" ones of
    attacks, or "adaptive", which are other prompts on either side.   without: None where nothing was asked without it.
    Seconds are those of models, and of the defense in its own process; how busy the machine was is in them.
    """

    prompts: str
    behaviors: int
    asks: float
    within: PerAnswer
    without: PerAnswer | None


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """Of the benign `prompts` that the target answers without the defense: `blocked` by a guard or a filter, and
    `refused` behind it; of `open` ones nobody knows, as what a failed guard blocked.   rate, interval (95%): of both
    together, in [0, 1], None where nothing is known.   difference, difference_interval (95%): over-refusal with the
    defense less that without it, paired. The intervals count open ones either way."""

    prompts: int
    blocked: int
    refused: int
    open: int
    rate: float | None
    interval: Interval | None
    difference: float | None
    difference_interval: Interval | None


@dataclass(frozen=True, slots=True)
class Guards:
    """Answers behind a defense, harmful and benign: how many it `blocked`, and at how many a guard failed: `opened` let
    the answer pass, `closed` blocked it, so that nothing was measured.   failures: reason -> answers."""

    answers: int
    blocked: int
    opened: int
    closed: int
    failures: Mapping[str, int]

    @property
    def failed(self) -> int:
        return self.opened + self.closed


@dataclass(frozen=True, slots=True)
class Guarded:
    """What a defense before a target costs, on all suites. cost, alarms: None where nothing tells."""

    guards: Guards
    cost: Cost | None
    alarms: FalseAlarms | None


Source: TypeAlias = tuple[RunRow, Sequence[Graded]]
"""A run with its cells, in the plan's order."""


def guarded(store: Store, here: Source, elsewhere: Sequence[Source], target: str, defense: str) -> Guarded:
    """What it costs in a run. elsewhere: runs that may hold the target without the defense."""
    places = [at for at, cell in enumerate(here[1]) if (cell.target, cell.defense) == (target, defense)]
    cells = {at: answers_of(store, here[0], at) for at in places}
    pair = _pair(here, elsewhere, places)
    cost = alarms = None
    if pair is not None:
        at, (run, others), twin = pair
        within, without = cells[at], answers_of(store, run, twin) if twin is not None else None
        kind = "benign" if here[1][at].benign else here[1][at].knows
        cost = _cost(kind, within, without)
        if here[1][at].benign and twin is not None:
            alarms = false_alarms(here[1][at], others[twin], within)
    return Guarded(
        _guards([answer for of_cell in cells.values() for own in of_cell.values() for answer in own]), cost, alarms
    )


def _pair(here: Source, elsewhere: Sequence[Source], places: Sequence[int]) -> tuple[int, Source, int | None] | None:
    """A cell with the defense and one without it, whose answers may be set beside each other: benign prompts before the
    same test cases sent again, before attacks that may have sent others."""
    ranked = sorted(places, key=lambda at: _rank(here[1][at]))
    for at in ranked:
        for source in (here, *elsewhere):
            for place, cell in enumerate(source[1]):
                if _twins(here[1][at], cell):
                    return at, source, place
    return (ranked[0], here, None) if ranked else None


def _rank(cell: Graded) -> tuple[int, bool]:
    kinds = ["over-refusal", "utility"]
    return (kinds.index(cell.measures) if cell.benign else 2 + (cell.knows == "adaptive"), cell.attack != "direct")


def _twins(cell: Graded, bare: Graded) -> bool:
    """Whether the second is the first without its defense."""
    return bare.defense == "none" and bare.shares(cell, "attack", "measures")


def answers_of(store: Store, run: RunRow, index: int) -> Answers:
    """The answers of a cell."""
    planned = run.plan["cells"][index]
    keys = run.plan["suites"][planned["suite"]]["behaviors"]
    behind = planned["defense"] != "none"
    w, r = want.c, row.c
    entries = store.select(
        sql.select(w.behavior, w.key, r.tokens, r.seconds, r.cost, r.label, r.asks)
        .select_from(want.join(row, r.key == w.key))
        .where(w.run == run.key, w.stage == COMPLETIONS, w.cell == index)
    )
    values: dict[str, Json] = {}
    for part in chunks([key for _, key, *_ in entries] if behind else (), 500):
        values |= {key: kept.value for key, kept in store.rows(part).items()}
    answers: dict[str, list[Answer]] = {}
    for place, key, tokens, seconds, cost, finish, asks in entries:
        value = values.get(key, {})
        sent, checks = value.get("asks", 1), value.get("checks", ())
        answer = Answer(tokens, seconds, cost, sent, checks, finish == "filtered", bool(asks))
        answers.setdefault(keys[place], []).append(answer)
    return answers


def _cost(kind: str, within: Answers, without: Answers | None) -> Cost | None:
    within, without = _asked(within), _asked(without) if without is not None else None
    shared = [key for key in within if without is None or key in without]
    if not shared:
        return None
    asks = sum(sum(answer.asks for answer in within[key]) / len(within[key]) for key in shared) / len(shared)
    return Cost(kind, len(shared), asks, _mean(within, shared), _mean(without, shared) if without else None)


def _asked(answers: Answers) -> Answers:
    asked = {key: [answer for answer in of if answer.asked] for key, of in answers.items()}
    return {key: of for key, of in asked.items() if of}


def _mean(answers: Answers, keys: Sequence[str]) -> PerAnswer:
    means = [
        [sum(getattr(answer, name) for answer in answers[key]) / len(answers[key]) for key in keys]
        for name in PerAnswer.__slots__
    ]
    return PerAnswer(*(sum(values) / len(keys) for values in means))


def false_alarms(cell: Graded, bare: Graded, answers: Answers) -> FalseAlarms | None:
    """Of a benign cell behind a defense and the same cell without it; None where no prompt is in both. A prompt of
    several samples is answered where no sample was refused, and an alarm where any was."""
    keys = [key for key in cell.behaviors if key in bare.behaviors and cell.behaviors[key].cases]
    answered = [key for key in keys if (of := bare.behaviors[key]).scored == of.cases and not of.count(*bare.hits)]
    alarms = [key for key in answered if cell.behaviors[key].count(*cell.hits)]
    held = {key for key in alarms if any(answer.filtered for answer in answers.get(key, ()))}
    open_ = [key for key in answered if key not in alarms and cell.behaviors[key].unknown]
    decided, clusters = len(answered) - len(open_), clusters_of([cell], answered)
    least, most = (
        rates.rate_interval([int(key in counted) for key in answered], [1] * len(answered), clusters=clusters)
        for counted in (alarms, alarms + open_)
    )
    scored, low, high = (
        _difference(cell, bare, keys, *unknown) for unknown in ((None, None), (True, False), (False, True))
    )
    return FalseAlarms(
        prompts=len(answered),
        blocked=len(held),
        refused=len(alarms) - len(held),
        open=len(open_),
        rate=len(alarms) / decided if decided else None,
        interval=(least.low, most.high) if decided and least and most else None,
        difference=scored.difference if scored else None,
        difference_interval=(low.limits()[0], high.limits()[1]) if scored and low and high else None,
    )


def _difference(
    cell: Graded, bare: Graded, keys: Sequence[str], of_bare: bool | None, of_cell: bool | None
) -> paired.Difference | None:
    """Over-refusal with the defense less that without it. of_bare, of_cell: what is unknown counts as."""
    columns: list[list[int]] = [[], [], [], []]
    for key in keys:
        a, b = bare.behaviors[key].hit(bare.hits, of_bare), cell.behaviors[key].hit(cell.hits, of_cell)
        for column, value in zip(columns, (sum(a.values()), len(a), sum(b.values()), len(b)), strict=True):
            column.append(value)
    return paired.difference(columns[0], columns[1], columns[2], columns[3], clusters=clusters_of([bare, cell], keys))


def _guards(answers: Sequence[Answer]) -> Guards:
    failures: Counter[str] = Counter()
    blocked = opened = closed = 0
    for answer in answers:
        failed = [check for check in answer.checks if check.get("failed")]
        blocked += answer.filtered or any(check.get("blocked") for check in answer.checks)
        closed += any(check.get("blocked") for check in failed)
        opened += bool(failed) and not any(check.get("blocked") for check in failed)
        failures.update({f"{check['by']} ({check['stage']} the model)" for check in failed})
    return Guards(len(answers), blocked, opened, closed, dict(failures.most_common()))


def guard_warnings(results: Mapping[tuple[str, str], Guarded]) -> Iterator[str]:
    """What a reader must know of guards that failed, and of those that let nothing through. results: by (target,
    defense)."""
    for (target, defense), result in results.items():
        name, guards = defended(target, defense), result.guards
        if guards.failed:
            parts = [f"{guards.closed:,} blocked and unscored"] if guards.closed else []
            parts += [f"{guards.opened:,} let through"] if guards.opened else []
            who = series([*guards.failures])
            where = f"at {guards.failed:,} of {count(guards.answers, 'answer')} ({who})"
            yield f"a guard of {name} failed {where}: {series(parts)}"
        if guards.answers and guards.blocked == guards.answers:
            yield (
                f"{name} blocked all {count(guards.answers, 'answer')}: no answer of the target came through, so that "
                "its rates say nothing of it. Read its false alarms on benign prompts"
            )
