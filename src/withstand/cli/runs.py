"""`withstand runs`."""

import click

from withstand.cli.options import CONTEXT, json_option, store_option


@click.command(context_settings=CONTEXT)
@store_option
@json_option
def runs(store: str, as_json: bool) -> int:
    """The runs in a store, oldest first."""
    import json

    from withstand import api
    from withstand.cli import console
    from withstand.results.summary import listing

    found = listing(api.open_store(store, create=False))
    if as_json:
        click.echo(json.dumps(found))
        return 0
    columns = ("run", "created", "suites", "targets", "attacks", "cells", "verdicts")
    console.out.print(console.fields_table([[str(run[name]) for name in columns] for run in found], columns))
    return 0
