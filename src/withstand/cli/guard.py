"""`withstand guard`: what guards catch at a budget of false alarms, and the threshold that benign prompts support."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
)
from withstand.core.text import count, percent

if TYPE_CHECKING:
    from withstand.results.guard_eval import GuardEval, GuardThreshold
    from withstand.results.guard_texts import Wanted
    from withstand.results.guards import Guard
    from withstand.runner.asking import Asking


@click.group(cls=Commands, context_settings=CONTEXT)
def guard() -> None:
    """Measure guards, and set their thresholds."""


fpr_option = click.option(
    "--fpr", "budget", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.01, show_default=True,
    help="Budget of false alarms: the share of benign prompts that may be blocked.",
)  # fmt: skip
attack_option = click.option(
    "--attack", "-a", "attacks", multiple=True, metavar="SPEC",
    help="An attack that words prompts and asks no model; again for more (default: direct).",
)  # fmt: skip
target_option = click.option(
    "--target", "-t", default="", metavar="SPEC", help="The model behind the guard, for a guard that asks it."
)
ASKED = options(
    click.option("--limit", type=click.IntRange(min=1), default=None, metavar="N", help="Behaviors of each suite."),
    click.option("--seed", type=int, default=0, metavar="N", help="Draws the choice of --limit."),
    max_asks_option,
    offline_option,
    reuse_option,
    store_option,
)


@command("eval", group=guard, json=True)
@click.argument("positional", metavar="[GUARD]...", nargs=-1)
@click.option("--guard", "-g", "named", multiple=True, metavar="SPEC",
              help="A judge, or a defense that scores prompts, written as in a run; again for more.")  # fmt: skip
@click.option("--suite", "-s", "suites", multiple=True, metavar="SPEC", help="Suite of harmful requests.")
@attack_option
@click.option("--cases-from", "source", default="", metavar="RUN",
              help="The test cases of a run, or of a file, in place of --attack.")  # fmt: skip
@click.option("--benign", default="", metavar="SPEC", help="Benign requests (default: the suite's twin).")
@click.option(
    "--plain", is_flag=True, help="Take benign requests as they are alone: for a guard of attacks' words, not of harm."
)
@fpr_option
@click.option("--reads", type=click.Choice(["prompt", "answer"]), default="prompt", show_default=True,
              help="What is read: prompts, or the answers of --cases-from RUN, as its judge labels them.")  # fmt: skip
@click.option("--out", "-o", "folder", default="guard", show_default=True, metavar="FOLDER",
              help="Gets guard.html, guard.md and guard.json.")  # fmt: skip
@target_option
@ASKED
def eval_(
    positional: tuple[str, ...], named: tuple[str, ...], reads: Literal["prompt", "answer"], budget: float,
    folder: str, target: str, as_json: bool, **given: Any,
) -> Result | int:  # fmt: skip
    """Try guards on harmful prompts, and on benign ones in the same words.

    Says what each guard catches at the budget of false alarms, and its threshold as what to paste. Each further guard
    is compared with the first. The same command continues where it stopped.
    """
    from withstand.report import roc
    from withstand.results.guard_eval import evaluate
    from withstand.results.guard_texts import texts_of
    from withstand.results.guards import guards_named

    guards = guards_named([*positional, *named], reads, target, given["offline"])
    with open_asking(guards, given, as_json) as asking:
        assert asking.store is not None
        texts = texts_of(_wanted(given), reads, asking.store)
        result = evaluate(guards, texts, budget, reads, asking)
    if result is None:
        return unfinished(asking)
    roc.write(result, Path(folder))
    return Result(result.to_json(), lambda: _show(result, asking, folder), 3 if asking.tally.failures else 0)


@command(group=guard, json=True)
@click.argument("spec", metavar="GUARD")
@click.option("--benign", required=True, metavar="SUITE|FILE",
              help="Benign prompts: a suite, or a .csv or .jsonl file with a column text.")  # fmt: skip
@fpr_option
@attack_option
@target_option
@ASKED
def threshold(spec: str, benign: str, budget: float, target: str, as_json: bool, **given: Any) -> Result | int:
    """Set GUARD's threshold from benign prompts alone, for a budget of false alarms.

    Prints the guard with its threshold, as a run takes it.
    """
    from withstand.results.guard_eval import threshold as chosen
    from withstand.results.guard_texts import benign_prompts
    from withstand.results.guards import guards_named

    guards = guards_named([spec], "prompt", target, given["offline"])
    texts = benign_prompts(_wanted({**given, "benign": benign}))
    with open_asking(guards, given, as_json) as asking:
        result = chosen(guards[0], texts, budget, asking)
    if result is None:
        return unfinished(asking)
    return Result(result.to_json(), lambda: _show_threshold(result, asking), 3 if asking.tally.failures else 0)


# --- what both do ------------------------------------------------------------------------------------------------


def _wanted(given: dict[str, Any]) -> "Wanted":
    from withstand.results.guard_texts import Wanted

    return Wanted(
        given.get("suites", ()), given["attacks"], given.get("source", ""), given["benign"], given["limit"],
        given["seed"], given["offline"], given.get("plain", False),
    )  # fmt: skip


@contextmanager
def open_asking(guards: "Sequence[Guard]", given: Mapping[str, Any], as_json: bool) -> "Iterator[Asking]":
    """Where guards are asked: the store, with caps and progress. given: `max_asks`, `store` and `reuse`."""
    from withstand import api
    from withstand.cli.progress import progress
    from withstand.runner.asking import Asking
    from withstand.runner.tally import Caps

    if hosts := sorted({host for guard in guards for model in guard.models for host in model.hosts}):
        console.say(f"Sending texts to {', '.join(hosts)}")
    with api.open_store(given["store"], reuse=given["reuse"]) as opened, progress(as_json) as show:
        yield Asking(opened, Caps(given["max_asks"]), show)


def unfinished(asking: "Asking") -> int:
    """What a cap or Ctrl-C left undone; the exit code."""
    from withstand.runner.asking import INTERRUPTED

    if asking.tally.failures:
        console.failed_rows(asking.tally)
    if asking.tally.stopped == INTERRUPTED:
        console.say("Interrupted. No figures yet; the same command continues.")
        return 130
    console.stopped(asking.tally)
    console.say("No figures yet: texts are left that were not scored.")
    return 3


def _show(result: "GuardEval", asking: "Asking", folder: str) -> None:
    from withstand.report import roc

    for tried in result.guards:
        console.put(" ".join(roc.sentences(result, tried)))
        if tried.why:
            console.say(f"{tried.guard} could not say: {tried.why[:120]}")
    for pair in result.differences:
        console.put(roc.compared(result, pair))
    for table in roc.tables(result):
        if not table.folded:
            console.put("")
            console.table(table.shown().texts(), table.shown().heads(), table.title)
    console.put("")
    for _, line in roc.lines(result):
        console.put(f"to paste: {line}")
    for note in result.notes:
        console.say(f"note: {note}")
    console.failed_rows(asking.tally)
    console.put(f"page: {Path(folder) / 'guard.html'}")


def _show_threshold(result: "GuardThreshold", asking: "Asking") -> None:
    at, behaviors = result.at.alarms, count(result.behaviors, "benign behavior")
    console.put(f"threshold={result.threshold:g} for {100 * result.budget:g}% false alarms, by {behaviors}")
    console.put(
        f"it blocks {at.count} of these {at.n} prompts; of others {percent(at.ends[0])} to {percent(at.ends[1])} with "
        f"95%: up to {1000 * at.ends[1]:.3g} of 1,000"
    )
    if result.unscored:
        console.put(f"{count(result.unscored, 'prompt')} got no score and count as false alarms")
    console.put(f"--defense {shlex.quote(result.line)}")
    for note in result.notes:
        console.say(f"note: {note}")
    console.failed_rows(asking.tally)
