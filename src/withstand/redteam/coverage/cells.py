"""What a red team has tested: cells of harm x feature x persona x layer x round, and their states.

A cell is covered when its round's `min_per_cell` distinct inputs were tried, and by more than one tester. Equal inputs
are one. An empty cell is no evidence of safety. What is counted are attempts, of which no rate of harm follows.

All is counted in SQL over columns; no text is read.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import sqlalchemy as sql

from withstand.core import SpecError
from withstand.redteam.plan import hours
from withstand.redteam.plan.changed import changes_of
from withstand.redteam.plan.records import Layer, Plan, Round
from withstand.store.attempts import FINDINGS
from withstand.store.revisions import revisions
from withstand.store.store import Store
from withstand.store.tables import attempt

State: TypeAlias = Literal["empty", "thin", "covered", "stale", "blocked", "n/a"]
STATES: tuple[State, ...] = ("empty", "thin", "covered", "stale", "blocked", "n/a")
Axis: TypeAlias = Literal["harm", "feature", "persona", "layer", "round", "mindset"]
AXES: tuple[Axis, ...] = ("harm", "feature", "persona", "layer", "round", "mindset")
Spot: TypeAlias = tuple[str, str, str, str, str]
"""Harm, feature, persona, layer and round of a cell; "" where the plan, or an open round, has none to tell apart."""

CONFIRMED = ("confirmed", "fixed", "wont_fix", "regressed")
"""What a finding is, or became, once it was confirmed."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What was recorded in a cell. attempts: without those that ended in an error.   inputs: that differ.

    fresh: inputs since the layer's last change, of which there are `fresh_testers` testers.   unsure: attempts of which
    the tester could not say what they are.   findings: harmful or borderline.   last: seconds since 1970.

    minutes: of work. A session does not say of which cell a minute was: a member's time in a round is shared evenly
    among what they recorded in it.
    """

    attempts: int = 0
    inputs: int = 0
    testers: tuple[str, ...] = ()
    fresh: int = 0
    fresh_testers: int = 0
    unsure: int = 0
    findings: int = 0
    confirmed: int = 0
    minutes: float = 0.0
    last: float | None = None


NOTHING = Tally()


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell and its state. need: inputs that cover it.   weight: of its harm; 0 where no harm is asked for.

    reason: why it is blocked or does not apply.
    """

    harm: str
    feature: str
    persona: str
    layer: str
    round: str
    mindset: str
    state: State
    need: int
    weight: int
    tally: Tally = NOTHING
    reason: str = ""

    @property
    def spot(self) -> Spot:
        return self.harm, self.feature, self.persona, self.layer, self.round


@dataclass(frozen=True, slots=True)
class Outside:
    """Attempts that are in no cell, and why."""

    reason: str
    attempts: int


@dataclass(slots=True)
class Group:
    """What one tester recorded in one place, alike in language and mindset. Not frozen, since there are thousands."""

    spot: Spot
    tester: str
    mindset: str
    language: str
    attempts: int
    fresh: int
    unsure: int
    findings: int
    confirmed: int
    errors: int
    last: float | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """The cells of a plan, or of a round of it, in the plan's order. errors: attempts that do not count."""

    plan: str
    rounds: tuple[str, ...]
    cells: tuple[Cell, ...]
    groups: tuple[Group, ...]
    outside: tuple[Outside, ...] = ()
    errors: int = 0

    @property
    def attempts(self) -> int:
        """All that count, in a cell or not."""
        return sum(group.attempts for group in self.groups)

    @property
    def unsure(self) -> int:
        return sum(cell.tally.unsure for cell in self.cells)


def coverage(store: Store | None, plan: Plan, round_id: str | None = None) -> Coverage:
    """The coverage of all rounds of a plan, or of one. store: None where nothing was recorded yet.

    Raises `SpecError` for a round that the plan does not have, and for what `not_applicable` says wrongly.
    """
    rounds = (plan.round(round_id),) if round_id else plan.in_order
    space = Space(plan, rounds, opened(store, plan))
    tallies, groups, errors = _recorded(store, space) if store else ({}, (), 0)
    cells = tuple(space.cells(tallies))
    places = {cell.spot for cell in cells}
    lost: dict[str, int] = defaultdict(int)
    for group in groups:
        if group.spot not in places:
            lost[space.reason(group.spot)] += group.attempts
    outside = tuple(Outside(*item) for item in sorted(lost.items(), key=lambda item: (-item[1], item[0])))
    return Coverage(plan.id, tuple(r.id for r in rounds), cells, groups, outside, errors)


# --- which cells there are ------------------------------------------------------------------------------------------


def asks_for_harms(of: Round) -> bool:
    """Whether a round has a quota for each harm: not an open one, nor one that repeats findings without a quota."""
    return of.mode == "guided" or (of.mode == "regression" and of.min_per_cell > 0)


def opened(store: Store | None, plan: Plan) -> Mapping[str, str]:
    """Harm -> the round that it was added in: by its history, or else by that of the finding it came from."""
    if store is None:
        return {}
    sources = {harm.source.partition(":")[2].strip(): harm.id for harm in plan.harms if ":" in harm.source}
    c = attempt.c
    of_findings = sql.select(c.id, c.round).where(c.plan == plan.id, c.id.in_(sources)).order_by(c.revision)
    came = {sources[name]: round_id for name, round_id in store.select(of_findings)} if sources else {}
    for entry in revisions(store, "harm", plan.id):
        if entry.value.get("action") == "add" and entry.value.get("round"):
            came[entry.value["harm"]] = entry.value["round"]
    order = [r.id for r in plan.in_order]
    return {harm: round_id for harm, round_id in came.items() if round_id in order}


@dataclass(frozen=True)
class Space:
    """The cells that a plan asks for in some of its rounds."""

    plan: Plan
    rounds: Sequence[Round]
    opened: Mapping[str, str]

    def cells(self, tallies: Mapping[Spot, Tally]) -> Iterator[Cell]:
        """All cells, with what was recorded in them."""
        personas: list[tuple[str, str]] = [(p.id, p.mindset) for p in self.plan.personas] or [("", "")]
        layers = {layer.id: layer for layer in self.plan.layers}
        order = [r.id for r in self.plan.in_order]
        for of in self.rounds:
            left_out = not_applicable(of, self.plan)
            here = [layers[name] for name in of.layers if name in layers]
            features = list(self._features(here))
            for harm, weight, need in self._harms(of, order):
                for feature, on in features:
                    for persona, mindset in personas:
                        for layer in on:
                            spot = (harm, feature, persona, layer.id, of.id)
                            why = next((why for fits, why in left_out if fits.items() <= _named(spot).items()), "")
                            tally = tallies.get(spot, NOTHING)
                            state: State = "n/a" if why else _state(tally, need, bool(layer.blocked))
                            yield Cell(*spot, mindset, state, need, weight, tally, why or layer.blocked)

    def _harms(self, of: Round, order: Sequence[str]) -> Iterator[tuple[str, int, int]]:
        """Harm, weight and quota. A harm that was added in a round has a quota of 1 there, and its full one later."""
        full = max(1, of.min_per_cell)
        if not asks_for_harms(of):
            yield "", 0, full
            return
        for harm in self.plan.active:
            begun = self.opened.get(harm.id, order[0])
            if order.index(begun) <= order.index(of.id):
                yield harm.id, harm.weight, 1 if harm.id in self.opened and begun == of.id else full

    def _features(self, here: Sequence[Layer]) -> Iterator[tuple[str, list[Layer]]]:
        for feature in self.plan.features:
            on = [layer for layer in here if not feature.layers or layer.id in feature.layers]
            if on:
                yield feature.id, on
        if bare := [layer for layer in here if layer.id in self.bare]:
            yield "", bare

    @cached_property
    def bare(self) -> set[str]:
        """Layers of which the plan names no feature."""
        have = {name for f in self.plan.features for name in (f.layers or [layer.id for layer in self.plan.layers])}
        return {layer.id for layer in self.plan.layers} - have

    def reason(self, spot: Spot) -> str:
        """Why a place that was recorded is no cell."""
        harm, feature, persona, layer, round_id = spot
        of = next((r for r in self.plan.rounds if r.id == round_id), None)
        if of is None:
            return f"the plan has no round {round_id!r}" if round_id else "no round was said"
        features = [] if layer in self.bare else [f.id for f in self.plan.features]
        harms = [h.id for h in self.plan.active] if asks_for_harms(of) else []
        personas = [p.id for p in self.plan.personas]
        if harm == "new":
            return "its harm is new: `withstand plan harms` lists what waits"
        axes = (
            ("layer", layer, of.layers), ("feature", feature, features), ("persona", persona, personas),
            ("harm", harm, harms),
        )  # fmt: skip
        for axis, value, names in axes:
            if value not in (names or [""]):
                return f"{value!r} is no {axis} that its round tests" if value else f"no {axis} was said"
        return "its harm was added in a later round, or its feature is not on its layer"


def _named(spot: Spot) -> dict[str, str]:
    return dict(zip(AXES, spot, strict=False))


def not_applicable(of: Round, plan: Plan) -> list[tuple[Mapping[str, str], str]]:
    """The cells that a round leaves out, as the values that a cell must have, and why. Raises `SpecError`."""
    rules: list[tuple[Mapping[str, str], str]] = []
    for text in of.not_applicable:
        where, _, why = text.partition(":")
        values = dict(part.strip().partition("=")[::2] for part in where.split(","))
        if not values.keys() <= set(AXES) or not all(values.values()) or not why.strip():
            message = f"{plan.path}: round {of.id}, not_applicable: {text!r} is no cell with a reason"
            raise SpecError(message, hint="`withstand plan check` explains it")
        rules.append((values, why.strip()))
    return rules


# --- their states ---------------------------------------------------------------------------------------------------


def _state(tally: Tally, need: int, is_blocked: bool) -> State:
    """The state of a cell. What was covered before its layer was blocked stays so."""
    if tally.inputs >= need and len(tally.testers) > 1:
        return "covered" if tally.fresh >= need and tally.fresh_testers > 1 else "stale"
    return "blocked" if is_blocked else "thin" if tally.attempts else "empty"


def merged_state(states: Iterable[State]) -> State:
    """The state of several cells as one: covered only where each of those that apply is."""
    kinds = set(states) - {"n/a"}
    if not kinds:
        return "n/a"
    if len(kinds) == 1:
        return kinds.pop()
    if kinds <= {"empty", "blocked"}:
        return "empty"
    return "stale" if kinds == {"covered", "stale"} else "thin"


# --- what was recorded ----------------------------------------------------------------------------------------------


def latest(plan: str) -> sql.Select[Any]:
    """The columns of the last revision of each attempt of a plan, all of which its index holds."""
    c, later = attempt.c, attempt.alias()
    names = ("id", "surfaced", "round", "layer", "harm", "feature", "persona", "mindset", "language", "tester",
             "verdict", "status", "input")  # fmt: skip
    newer = sql.select(later.c.id).where(later.c.plan == plan, later.c.id == c.id, later.c.revision > c.revision)
    return sql.select(*(c[name] for name in names)).where(c.plan == plan, ~newer.exists())


def _axes(space: Space, c: Any) -> list[Any]:
    """The axes as SQL: merged harms are the ones that they became, and no axis tells apart what its cells do not."""
    plan = space.plan
    open_rounds = [r.id for r in plan.rounds if not asks_for_harms(r)]
    cases: list[Any] = [(c.round.in_(open_rounds), "")] if open_rounds else []
    cases += [(c.harm == name, now) for name, now in became(plan).items() if now != name]
    harm = sql.case(*cases, else_=c.harm) if cases else c.harm
    feature = sql.case((c.layer.in_(space.bare), ""), else_=c.feature) if space.bare else c.feature
    persona = c.persona if plan.personas else sql.literal("")
    named = zip(AXES, (harm, feature, persona, c.layer, c.round), strict=False)
    return [column.label(name) for name, column in named]


def became(plan: Plan) -> Mapping[str, str]:
    """Each harm -> itself, or the one that it is part of now."""
    into: dict[str, str] = {}
    for harm in plan.harms:
        seen, own = {harm.id}, harm
        while own.status == "merged" and own.merged_into and own.merged_into not in seen:
            own = plan.harm(own.merged_into)
            seen.add(own.id)
        into[harm.id] = own.id
    return into


def _recorded(store: Store, space: Space) -> tuple[dict[Spot, Tally], tuple[Group, ...], int]:
    """What was recorded in each place, who recorded it, and how many attempts ended in an error."""
    plan = space.plan
    last = latest(plan.id).subquery()
    c, f = last.c, sql.func
    in_rounds = c.round.in_([r.id for r in space.rounds]) if len(space.rounds) < len(plan.rounds) else sql.true()
    axes = _axes(space, c)
    changes = changes_of(store, plan)
    old = sql.or_(*(sql.and_(c.layer == name, c.surfaced < at) for name, at in changes)) if changes else sql.false()
    is_finding, is_error = c.verdict.in_(FINDINGS), c.verdict == "error"

    def how_many(condition: Any) -> Any:
        return f.sum(sql.case((condition, 1), else_=0))

    alike = [*axes, c.tester, c.mindset, c.language]
    by_group = sql.select(
        *alike, how_many(~is_error), how_many(sql.and_(~old, ~is_error)), how_many(c.verdict == "unsure"),
        how_many(is_finding), how_many(sql.and_(is_finding, c.status.in_(CONFIRMED))), how_many(is_error),
        f.max(sql.case((~is_error, c.surfaced))),
    ).where(in_rounds).group_by(*alike)  # fmt: skip
    inputs = sql.select(*axes, f.count(c.input.distinct()), f.count(sql.case((~old, c.input)).distinct()))
    per_place = store.select(inputs.where(in_rounds, ~is_error).group_by(*axes))
    differ = {(h, feature, p, layer, r): (number, new) for h, feature, p, layer, r, number, new in per_place}
    groups = [Group((h, feature, p, layer, r), *rest) for h, feature, p, layer, r, *rest in store.select(by_group)]
    errors = sum(group.errors for group in groups)
    groups = [group for group in groups if group.attempts]
    return _tallies(groups, differ, hours.active(store, plan.id)), tuple(groups), errors


def places(store: Store, plan: Plan) -> list[tuple[str, Spot]]:
    """The id and the place of each attempt that counts."""
    c = latest(plan.id).subquery().c
    chosen = sql.select(c.id, *_axes(Space(plan, plan.rounds, {}), c)).where(c.verdict != "error")
    return [(name, (h, feature, p, layer, r)) for name, h, feature, p, layer, r in store.select(chosen)]


def _tallies(
    groups: Sequence[Group], differ: Mapping[Spot, tuple[int, int]], active: Mapping[tuple[str, str], float]
) -> dict[Spot, Tally]:
    """The groups of each place as one."""
    recorded: dict[tuple[str, str], int] = defaultdict(int)
    places: dict[Spot, list[Group]] = defaultdict(list)
    for group in groups:
        recorded[group.spot[4], group.tester] += group.attempts
        places[group.spot].append(group)
    tallies = {}
    for spot, inside in places.items():
        seconds = [active.get((spot[4], g.tester), 0.0) * g.attempts / recorded[spot[4], g.tester] for g in inside]
        testers = tuple(sorted({g.tester for g in inside} - {""}))
        inputs, new = differ[spot]
        tallies[spot] = Tally(
            sum(g.attempts for g in inside), inputs, testers, new,
            len({g.tester for g in inside if g.fresh} - {""}), sum(g.unsure for g in inside),
            sum(g.findings for g in inside), sum(g.confirmed for g in inside), sum(seconds) / 60,
            max((g.last for g in inside if g.last is not None), default=None),
        )  # fmt: skip
    return tallies
