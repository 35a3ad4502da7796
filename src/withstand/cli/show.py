"""`withstand show`."""

import click

from withstand.cli.options import CONTEXT, json_option
from withstand.core import SpecError


@click.command(context_settings=CONTEXT)
@click.argument("kind")
@click.argument("name")
@json_option
def show(kind: str, name: str, as_json: bool) -> int:
    """Explain a component: what it does, its fields and defaults, its source."""
    from withstand.core.text import visible
    from withstand.registry import find
    from withstand.registry.show import show as read

    kind = kind.removesuffix("s") if kind.removesuffix("s") in find.ROOMS else kind
    if kind not in find.ROOMS:
        raise SpecError(f"there is no kind {kind!r}", hint=f"kinds: {', '.join(find.ROOMS)}")
    shown = read(kind, name)
    if as_json:
        import json

        click.echo(json.dumps(shown.json()))
        return 0
    click.secho(f"{kind} {shown.entry.name}", bold=True)
    click.echo(visible(f"\n{shown.docstring}\n"))
    for title, lines in shown.sections():
        click.secho(title, bold=True)
        for text in lines:
            click.echo(visible(text))
    return 0
