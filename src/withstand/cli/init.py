"""`withstand init`."""

import shlex
from pathlib import Path

import click

from withstand.cli import targets
from withstand.cli.options import CONTEXT
from withstand.core import SpecError


@click.command(context_settings=CONTEXT)
@click.option("-o", "--output", default="withstand.toml", show_default=True, metavar="FILE")
@click.option("--curl", metavar="'curl ...'", help="A call of your application, from which its target is made.")
def init(output: str, curl: str | None) -> int:
    """Write a commented spec to start from, for an application of yours with --curl."""
    path = Path(output)
    text, then = targets.from_curl(curl) if curl else targets.template()
    try:
        if path.exists():
            raise SpecError(f"{output} exists", hint="name another file with -o, or remove it")
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write {output}: {error.strerror}", hint="name another file with -o") from error
    click.echo(f"wrote {output}; try `withstand run {shlex.quote(output)} --dry-run`", err=True)
    for line in then:
        click.echo(line, err=True)
    return 0
