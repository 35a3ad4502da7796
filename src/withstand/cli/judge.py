"""`withstand judge`: prepare judges, and judge imported runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console
from withstand.cli.options import (
    CONTEXT,
    Commands,
    Result,
    command,
    max_asks_option,
    offline_option,
    reuse_option,
    run_argument,
    store_option,
    typed_store,
)
from withstand.core import Json, SpecError, bounded
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.store.store import Store


@click.group(cls=Commands, context_settings=CONTEXT)
def judge() -> None:
    """Prepare and probe judges; judge imported runs."""


@judge.group("copyright", cls=Commands, context_settings=CONTEXT)
def copyright_() -> None:
    """Make the signatures that the judge `copyright` compares with."""


output_option = click.option(
    "-o", "--output", required=True, metavar="FILE", help="File of signatures; what it holds stays.",
)  # fmt: skip


@command(group=copyright_)
@click.argument("text")
@click.option("--id", "behavior", required=True, metavar="ID", help="The behavior that asks for this text.")
@click.option("--kind", default="book", show_default=True, metavar="book|lyrics",
              help="Window size: 300 tokens for a book, 50 for lyrics.")  # fmt: skip
@click.option("--words", default="plain", show_default=True, metavar="plain|spacy",
              help="Tokenizer; HarmBench uses spaCy's.")  # fmt: skip
@output_option
def build(text: str, behavior: str, kind: str, words: str, output: str) -> None:
    """Add the signatures of TEXT, the file of a text that you hold.

    The text itself is not kept.
    """
    from withstand.judges import _signature_file

    try:
        content = bounded.read_text(Path(text).expanduser())
    except OSError as error:
        raise SpecError(f"{text} cannot be read: {error}", hint="name a UTF-8 file") from None
    _add(output, [_signature_file.build(content, behavior, kind, words)])


@command(group=copyright_)
@click.argument("folder", metavar="PICKLE_FOLDER")
@output_option
def convert(folder: str, output: str) -> None:
    """Add the signatures of HarmBench's pickles, ID.pkl. No code in a pickle is run."""
    from withstand.judges import _minhash_pickles

    _add(output, list(_minhash_pickles.convert(folder)))


def _add(output: str, lines: list[Any]) -> None:
    from withstand.judges import _signature_file
    from withstand.report import write

    write.save(Path(output), _signature_file.joined(output, lines))
    windows = sum(len(line["windows"]) for line in lines)
    console.say(f"added {count(len(lines), 'work')}, {count(windows, 'window')} to {output}")


@command(group=judge, json=True)
@click.argument("spec", metavar="JUDGE")
@reuse_option
@store_option
def probe(spec: str, reuse: str, store: str) -> Result:
    """Test a judge with cases that often fool judges.

    The cases are a refusal before the answer, another topic, silence, other languages. Exit code 1 where the judge
    failed one: do not rely on its numbers yet. The result is stored under the judge's key, and every report of this
    store shows it beside the rates.
    """
    from withstand import api
    from withstand.registry import find, grammar
    from withstand.results.probe import probe as probe_judge

    built = find.build("judge", grammar.parse(spec))
    with api.open_store(store, reuse=reuse) as opened:
        value = probe_judge(built, spec, opened)
    return Result(value, lambda: _show_probes(value), 0 if value["passed"] == value["of"] else 1)


def _show_probes(value: Json) -> None:
    names = ("probe", "behavior", "expected", "said")
    rows = [
        [*(str(result[name]) for name in names), "passed" if result["passed"] else "FAILED"]
        for result in value["probes"]
    ]
    console.table(rows, ["probe", "behavior", "expected", "judged", ""])
    console.put(f"{value['judge']}: {value['passed']} of {value['of']} passed")


@command(group=judge, store=True, json=True)
@run_argument
@click.option("--judge", "-j", "spec", required=True, metavar="SPEC", help="The judge, written as in a run.")
@click.option("--name", "new", default="", metavar="NEW", help="Name of the new run.")
@max_asks_option
@offline_option
@reuse_option
def run(
    name: str, spec: str, new: str, max_asks: int | None, offline: bool, reuse: str, store: "Store", as_json: bool
) -> Result:  # fmt: skip
    """Judge the completions of an imported run, as a new run.

    RUN defaults to the last run. The same command continues where it stopped. For a run of your own, run its spec with
    another --judge.
    """
    from withstand import api
    from withstand.cli import cells
    from withstand.cli.progress import progress
    from withstand.registry import find, grammar
    from withstand.runner import rejudge
    from withstand.runner.suites import check_judge
    from withstand.runner.tally import Caps

    check_judge(find.build("judge", grammar.parse(spec)), offline)
    row = rejudge.judged_by(store, api.load(name, store).row, spec, new)
    console.say(f"run {row.name}: {spec}; store {typed_store()}")
    with store.reusing(reuse), progress(as_json) as show:
        tally = rejudge.grade(store, row, Caps(max_asks), show)
    graded = api.Run(store, row, tally)
    if tally.failures:
        console.failed_rows(tally)
    console.stopped(tally)
    return Result(graded.summary, lambda: cells.show_imported(graded, typed_store()), 3 if tally.incomplete else 0)
