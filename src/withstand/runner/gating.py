"""The table [gate] of a spec: what a run keeps of it, and whether the gate could pass at all."""

from collections.abc import Iterator

from withstand.core import Json
from withstand.core.text import count, percent
from withstand.registry import find, sets
from withstand.runner.attack_sets import attacks_of, plain
from withstand.runner.plan import Plan
from withstand.runner.spec import RunSpec
from withstand.stats import evalues
from withstand.stats.group_sequential import Watch
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
    """For each limit that no result could keep, since there are too few behaviors: how many it takes."""
    if spec.gate is None:
        return
    highest = spec.gate.max_asr if spec.gate.min_held is None else 1 - spec.gate.min_held
    for limit, name, benign in (
        (highest, "min_held" if spec.gate.min_held is not None else "max_asr", False),
        (spec.gate.max_over_refusal, "max_over_refusal", True),
    ):
        if limit is None:
            continue
        sizes = {plan.suites[cell.suite].label: len(plan.suites[cell.suite].behaviors) for cell in plan.cells
                 if cell.benign == benign and not cell.utility}  # fmt: skip
        needed, stop = behaviors_for(limit), None if benign else spec.stop_when_decided
        for suite, n in sizes.items():
            if (upper := _upper(n, stop)) > limit:
                least = "no number of behaviors is enough" if needed is None else f"it takes {needed:,} at least"
                yield (
                    f"the gate cannot pass {name} with {count(n, 'behavior')} of {suite}: 0 of {n} leaves an upper "
                    f"limit of {percent(upper)}; {least}"
                )


def nightly(spec: RunSpec, plan: Plan) -> Iterator[str]:
    """Of each suite that a `max_asr` is about, the last nightly build that can pass with so many behaviors."""
    if spec.gate is None or not spec.gate.max_asr or spec.gate.max_asr >= 1:
        return
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
    if limit <= 0:
        return None
    low, high = 0, 1
    while _upper(high) > limit:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _upper(middle) <= limit else (middle, high)
    return high


def _upper(n: int, stop: float | None = None) -> float:
    """The upper 95% limit of a rate of 0 of n behaviors. stop: the rate at which the run stops by what it finds."""
    if stop is not None:
        nothing = [0.0] * n
        return Watch(stop, n).interval((nothing, nothing))[1]
    return clopper_pearson(0, n)[1] if n else 1.0
