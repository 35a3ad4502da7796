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

from withstand import __version__
from withstand.core import SpecError, WithstandError

if TYPE_CHECKING:
    from withstand.api import Run

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


def main(args: Sequence[str] | None = None) -> None:
    """Entry point: every mistake becomes a message and an exit code."""
    warnings.showwarning = lambda message, *_, **__: click.echo(f"warning: {message}", err=True)
    if sys.path and sys.path[0] != "":
        sys.path.insert(0, "")  # a user's own components and functions are found from the folder they work in
    stdout = sys.stdout
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a text may hold what the terminal or UTF-8 cannot write
    try:
        sys.exit(cli.main(args=None if args is None else list(args), prog_name="withstand", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted: everything saved so far is kept", err=True)
        sys.exit(130)
    except WithstandError as error:
        from withstand import console

        console.error(str(error), error.hint)
        sys.exit(2)
    except (BrokenPipeError, SystemExit) as end:  # `withstand list | head`: click and rich make an exit code 1 of it
        by_rich, by_click = isinstance(end.__context__, BrokenPipeError), sys.stdout is not stdout  # it has wrapped it
        if isinstance(end, SystemExit) and not by_rich and not by_click:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except Exception:  # noqa: BLE001 - a bug of ours: say so, with all that is needed to mend it
        import traceback

        traceback.print_exc()
        click.echo(
            f"internal error (withstand {__version__}): this is a bug, not your mistake; please report it", err=True
        )
        sys.exit(4)


store_option = click.option(
    "--store", envvar="WITHSTAND_STORE", default="withstand.db", show_default=True, metavar="DB",
    help="A file, or a postgresql:// URL.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


@click.group(context_settings=CONTEXT)
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
@click.option("--samples", type=int, metavar="K", help="Completions per test case.")
@click.option("--temperature", type=float, metavar="T", help="Of the target; default 0.")
@click.option("--max-tokens", type=int, metavar="N", help="Of an answer; default: the suite's.")
@click.option("--until-success", is_flag=True, help="Stop each attack at its first success.")
@click.option("--budget", metavar="asks=N,tokens=N,seconds=S", help="Caps per behavior and attack.")
@click.option("--seed", type=int, metavar="N", help="Of the choice of behaviors, attacks and sampling.")
@click.option("--revision", metavar="R", help="Version of a target that cannot be hashed, such as a git commit.")
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
    from withstand import api, console, flags

    quiet = given["as_json"]
    store = api.open_store(given["store"])
    name = ""

    def on_start(plan: Any, row: Any) -> None:
        nonlocal name
        name = row.name
        if quiet:
            return
        suites = " and ".join(f"{len(s.behaviors)} of {s.label}" for s in plan.suites)
        console.err.print(f"run {row.name}: {len(plan.cells)} cells, {suites}; store {given['store']}")
        if plan.hosts:
            console.err.print(f"text leaves for {', '.join(plan.hosts)}")
        for warning in plan.warnings:
            console.err.print(f"note: {warning}")

    flags.check_prices(given, spec)
    try:
        with console.progress(quiet) as show:
            done = api.run(
                spec, store=store, name=given["name"] or "", fresh=given["fresh"], shard=flags.shard(given["shard"]),
                max_asks=given["max_asks"], max_cost=given["max_cost"], max_time=flags.seconds(given["max_time"]),
                offline=given["offline"], on_start=on_start, on_progress=show,
            )  # fmt: skip
    except KeyboardInterrupt:
        if not name:
            raise  # nothing was begun
        command = f"withstand run --name {shlex.quote(name)} --store {shlex.quote(given['store'])}"
        click.echo(f"interrupted: everything saved so far is kept. Go on with: {command}", err=True)
        return 130
    return _finish(done, given)


def _finish(done: "Run", given: dict[str, Any]) -> int:
    """Print the cells and what went wrong; the exit code."""
    import json

    from withstand import console

    tally = done.tally
    missing = bool(tally and (tally.stopped or tally.failures))
    if given["as_json"]:
        click.echo(json.dumps(done.summary))
        return 3 if missing else 0
    console.out.print(console.cells_table(done.cells))
    console.notes(done.cells, done.summary["warnings"])
    if tally and tally.stopped:
        console.err.print(f"stopped by {tally.stopped}; the same command without it goes on")
    if tally and tally.failures:
        _failures(done)
    elif done.summary["reused"]["rows"]:
        reused = done.summary["reused"]
        console.err.print(f"{reused['rows']} of {reused['of']} rows reused, the oldest of {reused['oldest']}")
    store = "" if given["store"] == "withstand.db" else f" --store {shlex.quote(given['store'])}"
    console.err.print(f"next: withstand report {shlex.quote(done.name)}{store}")
    return 3 if missing else 0


def _failures(done: "Run") -> None:
    from withstand import console
    from withstand.report.summary import failures

    for entry in failures(done.store, done.row, limit=5):
        console.error(f"{entry['rows']} rows: {entry['error'].splitlines()[0][:300]}", entry["hint"])
    console.err.print("the same command tries these rows again")


def _dry_run(given: dict[str, Any], spec: Any) -> int:
    import json

    from withstand import api, console, estimate, flags, line

    flags.check_prices(given, spec)
    known = "://" in given["store"] or Path(given["store"]).exists()
    store = api.open_store(given["store"], create=False) if known else None
    plan = line.planned(spec, store, given["offline"])
    estimated = estimate.estimate(plan, store)
    if given["as_json"]:
        click.echo(json.dumps(estimated))
        return 0
    console.out.print(console.plan_table(estimated))
    asks = ", ".join(f"{count:,} to the {role}" for role, count in estimated["asks"].items())
    console.out.print(f"asks at most: {asks}; answer tokens at most: {estimated['answer_tokens']:,}")
    expected = [
        "time unknown" if estimated["seconds"] is None else f"about {estimated['seconds']:.0f} s",
        "cost unknown" if estimated["cost"] is None else f"about ${estimated['cost']:.2f}",
    ]
    console.out.print(f"expected from earlier rows: {', '.join(expected)}")
    if estimated["hosts"]:
        console.out.print(f"text would leave for {', '.join(estimated['hosts'])}")
    console.notes([], estimated["warnings"])
    return 0


# --- look --------------------------------------------------------------------------------------------------------


@cli.command(context_settings=CONTEXT)
@click.argument("name", metavar="[RUN]", default="")
@store_option
@json_option
def status(name: str, store: str, as_json: bool) -> int:
    """How far a run is, and what went wrong. RUN defaults to the last run. Exit code 3 while rows are missing."""
    import json

    from withstand import api, console
    from withstand.report.summary import status as read_status
    from withstand.store import STAGES

    found = api.load(name, store)
    state = read_status(found.store, found.row)
    missing = any(stage["done"] < stage["wanted"] for stage in state["stages"])
    if as_json:
        click.echo(json.dumps(state))
        return 3 if missing else 0
    console.out.print(f"run {state['run']} ({state['created']})")
    for stage in state["stages"]:
        failed = f", {stage['failed']} failed" if stage["failed"] else ""
        console.out.print(f"{STAGES[stage['stage']]:>12}  {stage['done']} of {stage['wanted']}{failed}")
    for entry in state["failures"]:
        console.error(f"{entry['rows']} rows: {entry['error'].splitlines()[0][:300]}", entry["hint"])
    if missing:
        console.out.print(f"go on: withstand run --name {shlex.quote(state['run'])} --store {shlex.quote(store)}")
    return 3 if missing else 0


@cli.command(context_settings=CONTEXT)
@click.argument("name", metavar="[RUN]", default="")
@store_option
@click.option("--format", "-f", "form", type=click.Choice(["html", "json", "csv", "md"]), default=None,
              help="Default: html, or what the file's name ends in.")  # fmt: skip
@click.option("-o", "--output", metavar="FILE", help="Default: RUN.html; the other formats go to stdout.")
@click.option("--reveal", is_flag=True, help="Show prompts and completions without a click.")
@click.option("--with-text/--without-text", default=None, help="Keep texts in the file; default: html yes, csv no.")
def report(name: str, store: str, form: str | None, output: str | None, reveal: bool, with_text: bool | None) -> int:
    """Write a report: one HTML file, the numbers as JSON, the cases as CSV, or a table in Markdown."""
    from withstand import api
    from withstand.report import write

    suffix = Path(output).suffix.removeprefix(".") if output else ""
    form = form or (suffix if suffix in write.FORMATS else "html")
    found = api.load(name, store)
    text = write.render(found.store, found.row, form, reveal, with_text)
    if output == "-" or (output is None and form != "html"):
        click.echo(text, nl=not text.endswith("\n"))
        return 0
    path = Path(output or f"{found.name}.html")
    write.save(path, text)
    click.echo(f"wrote {path}", err=True)
    return 0


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
    rows = [[r["run"], r["created"], r["suites"], r["targets"], str(r["cells"]), r["verdicts"]] for r in found]
    console.out.print(console.fields_table(rows, ("run", "created", "suites", "targets", "cells", "verdicts")))
    return 0


@cli.command("list", context_settings=CONTEXT)
@click.argument("kind", metavar="[KIND]", default="")
@json_option
def list_(kind: str, as_json: bool) -> int:
    """The components there are: suites, targets, attacks, defenses, judges."""
    from withstand import find

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
        for name, entry in sorted(find.entries(one).items()):
            click.echo(f"  {name:<18} {find.summary(entry)}")
    click.echo("`withstand show KIND NAME` explains one.", err=True)
    return 0


@cli.command(context_settings=CONTEXT)
@click.argument("kind")
@click.argument("name")
@json_option
def show(kind: str, name: str, as_json: bool) -> int:
    """Explain a component: what it does, its fields and defaults, its source."""
    from withstand import find
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
    click.echo(f"\n{shown.docstring}\n")
    for title, rows in (("preset", shown.preset), ("facts", shown.constants)):
        if rows:
            click.secho(title, bold=True)
            for key, value in rows:
                click.echo(f"  {key} = {value}")
    if shown.fields:
        click.secho("fields (those marked * cannot change a row and are not in its key)", bold=True)
        for field, type_, default, keyed in shown.fields:
            mark = " " if keyed else "*"
            click.echo(f" {mark}{field}: {type_}" + (f" = {default}" if default else "  (needed)"))
    return 0


# --- begin -------------------------------------------------------------------------------------------------------


@cli.command(context_settings=CONTEXT)
@click.option("-o", "--output", default="withstand.toml", show_default=True, metavar="FILE")
def init(output: str) -> int:
    """Write a commented spec to start from."""
    path = Path(output)
    try:
        if path.exists():
            raise SpecError(f"{output} exists", hint="name another file with -o, or remove it")
        path.write_text((Path(__file__).parent / "withstand.toml").read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write {output}: {error.strerror}", hint="name another file with -o") from error
    click.echo(f"wrote {output}; try `withstand run {output} --dry-run`", err=True)
    return 0


@cli.command(context_settings=CONTEXT)
@store_option
@click.option("-o", "--output", default="withstand-demo.html", show_default=True, metavar="FILE")
def demo(store: str, output: str) -> int:
    """The main job on the harmless stand-in: attack a scripted model that refuses cooking, and write the report."""
    from withstand import api, console
    from withstand.report import write

    spec = {
        "suite": "kitchen",
        "target": "scripted-kitchen",
        "attack": ["direct", "prefix_injection", "role_play", "story", "best_of_n"],
        "limit": 20,
    }
    console.err.print("cooking instructions stand in for harm: may this model be talked into giving them?")
    with console.progress() as show:
        done = api.run(spec, store=store, on_progress=show)
    console.out.print(console.cells_table(done.cells))
    console.notes(done.cells, done.summary["warnings"])
    path = Path(output)
    write.save(path, write.render(done.store, done.row, "html"))
    console.out.print(f"\nreport: {path.resolve()}")
    console.out.print("next:   withstand list                      what there is")
    console.out.print("        withstand show attack story         what an attack does")
    console.out.print("        withstand init                      a spec of your own")
    console.out.print("        withstand run --suite kitchen --target openai:MODEL,base_url=URL --attack story")
    return 0


@cli.group(context_settings=CONTEXT)
def store() -> None:
    """Work on stores."""


@store.command(context_settings=CONTEXT)
@click.argument("sources", nargs=-1, required=True, metavar="FROM...")
@click.option("--into", required=True, metavar="DB", help="The store that gets everything.")
@json_option
def merge(sources: tuple[str, ...], into: str, as_json: bool) -> int:
    """Add everything of other stores: a set union, so that shards and machines come together."""
    import json

    from withstand import api

    total: dict[str, int] = {}
    with api.open_store(into) as target:
        for source in sources:
            with api.open_store(source, create=False) as other:
                for table, new in target.merge(other).items():
                    total[table] = total.get(table, 0) + new
    if as_json:
        click.echo(json.dumps(total))
    else:
        said = ", ".join(f"{new} {table}" for table, new in total.items() if new)
        click.echo(f"merged into {into}: {said or 'nothing new'}")
    return 0
