"""`withstand status`."""

import shlex
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import Result, command, run_argument, typed_store
from withstand.core import Json
from withstand.core.text import visible

if TYPE_CHECKING:
    from withstand.store.store import RunRow, Store


@command(store=True, json=True)
@run_argument
@click.option("--trace", default="", metavar="ID", help="Show the traceback that a failed run names.")
def status(name: str, trace: str, store: "Store") -> Result:
    """Show how far a run is and what went wrong.

    RUN defaults to the last run. Exit code 3 while rows are missing.
    """
    from withstand.results import summary

    if trace:
        text = summary.trace_of(store, trace)
        return Result({"trace": text}, lambda: _show_trace(text))
    run = summary.find_run(store, name)
    state = summary.status(store, run)
    missing = any(stage["done"] < stage["wanted"] for stage in state["stages"])
    return Result(state, lambda: _show(run, state, missing), 3 if missing else 0)


def _show_trace(text: str) -> None:
    click.echo(console.hidden(visible(text)), nl=not text.endswith("\n"))


def _show(run: "RunRow", state: Json, missing: bool) -> None:
    from withstand.results.others import Others
    from withstand.results.summary import goes_on
    from withstand.store.tables import STAGES

    console.put(f"run {state['run']} ({state['created']})")
    for stage in state["stages"]:
        failed = f", {stage['failed']} failed" if stage["failed"] else ""
        console.put(f"{STAGES[stage['stage']]:>12}  {stage['done']} of {stage['wanted']}{failed}")
    if words := Others(**state["others"]).in_words():
        console.put(words)
    console.failures(state["failures"])
    if state["waiting"]:
        console.put(f"{state['waiting']} verdicts wait for people")
    if missing:
        by_people = state["missing"] == state["waiting"]
        words = f"label {shlex.quote(run.name)} --by NAME" if by_people else goes_on(run)
        for text in console.then("to continue", words, typed_store()):
            console.put(text)
