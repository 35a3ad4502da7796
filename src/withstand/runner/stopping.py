"""A run in parts, that stops asking about a cell once it is decided: `--stop-when-decided`.

The behaviors come in the run's own random order. After each part an exact group-sequential test says whether a cell's
ASR lies below the limit, or above it (`stats/group_sequential`), and the same of the share of behaviors that any
attack on the target broke: a cell that stopped by itself would leave no behaviors to decide that by. Unscored and
missing cases count against either answer.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import sqlalchemy as sql

from withstand.core import SpecError
from withstand.runner.clusters import name_of
from withstand.runner.plan import Plan, is_joint
from withstand.runner.stages import Running, case_wants, make_completions, make_test_cases, make_verdicts
from withstand.runner.tally import Tally
from withstand.stats.group_sequential import MOST, Paths, Watch, next_look, paths
from withstand.store.store import Want
from withstand.store.tables import COMPLETIONS, VERDICTS, row, want

Count: TypeAlias = tuple[int, int, int]
"""Cases of a behavior that broke it, that have no verdict, and all."""


def check(plan: Plan, shard: tuple[int, int]) -> None:
    """Raise `SpecError` where a run cannot be stopped cell by cell."""
    joint = next((cell.labels["attack"] for cell in plan.cells if is_joint(cell.attack)), "")
    if joint:
        raise SpecError(
            f"{joint} searches for all behaviors together: it cannot stop in between",
            hint="leave stop_when_decided out, or run this attack in a spec of its own",
        )
    if large := next((suite.label for suite in plan.suites if len(suite.behaviors) > MOST), ""):
        raise SpecError(
            f"{large} has too many behaviors for stop_when_decided", hint=f"--limit {MOST}, or leave it out"
        )
    for suite in plan.suites:
        names = Counter(name_of(behavior.cluster) for behavior in suite.behaviors if behavior.cluster.strip())
        if not suite.benign and names and max(names.values()) > 1:
            name, number = names.most_common(1)[0]
            raise SpecError(
                f"{suite.label} has {number} behaviors in the cluster {name!r}: stop_when_decided takes every behavior "
                "for independent of the others",
                hint="leave stop_when_decided out, or give the suite without its clusters",
            )
    if shard[1] > 1:
        raise SpecError("a shard sees a part of each cell and cannot tell when it is decided", hint="drop --shard")


def until_decided(running: Running, limit: float) -> Tally:
    """Run the plan part by part until each harmful cell, and what any attack on its target broke, lies below or above
    `limit`; benign cells keep step."""
    most = max(len(chosen.behaviors) for chosen in running.plan.suites)
    watches = {
        cell.index: Watch(limit, len(running.plan.suites[cell.suite].behaviors))
        for cell in running.plan.cells
        if not cell.benign
    }
    by_target: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for cell in running.plan.cells:
        if not cell.benign:
            by_target[cell.suite, *(cell.labels[kind] for kind in ("target", "defense", "judge"))].append(cell.index)
    groups = [*by_target.values()]
    closed: set[int] = set()
    start = 0
    while start < most and not watches.keys() <= closed:
        end = next_look(start)

        def among(entry: Want, part: range = range(start, end), done: frozenset[int] = frozenset(closed)) -> bool:
            return entry.behavior in part and entry.cell not in done

        running.among = among
        running.store.add_wants(running.run.key, filter(among, case_wants(running.plan)))
        for loop in (make_test_cases, make_completions, make_verdicts):
            loop(running)
            if running.tally.stopped:
                return running.tally
        closed |= set(_decided(watches, groups, counts_of(running)))
        start = end
    return running.tally


def _decided(
    watches: Mapping[int, Watch], groups: Iterable[Sequence[int]], counts: Mapping[int, Mapping[int, Count]]
) -> Iterator[int]:
    """The cells that are decided, of the groups of which any attack is decided."""
    for cells in groups:
        asked = [counts.get(cell, {}) for cell in cells]
        if not watches[cells[0]].answer(any_paths(asked)):
            continue
        yield from (
            cell for cell, rows in zip(cells, asked, strict=True) if watches[cell].answer(paths(*_columns(rows)))
        )


def any_paths(cells: Sequence[Mapping[int, Count]]) -> Paths:
    """Of each behavior that all cells came to, whether any broke it: what is unknown counted as none, and as all."""
    sums = [
        [sum(part) for part in zip(*(rows[place] for rows in cells), strict=True)]
        for place in sorted(set.intersection(*map(set, cells)))
    ]
    return [float(hits > 0) for hits, *_ in sums], [float(hits + unknown > 0 or not n) for hits, unknown, n in sums]


def _columns(rows: Mapping[int, Count]) -> list[list[int]]:
    return [[rows[place][part] for place in sorted(rows)] for part in range(3)]


def counts_of(running: Running) -> Mapping[int, Mapping[int, Count]]:
    """By cell, of each behavior that was asked about so far: cases that broke it, that have no verdict, and all."""
    wanted: Counter[tuple[int, int]] = Counter()
    verdicts: dict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    for stage, cell, place, label, n in running.store.select(
        sql.select(want.c.stage, want.c.cell, want.c.behavior, row.c.label, sql.func.count())
        .select_from(want.outerjoin(row, row.c.key == want.c.key))
        .where(want.c.run == running.run.key)
        .group_by(want.c.stage, want.c.cell, want.c.behavior, row.c.label)
    ):
        at = (cell, place)
        wanted[at] += n if stage == COMPLETIONS else 0
        if stage == VERDICTS and label is not None:
            verdicts[at][label] += n
    counts: dict[int, dict[int, Count]] = defaultdict(dict)
    for (cell, place), n in sorted(wanted.items()):
        outcomes = verdicts[cell, place]
        scored = sum(outcomes.values()) - outcomes["unscored"]
        counts[cell][place] = outcomes["success"], n - scored, n
    return counts
