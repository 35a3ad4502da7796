"""How many behaviors a paired comparison, or a limit, needs: `withstand sample-size`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from withstand.core import SpecError
from withstand.results.compare import Pair, Side, matched, side, split_by
from withstand.results.graded import DIMENSIONS, clusters_of
from withstand.results.reduced import check_attacks, check_draws, counted_by
from withstand.stats import paired, planning, rates
from withstand.stats.statistic import Statistic
from withstand.store.store import Store

CAREFUL = 0.6
"""Level of the two-sided interval whose upper limit leaves what is true above it in 20% of the pilots."""

CASES = (1, 2, 5, 10)
"""Cases per behavior for which a pilot of several cases per behavior gives plans."""


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """How many behaviors show the difference.

    `label`: the compared pair of the pilot, "" without one. `cases` per behavior and side. `discordance`: the share of
    behaviors on which A and B differ. `asr`: the rate of A. Shares and rates lie in [0, 1]. `careful`: behaviors, if A
    and B differ as much as the pilot leaves open (its upper limit at 80%); None without a pilot.
    """

    label: str
    cases: int
    behaviors: int
    discordance: float
    asr: float
    careful: int | None = None


@dataclass(frozen=True, slots=True)
class LimitPlan:
    """How many behaviors pass a limit at the wanted power.

    `label`: the cell of the pilot, "" without one. `behaviors`: if its ASR is `asr`, in [0, 1]; None: no number.
    `careful`: over all that the pilot leaves open about its ASR; None: no number, or no pilot. `below`: the chance that
    its ASR lies below the limit at all, as far as the pilot tells; None without a pilot.
    """

    label: str
    behaviors: int | None
    asr: float
    careful: int | None = None
    below: float | None = None


def plan_for_limit(asr: float, limit: float, power: float, cells: int, effect: float = 1.0) -> LimitPlan:
    """The plan for one case per behavior, all of `cells` cells of the rate `asr` to pass `limit`.

    effect: the design effect of behaviors in clusters, 1 or more.
    """
    needed = planning.behaviors_to_pass(asr, limit, power, cells)
    if needed is None:
        raise SpecError(
            f"no number of behaviors passes a limit of {limit:g} with an ASR of {asr:g}", hint="--asr below --max-asr"
        )
    return LimitPlan("", math.ceil(needed * effect - 1e-9), asr)


def limit_plans_from_pilot(
    store: Store, pilot: str, limit: float, power: float, cells: int, statistic: Statistic = "any_attack",
    k: int | None = None,
) -> list[LimitPlan]:  # fmt: skip
    """Plans for what the statistic is taken over, by default all attacks on a target of a run, as a gate has it; for
    the mean each harmful cell, with as many cases per behavior as it had."""
    plans = []
    for cell in counted_by(side(store, pilot), statistic, k).cells:
        hits, scored, *_ = cell.columns()
        seen = rates.effective_cases(hits, scored, clusters_of([cell], cell.behaviors))
        if cell.benign or seen is None:
            continue
        rate, cases = seen
        behaviors = sum(1 for n in scored if n)
        name = ", ".join(value for name in DIMENSIONS[1:] if (value := cell.value(name)) != "none")
        if not cases:  # one cluster shows nothing of others
            plans.append(LimitPlan(name, None, rate))
            continue
        exact = planning.behaviors_to_pass(rate, limit, power, cells)
        needed = exact and math.ceil(exact * behaviors / cases - 1e-9)
        after = planning.behaviors_to_pass_after(rate * cases, cases, behaviors, limit, power, cells)
        below = planning.Posterior.of(rate * cases, cases).below(limit)
        plans.append(LimitPlan(name, needed, rate, after, below))
    if not plans:
        raise SpecError(f"{pilot} has no harmful cell with a scored case", hint="take another pilot, or give --asr")
    return plans


def plan_for_rate(
    asr: float, difference: float, power: float, level: float, alike: float, effect: float = 1.0
) -> SamplePlan:
    """The plan for one case per behavior where A has the rate `asr`.

    `alike`: the correlation of A and B within a behavior; `effect` as in `plan_for_limit`. Raises `SpecError` where no
    rate lies `difference` away.
    """
    if difference > max(asr, 1 - asr):
        raise SpecError(
            f"no rate is {difference} away from {asr}", hint=f"--difference {max(asr, 1 - asr):.3g} at most"
        )
    shares = [paired.discordance(asr, d, alike) for d in (difference, -difference) if 0 <= asr - d <= 1]
    share = max(shares)  # B may be better or worse: take what needs more behaviors
    needed = paired.behaviors_needed(difference, share, power, level)
    return SamplePlan("", 1, math.ceil(needed * effect - 1e-9), share, asr)


def plans_from_pilot(
    store: Store, pilot: str, against: str, difference: float, power: float, level: float,
    statistic: Statistic = "mean", k: int | None = None,
) -> list[SamplePlan]:  # fmt: skip
    """Plans for each harmful pair of the run `pilot`, or of `pilot` and `against`.

    A pilot of one case per behavior plans for one. Raises `SpecError` where the pilot has no pair to learn from.
    """
    sides = [(side(store, pilot), side(store, against))] if against else _sides_within(store, pilot)
    for pair in sides:
        check_draws(pair, statistic, k)
        if statistic == "any_attack":
            check_attacks(pair)
    sides = [(counted_by(a, statistic, k), counted_by(b, statistic, k)) for a, b in sides]
    pairs = [pair for a, b in sides for pair in matched(a.cells, b.cells)[0] if not pair.a.benign]
    plans = [plan for pair in pairs for plan in _plans_of(pair, difference, power, level)]
    if not plans:
        raise SpecError(
            f"{pilot} has no two behaviors that are scored on both sides", hint="take a larger pilot, or give --asr"
        )
    return plans


def _sides_within(store: Store, pilot: str) -> list[tuple[Side, Side]]:
    """The targets of the pilot, or its defenses where it has one target."""
    cells = [cell for cell in side(store, pilot).cells if not cell.benign]
    for by in ("target", "defense"):
        if len({cell.value(by) for cell in cells}) > 1:
            return split_by(store, pilot, by)
    raise SpecError(
        f"{pilot} has one target and one defense: nothing differs in it",
        hint="--against RUN_B, or --asr without --from",
    )


def _plans_of(pair: Pair, difference: float, power: float, level: float) -> Sequence[SamplePlan]:
    a, n_a, *_ = pair.a.columns(pair.keys)
    b, n_b, *_ = pair.b.columns(pair.keys)
    spread = paired.spread(a, n_a, b, n_b)
    seen = pair.difference()
    rate = rates.mean_rate(a, n_a)
    if spread is None or seen is None or rate is None:
        return []
    if not seen.effective:
        raise SpecError(f"{pair.label}: its behaviors are one cluster", hint="take a pilot of several, or give --asr")
    effect = seen.plain[0] / seen.effective  # of clusters
    changed = seen.worse + seen.better + 2 * paired.ADDED
    share = changed / (seen.behaviors + 2 * paired.ADDED)  # no change in a small pilot does not show that none is there
    if max(*n_a, *n_b) == 1:
        ends = rates.wilson(share * (seen.behaviors + 1), seen.behaviors + 1, CAREFUL) or (0.0, 1.0)
        needed, careful = (
            math.ceil(effect * paired.behaviors_needed(difference, max(of, difference), power, level) - 1e-9)
            for of in (share, ends[1])
        )
        return [SamplePlan(pair.label, 1, needed, share, rate, careful)]
    wider = planning.sd_limit(seen.behaviors)
    least = math.sqrt(2 * paired.ADDED / (seen.behaviors + 2 * paired.ADDED))  # as for one case, see `share`
    single = max(spread.sd(1), least)
    plans = []
    for cases in CASES:
        sd = max(spread.sd(cases), least)
        needed, careful = (
            math.ceil(effect * planning.behaviors_to_show(difference, of * sd, of * single, power, level) - 1e-9)
            for of in (1.0, wider)
        )
        plans.append(SamplePlan(pair.label, cases, needed, share, rate, careful))
    return plans
