"""`withstand plan instructions`."""

from pathlib import Path

import click

from withstand.cli import console
from withstand.cli.options import command, store_option
from withstand.cli.plan import checked_plan, plan_argument, round_option
from withstand.core import SpecError


@command()
@plan_argument
@round_option
@click.option("--member", required=True, metavar="M", help="Id of the member.")
@click.option("--url", default="", metavar="URL", help="Address of the explorer that serves the plan, if one does.")
@click.option("-o", "--output", default=None, metavar="FILE", help="Write FILE.md or FILE.html; by default print.")
@store_option
def instructions(path: str, round_id: str, member: str, url: str, output: str | None, store: str) -> None:
    """Write what a member reads before a round.

    Purpose, product, harms, tasks, time, how to record, whom to ask, and how to look after oneself. The tasks are those
    that `withstand plan assign` stored last. Of an open round the sheet names no harm.
    """
    from withstand import api
    from withstand.cli import flags
    from withstand.core.save import save
    from withstand.redteam import instructions as sheets
    from withstand.redteam.assign import assignment

    suffix = Path(output).suffix if output else ".md"
    if suffix not in (".md", ".html"):
        raise SpecError(f"instructions are written as .md or .html, not as {suffix or 'a file without an ending'}")
    plan = checked_plan(path)
    if flags.exists(store):
        with api.open_store(store, create=False) as opened:
            tasks = assignment(opened, plan, round_id)
    else:
        tasks = ()
    secret = console.hidden(store) != store  # a password: the sheet says where to put it
    sheet = sheets.sheet(plan, member, round_id, tasks, "" if secret or console.is_usual(store) else store, url, secret)
    text = sheets.html(sheet) if suffix == ".html" else sheets.markdown(sheet)
    if output:
        save(Path(output), text)
        console.say(f"wrote {output}")
    else:
        click.echo(text, nl=False)
