"""Ordinary runs beside a replay: fresh prompts for the same harms, and benign ones, at each layer.

A suite's rate at a layer is a measurement, with its interval: nothing in it was selected because it failed.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from withstand.core import SpecError
from withstand.core.text import series
from withstand.redteam.plan.records import Layer, Plan
from withstand.redteam.replay.asking import BuiltLayer, specs
from withstand.redteam.replay.figures import MeasuredRate
from withstand.registry import find
from withstand.registry.grammar import spec_of
from withstand.results.cells import CellResult
from withstand.runner.begin import planned
from withstand.runner.spec import RunSpec, run_spec
from withstand.store.attempts import Attempt


def judge_of(plan: Plan, findings: Sequence[Attempt]) -> str:
    """The judge of the suite that measures the findings' harms. Raises `SpecError` where there is not just one."""
    measured = {harm.id: harm.measured_by for harm in plan.harms}
    suites = {measured.get(finding.harm, "") for finding in findings}
    judges = {find.build("suite", spec_of(suite)).judge for suite in suites if suite}
    if len(judges) != 1 or "" in suites:
        seen = f"the suites of their harms have {series(sorted(judges))}" if judges else "no suite measures their harms"
        raise SpecError(f"no judge is named, and {seen}", hint="name the judge of all answers: --judge J")
    return str(judges.pop())


def run_specs(
    layers: Sequence[BuiltLayer], plan: Plan, fresh: str, benign: str, judge: str, limit: int | None, again: str
) -> tuple[list[tuple[BuiltLayer, RunSpec]], list[str]]:
    """A run for each layer that can be asked, and why there is none for another. Mistakes are raised before any ask.

    fresh, benign: suites, "" for none.   judge: of fresh prompts, "" for that of their suite.
    """
    wanted, notes = [], []
    for built in layers if fresh or benign else ():
        if built.why:
            notes.append(f"{built.id} was not measured: {built.why}")
        elif built.system:
            notes.append(
                f"{built.id} was not measured: a run does not send the plan's system prompt; put it in the target"
            )
        else:
            spec = _spec(plan.layer(built.id), fresh, benign, judge, limit)
            # rows of another version of the layer must not count as rows of this one
            spec = spec.model_copy(update={"fresh": " ".join(filter(None, (built.version, again)))})
            _check(spec, bool(fresh))
            wanted.append((built, spec))
    return wanted, notes


def _spec(layer: Layer, fresh: str, benign: str, judge: str, limit: int | None) -> RunSpec:
    target, defense = specs(layer)
    given: dict[str, Any] = {
        "suite": fresh or benign, "target": target, "defense": defense, "attack": "direct",
        "benign": benign if fresh and benign else "none",
    }  # fmt: skip
    given |= {"judge": judge} if fresh and judge else {}
    given |= {} if limit is None else {"limit": limit}
    return run_spec(given)


def _check(spec: RunSpec, harmful: bool) -> None:
    suites = planned(spec, None).suites
    if harmful == suites[0].benign:
        must = "must hold prompts that should be refused" if harmful else "must hold prompts that should be answered"
        raise SpecError(f"{suites[0].label} {must}", hint="--fresh takes a suite of harms, --benign one without")


def measured(layer: BuiltLayer, run: str, cells: Sequence[CellResult]) -> Iterator[MeasuredRate]:
    """The rates of a layer's run."""
    for cell in cells:
        if cell.measures in ("harm", "over-refusal"):
            low, high = cell.interval or (None, None)
            place = (layer.id, layer.version, cell.suite, run)
            yield MeasuredRate(cell.measures, *place, cell.behaviors, cell.rate, low, high, cell.judge)
