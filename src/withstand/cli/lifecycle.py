"""`withstand lifecycle`."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console
from withstand.cli.options import CONTEXT, Commands, Result, command, options, store_option
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.redteam.lifecycle.file import Lifecycle, StageState
    from withstand.redteam.lifecycle.pilots import PilotVerdict
    from withstand.redteam.tables import Problem

file_argument = click.argument("path", metavar="[FILE]", default="lifecycle.toml")
SHOWN = {"met": "met", "not applicable": "not applicable", "open": "open", "expired": "EXPIRED",
         "reopened": "REOPENED", "unproved": "NO EVIDENCE"}  # fmt: skip


@click.group(cls=Commands, context_settings=CONTEXT)
def lifecycle() -> None:
    """Check what a system must have before each stage of its life."""


@command(group=lifecycle)
@click.option("-o", "--output", default="lifecycle.toml", show_default=True, metavar="FILE", help="File to write.")
@click.option("--name", default="", help="Name of the system (default: that of the folder).")
def new(output: str, name: str) -> None:
    """Write a lifecycle.toml in which every item is open."""
    from withstand.cli import init
    from withstand.redteam.dates import today
    from withstand.redteam.lifecycle.starter import starter

    path = Path(output)
    init.new(path)
    init.write(path, starter(name or path.absolute().parent.name, today().isoformat()))
    console.say(f"wrote {output}; fill in [system] and [[intended]], then `withstand lifecycle check {output}`")


@command(group=lifecycle, json=True)
@file_argument
def check(path: str) -> Result:
    """Look for errors in a lifecycle.toml; all are said at once.

    Exit code 2 where there are errors; warnings change nothing.
    """
    from withstand.redteam.dates import today
    from withstand.redteam.lifecycle.file import read_lifecycle, warnings

    read = read_lifecycle(path, evidence=True)
    noted = [*warnings(read, today())]
    value = {"schema": 1, "file": path, "errors": [], "warnings": [str(problem) for problem in noted]}
    return Result(value, lambda: _show_check(read, noted))


def _show_check(read: "Lifecycle", noted: "list[Problem]") -> None:
    for problem in noted:
        console.say(f"warning: {problem}")
    listed = f"{count(len(read.items), 'item')}, {count(len(read.pilots), 'pilot')}"
    console.put(f"{read.path}: no errors, {count(len(noted), 'warning')}; {listed}")


@command(group=lifecycle, json=True)
@file_argument
@click.option("--gate", default=None, metavar="STAGE", help="Exit with 1 unless the gate of this stage is open.")
@click.option("--all", "everything", is_flag=True, help="List what is met too.")
@store_option
def status(path: str, gate: str | None, everything: bool, store: str) -> Result:
    """Say which gates are open, what expired, and what lacks evidence.

    The gate of a stage is open when all its items count, and all of the stages before. The store says whether a run is
    complete and a gate passed, and remembers the intended status: a change opens every gate again.

    Exit codes: 1 the gate of --gate is not met, 2 errors in the file.
    """
    from withstand.core import SpecError, did_you_mean
    from withstand.redteam.lifecycle.file import read_lifecycle
    from withstand.redteam.lifecycle.stages import STAGE_IDS
    from withstand.results.cells import plain

    if gate is not None and gate not in STAGE_IDS:
        raise SpecError(f"there is no stage {gate!r}", did_you_mean(gate, STAGE_IDS, f"it is {', '.join(STAGE_IDS)}"))
    read = read_lifecycle(path)
    since, states, notes = _states(read, store)
    met = next((state.met for state in states if state.id == gate), True)
    value = {
        "schema": 1, "system": read.system.name, "intended": read.intended[-1].status, "since": since, "gate": gate,
        "met": met if gate else None, "notes": notes, "stages": [plain(s) | {"met": s.met} for s in states],
    }  # fmt: skip
    return Result(value, lambda: _show_status(value, states, everything), 0 if met else 1)


def _states(read: "Lifecycle", where: str) -> tuple[str, "tuple[StageState, ...]", list[str]]:
    """The last change of the intent, the states of the stages, and notes."""
    from withstand import api
    from withstand.core import StoreError
    from withstand.redteam.dates import today
    from withstand.redteam.incidents import records as incidents
    from withstand.redteam.lifecycle import evidence
    from withstand.redteam.lifecycle.file import stage_states

    notes, store, now = [], None, today()
    with ExitStack() as stack:
        try:
            store = stack.enter_context(api.open_store(where, create=False))
        except StoreError as error:
            notes.append(f"{error}: no run, gate, incident or earlier intent can be looked up")
        since, remembered = evidence.last_change(read, store, now)
        if store is not None and not remembered:
            notes.append(
                f"{where} had no record of {read.system.name} until now, so an earlier status or use is not known"
            )
        checker = evidence.Checker(read, store, now, since)
        due = None if store is None else [incident.id for incident in incidents.due(store)]
        return since, stage_states(read, now, since, checker.check, due), notes


def _show_status(value: Any, states: "tuple[StageState, ...]", everything: bool) -> None:
    console.put(f"{value['system']}: {value['intended']} since {value['since']}")
    for state in states:
        mark = "met" if state.met else f"not met: {', '.join(state.behind)} before it" if state.done else "NOT MET"
        untouched = all(item.state == "open" and not item.why for item in state.items)
        console.put(f"{state.title} ({state.id}): {mark}{', nothing is signed' if untouched else ''}")
        for item in state.items:
            if not everything and (item.state == "met" or untouched):
                continue
            until = f" until {item.expires}" if item.met and item.expires else ""
            why = f": {item.why}" if item.why else ""
            console.put(f"  {SHOWN[item.state]}{until}  {item.id}, {item.what}{why}")
        for entry in [entry for item in state.items for entry in item.evidence if entry.counts and entry.why]:
            console.say(f"note: {entry.text}: {entry.why}")
    for note in value["notes"]:
        console.say(f"note: {note}")
    if value["gate"]:
        console.put(f"gate of {value['gate']}: {'met' if value['met'] else 'NOT MET'}")


COUNTS = options(
    click.option("--date", "day", default=None, metavar="DAY", help="Day of the counts below (default: today)."),
    click.option("--users", type=click.IntRange(min=0), default=None, metavar="N", help="Users so far."),
    click.option("--violating", type=click.IntRange(min=0), default=None, metavar="N", help="Users with a violation."),
    click.option("--requests", type=click.IntRange(min=0), default=None, metavar="N", help="Requests so far."),
    click.option("--hours", type=click.FloatRange(min=0), default=None, metavar="H", help="Hours of use so far."),
    click.option("--violations", type=click.IntRange(min=0), default=None, metavar="N",
                 help="Violations that people confirmed; flags of a classifier are none."),
    click.option("--severe", type=click.IntRange(min=0), default=None, metavar="N", help="Those of severity 4."),
)  # fmt: skip


@command(group=lifecycle, json=True)
@file_argument
@click.option("--pilot", "pilot_id", default=None, metavar="ID", help="One pilot, which the counts below are of.")
@COUNTS
def pilot(path: str, pilot_id: str | None, day: str | None, **counts: Any) -> Result:
    """Say of each pilot STOP, DECIDE or GO ON, and why.

    Counts go from the beginning of the pilot; they come from the file, or from the options. What was not counted is not
    0, and never lets a pilot go on.

    Exit codes: 0 go on, 1 stop, 3 a person has to decide.
    """
    from withstand.core import SpecError
    from withstand.redteam.dates import today
    from withstand.redteam.lifecycle.file import read_lifecycle
    from withstand.redteam.lifecycle.pilots import PilotCount, judge
    from withstand.results.cells import plain

    read, now = read_lifecycle(path), today()
    counted = day is not None or any(value is not None for value in counts.values())
    if counted and pilot_id is None:
        raise SpecError("counts are given, and no pilot", hint="say which with --pilot ID")
    chosen = read.pilots if pilot_id is None else (read.pilot(pilot_id),)
    if not chosen:
        raise SpecError(f"{path} has no pilot", hint="add a table [[pilot]]; the file of `lifecycle new` shows one")
    extra = PilotCount(day or now.isoformat(), **counts) if counted else None
    verdicts = [judge(entry, now, extra) for entry in chosen]
    codes = {verdict.exit_code for verdict in verdicts}
    value = {"schema": 1, "pilots": plain(verdicts)}
    return Result(value, lambda: _show_pilots(verdicts), 1 if 1 in codes else max(codes))


def _show_pilots(verdicts: "list[PilotVerdict]") -> None:
    for verdict in verdicts:
        console.put(f"{verdict.pilot}: {verdict.answer}")
        for reason in verdict.reasons:
            console.put(f"  {reason}")
