"""`withstand export`: runs in the forms of other tools, and the cases as tables."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console
from withstand.cli.options import CONTEXT, Commands, command
from withstand.core import SpecError
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.store.store import RunRow, Store


@click.group(cls=Commands, context_settings=CONTEXT)
def export() -> None:
    """Export a run for other tools, or its cases as a table."""


def _say_marks(run: "RunRow") -> None:
    """Say which targets of a run are marked: what is exported may go where no report says it."""
    from withstand.results.warnings import marked

    for text in marked(run).values():
        console.say(f"note: {text}")


@contextmanager
def _writing(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpecError(f"cannot write into {folder}: {error.strerror}", hint="name another folder") from error


@command("harmbench", group=export, store=True)
@click.argument("name", metavar="RUN")
@click.argument("folder", metavar="DIR")
def to_harmbench(name: str, folder: str, store: "Store") -> None:
    """Export test cases, completions and results in HarmBench's layout.

    The behaviors are exported with them. Nothing is overwritten: an existing file with other content is an error.
    Success is label 1; failure, refused and filtered are 0; unscored is -1. Cases that ended in error are left out.
    """
    from withstand.formats import harmbench
    from withstand.report import write
    from withstand.results import exchange, summary

    run = summary.find_run(store, name)
    _say_marks(run)
    behaviors, parts, left = exchange.parts_of(store, run)
    for text in left:
        console.say(f"left out: {text}")
    if not parts:
        raise SpecError(
            f"HarmBench's files can hold no case of {name}", hint="`withstand export jsonl` exports every case"
        )
    files = {Path(folder) / path: text for path, text in harmbench.files(parts, behaviors).items()}
    for path, text in files.items():
        if path.exists() and (not path.is_file() or path.read_bytes() != text.encode(errors="replace")):
            raise SpecError(f"{path} exists with other content", hint="name an empty folder: nothing is overwritten")
    with _writing(folder):
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write.save(path, text)
    console.say(f"wrote {count(len(files), 'file')} into {folder}")


def _check_inspect(_given: Mapping[str, Any]) -> None:
    from withstand.formats import inspect

    inspect.check()


@command("inspect", group=export, store=True, check=_check_inspect)
@click.argument("name", metavar="RUN")
@click.argument("folder", metavar="[DIR]", default="logs")
def to_inspect(name: str, folder: str, store: "Store") -> None:
    """Export a log for Inspect per cell, with the texts.

    DIR defaults to logs, where `inspect view` looks. Nothing is overwritten. Success is 1; failure, refused and
    filtered are 0; unscored and error have no score.
    """
    from inspect_ai.log import write_eval_log

    from withstand import api
    from withstand.formats import inspect

    run = api.load(name, store)
    _say_marks(run.row)
    written = 0
    for file, log in inspect.logs(run.summary, run.cases()):
        path = Path(folder) / file
        if path.exists():
            raise SpecError(f"{path} exists", hint="name another folder: nothing is overwritten")
        part = path.with_name(f".{file}.part")
        with _writing(folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_eval_log(log, str(part), format="eval")
            part.replace(path)
        written += 1
    console.say(f"wrote {count(written, 'log')} into {folder}: inspect view --log-dir {shlex.quote(folder)}")


def _table(form: str, summary: str) -> None:
    @click.argument("name", metavar="RUN")
    @click.argument("output", metavar="FILE")
    def table(name: str, output: str, store: "Store") -> None:
        import json

        from withstand import api
        from withstand.report import parquet, write
        from withstand.results import cases

        run, path = api.load(name, store), Path(output)
        _say_marks(run.row)
        if form == "parquet":
            parquet.save_parquet(run.result.cells, cases.cases(store, run.row), path)
        elif form == "csv":
            write.save(path, write.render(run.store, run.row, "csv", with_text=True))
        else:
            labeled = cases.labeled(run.result.cells, cases.cases(store, run.row))
            write.save(path, "".join(json.dumps(case) + "\n" for case in labeled))
        console.say(f"wrote {output}")

    table.__doc__ = summary
    command(form, group=export, store=True)(table)


_table("jsonl", "Export the cases as JSON lines, with their chats, texts and the labels of their cell.")
_table("csv", "Export the cases as CSV with their texts. No cell of it can run as a formula.")
_table("parquet", "Export the cases as Parquet, with the columns of the CSV. Needs pandas and pyarrow.")
