"""`withstand plan harms`."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console
from withstand.cli.options import CONTEXT, Commands, Result, command, options, store_option
from withstand.cli.plan import plan_argument
from withstand.cli.plan_coverage import in_store, show_tables
from withstand.core import SpecError
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.redteam.harms.living import By, Changed
    from withstand.redteam.plan.records import Plan
    from withstand.report.table import Table
    from withstand.store.store import Store


class Listed(Commands):
    """A group whose command `list` needs no name: `plan harms PLAN` lists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Listed, context_settings=CONTEXT)
def harms() -> None:
    """List a plan's harms, and decide what becomes of those that testers propose.

    `withstand plan harms PLAN` is short for `list`. Decisions change lines of the plan's file and keep all others.
    """


DECISION = options(
    click.option("--by", "who", required=True, metavar="NAME", help="Who decides; a pseudonym will do."),
    click.option("--reason", default="", metavar="TEXT", help="Why; kept in the plan and its history."),
    click.option("--round", "round_id", default=None, metavar="R",
                 help="Round of the decision (default: of the first finding, or the last that recorded something)."),
    store_option,
)  # fmt: skip


@command("list", group=harms, json=True)
@plan_argument
@click.option("--unmeasured", "only_unmeasured", is_flag=True, help="Only the active harms that no suite measures.")
@store_option
def list_(path: str, only_unmeasured: bool, store: str) -> Result:
    """List proposals, active, merged and retired harms, and the history of the list."""
    return in_store(path, store, lambda opened, read: _list(opened, read, only_unmeasured))


def _list(store: "Store | None", plan: "Plan", only_unmeasured: bool) -> Result:
    from dataclasses import asdict

    from withstand.redteam.harms import kinds as harm_kinds
    from withstand.redteam.harms import tables as harm_tables
    from withstand.redteam.harms.living import by_round, history
    from withstand.redteam.harms.unmeasured import unmeasured

    lacking = unmeasured(store, plan)
    value: dict[str, Any] = {
        "schema": 1, "plan": plan.id, "unmeasured": [asdict(entry) for entry in lacking]
    }  # fmt: skip
    tables = [harm_tables.to_measure(lacking)]
    if not only_unmeasured:
        proposals = harm_kinds.proposals(store, plan) if store else []
        decisions, counts = history(store, plan) if store else [], by_round(store, plan)
        kinds = harm_kinds.discovery(store, plan)
        value |= {
            "proposals": [asdict(p) for p in proposals], "history": [asdict(d) for d in decisions],
            "harms": [asdict(h) for h in plan.harms], "by_round": [asdict(c) for c in counts],
            "discovery": asdict(kinds) | {"rounds": [asdict(r) | {"per_hour": r.per_hour} for r in kinds.rounds]},
        }  # fmt: skip
        head = [harm_tables.proposed(proposals), harm_tables.active(plan), harm_tables.gone(plan)]
        tables = [*head, *tables, harm_tables.discovered(kinds), harm_tables.grown(counts)]
        tables.append(harm_tables.decided(decisions))
    return Result(value, lambda: _show(tables))


def _show(tables: "Sequence[Table]") -> None:
    filled = [table for table in tables if table.rows]
    show_tables(filled)
    if not filled:
        console.put("every active harm is measured by a suite")


@command(group=harms, json=True)
@plan_argument
@click.argument("harm_id", metavar="ID")
@click.option("--title", required=True, metavar="TEXT", help="Its name in a few words.")
@click.option("--definition", required=True, metavar="TEXT", help="What is in, so that two people would agree.")
@click.option("--category", required=True, metavar="C", help="Category of the policy.")
@click.option("--severity", type=click.IntRange(1, 4), required=True, help="How bad: 1 low to 4 critical.")
@click.option(
    "--likelihood",
    type=click.IntRange(1, 4),
    default=2,
    show_default=True,
    help="How likely here: 1 rare to 4 expected.",
)
@click.option("--example", "examples", multiple=True, metavar="TEXT", help="Harmless to print; repeats.")
@click.option("--near-miss", "near_misses", multiple=True, metavar="TEXT", help="What is just not it; repeats.")
@click.option("--from", "findings", multiple=True, metavar="F-...", help="Finding that showed it; repeats.")
@click.option("--incident", is_flag=True, help="An incident showed it, not a finding.")
@DECISION
def add(path: str, harm_id: str, findings: tuple[str, ...], incident: bool, **given: Any) -> Result:
    """Add a harm to a plan, and give it the findings that showed it.

    In a guided round its cells need one input in this round, and all from the next round on.
    """
    from withstand.redteam.harms.living import add as add_harm
    from withstand.redteam.plan.records import Harm

    names = ("title", "definition", "category", "severity", "likelihood", "examples", "near_misses")
    source = "incident" if incident else "initial"
    harm = Harm(harm_id, source=source, **{name: given[name] for name in names})
    return _decided(path, given, lambda store, plan, by: add_harm(store, plan, harm, findings, by), bool(findings))


@command(group=harms, json=True)
@plan_argument
@click.argument("into", metavar="INTO")
@click.argument("what", metavar="HARM|F-...", nargs=-1, required=True)
@DECISION
def merge(path: str, into: str, what: tuple[str, ...], **given: Any) -> Result:
    """Make harms part of the harm INTO, or give findings to it."""
    from withstand.redteam.harms.living import merge as merge_into

    return _decided(path, given, lambda store, plan, by: merge_into(store, plan, into, what, by))


@command(group=harms, json=True)
@plan_argument
@click.argument("harm_id", metavar="HARM")
@DECISION
def retire(path: str, harm_id: str, **given: Any) -> Result:
    """Test a harm no more; --reason says why."""
    from withstand.redteam.harms.living import retire as retire_harm

    return _decided(path, given, lambda store, plan, by: retire_harm(store, plan, harm_id, by))


@command(group=harms, json=True)
@plan_argument
@click.argument("harm_id", metavar="HARM")
@click.option("--into", "parts", multiple=True, metavar="ID=TITLE", help="A part; two or more.")
@DECISION
def split(path: str, harm_id: str, parts: tuple[str, ...], **given: Any) -> Result:
    """Make two or more harms of one, which is retired. `merge` gives its findings to a part."""
    from withstand.redteam.harms.living import split as split_harm
    from withstand.redteam.plan.records import Harm

    named = []
    for text in parts:
        name, _, title = text.partition("=")
        if not title.strip():
            raise SpecError(f"--into {text!r} has no title", hint='--into ID="A title"')
        named.append(Harm(name.strip(), title.strip()))
    return _decided(path, given, lambda store, plan, by: split_harm(store, plan, harm_id, named, by))


def _decided(
    path: str, given: dict[str, Any], decide: "Callable[[Store, Plan, By], Changed]", by_finding: bool = False
) -> Result:
    """Take a decision, and say what it changed. by_finding: the first finding says the round, unless --round does."""
    from withstand import api
    from withstand.redteam.harms import tables as harm_tables
    from withstand.redteam.harms.living import By, last_round
    from withstand.redteam.plan.records import read_plan

    plan = read_plan(path)
    with api.open_store(given["store"]) as store:
        round_id = given["round_id"] or ("" if by_finding else last_round(store, plan))
        changed = decide(store, plan, By(given["who"], time.time(), round_id, given["reason"]))

    def show() -> None:
        console.put(f"{path}: {count(len(changed.plan.active), 'active harm')}")
        if changed.moved:
            console.put(f"{count(len(changed.moved), 'attempt')} given another harm: {', '.join(changed.moved)}")
        if changed.waiting:
            console.put(f"{count(changed.waiting, 'attempt')} in no part yet: see `withstand plan harms merge`")
        for line in ["order of the harms now:", *harm_tables.reordered(changed)]:
            console.put(line)

    return Result(harm_tables.changed_json(changed), show)
