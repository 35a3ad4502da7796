"""`withstand purge`."""

import getpass
import os
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import Result, command
from withstand.core import Json

if TYPE_CHECKING:
    from withstand.store.store import Store


@command(store=True, json=True)
@click.argument("name", metavar="RUN")
@click.option("--text", is_flag=True, required=True, expose_value=False,
              help="Confirms that texts are erased. This cannot be undone.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def purge(name: str, yes: bool, store: "Store") -> Result:
    """Erase the texts of a run for good.

    Erased are prompts, completions, answers, reasons and the copies in labels. Verdicts and digests stay. Rows that
    other runs share lose their texts there too. This is the one exception to a store that only grows.
    """
    from withstand.results.summary import find_run
    from withstand.store.purge import purge as erase

    run = find_run(store, name)
    if not yes:
        click.confirm(f"Erase the texts of {console.line(run.name)} for good?", abort=True, err=True)
    erased = erase(store, run, user_name())
    return Result(erased, lambda: _show(run.name, erased))


def user_name() -> str:
    """The name of who works at this machine, also as root by sudo."""
    try:
        name = getpass.getuser()
        return os.environ.get("SUDO_USER", name) if name == "root" else name
    except (OSError, KeyError):
        return "local"


def _show(run: str, erased: Json) -> None:
    kinds = ("rows", "answers", "labels", "findings", "behaviors", "failures")
    console.put(f"erased the texts of {run}: {', '.join(f'{erased[kind]} {kind}' for kind in kinds)}")
    if erased["shared"]:
        console.say(f"these runs shared some of the texts: {', '.join(erased['shared'])}")
