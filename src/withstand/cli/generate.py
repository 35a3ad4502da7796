"""`withstand generate`: behaviors made before a run."""

import shlex
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
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
    options,
    reuse_option,
    store_option,
    typed_store,
)
from withstand.core import Json
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.formats.generated import Generated
    from withstand.runner.asking import Asking
    from withstand.runner.generate import Generation, Wish

MADE_FROM = options(
    click.option("--from", "source", required=True, metavar="app.toml|SUITE",
                 help="Description of your application, or a suite whose behaviors are the seeds."),
    click.option("-o", "--output", default="behaviors.jsonl", show_default=True, metavar="FILE",
                 help="File of behaviors. Rows that it holds stay as they are."),
    click.option("-n", "number", type=click.IntRange(min=1), default=None, metavar="N",
                 help="Harmful behaviors to make, at most, spread over the categories (default: all)."),
    click.option("--seed", type=int, default=0, metavar="N", help="Draws the choice and the writer's answers anew."),
)  # fmt: skip
MODELS = options(
    click.option("--writer", default="", metavar="T",
                 help="Target that writes (default: none; templates, and slots for the kitchen's suites)."),
    click.option("--critic", "critics", multiple=True, metavar="T",
                 help="Target that checks the labels of what is made from a suite; repeats: all must agree."),
    click.option("--risk", default="", metavar="WORDS",
                 help="What makes a seed harmful, such as 'a request for a recipe' (default: by the suite)."),
    click.option("--judge", "-j", default="refusal_words", show_default=True, metavar="J",
                 help="Judge of the behaviors of an application that no rule can judge."),
)  # fmt: skip


@click.group(cls=Commands, context_settings=CONTEXT)
def generate() -> None:
    """Make behaviors to test with."""


@command(group=generate, json=True)
@MADE_FROM
@MODELS
@max_asks_option
@click.option("--max-cost", type=float, metavar="X", help="Cap in US dollars; needs prices in the targets' specs.")
@offline_option
@reuse_option
@store_option
def behaviors(source: str, output: str, as_json: bool, **given: Any) -> Result | int:
    """Write behaviors for your application, or more of a suite's.

    Each has a benign twin, a judge and the fact or seed that it was made from. Run them with
    `withstand run --suite generated:FILE`; set the status of a row to accepted or dropped before that. The same command
    adds what the file lacks, and brings nothing back that you have dropped or edited.
    """
    from withstand import api
    from withstand.cli.progress import progress
    from withstand.core.save import locked
    from withstand.formats.generated import added, read_generated, write_generated
    from withstand.runner.asking import INTERRUPTED, Asking
    from withstand.runner.generate import Wish
    from withstand.runner.tally import Caps

    path, store = Path(output), given["store"]
    wish = Wish(given["number"], given["seed"], given["writer"], given["critics"], given["judge"], given["risk"])
    _check(wish, given["max_cost"], given["offline"])
    before = read_generated(output) if path.exists() else []
    asks = wish.writer or wish.critics
    with ExitStack() as stack:
        opened = stack.enter_context(api.open_store(store, reuse=given["reuse"])) if asks else None
        show = stack.enter_context(progress(as_json))
        asking = Asking(opened, Caps(given["max_asks"], given["max_cost"]), show)
        generation = _generated(source, before, wish, asking)
    with locked(path):  # a person may have edited it meanwhile
        rows = added(read_generated(output) if path.exists() else [], generation.rows)
        write_generated(path, rows)
    if asking.tally.stopped == INTERRUPTED:
        console.say(f"Interrupted. {count(len(generation.rows), 'row')} added to {output}; the same command continues")
        return 130
    value = _json(generation, rows, output)
    return Result(value, lambda: _show(generation, rows, output), 3 if asking.tally.incomplete else 0)


def _check(wish: "Wish", max_cost: float | None, offline: bool) -> None:
    """Raise `SpecError` for a model or judge that cannot be asked, before anything is."""
    from withstand.cli.flags import check_priced
    from withstand.registry import find
    from withstand.registry.grammar import parse
    from withstand.runner.suites import check_judge

    check_judge(find.build("judge", parse(wish.judge)), False)
    for spec in filter(None, (wish.writer, *wish.critics)):
        model = find.build("target", parse(spec))
        check_judge(model, offline)
        if max_cost is not None:
            check_priced(model, spec)
        if model.hosts:
            console.say(f"Sending texts to {', '.join(model.hosts)}")


def _generated(source: str, before: "list[Generated]", wish: "Wish", asking: "Asking") -> "Generation":
    from withstand.formats.application import read_application
    from withstand.runner.generate import from_application, from_suite

    if source.endswith(".toml"):
        return from_application(read_application(source), before, wish, asking)
    return from_suite(source, before, wish, asking)


def _json(generation: "Generation", rows: "list[Generated]", output: str) -> Json:
    return {
        "file": output,
        "rows": len(rows),
        "added": [row.id for row in generation.rows],
        "statuses": dict(Counter(row.status for row in rows)),
        "yield": {name: asdict(part) for name, part in generation.yields.items()},
        "total": asdict(generation.total),
        "notes": list(generation.notes),
    }


def _show(generation: "Generation", rows: "list[Generated]", output: str) -> None:
    parts = {**dict(sorted(generation.yields.items())), "all": generation.total}
    heads = [head for head, number in asdict(generation.total).items() if number or head in ("asked", "used")]
    console.table(
        [[name or "none", *(str(getattr(part, head)) for head in heads)] for name, part in parts.items()],
        ["category", *heads],
    )
    halves = Counter(row.half for row in generation.rows if row.status != "dropped")
    statuses = Counter(row.status for row in rows)
    listed = ", ".join(f"{number} {status}" for status, number in statuses.items()) or "no row"
    console.put(f"added {halves['harmful']} behaviors and {halves['benign']} benign twins; {output} has {listed}")
    tally = generation.tally
    if tally.failures:
        console.failed_rows(tally)
    console.stopped(tally)
    for note in generation.notes:
        console.say(f"note: {note}")
    if not any(row.status != "dropped" and row.half == "harmful" for row in rows):
        console.say(f"no behavior to run: {output} has none that is kept")
        return
    for text in console.then("next", f"run --suite generated:{shlex.quote(output)} --target TARGET", typed_store()):
        console.say(text)
