"""Gates over builds: which runs are builds of one another by their names, and what a gate said of each."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from withstand.core import SpecError
from withstand.explorer.app import PageRequest
from withstand.explorer.index import RunIndex
from withstand.explorer.security import Refused
from withstand.report import gate as words
from withstand.report.words import gate_sentence
from withstand.results.course import Build, course
from withstand.results.decide import Decided, of_spec
from withstand.results.gate import Line
from withstand.results.limits import limits_of
from withstand.store.store import RunRow, Store

MOST = 100
"""Builds of a page; earlier ones count in the verdicts and are not listed."""


ENDS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0)
"""Rates at which an axis may end."""


@dataclass(frozen=True, slots=True)
class Step:
    """A build in the history of one gated cell. line: with the verdict of all builds; alone: its own verdict."""

    run: RunRow
    line: Line
    alone: str

    @property
    def texts(self) -> list[str]:
        """n, rate, interval and limit."""
        return words.numbers(self.line)


def stem(name: str) -> str:
    """What the names of builds have in common: all before a number, a date or a hash at the end, with its sign."""
    match = re.fullmatch(r"(.*?[-_.@/ ])v?(?:[0-9][0-9.:T_Z+-]*|[0-9a-f]{6,40})", name)
    return match[1] if match else ""


def page(asked: PageRequest) -> Response:
    """The gates that have a history, or the history of one."""
    prefix, runs = asked.query.get("builds", ""), asked.explorer.index.runs()
    gated = [run for run in runs if run.plan.get("gate")]
    stems = Counter(filter(None, (stem(run.name) for run in gated)))
    values: dict[str, Any] = {"stems": stems.most_common(), "builds": prefix, "limit": asked.query.get("max_asr", "")}
    if not prefix:
        return asked.page("gates", last=None, **values)
    builds = [run for run in runs[::-1] if run.name.startswith(prefix)]
    if not builds:
        raise Refused(
            404, f"no run of this store begins with {prefix[:100]!r}", "a gate is named by how its runs begin"
        )
    limits = limits_of(builds[-1].plan.get("gate", {}), {"max_asr": _share(values["limit"])})
    steps = list(course(asked.explorer.store, builds, limits))
    last = steps[-1].decided
    table = words.table(last.shown().lines)
    return asked.page(
        "gates", last=last.shown(), run=builds[-1], heads=table.heads(), rows=table.texts(), words=words,
        histories=list(_histories(steps, limits.gate)), number=len(steps), most=MOST, **values,
    )  # fmt: skip


def _share(text: str) -> float | None:
    """A limit that was typed; None for none."""
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise SpecError(f"{text[:40]!r} is no limit", hint="a rate between 0 and 1, such as 0.1")
    return value


def _histories(steps: Sequence[Build], gate: str) -> Iterator[tuple[str, float, list[Step]]]:
    """Of each cell of the last build that the gate is about, what became of it, newest first, and the rate at which the
    axis of its chart ends."""
    cells = [line.cell for line in steps[-1].decided.lines if line.gate == gate]
    for cell in cells:
        listed = []
        for step in steps[: -MOST - 1 : -1]:
            lines = zip(step.decided.shown().lines, step.alone.lines, strict=True)
            listed += [
                Step(step.run, now, alone.verdict) for now, alone in lines if (alone.gate, alone.cell) == (gate, cell)
            ]
        highest = max(value for step in listed for value in (step.line.high, 2 * step.line.limit) if value is not None)
        yield listed[0].line.cell, next((end for end in ENDS if end >= highest), 1.0), listed


@dataclass(frozen=True, slots=True)
class SpecGate:
    """What the limits in a run's spec say of it: in a word, "" where nothing could be decided, and in sentences."""

    run: str
    overall: str
    sentences: Sequence[str]


def gate_of(store: Store, indexed: RunIndex) -> SpecGate | None:
    """The verdict on a run by the limits of its spec; None where it has none. Labels may change it."""

    def decided() -> Decided | None:
        return of_spec(store, indexed.run)

    gate = indexed.once(("gate", indexed.table, len(store.labels(indexed.run.key))), decided)
    if gate is None:
        return None
    return SpecGate(indexed.run.name, gate.overall if gate.lines else "", list(gate_sentence(gate)))


ROUTES = (("/gates", page, ["GET"]),)
