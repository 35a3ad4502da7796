"""`withstand show`."""

from typing import Any

import click

from withstand.cli.list import kind_of
from withstand.cli.options import Result, command
from withstand.core.text import visible


@command(json=True)
@click.argument("kind")
@click.argument("name")
def show(kind: str, name: str) -> Result:
    """Explain a component: what it does, its fields and its source."""
    from withstand.registry.show import show as describe

    kind = kind_of(kind)
    shown = describe(kind, name)
    return Result(shown.json(), lambda: _show(kind, shown))


def _show(kind: str, shown: Any) -> None:
    click.secho(f"{kind} {shown.entry.name}", bold=True)
    click.echo(visible(f"\n{shown.docstring}\n"))
    for title, lines in shown.sections():
        click.secho(title, bold=True)
        for text in lines:
            click.echo(visible(text))
