"""Success against budget: how many behaviors were broken by the time an attack had spent so much."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Literal

from withstand import stats
from withstand.core import Json
from withstand.report.cases import cases
from withstand.report.summary import SCORED
from withstand.store import RunRow, Store

By = Literal["asks", "tokens", "seconds"]


def within(store: Store, run: RunRow, by: By) -> Iterator[Json]:
    """One point per cell and amount at which a further behavior was broken, in the plan's order and rising.

    `spent`: asks to the target, tokens of all roles, or seconds, that the attack had used on a behavior when it found a
    test case that succeeded; sending the case itself is not counted, so that direct requests stand at 0. `broken` of
    `behaviors`: those with such a case by then, among those with a scored case; `rate` with its 95 % Wilson interval.
    A cell where nothing was broken has one point, at 0. Benign cells have none.
    """
    first: dict[int, dict[str, float]] = defaultdict(dict)
    scored: dict[int, set[str]] = defaultdict(set)
    for case in cases(store, run):
        cell, behavior = case["cell"], case["behavior"]
        if case["outcome"] in SCORED:
            scored[cell].add(behavior)
        if case["outcome"] == "success":
            first[cell][behavior] = min(case["spent"][by], first[cell].get(behavior, float("inf")))
    for index, cell in enumerate(run.plan["cells"]):
        if cell["benign"] or not scored[index]:
            continue
        labels = {name: cell[name] for name in ("target", "defense", "attack")}
        spent, n = sorted(first[index].values()), len(scored[index])
        for amount in sorted({0.0, *spent}):
            broken = sum(each <= amount for each in spent)
            low, high = stats.wilson(broken, n) or (0.0, 1.0)
            point = {"spent": amount, "broken": broken, "behaviors": n, "rate": broken / n, "low": low, "high": high}
            yield {"cell": index, **labels, "by": by, **point}
