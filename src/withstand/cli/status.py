"""`withstand status`."""

import shlex

import click

from withstand.cli.options import CONTEXT, json_option, store_option


@click.command(context_settings=CONTEXT)
@click.argument("name", metavar="[RUN]", default="")
@store_option
@json_option
def status(name: str, store: str, as_json: bool) -> int:
    """How far a run is, and what went wrong. RUN defaults to the last run. Exit code 3 while rows are missing."""
    import json

    from withstand import api
    from withstand.cli import console, flags
    from withstand.results.summary import goes_on
    from withstand.results.summary import status as read_status
    from withstand.store.tables import STAGES

    found = api.load(name, store)
    state = read_status(found.store, found.row)
    missing = any(stage["done"] < stage["wanted"] for stage in state["stages"])
    if as_json:
        click.echo(json.dumps(state))
        return 3 if missing else 0
    console.put(f"run {state['run']} ({state['created']})")
    for stage in state["stages"]:
        failed = f", {stage['failed']} failed" if stage["failed"] else ""
        console.put(f"{STAGES[stage['stage']]:>12}  {stage['done']} of {stage['wanted']}{failed}")
    console.failures(state["failures"])
    if state["waiting"]:
        console.put(f"{state['waiting']} verdicts wait for people")
    if missing:
        by_people = state["missing"] == state["waiting"]
        command = f"label {shlex.quote(found.name)} --by NAME" if by_people else goes_on(found.row)
        for text in flags.then("go on", command, store):
            console.put(text)
    return 3 if missing else 0
