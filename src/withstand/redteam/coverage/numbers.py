"""Figures of coverage: by weight, by pairs, what to test next, who did how much.

They are of the work, not of the target: none is a rate of harm.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

from withstand.redteam.coverage.cells import Axis, Cell, Coverage
from withstand.redteam.plan.matching import weight
from withstand.redteam.plan.records import Plan, Round
from withstand.stats.species import gini

PAIRED = ("harm", "feature", "persona", "layer", "language")
"""The axes of which pairs are counted."""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole: weights of cells, or pairs."""

    met: int
    of: int

    @property
    def share(self) -> float | None:
        """In [0, 1]; None of nothing."""
        return self.met / self.of if self.of else None

    def __str__(self) -> str:
        return f"{self.met / self.of:.2f} ({self.met:,} of {self.of:,})" if self.of else "n/a"


def weighted(cells: Iterable[Cell]) -> Share:
    """The weight of covered cells, of all that apply. Stale, thin and blocked ones are not covered."""
    met = of = 0
    for cell in cells:
        if cell.state != "n/a":
            of += cell.weight
            met += cell.weight * (cell.state == "covered")
    return Share(met, of)


def weighted_by(cells: Iterable[Cell], axis: Axis) -> Mapping[str, Share]:
    """`weighted`, for each value of an axis."""
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[getattr(cell, axis)].append(cell)
    return {value: share for value, inside in groups.items() if (share := weighted(inside)).of}


# --- pairs ----------------------------------------------------------------------------------------------------------


def pairwise(of: Coverage, plan: Plan) -> Share:
    """Of all pairs of values of `PAIRED` that a cell has, those that an attempt met, whatever came of it and when."""
    wanted = wanted_pairs(of.cells, plan)
    return Share(len(wanted & _met(of)), len(wanted))


def wanted_pairs(cells: Iterable[Cell], plan: Plan) -> set[tuple[int, str, int, str]]:
    """Pairs as axis, value, axis, value. A cell's language is its persona's."""
    language = {persona.id: persona.language for persona in plan.personas}
    kinds = {(c.harm, c.feature, c.persona, c.layer) for c in cells if c.state != "n/a"}
    return _pairs((*kind, language.get(kind[2], "")) for kind in kinds)


def _met(of: Coverage) -> set[tuple[int, str, int, str]]:
    return _pairs({(*group.spot[:4], group.language) for group in of.groups})


def _pairs(tuples: Iterable[tuple[str, ...]]) -> set[tuple[int, str, int, str]]:
    return {(i, a, j, b) for values in tuples for (i, a), (j, b) in combinations(enumerate(values), 2) if a and b}


# --- what to test next ----------------------------------------------------------------------------------------------


def priority(of: Round | None, plan: Plan) -> Mapping[str, int]:
    """Harm -> how much it matters in a round, by what the round says; the first one matters most. None: by weight."""
    weights = {harm.id: weight(of, harm) if of else harm.weight for harm in plan.active}
    return dict(sorted(weights.items(), key=lambda item: -item[1]))


def current(of: Coverage, plan: Plan) -> str | None:
    """The last round with an attempt, or the first one after it that asks for harms, or the last one that did; None
    where there is none."""
    tried = {group.spot[4] for group in of.groups}
    with_cells = {cell.round for cell in of.cells if cell.weight}
    order = [r.id for r in plan.in_order]
    start = max((at for at, name in enumerate(order) if name in tried), default=0)
    return next((name for name in (*order[start:], *reversed(order[:start])) if name in with_cells), None)


def suggest(of: Coverage, plan: Plan, number: int) -> list[Cell]:
    """The next cells of the current round: those of most weight that is not covered yet, and of equal ones those that
    meet most pairs which nothing has met. Blocked cells cannot be tested."""
    if (name := current(of, plan)) is None:
        return []
    language = {persona.id: persona.language for persona in plan.personas}
    weights = priority(plan.round(name), plan)
    waiting: dict[float, list[Cell]] = defaultdict(list)
    for cell in of.cells:
        if cell.round == name and cell.harm and cell.state in ("empty", "thin", "stale"):
            waiting[weights[cell.harm] * _missing(cell)].append(cell)
    met, chosen = _met(of), list[Cell]()
    for _, equal in sorted(waiting.items(), reverse=True):
        pairs = {cell.spot: _pairs([(*cell.spot[:4], language.get(cell.persona, ""))]) for cell in equal}
        while equal and len(chosen) < number:
            best = max(equal, key=lambda cell: len(pairs[cell.spot] - met))  # of equal ones the first of the plan
            equal.remove(best)
            met |= pairs[best.spot]
            chosen.append(best)
    return chosen


def _missing(cell: Cell) -> float:
    """The share of a cell's quota that it lacks; of one with a single tester at least one input's."""
    return max(1 - cell.tally.fresh / cell.need, 1 / cell.need if cell.tally.fresh_testers < 2 else 0.0)


# --- who did how much -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Balance:
    """Attempts by mindset, language and tester, most first; "" where it was not said.

    gini: how unevenly testers share them, 0 evenly. Members of the plan who recorded nothing count.
    """

    mindset: Mapping[str, int]
    language: Mapping[str, int]
    tester: Mapping[str, int]
    gini: float | None


def balance(of: Coverage, plan: Plan) -> Balance:
    """How the attempts are shared."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("mindset", "language", "tester")}
    for group in of.groups:
        for name, counter in counts.items():
            counter[getattr(group, name)] += group.attempts
    expected = {member.id for name in of.rounds for member in plan.members_of(plan.round(name))}
    testers = [counts["tester"][name] for name in expected | counts["tester"].keys()]
    ordered = {name: dict(counter.most_common()) for name, counter in counts.items()}
    return Balance(ordered["mindset"], ordered["language"], ordered["tester"], gini(testers))
