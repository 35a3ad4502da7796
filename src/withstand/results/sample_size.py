"""How many behaviors a paired comparison needs: `withstand sample-size`."""

from collections.abc import Sequence
from dataclasses import dataclass

from withstand.core import SpecError
from withstand.results.compare import Pair, Side, matched, side, split_by
from withstand.stats import paired, rates
from withstand.store.store import Store

CASES = (1, 2, 5, 10)
"""Cases per behavior for which a pilot of several cases per behavior gives plans."""


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """How many behaviors show the difference.

    `label`: the compared pair of the pilot, "" without one. `cases` per behavior and side. `discordance`: the share of
    behaviors on which A and B differ. `asr`: the rate of A. Shares and rates lie in [0, 1].
    """

    label: str
    cases: int
    behaviors: int
    discordance: float
    asr: float


def plan_for_rate(asr: float, difference: float, power: float, level: float, alike: float) -> SamplePlan:
    """The plan for one case per behavior where A has the rate `asr`.

    `alike`: the correlation of A and B within a behavior. Raises `SpecError` where no rate lies `difference` away.
    """
    if difference > max(asr, 1 - asr):
        raise SpecError(
            f"no rate is {difference} away from {asr}", hint=f"--difference {max(asr, 1 - asr):.3g} at most"
        )
    shares = [paired.discordance(asr, d, alike) for d in (difference, -difference) if 0 <= asr - d <= 1]
    share = max(shares)  # B may be better or worse: take what needs more behaviors
    return SamplePlan("", 1, paired.behaviors_needed(difference, share, power, level), share, asr)


def plans_from_pilot(
    store: Store, pilot: str, against: str, difference: float, power: float, level: float
) -> list[SamplePlan]:
    """Plans for each harmful pair of the run `pilot`, or of `pilot` and `against`.

    A pilot of one case per behavior plans for one. Raises `SpecError` where the pilot has no pair to learn from.
    """
    sides = [(side(store, pilot), side(store, against))] if against else _sides_within(store, pilot)
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
    seen = paired.difference(a, n_a, b, n_b)
    rate = rates.mean_rate(a, n_a)
    if spread is None or seen is None or rate is None:
        return []
    changed = seen.worse + seen.better + 2 * paired.ADDED
    share = changed / (seen.behaviors + 2 * paired.ADDED)  # no change in a small pilot does not show that none is there
    if max(*n_a, *n_b) == 1:
        needed = paired.behaviors_needed(difference, max(share, difference), power, level)
        return [SamplePlan(pair.label, 1, needed, share, rate)]
    return [
        SamplePlan(
            pair.label, cases, paired.behaviors_needed_at(difference, spread.sd(cases), power, level), share, rate
        )
        for cases in CASES
    ]
