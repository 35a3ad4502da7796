"""`withstand list`."""

from typing import Any

import click

from withstand.cli.options import Result, command
from withstand.core import SpecError
from withstand.core.text import visible


@command("list", json=True)
@click.argument("kind", metavar="[KIND]", default="")
def list_(kind: str) -> Result:
    """List suites, targets, attacks, defenses, judges and stages."""
    from withstand.registry import find

    plural = {f"{name}s": name for name in find.ROOMS} | {name: name for name in find.ROOMS}
    if kind and kind not in plural:
        raise SpecError(f"there is no kind {kind!r}", hint=f"kinds: {', '.join(f'{name}s' for name in find.ROOMS)}")
    kinds = [plural[kind]] if kind else list(find.ROOMS)
    summaries = {k: {name: find.summary(entry) for name, entry in find.entries(k).items()} for k in kinds}
    return Result(summaries, lambda: _show(summaries))


def _show(summaries: dict[str, dict[str, Any]]) -> None:
    for kind, components in summaries.items():
        click.secho(f"{kind}s", bold=True)
        width = max(map(len, components))
        for name, summary in sorted(components.items()):
            click.echo(visible(f"  {name:<{width}}  {summary}"))
    click.echo("`withstand show KIND NAME` explains a component.", err=True)
