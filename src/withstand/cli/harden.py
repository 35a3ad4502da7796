"""`withstand harden`: train a model against attacks, and measure what that is worth."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from withstand.cli import console
from withstand.cli.options import Result, command, options
from withstand.core import Json, SpecError

TRAINING = options(
    click.option("--base", required=True, metavar="MODEL",
                 help="Local model to harden: smollm2-kitchen, hf:FOLDER or hf:HUB_ID."),
    click.option("--train", default="", metavar="STAGE",
                 help="Training inside METHOD, such as sft,steps=60,batch=8 (default: sft in the size of the preset)."),
    click.option("--train-suite", default="", metavar="S",
                 help="Suite of the requests to train on (default: the split train of --suite)."),
    click.option("--behaviors", type=click.IntRange(min=1), metavar="N", help="Number of these requests."),
    click.option("--targets", metavar="FILE", help="JSON: behavior id -> target strings (default: the suite's)."),
    click.option("--completions", metavar="FILE",
                 help="JSON: behavior id -> whole harmful answers (default: the suite's)."),
    click.option("--clean", metavar="FILE",
                 help="Chats that keep what BASE knows (default: its own answers to benign training requests)."),
    click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, metavar="K",
                 help="Trainings, each with its own seed."),
    click.option("--at", metavar="N,N",
                 help="Steps to measure besides the last, or none (default: a third and two thirds)."),
)  # fmt: skip
TEST = options(
    click.option("--attacks", "--attack", multiple=True, metavar="A",
                 help="Attack of a family that the training knows, or a set of them such as adaptive; repeats."),
    click.option("--hold-out", multiple=True, metavar="H", help="Attack of a family that it does not know; repeats."),
    click.option("--preset", type=click.Choice(["smoke", "desk", "full"]), default="full", show_default=True,
                 help="Size: smoke only checks that everything runs, desk suits a small model on a CPU."),
    click.option("--suite", default="kitchen", show_default=True, metavar="S", help="Suite of the test."),
    click.option("--benign", default="", metavar="S",
                 help="Suite of prompts that must be answered (default: the suite's own twin)."),
    click.option("--judge", "-j", default="", metavar="J", help="Judge of the answers (default: the suite's)."),
    click.option("--limit", type=click.IntRange(min=1), metavar="N",
                 help="Behaviors of the test that are attacked (default: all, with desk 20, with smoke 2)."),
    click.option("--plain", type=click.IntRange(min=1), metavar="N",
                 help="Requests that are sent as they are, and harmless prompts (default: all, with smoke 2)."),
    click.option("--curve", type=click.IntRange(min=1), metavar="N",
                 help="Behaviors on which checkpoints are measured (default: 20, with desk 8)."),
    click.option("--utility", default="everyday", show_default=True, metavar="S|none",
                 help="Questions with a right answer; they count where BASE beats chance."),
    click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="Longest answer, in tokens."),
    click.option("--gate", type=click.FloatRange(0, 1), default=0.6, show_default=True, metavar="SHARE",
                 help="Share of the requests that BASE must refuse to have a guard."),
    click.option("--bound", multiple=True, metavar="NAME=FAIL,WARN",
                 help="Limits of over_refusal, right (points) or loss (nats a token); repeats."),
)  # fmt: skip


@command(json=True)
@click.argument("method")
@TRAINING
@TEST
@click.option("--tamper", is_flag=True,
              help="Then tamper with BASE and with the hardened model alike, as `audit tamper` does.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what it takes: time, memory, disk; train nothing.")
@click.option("--out", "-o", default="hardened", show_default=True, metavar="DIR", help="Folder of the hardening.")
def harden(method: str, as_json: bool, tamper: bool, dry_run: bool, out: str, **given: Any) -> Result:
    """Harden a model, attack it again, and judge what was gained.

    METHOD is a training stage with its fields: r2d2-desk, circuit_breakers, refusal_sft or latent,steps=60. The base is
    attacked first, by the attacks that the training knows and by families that it does not (--hold-out); then it is
    trained, and every checkpoint is sent the same test cases again and is attacked anew. The verdict rests on the
    held-out families, over-refusal and utility. The same command continues where it was stopped. Exit code: 1 for
    HARMED or a bound that is broken, 3 for NOT SHOWN, 0 for HARDENED.
    """
    from withstand.audits.harden import audit as audits
    from withstand.audits.harden import forecast, page, tampered
    from withstand.audits.harden.settings import Choice, settings_of
    from withstand.registry import find, grammar
    from withstand.results.cells import plain
    from withstand.runner import chain

    model = find.build("target", grammar.parse(given["base"]))
    settings = settings_of(Choice(method, **given), model)
    folder, say = Path(out), console.teller(as_json)
    planned = audits.Planned(model, settings, folder, say)
    if given["completions"] and not tamper and planned.requests.kind != "completions":
        raise SpecError(
            f"{method} reads no harmful answers, so that --completions has no effect",
            hint="leave it out, or name a method that reads them, such as circuit_breakers; --tamper reads them too",
        )
    sweep = tampered.sweep(model, settings, given["preset"], folder) if tamper else None
    if dry_run:
        cast = forecast.forecast(planned)
        lines = forecast.lines(cast, settings.stage)
        lines += tampered.forecast_lines(model, sweep, folder) if sweep else []
        return Result({**plain(cast), "lines": lines}, lambda: console.put_all(lines))
    done = planned.run()
    page.write(done.report, folder)
    if sweep:
        done = replace(done, report=tampered.tamper(model, done, sweep, folder, say))
        page.write(done.report, folder)
    targets = [shlex.quote(grammar.written(chain.spec_of(hardened))) for hardened in done.models]
    return Result(
        {**done.report, "targets": targets}, lambda: _show(done.report, targets, folder), audits.code_of(done.report)
    )


def _show(report: Json, targets: Sequence[str], folder: Path) -> None:
    from withstand.audits.harden import tables

    table = tables.summary(report)
    console.table(table.texts(), table.heads())
    console.put(report["headline"])
    console.put_all([*report["reasons"], *(f"next: {step}" for step in report["advice"][:1])])
    if "tamper" in report:
        console.put_all([f"tampering: {report['tamper']['verdict']}", *report["tamper"]["reasons"]])
    console.put_all([f"target: {target}" for target in targets])
    console.say(f"open {folder / 'harden.html'}; harden.md and harden.json hold the same")
