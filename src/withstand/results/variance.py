"""Where the uncertainty of a cell's rate comes from: behaviors, seeds of its attack, draws."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from withstand.core import Json
from withstand.core.outcomes import HITS
from withstand.core.text import interval, percent
from withstand.results.cells import CellResult
from withstand.results.counts import BehaviorCounts
from withstand.stats.variance import VarianceParts, parts_of_seeds, variance_parts

_SEED = re.compile(r",seed=-?\d+")


def with_variance(
    plan: Json, cells: Sequence[CellResult], behaviors: Sequence[Mapping[int, BehaviorCounts]]
) -> Iterator[CellResult]:
    """The cells with their parts, and a note where most is shown to come from the behaviors.

    Cells whose attacks differ in their seed alone are the seeds of one attack, over the behaviors that all of them
    scored. A search that stopped at its first success has no draws to speak of, and no part unless it has seeds.
    """
    seeds: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for cell in cells:
        judge = plan["cells"][cell.index]["keys"]["judge"]
        seeds[cell.suite, cell.target, cell.defense, judge, _SEED.sub("", cell.attack), cell.measures].append(
            cell.index
        )
    of = {index: group for group in seeds.values() for index in group}
    for cell in cells:
        group = of[cell.index]
        stopped = plan["cells"][cell.index]["until_success"] and not cell.benign
        parts = _of_seeds(cell, [behaviors[index] for index in group]) if len(group) > 1 else None
        if parts is None and not stopped:
            parts = variance_parts(*_columns(cell, behaviors[cell.index]))
        clusters = any(counts.cluster for counts in behaviors[cell.index].values())
        notes = [_note(parts, clusters)] if parts and parts.mostly_behaviors else []
        yield replace(cell, variance=parts, notes=(*cell.notes, *notes))


def _columns(cell: CellResult, behaviors: Mapping[int, BehaviorCounts]) -> tuple[list[int], list[int]]:
    hits = HITS[cell.measures]
    return [sum(b.counts[name] for name in hits) for b in behaviors.values()], [b.scored for b in behaviors.values()]


def _of_seeds(cell: CellResult, seeds: Sequence[Mapping[int, BehaviorCounts]]) -> VarianceParts | None:
    places = [place for place in seeds[0] if all(place in seed and seed[place].scored for seed in seeds)]
    if not places:
        return None
    columns = [_columns(cell, {place: seed[place] for place in places}) for seed in seeds]
    return parts_of_seeds(np.array([np.array(hits) / np.array(scored) for hits, scored in columns]).T)


def _note(parts: VarianceParts, clusters: bool) -> str:
    """What more behaviors would do. clusters: some behaviors belong together."""
    more = "more behaviors, in other clusters," if clusters else "more behaviors"
    rest = f"{percent(parts.draws)} from draws of one"
    if parts.seeds is None:
        where, rest = "its rate", f"{rest} (one seed)"
    else:
        where, rest = f"the mean of {parts.number} seeds", f"{percent(parts.seeds)} from seeds and {rest}"
    of = f"{percent(parts.behaviors)} comes from behaviors"
    ends = f"behaviors against draws: {interval(parts.interval)}"
    return f"of the variance of {where} {of}, {rest}; {ends}: {more} would narrow this more than more samples"
