"""`withstand cite`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import command, run_argument
from withstand.core.text import visible

if TYPE_CHECKING:
    from withstand.store.store import Store


@command(store=True)
@run_argument
@click.option("-o", "--output", metavar="FILE", help="File to write (default: stdout).")
def cite(name: str, store: "Store", output: str | None) -> None:
    """Print BibTeX for the suites, attacks and judges of a run.

    Defenses are included. RUN defaults to the last run.
    """
    from withstand import api
    from withstand.report import write
    from withstand.report.cite import cite as entries

    text = entries(api.load(name, store).result)
    if output is None or output == "-":
        click.echo(visible(text) if sys.stdout.isatty() else text, nl=False)
        return
    write.save(Path(output), text)
    console.say(f"wrote {output}")
