"""`withstand run`."""

import shlex
from typing import TYPE_CHECKING, Any

import click

from withstand.cli.options import CONTEXT, json_option, store_option

if TYPE_CHECKING:
    from withstand.api import Run


@click.command(context_settings=CONTEXT)
@click.argument("spec_file", metavar="[SPEC.toml]", required=False)
@click.option("--suite", "-s", multiple=True, metavar="S", help="Behaviors; repeats. `withstand list suites`.")
@click.option("--data", metavar="PATH", help="File, folder or URL of the suite's own data.")
@click.option("--split", metavar="NAME", help="Split of the suite.")
@click.option("--limit", type=int, metavar="N", help="N behaviors, spread over the categories; 20 is a subset of 40.")
@click.option("--where", metavar="FIELD=VALUE,...", help="functional, category, tags; several values as a|b.")
@click.option("--ids", type=click.Path(), metavar="FILE", help="Behavior ids, one a line.")
@click.option("--target", "-t", multiple=True, metavar="T", help="Model under test; repeats.")
@click.option("--attack", "-a", multiple=True, metavar="A", help="Attack; repeats.")
@click.option("--defense", "-d", multiple=True, metavar="D", help="Defense before the target, or none; repeats.")
@click.option("--judge", "-j", metavar="J", help="Judge; default: the suite's.")
@click.option("--benign", metavar="S|none", help="Prompts that must not be refused; default: the suite's twin.")
@click.option("--utility", metavar="S|none", help="Questions with a right answer, such as everyday; default: none.")
@click.option("--samples", type=int, metavar="K", help="Completions per test case.")
@click.option("--temperature", type=float, metavar="T", help="Of the target; default 0.")
@click.option("--max-tokens", type=int, metavar="N", help="Of an answer; default: the suite's.")
@click.option("--until-success", is_flag=True, help="Stop each attack at its first success.")
@click.option("--stop-when-decided", type=float, metavar="R", help="Stop a cell once its ASR is above or below R.")
@click.option("--budget", metavar="asks=N,tokens=N,seconds=S", help="Caps per behavior and attack.")
@click.option("--seed", type=int, metavar="N", help="Of the choice of behaviors, attacks and sampling.")
@click.option("--revision", metavar="R", help="Version of the targets that cannot be hashed, such as a git commit.")
@click.option("--fresh", is_flag=True, help="Ask everything again, as a new run.")
@click.option("--cases-from", metavar="RUN|FILE", help="Send the test cases of a run, or of a HarmBench JSON file.")
@click.option("--shard", metavar="I/N", help="Do the I-th of N parts; merge stores with `withstand store merge`.")
@store_option
@click.option("--name", metavar="RUN", help="Name of the run; alone: go on with it.")
@click.option("--max-asks", type=int, metavar="N", help="Cap on chats sent, all roles, for this call.")
@click.option("--max-cost", type=float, metavar="X", help="Cap in US dollars; needs prices in the targets' specs.")
@click.option("--max-time", metavar="S", help="Cap in seconds, or 30m, 2h.")
@click.option("--offline", is_flag=True, help="Refuse any host but this machine.")
@click.option("--dry-run", is_flag=True, help="Print the plan and its bounds; ask nothing.")
@json_option
def run(**given: Any) -> int:
    """Attack targets and judge what comes back. Without arguments, reads ./withstand.toml.

    Rerunning the same command computes what is missing; nothing is overwritten.
    """
    from withstand.cli import flags

    spec = flags.spec_from(given)
    if given["dry_run"]:
        return _dry_run(given, spec)
    return _run(given, spec)


def _run(given: dict[str, Any], spec: Any) -> int:
    from withstand import api
    from withstand.cli import console, flags
    from withstand.core.text import count
    from withstand.runner import stages

    quiet = given["as_json"]
    shard, max_time = flags.shard(given["shard"]), flags.seconds(given["max_time"])
    flags.check_prices(given, spec)
    if not flags.exists(given["store"]):
        stages.planned(spec, None, given["offline"])  # a mistake in the spec leaves no empty store behind
    store = api.open_store(given["store"])
    name = ""

    def on_start(plan: Any, row: Any) -> None:
        nonlocal name
        name = row.name
        if quiet:
            return
        suites = " and ".join(f"{len(s.behaviors)} of {s.label}" for s in plan.suites)
        console.say(f"run {row.name}: {count(len(plan.cells), 'cell')}, {suites}; store {given['store']}")
        if plan.hosts:
            console.say(f"text leaves for {', '.join(plan.hosts)}")
        for warning in plan.warnings:
            console.say(f"note: {warning}")

    try:
        with console.progress(quiet) as show:
            done = api.run(
                spec, store=store, name=given["name"] or "", fresh=given["fresh"], shard=shard,
                max_asks=given["max_asks"], max_cost=given["max_cost"], max_time=max_time,
                offline=given["offline"], on_start=on_start, on_progress=show,
            )  # fmt: skip
    except KeyboardInterrupt:
        if not name:
            raise  # nothing was begun
        console.say("interrupted: everything saved so far is kept")
        for text in flags.then("go on", f"run --name {shlex.quote(name)}", given["store"]):
            console.say(text)
        return 130
    return _finish(done, given)


def _finish(done: "Run", given: dict[str, Any]) -> int:
    """Print the cells and what went wrong; the exit code."""
    import json

    from withstand.cli import console, flags
    from withstand.results.summary import failures

    tally = done.tally
    missing = bool(tally and (tally.stopped or tally.failures))
    if given["as_json"]:
        click.echo(json.dumps(done.summary))
        return 3 if missing else 0
    console.out.print(console.cells_table(done.cells))
    console.notes(done.cells, done.summary["warnings"])
    if tally:
        console.used(tally)
    if tally and tally.stopped:
        console.say(f"stopped by {tally.stopped}; the same command without it goes on")
    if tally and tally.failures:
        console.failures(failures(done.store, done.row, limit=5))
        console.say("the same command tries these rows again")
    elif done.summary["reused"]["rows"]:
        reused = done.summary["reused"]
        console.say(f"{reused['rows']} of {reused['of']} rows reused, the oldest of {reused['oldest']}")
    for text in flags.then("next", f"report {shlex.quote(done.name)}", given["store"]):
        console.say(text)
    return 3 if missing else 0


def _dry_run(given: dict[str, Any], spec: Any) -> int:
    import json

    from withstand import api
    from withstand.cli import console, flags
    from withstand.runner import estimate, stages

    flags.check_prices(given, spec)
    store = api.open_store(given["store"], create=False) if flags.exists(given["store"]) else None
    plan = stages.planned(spec, store, given["offline"])
    estimated = estimate.estimate(plan, store)
    if given["as_json"]:
        click.echo(json.dumps(estimated))
        return 0
    console.dry_run(estimated)
    return 0
