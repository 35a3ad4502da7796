"""`withstand show`."""

from typing import Any

import click

from withstand.cli import card as cards
from withstand.cli.list import kind_of
from withstand.cli.options import Result, command
from withstand.core import SpecError
from withstand.core.text import visible


@command(json=True)
@click.argument("kind")
@click.argument("name")
@cards.OPTIONS
def show(kind: str, name: str, card: bool, **given: Any) -> Result:
    """Explain a component: what it does, its fields and its source.

    With --card: how well a judge or a guard does on labels, on which texts it errs, and what was never measured. A card
    asks no model: it says which command measures a judge that does.
    """
    from withstand.registry.show import show as describe

    kind = kind_of(kind)
    if card:
        return cards.card(kind, name, given)
    if given["out"] or given["settings"] or given["labels"]:
        raise SpecError("--out, --labels and --screener are of a card", hint="add --card")
    shown = describe(kind, name)
    return Result(shown.json(), lambda: _show(kind, shown))


def _show(kind: str, shown: Any) -> None:
    click.secho(f"{kind} {shown.entry.name}", bold=True)
    click.echo(visible(f"\n{shown.docstring}\n"))
    for title, lines in shown.sections():
        click.secho(title, bold=True)
        for text in lines:
            click.echo(visible(text))
