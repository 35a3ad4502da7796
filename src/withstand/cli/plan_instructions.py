"""`withstand plan instructions`."""

import click

from withstand.cli import console
from withstand.cli.options import command, store_option
from withstand.cli.plan import checked_plan, plan_argument, round_option


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
    from withstand.redteam.plan import instructions as sheets
    from withstand.redteam.plan.assign import assignment

    plan = checked_plan(path)
    if flags.exists(store):
        with api.open_store(store, create=False) as opened:
            tasks = assignment(opened, plan, round_id)
    else:
        tasks = ()
    secret = console.hidden(store) != store  # a password: the sheet says where to put it
    sheet = sheets.sheet(plan, member, round_id, tasks, "" if secret or console.is_usual(store) else store, url, secret)
    if output:
        console.write(output, {".md": lambda: sheets.markdown(sheet), ".html": lambda: sheets.html(sheet)})
    else:
        click.echo(sheets.markdown(sheet), nl=False)
