"""The table [gate] of a spec: what a run keeps of it, and whether the gate could pass at all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np

from withstand.core import Json
from withstand.core.text import count, percent
from withstand.registry import find, sets
from withstand.runner.adaptive import knowledge, static_alone
from withstand.runner.attack_sets import attacks_of, plain
from withstand.runner.plan import Plan
from withstand.runner.spec import RunSpec
from withstand.stats import evalues
from withstand.stats.clusters import Groups
from withstand.stats.group_sequential import Watch
from withstand.stats.rates import share_interval
from withstand.stats.score import upper_limit
from withstand.stats.sequential import confidence_sequence
from withstand.stats.winners import clopper_pearson


def gate_of(spec: RunSpec, plan: Plan) -> Json:
    """The table with its attacks as labels, as a run's plan keeps it beside what its key is made of; {} without one.

    The labels are made here, where the run's own components are built: a gate reads them and builds nothing.
    """
    if spec.gate is None:
        return {}
    table = {name: value for name, value in spec.gate.model_dump(mode="json").items() if value is not None}
    if spec.gate.attacks is not None:
        table["attacks"] = [find.label("attack", attack) for attack in plain(spec.gate.attacks)]
        if named := [attack["use"] for attack in spec.gate.attacks if sets.is_set(attack)]:
            table |= {"sets": named, "attacks_on": _pinned(spec.model_copy(update={"attack": spec.gate.attacks}), plan)}
    return table


def _pinned(gated: RunSpec, plan: Plan) -> list[Json]:
    """Of each suite and target, its labels and those of the attacks that the gate's sets are there."""
    pinned: list[Json] = []
    for cell in plan.cells:
        suite, target = plan.suites[cell.suite], cell.labels["target"]
        name = f"{suite.label} ({suite.suite.split})" if suite.suite.split else suite.label  # as gates call it
        if not cell.benign and [name, target] not in [entry[:2] for entry in pinned]:
            judge, drawn = gated.judge or suite.suite.judge, cell.target.sampling
            attacks = attacks_of(gated, suite.suite, judge, target, cell.target.model, drawn.temperature)
            pinned.append([name, target, [find.label("attack", attack.spec) for attack in attacks]])
    return pinned


def cannot_pass(spec: RunSpec, plan: Plan) -> Iterator[str]:
    """For each limit that no result could keep, since there are too few behaviors: how many it takes.

    One model of all cells (`pooled`) may pass a cell of few behaviors, so that nothing is said of it.
    """
    if spec.gate is None:
        return
    if not spec.gate.allow_static:
        yield from _static_only(plan)
    held = spec.gate.min_held
    asr = None if spec.gate.pooled else spec.gate.max_asr
    if held is not None:
        yield from _too_few(plan, "min_held", 1 - held, _harmful(spec, plan))
    elif asr is not None:
        yield from _too_few(plan, "max_asr", asr, _harmful(spec, plan))
    if (refused := spec.gate.max_over_refusal) is not None:
        places = {cell.suite for cell in plan.cells if cell.benign and not cell.utility}
        yield from _too_few(plan, "max_over_refusal", refused, dict.fromkeys(places, _at_once))
    if spec.gate.policy is not None:
        yield from _too_few_of_all(spec.gate.policy.max_asr, plan)
    if worse := spec.gate.max_worse:
        for place in dict.fromkeys(cell.suite for cell in plan.cells if not cell.benign):
            n, needed = len(plan.suites[place].behaviors), _fewest(worse, _unchanged, ENOUGH)
            if n < needed:
                yield (
                    f"the gate cannot pass max_worse with {count(n, 'behavior')} of {plan.suites[place].label} unless "
                    f"the target became better: without a change {n} leave an upper limit of "
                    f"{percent(_unchanged(n)).removesuffix('%')} points; it takes {needed:,}"
                )


Upper: TypeAlias = Callable[[int], float]
"""A number of behaviors -> the upper 95% limit of their rate, if none of them counts."""


def _harmful(spec: RunSpec, plan: Plan) -> dict[int, Upper]:
    """How the gate limits the rate of a suite's harmful cells, by the place of the suite."""
    stop = spec.stop_when_decided
    limits: dict[int, Upper] = {}
    for place in dict.fromkeys(cell.suite for cell in plan.cells if not cell.benign):
        attacks = {cell.labels["attack"] for cell in plan.cells if cell.suite == place and not cell.benign}
        limits[place] = _at_once if stop is None else partial(_watched, stop, _by_its_looks(spec, len(attacks)))
    return limits


def _by_its_looks(spec: RunSpec, attacks: int) -> bool:
    """Whether a watched cell can be gated by the limits of its looks, and not by a confidence sequence."""
    statistic, k = (spec.gate.statistic or "any_attack", spec.gate.k) if spec.gate else ("any_attack", None)
    if statistic in ("mean", "all_of_k"):
        return statistic == "mean"
    return spec.samples == 1 and attacks == 1 if statistic == "any_attack" else k == 1 or spec.samples == 1


def _static_only(plan: Plan) -> Iterator[str]:
    """A warning for each defended target that no attack of the plan knows the defense of: it cannot pass."""
    knows: dict[tuple[str, str], set[str]] = {}
    for cell in plan.cells:
        if kind := "" if cell.benign else knowledge(cell.attack, cell.target.defense):
            knows.setdefault((cell.labels["target"], cell.labels["defense"]), set()).add(kind)
    for (target, defense), kinds in knows.items():
        if static_alone((kind, True) for kind in kinds):
            yield (
                f"the gate cannot pass {target} behind {defense}: no attack of the run knows the defense. Add one that "
                "searches against it, or allow_static"
            )


def _too_few(plan: Plan, name: str, limit: float, uppers: Mapping[int, Upper]) -> Iterator[str]:
    for place, upper in uppers.items():
        suite = plan.suites[place]
        n, high = len(suite.behaviors), upper(len(suite.behaviors))
        clusters = [behavior.cluster for behavior in suite.behaviors]
        if upper is _at_once and (groups := Groups.of(clusters)):
            if (high := upper_of(clusters)) > limit:
                yield (
                    f"the gate cannot pass {name} with {count(n, 'behavior')} of {suite.label} in "
                    f"{count(groups.number, 'cluster')}: none of them leaves an upper limit of {percent(high)}; it "
                    "takes more clusters"
                )
        elif high > limit:
            watched = upper is not _at_once
            needed = _fewest(limit, upper, MOST_WATCHED if watched else ENOUGH)
            least = f"it takes {needed:,} at least" if needed else "no number of behaviors is enough"
            least += " in a run that stops when it is decided" if watched else ""
            above = "just above " if percent(high) == percent(limit) else ""
            leaves = f"0 of {n} leaves an upper limit of {above}{percent(high)}"
            if name == "min_held":
                leaves = f"{n} of {n} leave a lower limit of {percent(1 - high)}"
            yield f"the gate cannot pass {name} with {count(n, 'behavior')} of {suite.label}: {leaves}; {least}"


def _too_few_of_all(limits: Mapping[str, float], plan: Plan) -> Iterator[str]:
    """For each limit of a category that even all harmful behaviors of the run could not keep. The policy is not read
    here: a category may have far fewer of them."""
    n = sum(len(plan.suites[place].behaviors) for place in {cell.suite for cell in plan.cells if not cell.benign})
    for name, limit in limits.items():
        if _at_once(n) > limit:
            needed = behaviors_for(limit)
            least = f"it takes {needed:,} of this category" if needed else "no number of behaviors is enough"
            yield (
                f"the gate cannot pass max_asr of {name} with {count(n, 'behavior')} in all: none broken leaves an "
                f"upper limit of {percent(_at_once(n))}; {least}"
            )


def nightly(spec: RunSpec, plan: Plan) -> Iterator[str]:
    """Of each suite that a `max_asr` is about, the last nightly build that can pass with so many behaviors."""
    if spec.gate is None or not spec.gate.max_asr or spec.gate.max_asr >= 1:
        return
    if spec.gate.pooled or spec.stop_when_decided is not None or spec.gate.statistic == "all_of_k":
        return  # --history refuses these
    for place in dict.fromkeys(cell.suite for cell in plan.cells if not cell.benign):
        suite = plan.suites[place]
        n = len(suite.behaviors)
        last = evalues.last_build(n, spec.gate.max_asr, 1, 0) if n >= evalues.ENOUGH else None
        which = (
            "every build can" if last == evalues.FAR else f"build {last:,} is the last that can" if last else "none can"
        )
        of = f"{count(n, 'behavior')} of {suite.label}"
        yield f"as nightly builds (`withstand gate --history`) with {of}: {which} pass"


def behaviors_for(limit: float) -> int | None:
    """The fewest behaviors with which a rate of 0 passes `limit`, in [0, 1]; None where no number does."""
    return _fewest(limit, _at_once, ENOUGH) or None


ENOUGH = 1 << 20
MOST_WATCHED = 1 << 12
"""Behaviors above which nothing is searched, at once and in a run that stops when it is decided."""


def upper_of(clusters: Sequence[str]) -> float:
    """The upper 95% limit of a rate of behaviors in these clusters if none of them counts; 1 for one cluster."""
    n = len(clusters)
    if Groups.of(clusters) is None:
        return _at_once(n)
    return share_interval(np.zeros(n), np.ones(n), clusters=clusters)[1]


def _fewest(limit: float, upper: Upper, most: int) -> int:
    """The fewest behaviors that leave no upper limit above `limit`; 0 where no number up to `most` does."""
    low, high = 0, 1
    while upper(high) > limit:
        low, high = high, 2 * high
        if limit <= 0 or high > most:
            return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if upper(middle) <= limit else (middle, high)
    return high


def _at_once(n: int) -> float:
    return clopper_pearson(0, n)[1] if n else 1.0


def _watched(stop: float, by_looks: bool, n: int) -> float:
    """The same of a run whose cells stop once their rate lies below or above `stop`.

    by_looks: see `_by_its_looks`. Where nothing is broken all attacks stop at the same look.
    """
    if not n:
        return 1.0
    watch, nothing = Watch(stop, n), [0.0] * n
    asked = watch.looks[watch.outcome(nothing).look]
    return watch.interval((nothing, nothing))[1] if by_looks else confidence_sequence(nothing[:asked])[1]


def _unchanged(n: int) -> float:
    """The upper limit of a difference if none of the behaviors changed."""
    return upper_limit(0, 0, n, 0.95) if n else 1.0
