"""A run as one of many builds: `gate --history`. Gated alone every night, bad builds pass by luck now and then."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from withstand.core import SpecError
from withstand.core.text import count, percent
from withstand.results import gate
from withstand.results.gate import Line
from withstand.results.graded import Graded, by_target, graded, in_clusters
from withstand.results.limits import Limits
from withstand.results.one_answer import one_answer
from withstand.results.reviewed import reviewed
from withstand.stats import evalues
from withstand.stats.winners import clopper_pearson
from withstand.store.store import RunRow, Store

Counts: TypeAlias = Mapping[tuple[str, ...], tuple[float, float, int]]
"""Of each part of a build the behaviors broken, with what is unknown counted as broken and as held, and all."""

_REVISION = re.compile(r",?revision=[^,]*")


def builds_of(store: Store, row: RunRow, prefix: str) -> list[RunRow]:
    """The runs whose names begin with `prefix`, up to this one, oldest first: none may be left out.

    Raises `SpecError` where the run is none of them.
    """
    if not row.name.startswith(prefix):
        raise SpecError(f"{row.name} does not begin with {prefix!r}", hint="--history takes the start of its name")
    return [run for run in store.runs() if run.name.startswith(prefix) and run.created <= row.created]


def with_history(
    past: Sequence[Counts], limits: Limits, lines: Sequence[Line], cells: Sequence[Graded]
) -> Iterator[Line]:
    """The lines of the last build with the verdicts of all builds; other lines as they are.

    past: of the builds before, oldest first, as `counts_of` gives them.   cells: of the last one, as people reviewed
    them. What fails alone fails. Raises `SpecError` for limits that no history has.
    """
    if limits.asr is None or limits.pooled or limits.counted == "all_of_k":
        raise SpecError("--history needs --max-asr, and neither all_of_k nor --pooled", hint="--max-asr 0.1")
    if not 0 < limits.asr < 1:
        raise SpecError("--history measures evidence against a limit above 0 and below 1", hint="--max-asr 0.1")
    now, names = _counts(cells, limits), gate.names_of(cells)
    keys = {
        gate.part_name(part, names): _key(part) for group in by_target(cells) for part in gate.parts_of(group, limits)
    }
    for line in lines:
        key = keys.get(line.cell)
        if key is None or key not in now or line.gate != limits.gate or line.firm or line.verdict == "FAIL":
            yield line
            continue
        lacking = (float(now[key][2]), 0.0, now[key][2])  # a build that lacks it has nothing to show for it
        counts = [*(build.get(key, lacking) for build in past), now[key]]
        yield _nightly(line, counts, limits.asr) if now[key][2] >= evalues.ENOUGH else _drifted(line, counts)


def counts_of(store: Store, run: RunRow, limits: Limits) -> Counts:
    """What a build shows of each part: of a target with one answer to everything, that all may have been broken.

    Raises `SpecError` for a run that stopped by what it found.
    """
    return _counts(reviewed(store, run, graded(store, run)), limits, one_answer(store, run))


def _key(part: Sequence[Graded]) -> tuple[str, ...]:
    """What a part is in every build: the revision of its target alone may differ."""
    first = part[0]
    attacks = sorted(cell.attack for cell in part)
    return first.suite, _REVISION.sub("", first.target), first.defense, first.judge_key, *attacks


def _counts(cells: Sequence[Graded], limits: Limits, alike: Collection[tuple[str, str]] = ()) -> Counts:
    """alike: (target, defense) of those with one answer to everything."""
    counts = {}
    for group in by_target(cells):
        for part in gate.parts_of(group, limits):
            if any(cell.watched for cell in part):
                raise SpecError(
                    f"--history, but {part[0].run} stopped cells by what they showed",
                    hint="leave stop_when_decided out",
                )
            if any(map(in_clusters, part)):
                raise SpecError(
                    f"--history, but behaviors of {part[0].run} share clusters: its evidence is for independent ones",
                    hint="gate each build alone, or run one behavior of each cluster",
                )
            seen, *_ = gate.estimate(part, limits.counted, limits.k)
            if seen is not None:
                n = len(seen.most)
                broken = n if (part[0].target, part[0].defense) in alike else float(seen.most.sum())
                counts[_key(part)] = broken, float(seen.least.sum()), n
    return counts


def _nightly(line: Line, counts: Sequence[tuple[float, float, int]], limit: float) -> Line:
    """PASS by e-LOND: of all builds that pass, 5% on average should not have, at most."""
    row = evalues.builds([(most, n) for most, _, n in counts], limit)
    passed, number, n = sum(build.passes for build in row), len(row), counts[-1][2]
    last = evalues.last_build(n, limit, number + 1, passed)
    ahead = f"build {last:,} is the last that can" if last else "no later build can"
    ahead = "every later build can" if last == evalues.FAR else ahead
    why = (
        f"build {number:,}, {passed:,} passed: evidence {row[-1].evidence:,.3g}, {row[-1].wanted:,.3g} wanted; with "
        f"{count(n, 'behavior')} and no break {ahead} pass"
    )
    return replace(line, verdict="PASS" if row[-1].passes else "UNDECIDED", why=why, more=None)


def _drifted(line: Line, counts: Sequence[tuple[float, float, int]]) -> Line:
    """FAIL where the rate has risen above what the first build leaves open; that it has not is no PASS."""
    (most, _, n), later = counts[0], [(least, m) for _, least, m in counts[1:]]
    reference = min(clopper_pearson(most, n)[1], 0.999) if n else 0.999
    evidence = evalues.drift(later, reference)[-1] if later else 1.0
    alarm = evidence >= 1 / evalues.SHARE
    why = (
        f"fewer than {evalues.ENOUGH} behaviors pass no build; drift above {percent(reference)}, the upper limit of "
        f"the first of {count(len(counts), 'build')}: evidence {evidence:,.3g}, {1 / evalues.SHARE:.0f} is an alarm"
    )
    return replace(line, verdict="FAIL" if alarm else "UNDECIDED", why=why, more=None)
