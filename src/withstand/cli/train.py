"""`withstand train`: training stages one after the other, from flags or a TOML spec."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console
from withstand.cli.options import Result, command, options
from withstand.core import SpecError

if TYPE_CHECKING:
    from withstand.runner.chain import Trained

STAGE = options(
    click.option("--stage", metavar="S", help="Training stage: sft,method=full,lr=2e-5; several need a file."),
    click.option("--rows", multiple=True, metavar="FILE",
                 help="Training data: chats, prompt and completion, Alpaca, Dolly, or preferences; repeats."),
    click.option("--safe", metavar="FILE",
                 help="Requests with the right refusals, for safety_mix, lisa, rl and adversarial."),
    click.option("--at", metavar="N,N", help="Steps to keep besides the last."),
    click.option("--without", multiple=True, metavar="TEXT", help="Refuse data that holds this text; repeats."),
)  # fmt: skip


@command(json=True)
@click.argument("what", metavar="BASE|FILE.toml")
@STAGE
@click.option("--out", "-o", metavar="DIR", help="Folder of the trained stages (default: trained).")
def train(what: str, stage: str | None, as_json: bool, **given: Any) -> Result:
    """Train a local model by one stage or by a chain of stages.

    BASE is trained by the stage of the flags, or by the stages of FILE.toml, each on the result of the one before.
    `withstand list stages` shows what there is. Each result is a folder named by its content, and the same command
    continues where it was stopped. The last line that it prints is the target of a run.
    """
    from withstand.core import to_json
    from withstand.registry import find, grammar
    from withstand.runner import chain, chain_spec

    spec = _of_file(what, stage, given) if what.endswith(".toml") else _of_flags(what, stage, given)
    base = find.build("target", grammar.parse(spec["base"]) if isinstance(spec["base"], str) else spec["base"])
    steps = chain_spec.steps_of(spec["stage"])
    say = console.teller(as_json)
    names = [find.name_of(type(step.stage)) for step in steps]
    results = chain.train(
        base, steps, Path(spec["out"]),
        lambda place, result: say(f"{names[place]}: {result.folder}"),
        lambda place, at, loss: say(f"{names[place]}: step {at}, loss {loss:.3f}"),
    )  # fmt: skip
    value = [
        {
            "stage": name, "key": result.key, "folder": str(result.folder), "target": result.spec,
            "record": to_json(result.record),
        }
        for name, result in zip(names, results, strict=True)
    ]  # fmt: skip
    return Result(value, lambda: _show(names, results))


def _show(names: Sequence[str], results: "Sequence[Trained]") -> None:
    from withstand.registry import grammar

    for name, result in zip(names, results, strict=True):
        record = result.record
        rate = f" at a rate of {record.lr:g}" if record.lr else ""
        loss = "" if record.loss is None else f", loss {record.loss:.3f}"
        console.put(
            f"{name}: {record.steps} steps{rate}, {record.tokens:,} tokens{loss}, {record.flops:.2g} FLOPs, "
            f"{record.seconds:,.0f} s, at most {record.peak_bytes / 2**30:.1f} GiB"
        )
    console.put(f"target: {shlex.quote(grammar.written(results[-1].spec))}")
    console.say("next: `withstand run --suite SUITE --attack direct --target` with that; or `withstand audit finetune`")


def _of_flags(base: str, stage: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    from withstand.registry import grammar
    from withstand.runner.chain_spec import at_of

    if not stage:
        raise SpecError("no stage is named", hint="--stage sft --rows FILE, or a TOML file; `withstand list stages`")
    own = {name: given[name] for name in ("rows", "safe") if given[name]}
    table = {**grammar.parse(stage), **own, "at": list(at_of(given["at"] or "")), "without": list(given["without"])}
    return {"base": base, "out": given["out"] or "trained", "stage": [table]}


def _of_file(path: str, stage: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    from withstand.runner import chain_spec

    if stage or any(given[name] for name in chain_spec.OF_STAGE):
        raise SpecError(
            "a TOML file names its own stages", hint="leave the flags out, or name a model instead of the file"
        )
    spec = chain_spec.read_chain(path)
    return {**spec, "out": given["out"] or spec.get("out", "trained")}
