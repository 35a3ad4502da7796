"""`withstand run`."""

import shlex
from collections.abc import Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console, own_code
from withstand.cli.options import Result, command, offline_option, options, reuse_option, store_option
from withstand.cli.run_gaps import gaps_option, run_gaps
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.api import Run
    from withstand.store.store import Store

BEHAVIORS = options(
    click.option("--suite", "-s", multiple=True, metavar="S", help="Suite of behaviors; repeats. `withstand list "
                 "suites` shows them."),
    click.option("--data", metavar="PATH", help="File, folder or URL of the suite's own data."),
    click.option("--split", metavar="NAME", help="Split of the suite."),
    click.option("--limit", type=int, metavar="N",
                 help="Use N behaviors, spread over the categories; 20 is a subset of 40."),
    click.option("--where", metavar="FIELD=VALUE,...",
                 help="Select behaviors by functional, category or tags; several values as a|b."),
    click.option("--ids", type=click.Path(), metavar="FILE", help="File of behavior ids, one a line."),
    click.option("--skip-missing", is_flag=True, help="Leave out suites and twins of which you have no copy."),
    gaps_option,
)  # fmt: skip
COMPONENTS = options(
    click.option("--target", "-t", multiple=True, metavar="T", help="Model under test; repeats."),
    click.option("--attack", "-a", multiple=True, metavar="A", help="Attack; repeats."),
    click.option("--defense", "-d", multiple=True, metavar="D",
                 help="Defense in front of the target, or none; repeats."),
    click.option("--judge", "-j", metavar="J", help="Judge of the completions (default: the suite's)."),
    click.option("--benign", metavar="S|none",
                 help="Suite of prompts that must not be refused (default: the suite's twin)."),
    click.option("--utility", metavar="S|none",
                 help="Suite of questions with a right answer, such as everyday (default: none)."),
    click.option("--revision", metavar="R",
                 help="Version of the targets that cannot be hashed, such as a git commit."),
    click.option("--cases-from", metavar="RUN|FILE",
                 help="Send the test cases of a run, or of a HarmBench JSON file."),
)  # fmt: skip
SAMPLING = options(
    click.option("--samples", type=int, metavar="K", help="Completions per test case."),
    click.option("--temperature", type=float, metavar="T", help="Sampling temperature of the target (default: 0)."),
    click.option("--max-tokens", type=int, metavar="N",
                 help="Longest answer of the target, in tokens (default: the suite's)."),
    click.option("--seed", type=int, metavar="N", help="Seed of the choice of behaviors, the attacks and sampling."),
)  # fmt: skip
STOPPING = options(
    click.option("--until-success", is_flag=True, help="Stop each attack at its first success."),
    click.option("--draws", metavar="N", help="Answers of each new best that --until-success grades, or `auto`."),
    click.option("--stop-when-decided", type=float, metavar="R",
                 help="Stop a cell once its ASR is above or below R."),
    click.option("--budget", metavar="asks=N,tokens=N,seconds=S", help="Caps per behavior and attack."),
    click.option("--max-asks", type=int, metavar="N", help="Cap on the chats that this call sends, of all roles."),
    click.option("--max-cost", type=float, metavar="X", help="Cap in US dollars; needs prices in the targets' specs."),
    click.option("--max-time", metavar="S", help="Cap in seconds, or as 30m, 2h."),
)  # fmt: skip
RECORD = options(
    store_option,
    click.option("--name", metavar="RUN", help="Name of the run; given alone, continue that run."),
    click.option("--fresh", is_flag=True, help="Ask everything again, as a new run."),
    reuse_option,
    click.option("--shard", metavar="I/N",
                 help="Do the I-th of N parts; `withstand store merge` joins their stores."),
    offline_option,
    click.option("--dry-run", is_flag=True, help="Print the plan and its upper bounds; send nothing."),
)  # fmt: skip


@command(json=True)
@click.argument("spec_file", metavar="[SPEC.toml]", required=False)
@BEHAVIORS
@COMPONENTS
@SAMPLING
@STOPPING
@RECORD
def run(**given: Any) -> Result | int:
    """Attack targets and judge their answers.

    Without arguments, reads ./withstand.toml; `standard` is a spec of published suites. Flags override the spec file.
    The same command, run again, computes what is missing; nothing is overwritten.
    """
    from withstand.cli import flags

    start = _dry_run if given["dry_run"] else _run
    if given["gaps_of"]:
        return run_gaps(given, lambda spec: start(given, spec))
    return start(given, flags.spec_from(given))


def _run(given: dict[str, Any], spec: Any) -> Result | int:
    from withstand import api
    from withstand.cli import flags
    from withstand.runner import begin

    shard, max_time = flags.shard(given["shard"]), flags.seconds(given["max_time"])
    flags.check_prices(given, spec)
    if not flags.exists(given["store"]):
        begin.planned(spec, None, given["offline"])  # a mistake in the spec leaves no empty store behind
    with api.open_store(given["store"], reuse=given["reuse"]) as store:
        result = _run_in(store, given, spec, shard, max_time)
        return result.finish(given["as_json"]) if isinstance(result, Result) else result


def _run_in(
    store: "Store", given: dict[str, Any], spec: Any, shard: tuple[int, int], max_time: float | None
) -> Result | int:
    from withstand import api
    from withstand.cli import cells
    from withstand.cli.progress import progress
    from withstand.runner import estimate
    from withstand.runner.gating import cannot_pass

    name = ""

    def on_start(plan: Any, row: Any) -> None:
        nonlocal name
        name = row.name
        if not given["as_json"]:
            _say_start(plan, name, given["store"], cannot_pass(spec, plan))
            sets = (f"{entry['set']} on {entry['target']}: {'; '.join(entry['labels'])}" for entry in plan.sets())
            for line in dict.fromkeys(sets):  # a target has one set, whatever defense stands before it
                console.say(line)
            if plan.sets():
                cells.bounds(estimate.estimate(plan, store))

    try:
        with progress(given["as_json"]) as show:
            run = api.run(
                spec, store=store, name=given["name"] or "", fresh=given["fresh"], shard=shard,
                max_asks=given["max_asks"], max_cost=given["max_cost"], max_time=max_time,
                offline=given["offline"], on_start=on_start, on_progress=show,
            )  # fmt: skip
    except KeyboardInterrupt:
        if not name:
            raise  # nothing was begun
        console.say("Interrupted. Everything saved so far is kept.")
        for text in console.then("to continue", _again(name, given["reuse"]), given["store"]):
            console.say(text)
        return 130
    incomplete = bool(run.tally and run.tally.incomplete)
    return Result(run.summary, lambda: _show(run, given["store"]), 3 if incomplete else 0)


def _again(name: str, reuse: str) -> str:
    """The command that continues a run, less the program's name."""
    command = own_code.to_continue(name)
    return command if reuse == "own" or "--reuse" in command else f"{command} --reuse {reuse}"


def _say_start(plan: Any, name: str, store: str, warnings: Iterable[str]) -> None:
    suites = " and ".join(f"{len(s.behaviors)} of {s.label}" for s in plan.suites)
    console.say(f"run {name}: {count(len(plan.cells), 'cell')}, {suites}; store {store}")
    if plan.hosts:
        console.say(f"Sending prompts to {', '.join(plan.hosts)}")
    for warning in (*plan.warnings, *warnings):
        console.say(f"note: {warning}")


def _show(run: "Run", store: str) -> None:
    """Print the cells and what went wrong."""
    from withstand.cli import cells
    from withstand.results.summary import failures

    cells.show_cells(run)
    tally = run.tally
    if tally:
        cells.used(tally)
        console.stopped(tally)
    reused = run.result.reused
    if tally and tally.failures:
        console.failures(failures(run.store, run.row, limit=5))
        console.say("the same command tries these rows again")
    elif reused.rows:
        console.say(f"{reused.rows} of {reused.of} rows reused, the oldest of {reused.oldest}")
    for text in console.then("next", f"report {shlex.quote(run.name)}", store):
        console.say(text)


def _dry_run(given: dict[str, Any], spec: Any) -> Result:
    from withstand import api
    from withstand.cli import cells, flags
    from withstand.runner import begin, estimate
    from withstand.runner.aliases import aliases_of
    from withstand.runner.gating import cannot_pass, nightly

    flags.check_prices(given, spec)
    store = api.open_store(given["store"], create=False, reuse=given["reuse"]) if flags.exists(given["store"]) else None
    with store or nullcontext():
        plan = begin.planned(spec, store, given["offline"])
        estimated = estimate.estimate(plan, store, spec.stop_when_decided)
        estimated["run"] = begin.would_be(plan, spec, store, "" if given["fresh"] else given["name"] or "")
        estimated["forms"] = dict(estimate.forms(spec, store, given["offline"]))
    estimated |= {"names": aliases_of(spec, [chosen.label for chosen in plan.suites])}
    estimated["warnings"] += cannot_pass(spec, plan)
    estimated["builds"] = list(nightly(spec, plan))
    return Result(estimated, lambda: cells.dry_run(estimated))
