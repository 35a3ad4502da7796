"""`withstand monitor effect`."""

import os
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console
from withstand.cli.options import Result, command, options, store_file_option
from withstand.core import SpecError
from withstand.redteam.dates import DAY, HOUR, WEEK

if TYPE_CHECKING:
    from withstand.monitor.effects.analysis import Analysis
    from withstand.monitor.effects.mitigation import Mitigation
    from withstand.monitor.intake.salt import Hasher
    from withstand.monitor.traffic import Traffic

PERIODS = {"hour": HOUR, "day": DAY, "week": WEEK}
OPTIONS = options(
    click.option("--name", default="", metavar="ID", help="The mitigation; alone, what was registered under it."),
    click.option("--category", default="", metavar="C", help="Category that it is against; by default any."),
    click.option("--since", default="", metavar="DATE", help="When it began, such as 2026-03-01 (UTC)."),
    click.option("--design", type=click.Choice(["before-after", "randomized", "staged"]), default="before-after",
                 show_default=True, help="One date for all; two arms; or units treated one after another."),
    click.option("--outcome", type=click.Choice(["flags", "prevalence", "tokens", "refusals"]), default="flags",
                 show_default=True, help="What it should change; prevalence takes audited exchanges alone."),
    click.option("--better", type=click.Choice(["lower", "higher"]), default="lower", show_default=True,
                 help="Which way is good."),
    click.option("--margin", type=float, default=None, metavar="M",
                 help="Differences below this do not matter (in percent points for rates): what \"no effect\" needs."),
    click.option("--treated", "treated_file", default="", metavar="FILE",
                 help="CSV of unit[,date]; without a date: at --since; `control` instead of one: a control. By default "
                 "all that are not listed are controls."),
    click.option("--unit", type=click.Choice(["account", "key", "end_user", "app"]), default="account",
                 show_default=True, help="What was treated."),
    click.option("--period", type=click.Choice(list(PERIODS)), default=None,
                 help="Length of a period, of a series or a panel; by default days, and weeks where staged."),
    click.option("--labeler", default="", metavar="L", help="Whose flags count, such as a screener; by default all."),
    click.option("--population", default="", metavar="COLUMN=VALUE", help="Whom it is about, such as app=chat."),
    click.option("--hypothesis", default="", metavar="TEXT", help="What is expected, and why."),
    click.option("--mitigation", default="", metavar="TEXT", help="What was done."),
    click.option("--register", is_flag=True, help="Write the test to the store, and look at no data."),
    click.option("--monitor", "monitor_name", default="monitor", show_default=True, metavar="NAME",
                 help="Name of the monitor in the store."),
    store_file_option("Store of what is registered."),
)  # fmt: skip


@command(json=True)
@click.argument("folder", metavar="[DIR]", default="monitor")
@OPTIONS
def effect(folder: str, register: bool, monitor_name: str, store_file: str, **given: Any) -> Result:
    """Say whether a mitigation worked, in the traffic that DIR holds: effect, displacement and benign cost.

    Register it before its data come in; an analysis that was not registered says so. "No effect" is said only where
    all differences of --margin or more are excluded.
    """
    from withstand import api
    from withstand.monitor.effects import analysis as analysing
    from withstand.monitor.effects import mitigation as mitigations
    from withstand.monitor.traffic import NAME, Traffic

    with ExitStack() as stack:
        store = stack.enter_context(api.open_store(store_file))
        there = not register or (Path(folder) / NAME).exists()
        traffic = stack.enter_context(Traffic(folder, read_only=True)) if there else None
        entries = {entry.mitigation.id: entry for entry in mitigations.registered(store, monitor_name)}
        if given["name"] and not given["since"]:
            if given["name"] not in entries:
                hint = f"registered: {', '.join(entries)}" if entries else "give --since, and --register to register it"
                raise SpecError(f"no mitigation {given['name']!r} is registered", hint=hint)
            wanted = entries[given["name"]].mitigation
        else:
            wanted = _mitigation(traffic, folder, given)
        if traffic is None or register:
            span = traffic.span() if traffic else None
            new = mitigations.register(store, monitor_name, wanted, time.time(), span[1] if span else None)
            late = "" if new.before_data else "; data after its date were read already, and its analysis will say so"
            value = {"schema": 1, "registered": mitigations.content(wanted), "in_time": new.before_data}
            return Result(value, lambda: console.put(f"registered {wanted.id}{late}"))
        entry = entries.get(wanted.id)
        same = entry if entry is not None and entry.mitigation == wanted else None
        categories = _categories(traffic)
        if wanted.category and wanted.category not in categories:
            raise SpecError(
                f"no label is in {wanted.category!r}", hint=f"categories: {', '.join(categories) or 'none'}"
            )
        result = analysing.analyse(traffic, wanted, categories, same, changed=entry is not None and same is None)
    return Result({"schema": 1, **analysing.plain(result)}, lambda: _show(result))


def _categories(traffic: "Traffic") -> list[str]:
    return [category for (category,) in traffic.rows("SELECT DISTINCT category FROM label ORDER BY 1")]


def _mitigation(traffic: "Traffic | None", folder: str, given: dict[str, Any]) -> "Mitigation":
    from withstand.monitor.effects.mitigation import Mitigation, read_units
    from withstand.redteam.dates import moment

    moved = moment("--since", given["since"], utc=True)
    starts: dict[str, float | None] = {}
    since, rest = moved.timestamp(), True
    if given["treated_file"]:
        starts, rest = read_units(given["treated_file"], given["unit"], since, _hasher(traffic, folder, given["unit"]))
    period = PERIODS[given["period"] or ("week" if given["design"] == "staged" else "day")]
    rate = given["outcome"] != "tokens"
    margin = given["margin"] / 100 if given["margin"] is not None and rate else given["margin"]
    name = given["name"] or f"{given['category'] or 'any'}-{given['outcome']}-{moved.date().isoformat()}"
    return Mitigation(
        name, given["category"], since, given["design"], given["outcome"], given["better"], given["unit"], period,
        margin, given["population"], given["hypothesis"], given["mitigation"], starts, rest,
        given["labeler"],
    )  # fmt: skip


def _hasher(traffic: "Traffic | None", folder: str, unit: str) -> "Hasher | None":
    """What hashes names as the traffic's were; None where they are not hashed."""
    from withstand.monitor.effects.mitigation import HASHED
    from withstand.monitor.intake.salt import FILE, Hasher, check_salt, salt_of
    from withstand.monitor.settings import Keeping

    if unit not in HASHED:
        return None
    salt = os.environ.get(Keeping().salt_env, "")
    if not salt and not (Path(folder) / FILE).exists():
        if traffic is not None and not traffic.rows("SELECT 1 FROM meta WHERE name = 'salt'"):
            return None
        hint = f"give it in {Keeping().salt_env}, or read a log first: withstand monitor run LOGS"
        raise SpecError(f"{folder} has no salt to hash names with", hint=hint)
    hasher = Hasher(salt_of(Path(folder), salt))
    if traffic is not None:
        check_salt(traffic, hasher)
    return hasher


def _show(result: "Analysis") -> None:
    from withstand.monitor.effects.analysis import sentence
    from withstand.monitor.effects.section import tables

    console.put(sentence(result))
    effects, weak = tables([result])
    console.put(str(effects.rows[0]))
    console.table(replace(effects, rows=effects.rows[1:]).texts(), effects.heads())
    for row in weak.rows:
        console.put(f"- {row[1]}")
