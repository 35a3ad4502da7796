"""`withstand list`."""

import click

from withstand.cli.options import CONTEXT, json_option
from withstand.core import SpecError


@click.command("list", context_settings=CONTEXT)
@click.argument("kind", metavar="[KIND]", default="")
@json_option
def list_(kind: str, as_json: bool) -> int:
    """The components there are: suites, targets, attacks, defenses, judges, stages."""
    from withstand.core.text import visible
    from withstand.registry import find

    plural = {f"{name}s": name for name in find.ROOMS} | {name: name for name in find.ROOMS}
    if kind and kind not in plural:
        raise SpecError(f"there is no kind {kind!r}", hint=f"kinds: {', '.join(f'{name}s' for name in find.ROOMS)}")
    kinds = [plural[kind]] if kind else list(find.ROOMS)
    if as_json:
        import json

        said = {k: {name: find.summary(entry) for name, entry in find.entries(k).items()} for k in kinds}
        click.echo(json.dumps(said))
        return 0
    for one in kinds:
        click.secho(f"{one}s", bold=True)
        found = find.entries(one)
        column = max(map(len, found))
        for name, entry in sorted(found.items()):
            click.echo(visible(f"  {name:<{column}}  {find.summary(entry)}"))
    click.echo("`withstand show KIND NAME` explains one.", err=True)
    return 0
