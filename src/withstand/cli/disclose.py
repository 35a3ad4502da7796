"""`withstand disclose`."""

import json
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import Result, command
from withstand.core import Json, SpecError

if TYPE_CHECKING:
    from withstand.store.store import Store


@command(store=True, json=True)
@click.option("-o", "--output", default=None, metavar="FILE", help="File to write: .md or .json (default: stdout).")
@click.option("--period", default=None, metavar="PERIOD", help="A quarter or a year: 2026-Q1, 2026.")
@click.option("--policy", default=None, metavar="FILE", help="The policy, for the titles of categories.")
@click.option(
    "--blind-spot", "blind_spots", multiple=True, metavar="TEXT", help="What the figures do not see; repeats."
)
@click.option(
    "--monitor", default="", metavar="NAME", help="Whose last report of the period is read (default: the only one)."
)
@click.option("--finding", default=None, metavar="ID", help="Draft the private report of this finding instead.")
@click.option("--plan", default=None, metavar="FILE", help="The plan that names the harm of --finding.")
def disclose(
    output: str | None, period: str | None, policy: str | None, blind_spots: tuple[str, ...], monitor: str,
    finding: str | None, plan: str | None, store: "Store",
) -> Result:  # fmt: skip
    """Draft what to publish of incidents, or to report of a finding.

    Counts of fewer than 10 actors are hidden, and so is what they could be computed from. No text of an incident or a
    conversation is in it. What nobody measured is marked as empty.
    """
    if (period is None) == (finding is None):
        raise SpecError("name a period or a finding", hint="--period 2026-Q1, or --finding F-...")
    if finding:
        value, text = _of_finding(store, finding, plan)
    else:
        value, text = _of_period(store, period or "", policy, blind_spots, monitor)
    if output:
        forms = {".md": lambda: text, ".json": lambda: json.dumps(value, indent=1) + "\n"}
        console.write(output, forms, ": a draft. Read it before anybody else does")

    def show() -> None:
        if not output:
            click.echo(text, nl=False)

    return Result(value, show)


def _of_period(
    store: "Store", period: str, policy: str | None, blind_spots: tuple[str, ...], monitor: str
) -> tuple[Json, str]:
    from withstand.monitor.report.disclosed import monitored
    from withstand.redteam.dates import today
    from withstand.redteam.incidents import disclosure, disclosure_page
    from withstand.redteam.incidents import records as incidents
    from withstand.redteam.policy.records import read_policy
    from withstand.results.cells import plain

    read = read_policy(policy) if policy else None
    titles = {name: category.title for name, category in read.categories.items()} if read else None
    label = read.label if read else ""
    seen = monitored(store, period, monitor)
    draft = disclosure.disclose(incidents.incidents(store), period, label, titles, blind_spots, seen)
    if not disclosure.is_over(period, today()):
        console.say(f"note: {period} is not over; incidents may still be added to it")
    return plain(draft), disclosure_page.markdown(draft)


def _of_finding(store: "Store", finding_id: str, plan: str | None) -> tuple[Json, str]:
    from withstand.redteam.incidents import disclosure_page
    from withstand.redteam.plan.records import read_plan
    from withstand.store.attempts import attempts

    chosen = attempts(store, ids=[finding_id])
    if not chosen or not chosen[0].is_finding:
        what = f"{finding_id} is no finding" if chosen else f"{store.where} has no finding {finding_id!r}"
        raise SpecError(what, hint="its verdict must be harmful or borderline")
    text = disclosure_page.private_report(chosen[0], read_plan(plan) if plan else None)
    return {"schema": 1, "finding": finding_id, "markdown": text}, text
