"""The commands that bring runs in from other tools and hand them out: `withstand import` and `withstand export`."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand.cli.options import CONTEXT, Commands, json_option, store_option
from withstand.core import Behavior, Json, SpecError, digest, to_json

if TYPE_CHECKING:
    from withstand.api import Run

name_option = click.option("--name", default="", metavar="RUN", help="Name of the run.")


# --- import ------------------------------------------------------------------------------------------------------


@click.group("import", cls=Commands, context_settings=CONTEXT)
def import_() -> None:
    """Make a run of what another tool has written: report, label and judge it as any other."""


@import_.command(context_settings=CONTEXT)
@click.argument("place", metavar="DIR")
@click.option("--suite", "-s", default="", metavar="SPEC",
              help="Where the behaviors are. Default: data/behavior_datasets in DIR or above it.")  # fmt: skip
@name_option
@store_option
@json_option
def harmbench(place: str, suite: str, name: str, store: str, as_json: bool) -> int:
    """HarmBench's test cases, completions and results. DIR is an experiment's folder, one above it, or one JSON file.

    Label 1 is success, 0 failure, -1 unscored. A completion $ERROR$ is none. Nothing is asked: completions without a
    label get their verdicts by `withstand judge run`.
    """
    from withstand.formats import harmbench

    parts = harmbench.read(place)
    told, behaviors = _behaviors(place, suite)
    source = {"from": "harmbench", "path": [place]} | ({"suite": suite} if suite else {})
    return _record(told, behaviors, parts, source, name, store, as_json)


@import_.command(context_settings=CONTEXT)
@click.argument("places", metavar="FILE...", nargs=-1, required=True)
@name_option
@store_option
@json_option
def jailbreakbench(places: tuple[str, ...], name: str, store: str, as_json: bool) -> int:
    """JailbreakBench's artifacts. They bring their behaviors; jailbroken true is success, false failure."""
    from withstand.formats import jailbreakbench

    behaviors, parts = jailbreakbench.read(places)
    told = {
        "name": "jailbreakbench", "version": "", "checksum": digest([to_json(one) for one in behaviors]), "split": "",
        "license": "MIT", "citation": "",
    }  # fmt: skip
    return _record(told, behaviors, parts, {"from": "jailbreakbench", "path": list(places)}, name, store, as_json)


def _behaviors(place: str, suite: str) -> tuple[Json, list[Behavior]]:
    """The suite as a plan has it, and its behaviors, with their target strings where a file beside them has those."""
    from withstand.formats.harmbench import BEHAVIORS, TARGETS, load
    from withstand.registry import find, grammar
    from withstand.runner.suites import Chosen

    strings: dict[str, str] = {}
    if suite:
        spec = grammar.parse(suite)
    else:
        path = Path(place).expanduser().resolve()
        root = next((folder for folder in (path, *path.parents[:4]) if (folder / BEHAVIORS).is_file()), None)
        if root is None:
            raise SpecError(
                f"there is no {BEHAVIORS} in {place} or above it",
                hint="name the suite of its behaviors: --suite harmbench:FOLDER,split=all",
            )
        spec = {"use": "harmbench", "path": str(root / BEHAVIORS), "split": "all"}
        read = load(root / TARGETS) if (root / TARGETS).is_file() else {}
        strings = {key: text for key, text in read.items() if isinstance(text, str)} if isinstance(read, dict) else {}
    built = find.build("suite", spec)
    found = [replace(one, target_string=strings.get(one.id, one.target_string)) for one in built.load()]
    checksum = digest([to_json(one) for one in found])
    return Chosen(find.label("suite", {"use": spec["use"]}), built, (), checksum).json(), found


def _record(
    suite: Json, behaviors: list[Behavior], parts: list[Any], source: Json, name: str, store: str, as_json: bool
) -> int:
    from withstand import api
    from withstand.cli import console
    from withstand.core.text import count
    from withstand.results import exchange

    behaviors = exchange.used(behaviors, parts)  # before the store is opened: a mistake leaves no empty one behind
    with api.open_store(store) as opened:
        run = api.Run(opened, exchange.record(opened, suite, behaviors, parts, source, name))
        cases = sum(cell["cases"] for cell in run.cells)
        console.say(f"run {run.name}: {count(len(parts), 'cell')}, {count(cases, 'test case')}; store {store}")
        show(run, store, as_json)
    return 0


def show(run: "Run", store: str, as_json: bool) -> None:
    """The cells of a run that is in the store, what to know of them, and what to do next."""
    import json

    from withstand.cli import console, flags

    if as_json:
        click.echo(json.dumps(run.summary))
        return
    console.out.print(console.cells_table(run.cells))
    console.notes(run.cells, run.summary["warnings"])
    waits = any(cell["judge"] == "none" for cell in run.cells)
    command = f"judge run {shlex.quote(run.name)} --judge JUDGE" if waits else f"report {shlex.quote(run.name)}"
    for text in flags.then("next", command, store):
        console.say(text)


# --- export ------------------------------------------------------------------------------------------------------


@click.group(cls=Commands, context_settings=CONTEXT)
def export() -> None:
    """Hand out a run in the form of another tool, or as a table of its cases."""


@export.command("harmbench", context_settings=CONTEXT)
@click.argument("name", metavar="RUN")
@click.argument("folder", metavar="DIR")
@store_option
def to_harmbench(name: str, folder: str, store: str) -> int:
    """Test cases, completions and results in HarmBench's layout, with the behaviors they are of.

    Nothing is overwritten: a file that is there with other content is an error. Success is label 1; failure, refused
    and filtered are 0; unscored is -1. What ended in error is left out.
    """
    from withstand import api
    from withstand.cli import console
    from withstand.core.text import count
    from withstand.formats import harmbench
    from withstand.report import write
    from withstand.results import exchange

    with api.open_store(store, create=False) as opened:
        behaviors, parts, left = exchange.parts_of(opened, api.load(name, opened).row)
    for text in left:
        console.say(f"left out: {text}")
    if not parts:
        raise SpecError(f"{name} has nothing that HarmBench's files can hold", hint="withstand export jsonl takes all")
    files = {Path(folder) / path: text for path, text in harmbench.files(parts, behaviors).items()}
    for path, text in files.items():
        if path.exists() and (not path.is_file() or path.read_bytes() != text.encode(errors="replace")):
            raise SpecError(f"{path} exists with other content", hint="name an empty folder: nothing is overwritten")
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write.save(path, text)
    except OSError as error:
        raise SpecError(f"cannot write into {folder}: {error.strerror}", hint="name another folder") from error
    console.say(f"wrote {count(len(files), 'file')} into {folder}")
    return 0


@export.command("inspect", context_settings=CONTEXT)
@click.argument("name", metavar="RUN")
@click.argument("folder", metavar="[DIR]", default="logs")
@store_option
def to_inspect(name: str, folder: str, store: str) -> int:
    """A log for Inspect per cell, with the texts, into DIR (default: logs, where `inspect view` looks).

    Nothing is overwritten. Success is 1; failure, refused and filtered are 0; unscored and error have no score.
    """
    from withstand import api
    from withstand.cli import console
    from withstand.core.text import count
    from withstand.formats import inspect

    inspect.check()
    from inspect_ai.log import write_eval_log

    with api.open_store(store, create=False) as opened:
        run = api.load(name, opened)
        written = 0
        for file, log in inspect.logs(run.summary, run.cases()):
            path = Path(folder) / file
            if path.exists():
                raise SpecError(f"{path} exists", hint="name another folder: nothing is overwritten")
            part = path.with_name(f".{file}.part")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_eval_log(log, str(part), format="eval")
                part.replace(path)
            except OSError as error:
                raise SpecError(f"cannot write into {folder}: {error.strerror}", hint="name another folder") from error
            written += 1
    console.say(f"wrote {count(written, 'log')} into {folder}: inspect view --log-dir {shlex.quote(folder)}")
    return 0


def _table(name: str, form: str) -> click.Command:
    @click.argument("run", metavar="RUN")
    @click.argument("output", metavar="FILE")
    @store_option
    def command(run: str, output: str, store: str) -> int:
        from withstand import api
        from withstand.cli import console

        with api.open_store(store, create=False) as opened:
            found = api.load(run, opened)
            _save_parquet(found, Path(output)) if form == "parquet" else _save_text(found, Path(output), form)
        console.say(f"wrote {output}")
        return 0

    command.__doc__ = name
    return click.command(form, context_settings=CONTEXT)(command)


def _save_text(run: "Run", path: Path, form: str) -> None:
    import json

    from withstand.report import write
    from withstand.results import cases

    if form == "csv":
        text = write.render(run.store, run.row, "csv", with_text=True)
    else:
        text = "".join(json.dumps(case) + "\n" for case in cases.labeled(run.summary, run.cases()))
    write.save(path, text)


def _save_parquet(run: "Run", path: Path) -> None:
    from withstand.report import write

    try:
        import pandas
        import pyarrow  # type: ignore[import-untyped,unused-ignore] # noqa: F401 - pandas writes with it
    except ImportError as error:
        raise SpecError(
            f"parquet needs {error.name}, which is not installed",
            hint="pip install pandas pyarrow, or export jsonl or csv",
        ) from error
    rows = [
        [value.encode(errors="replace").decode() if isinstance(value, str) else value for value in row.values()]
        for row in write.rows(run.summary, run.cases(), with_text=True)
    ]
    part = path.with_name(f".{path.name}.part")
    try:
        pandas.DataFrame(rows, columns=list(write.COLUMNS)).to_parquet(part, engine="pyarrow", index=False)
        part.replace(path)
    except OSError as error:
        raise SpecError(f"cannot write {path}: {error.strerror}", hint="name another file") from error


for text, form in (
    ("The cases as JSON lines, with their chats, texts and the labels of their cell.", "jsonl"),
    ("The cases as CSV with their texts; no cell of it runs as a formula.", "csv"),
    ("The cases as Parquet, with the columns of the CSV. Needs pandas and pyarrow.", "parquet"),
):
    export.add_command(_table(text, form))
