"""`withstand cite`: the papers behind a run."""

import sys
from pathlib import Path

import click

from withstand.commands import CONTEXT, store_option


@click.command(context_settings=CONTEXT)
@click.argument("name", metavar="[RUN]", default="")
@store_option
@click.option("-o", "--output", metavar="FILE", help="Default: stdout.")
def cite(name: str, store: str, output: str | None) -> int:
    """BibTeX of the suites, attacks, defenses and judges of a run. RUN defaults to the last run."""
    from withstand import api, console
    from withstand.report import words, write
    from withstand.report.cite import cite as entries

    text = entries(api.load(name, store).summary)
    if output is None or output == "-":
        click.echo(words.visible(text) if sys.stdout.isatty() else text, nl=False)
        return 0
    write.save(Path(output), text)
    console.say(f"wrote {output}")
    return 0
