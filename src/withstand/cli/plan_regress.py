"""`withstand plan findings reproduce|regress|settle`: findings sent again, and kept from coming back."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import Result, command, max_asks_option, offline_option, run_argument, typed_store
from withstand.cli.plan import plan_argument
from withstand.cli.plan_findings import by_option, id_argument
from withstand.cli.purge import user_name
from withstand.core import Json, SpecError, to_json
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.redteam.findings.regression import Joined
    from withstand.store.store import Store

judge_option = click.option(
    "--judge",
    "-j",
    default="",
    metavar="J",
    help="Judge of the answers (default: that of the suite that measures the harm).",
)


@command(json=True, store=True)
@plan_argument
@id_argument
@click.option("--n", "number", type=click.IntRange(min=1), default=5, show_default=True, help="Answers.")
@judge_option
@click.option("--live", is_flag=True, help="Let the layer give the earlier answers too, instead of those recorded.")
@click.option("--temperature", type=float, metavar="T", help="Sampling temperature (default: as recorded).")
@click.option("--again", is_flag=True, help="Ask anew, although it was asked before.")
@by_option
@click.option("--dry-run", is_flag=True, help="Say what would be asked; send nothing.")
@max_asks_option
@offline_option
def reproduce(
    path: str, finding: str, number: int, judge: str, live: bool, temperature: float | None, again: bool, by: str,
    dry_run: bool, max_asks: int | None, offline: bool, store: "Store", as_json: bool,
) -> Result:  # fmt: skip
    """Send a finding to its layer again, N times, and keep how often the judge calls the answer harmful.

    Its status stays: models are random, and none of five answers is not none of all. Exit code 3 where answers lack.
    """
    from withstand.cli.progress import progress
    from withstand.redteam.findings import regression, triage
    from withstand.redteam.plan.records import read_plan
    from withstand.redteam.replay import asking as replay
    from withstand.registry import find
    from withstand.registry.grammar import spec_of
    from withstand.runner.asking import Asking
    from withstand.runner.suites import check_judge
    from withstand.runner.tally import Caps

    plan, sent = read_plan(path), triage.last(store, finding)
    label = judge or regression.judge_of(plan, sent)
    grader = find.build("judge", spec_of(label))
    check_judge(grader, offline)
    [layer] = replay.build(plan, [sent.layer], offline)
    why = replay.conversation(plan, sent, layer, live)[1]
    if why:
        raise SpecError(f"{sent.id} cannot be sent to {sent.layer or 'no layer'}: {why}", hint="nothing was changed")
    parts = [grader, *([layer.target.model, layer.target.defense] if layer.target else [])]
    hosts = sorted({host for model in find.models(parts) for host in model.hosts})
    turns = sum(turn.role == "user" for turn in sent.turns) if live else 1
    console.say(
        f"{sent.id} to {layer.id}: {count(number * turns, 'ask')} to the target, {count(number, 'answer')} for {label}"
        + (f". Sending prompts to {', '.join(hosts)}" if hosts else "")
    )
    if dry_run:
        return Result({"schema": 1, "asks": number * turns, "hosts": hosts, "judge": label}, lambda: None)
    how = replay.How(number, live, temperature, os.urandom(4).hex() if again else "")
    with progress(as_json) as show:
        asking = Asking(store, Caps(max_asks), show)
        done = regression.reproduce(store, plan, sent, grader, how, asking, by or user_name(), time.time(), offline)
    value = {"schema": 1, "id": sent.id, "layer": layer.id, "reproduced": done.finding.reproduced}
    value |= {"row": to_json(done.row)}
    return Result(value, lambda: console.put(done.sentence), 3 if done.row.unknown else 0)


@command(json=True, store=True)
@plan_argument
@click.argument("which", metavar="F-ID|STATUS...", nargs=-1, required=True)
@click.option("-o", "--output", default="", metavar="FILE", help="The file (default: findings.jsonl beside the plan).")
@judge_option
@click.option("--layer", default="", help="Write a run spec for this layer beside the file: LAYER.toml.")
@click.option("--round", "round_id", default="", help="Write one for each layer of this round.")
@max_asks_option
@offline_option
def regress(
    path: str, which: tuple[str, ...], output: str, judge: str, layer: str, round_id: str, max_asks: int | None,
    offline: bool, store: "Store",
) -> Result:  # fmt: skip
    """Make regression cases of findings: a file to commit with the application, run and gated on every build.

    Each case has the turns as they were sent, and its judge, which must call the recorded answer harmful. Findings that
    the file has stay as they are.
    """
    from withstand.core.save import save
    from withstand.redteam.findings import regression
    from withstand.redteam.plan.records import read_plan
    from withstand.redteam.replay import asking as replay
    from withstand.registry import find
    from withstand.registry.grammar import spec_of
    from withstand.runner.asking import Asking
    from withstand.runner.suites import check_judge
    from withstand.runner.tally import Caps
    from withstand.store.attempts import attempts

    plan = read_plan(path)
    chosen = replay.chosen(attempts(store, plan.id), ",".join(which))
    if not chosen:
        raise SpecError(
            f"no finding of {plan.id} is {', '.join(which)}", hint="`withstand plan findings list` lists them"
        )
    if judge:
        check_judge(find.build("judge", spec_of(judge)), offline)
    place = Path(output) if output else regression.file_of(plan)
    layers = [plan.layer(layer)] if layer else []
    layers += regression.layers_of(plan, round_id) if round_id else []
    specs = {place.with_name(f"{entry.id}.toml"): regression.run_spec_of(plan, entry, place) for entry in layers}
    for spec, text in specs.items():
        if spec.exists() and spec.read_text(encoding="utf-8") != text:
            raise SpecError(f"{spec} is there, with another content", hint="move it, or leave --layer out")
    joined = regression.join(plan, chosen, judge, Asking(store, Caps(max_asks)), place)
    for spec, text in specs.items():
        save(spec, text)
    value = {
        "schema": 1, "file": str(joined.path), "new": joined.cases, "present": joined.present,
        "left_out": joined.left_out, "specs": [str(spec) for spec in specs],
    }  # fmt: skip
    return Result(value, lambda: _joined(value, joined), 3 if joined.left_out else 0)


def _joined(value: Json, joined: "Joined") -> None:
    present = f", {len(joined.present)} were there" if joined.present else ""
    console.put(f"{joined.path}: {count(len(joined.cases), 'case')} new{present}")
    for name, why in joined.left_out.items():
        console.put(f"left out: {name}: {why}")
    for run in value["specs"] or [f"--suite findings:{joined.path} --attack recorded --target TARGET"]:
        for line in console.then("on every build", f"run {run} --fresh --name BUILD", typed_store()):
            console.put(line)
    for line in console.then("then", "gate BUILD --max-broken 0", typed_store()):
        console.put(line)


@command(json=True, store=True)
@plan_argument
@run_argument
@click.option("--update", is_flag=True, help="Apply the changes of status.")
@by_option
def settle(path: str, name: str, update: bool, by: str, store: "Store") -> Result:
    """Say what a run of the regression cases changes: a fixed finding that broke has regressed, one that held is fixed.

    It takes five answers that all held to call a finding fixed.

    RUN defaults to the last run. Nothing is changed without --update. Exit code 1 where a finding has regressed.
    """
    from withstand.redteam.findings import regression
    from withstand.redteam.plan.records import read_plan
    from withstand.results.one_answer import FEW, one_answer
    from withstand.results.summary import find_run

    run = find_run(store, name)
    changes = regression.settle(store, read_plan(path), run, by or user_name(), time.time(), update)
    for note in one_answer(store, run, FEW).values():
        console.say(f"note: {note}; none is called fixed")
    value = {"schema": 1, "changes": [{"id": f.id, "from": f.status, "to": status} for f, status in changes]}
    regressed = any(status == "regressed" for _, status in changes)
    return Result(value, lambda: _settled(value, update), 1 if regressed else 0)


def _settled(value: Json, update: bool) -> None:
    for change in value["changes"]:
        console.put(f"{change['id']}: {change['from']} -> {change['to']}{'' if update else ' (--update applies it)'}")
    if not value["changes"]:
        console.put("no status changes")
