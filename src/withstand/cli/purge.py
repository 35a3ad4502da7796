"""`withstand purge`."""

import getpass
import os
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import Result, command
from withstand.core import Json, SpecError
from withstand.core.home import home_dir

if TYPE_CHECKING:
    from withstand.store.store import Store


@command(store=True, json=True)
@click.argument("name", metavar="[RUN]", required=False)
@click.option("--probes", is_flag=True,
              help="Erase what belongs to no run: probes, attempts, sessions, and records, incidents too.")  # fmt: skip
@click.option("--text", is_flag=True, required=True, expose_value=False,
              help="Confirms that texts are erased. This cannot be undone.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def purge(name: str | None, probes: bool, yes: bool, store: "Store") -> Result:
    """Erase the texts of a run, or of probes, for good.

    Erased are prompts, completions, answers, reasons and the copies in labels and findings. Verdicts and digests stay.
    Rows that other runs share lose their texts there too. This is the one exception to a store that only grows.

    Exit code 3 where another process reads the store all the while, so that copies are left in the file or its log.
    """
    from withstand.results.summary import find_run
    from withstand.store import purge as purging

    if bool(name) == probes:
        raise SpecError("name a run, or say --probes", hint="`withstand list` names the runs")
    run = None if probes else find_run(store, str(name))
    what = run.name if run else "probes"
    if not yes:
        all_of = what if run else "probes, of people's attempts and sessions, and of all records, incidents too,"
        click.confirm(f"Erase the texts of {console.line(all_of)} for good?", abort=True, err=True)
    erased = purging.purge(store, run, user_name()) if run else purging.purge_probes(store, user_name())
    if run:
        home_dir("launches", run.key, "log.txt").unlink(missing_ok=True)  # of its process, if the explorer started it
    return Result(erased, lambda: _show(what, erased), 0 if erased["scrubbed"] else 3)


def user_name() -> str:
    """The name of who works at this machine, also as root by sudo."""
    try:
        name = getpass.getuser()
        return os.environ.get("SUDO_USER", name) if name == "root" else name
    except (OSError, KeyError):
        return "local"


def _show(run: str, erased: Json) -> None:
    kinds = ("rows", "answers", "labels", "findings", "events", "records", "behaviors", "failures")
    counts = ", ".join(f"{erased[kind]} {kind}" for kind in kinds if kind in erased)
    console.put(f"erased the texts of {run}: {counts}")
    if not erased["scrubbed"]:
        console.say(
            "the texts are not erased yet: another process reads the store, and copies are left in its file or log. "
            "Stop it, then run the same command again"
        )
    if erased["shared"]:
        console.say(f"these runs shared some of the texts: {', '.join(erased['shared'])}")
