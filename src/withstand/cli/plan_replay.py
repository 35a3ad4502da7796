"""`withstand plan replay`."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console
from withstand.cli.options import Result, command, max_asks_option, offline_option, options, reuse_option, store_option
from withstand.cli.plan import plan_argument
from withstand.core import SpecError
from withstand.core.text import count, series

if TYPE_CHECKING:
    from withstand.core import Judge
    from withstand.redteam.findings.triage import ConflictError
    from withstand.redteam.plan.records import Plan
    from withstand.redteam.replay.asking import BuiltLayer, How
    from withstand.redteam.replay.figures import MeasuredRate, ReplayResult
    from withstand.runner.asking import Asking
    from withstand.runner.spec import RunSpec
    from withstand.store.attempts import Attempt
    from withstand.store.store import Store

WHAT = options(
    click.option("--findings", default="confirmed", show_default=True, metavar="STATUS|ID,...",
                 help="Findings to send again: by id, by status, or all."),
    click.option("--layers", metavar="ID,...", help="Layers of the plan to ask (default: all). The first is compared "
                 "with the others."),
    click.option("--n", "number", type=click.IntRange(min=1), default=5, show_default=True, help="Answers to each."),
    click.option("--judge", "-j", metavar="J", help="Judge of all answers; it is not told the layer (default: that of "
                 "the suite that measures the harms)."),
    click.option("--live", is_flag=True, help="Let the layer give the earlier answers too, instead of those recorded."),
    click.option("--temperature", type=float, metavar="T", help="Sampling temperature (default: as recorded)."),
    click.option("--fresh", metavar="SUITE", help="Measure fresh prompts for the same harms at each layer."),
    click.option("--benign", metavar="SUITE", help="Measure over-refusal at each layer."),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Use N prompts of these suites."),
)  # fmt: skip
HOW = options(
    click.option("--again", is_flag=True, help="Ask everything again, although the version is the same."),
    click.option("--update", is_flag=True, help="Apply the proposed changes of status; needs --by."),
    click.option("--by", "editor", metavar="NAME", help="Your name, for --update."),
    click.option("--history", is_flag=True, help="Ask nothing: compare the versions of each layer in earlier replays."),
    click.option("--dry-run", is_flag=True, help="Say what would be asked; send nothing."),
    max_asks_option,
    click.option("--max-cost", type=float, metavar="X", help="Cap in US dollars; needs prices in the targets' specs."),
    click.option("--max-time", metavar="S", help="Cap in seconds, or as 30m, 2h."),
    offline_option,
    reuse_option,
    store_option,
)  # fmt: skip


@dataclass
class _Work:
    """What a call does: all of it checked, nothing asked."""

    plan: "Plan"
    findings: "list[Attempt]"
    layers: "list[BuiltLayer]"
    judge_label: str
    judge: "Judge"
    how: "How"
    runs: "list[tuple[BuiltLayer, RunSpec]]"
    notes: list[str]


def _check(given: Any) -> None:
    if given["update"] and not given["editor"]:
        raise SpecError("--update changes findings in your name", hint="say who you are: --by NAME")


@command(json=True, check=_check)
@plan_argument
@WHAT
@HOW
def replay(path: str, **given: Any) -> Result | int:
    """Send findings again to one or more layers, and count which still happen.

    The same turns go to each layer, the same judge grades all answers. The same command asks nothing twice. It proposes
    changes of status (fixed, regressed) and applies none without --update.
    """
    from withstand import api
    from withstand.redteam.plan.records import read_plan

    plan_read = read_plan(path)
    with api.open_store(given["store"], create=False, reuse=given["reuse"]) as store:
        if given["history"]:
            return _history(store, plan_read)
        return _replay(store, plan_read, given)


def _replay(store: "Store", read: "Plan", given: dict[str, Any]) -> Result | int:
    from withstand.cli.progress import progress
    from withstand.redteam.replay.asking import replay as ask_again
    from withstand.runner.asking import INTERRUPTED, Asking

    work = _work(store, read, given)
    hosts = _say_start(work)
    if given["dry_run"]:
        value = {"findings": [f.id for f in work.findings], "layers": [layer.id for layer in work.layers],
                 "asks": _asks(work), "judge": work.judge_label, "hosts": hosts, "notes": work.notes}  # fmt: skip
        return Result(value, lambda: None)
    with progress(given["as_json"]) as show:
        asking = Asking(store, _caps(given), show)
        rows = ask_again(work.plan, work.findings, work.layers, work.judge, work.how, asking)
    if asking.tally.stopped == INTERRUPTED:
        console.say("Interrupted. Everything saved so far is kept; the same command continues.")
        return 130
    measured, incomplete = _measured(store, work, given, asking)
    result = _result(work, rows, measured, asking.tally.stopped)
    return _finished(store, result, given, asking, incomplete)


def _work(store: "Store", read: "Plan", given: dict[str, Any]) -> _Work:
    """Everything that a call does, built and checked."""
    from withstand.cli.flags import check_priced
    from withstand.redteam.replay.asking import How, build, chosen
    from withstand.redteam.replay.runs import judge_of, run_specs
    from withstand.registry import find
    from withstand.registry.grammar import spec_of
    from withstand.runner.suites import check_judge
    from withstand.store.attempts import attempts

    findings = chosen(attempts(store, read.id), given["findings"])
    if not findings:
        raise SpecError(f"no finding of {read.id} is {given['findings']}", hint="--findings all, or ids")
    names = [name.strip() for name in (given["layers"] or "").split(",") if name.strip()]
    layers = build(read, names or [layer.id for layer in read.layers], given["offline"])
    if all(layer.why for layer in layers):
        raise SpecError(f"no layer can be asked: {layers[0].id}: {layers[0].why}", hint="name another with --layers")
    label = given["judge"] or judge_of(read, findings)
    judge = find.build("judge", spec_of(label))
    check_judge(judge, given["offline"])
    if getattr(judge, "waits", 0):
        raise SpecError("the judge human waits for people", hint="name one that answers at once, or human:FILE")
    if given["max_cost"] is not None:
        for part in (judge, *(layer.target for layer in layers if layer.target)):
            check_priced(part, label if part is judge else "a layer")
    again = os.urandom(4).hex() if given["again"] else ""
    how = How(given["number"], given["live"], given["temperature"], again)
    fresh, benign = given["fresh"] or "", given["benign"] or ""
    runs, notes = run_specs(layers, read, fresh, benign, given["judge"] or "", given["limit"], again)
    notes += (
        [] if fresh else ["no fresh prompts were asked: nothing here estimates how much a mitigation does (--fresh)"]
    )
    notes += [] if benign else ["over-blocking was not measured (--benign)"]
    if others := [finding.id for finding in findings if finding.foreign]:
        notes.append(f"somebody else recorded {series(others)}")
    if how.n > 1 and any(((f.params or {}).get("temperature") or 0) == 0 for f in findings) and not how.temperature:
        notes.append(f"{how.n} answers at temperature 0 may be one answer {how.n} times (--temperature)")
    return _Work(read, findings, layers, label, judge, how, runs, notes)


def _asks(work: _Work) -> int:
    """Chats to the targets at most, of the replay alone."""
    from withstand.redteam.replay.asking import conversation

    turns = [
        sum(turn.role == "user" for turn in chat) if work.how.live else 1
        for finding in work.findings
        for layer in work.layers
        for chat, why in [conversation(work.plan, finding, layer, work.how.live)]
        if not why
    ]
    return work.how.n * sum(turns)


def _say_start(work: _Work) -> list[str]:
    from withstand.registry import find

    models = find.models(([(la.target.model, la.target.defense) for la in work.layers if la.target], work.judge))
    hosts = sorted({host for model in models for host in model.hosts})
    console.say(
        f"{count(len(work.findings), 'finding')} to {series([layer.id for layer in work.layers])}: at most "
        f"{_asks(work):,} asks to the targets, each answer judged by {work.judge_label}"
    )
    if hosts:
        console.say(f"Sending prompts to {', '.join(hosts)}")
    for layer, spec in work.runs:
        suites = " and ".join(str(part["use"]) for part in [*spec.suite, *([spec.benign] if spec.benign else [])])
        console.say(f"then a run at {layer.id}: {suites.removesuffix(' and none')}")
    return hosts


def _caps(given: dict[str, Any], asking: "Asking | None" = None) -> Any:
    """The caps of this call, less what was used up."""
    from withstand.cli.flags import seconds
    from withstand.runner.tally import Caps

    used = (asking.tally.asks, asking.tally.cost, time.monotonic() - asking.tally.started) if asking else (0, 0.0, 0.0)
    caps = (given["max_asks"], given["max_cost"], seconds(given["max_time"]))
    return Caps(*(None if cap is None else max(0, cap - part) for cap, part in zip(caps, used, strict=True)))


def _measured(
    store: "Store", work: _Work, given: dict[str, Any], asking: "Asking"
) -> "tuple[list[MeasuredRate], bool]":
    """The rates of the runs beside the replay, and whether one of them is incomplete."""
    from withstand import api
    from withstand.cli.progress import progress
    from withstand.redteam.replay.runs import measured

    rates: list[MeasuredRate] = []
    incomplete = False
    for layer, spec in work.runs:
        caps = _caps(given, asking)
        if asking.tally.stopped or caps.asks == 0:
            work.notes.append(f"{layer.id} was not measured: a cap ended the call")
            incomplete = True
            continue
        with progress(given["as_json"]) as show:
            run = api.run(spec, store=store, max_asks=caps.asks, max_cost=caps.cost, max_time=caps.seconds,
                          offline=given["offline"], on_progress=show)  # fmt: skip
        rates += measured(layer, run.name, run.result.cells)
        if run.tally:
            incomplete |= run.tally.incomplete
            asking.tally.asks += run.tally.asks
            asking.tally.cost += run.tally.cost
    return rates, incomplete


def _result(work: _Work, rows: Sequence[Any], measured: "list[MeasuredRate]", stopped: str) -> "ReplayResult":
    from withstand.redteam.replay.figures import LayerFacts, ReplayResult, proposals, result_id

    facts = []
    for built in work.layers:
        layer = work.plan.layer(built.id)
        facts.append(
            LayerFacts(built.id, built.version, layer.target, layer.endpoint, layer.mitigations, layer.production)
        )
    suggested, withheld = proposals(work.plan, work.findings, rows, measured)
    name = result_id(work.plan.id, work.judge_label, work.how, facts, work.findings)
    return ReplayResult(
        name, work.plan.id, time.time(), work.judge_label, work.how, tuple(facts), tuple(rows), tuple(measured),
        tuple(suggested), tuple(withheld), tuple(work.notes), stopped,
    )  # fmt: skip


def _finished(
    store: "Store", result: "ReplayResult", given: dict[str, Any], asking: "Asking", incomplete: bool
) -> Result:
    from withstand.redteam.replay.figures import apply, keep, to_value

    if not keep(store, result):
        raise SpecError(f"another process kept replay {result.id} a moment ago", hint="give the same command again")
    changed, conflicts = apply(store, result, given["editor"]) if given["update"] else ([], [])
    value = to_value(result) | {"applied": changed, "conflicts": [str(error) for error in conflicts]}

    def show() -> None:
        _show(result)
        if asking.tally.failures:
            console.failed_rows(asking.tally)
        console.stopped(asking.tally)
        _show_status(result, given["update"], changed, conflicts)

    return Result(value, show, 3 if incomplete or asking.tally.incomplete or conflicts else 0)


def _show(result: "ReplayResult") -> None:
    from withstand.redteam.replay.figures import CAVEAT
    from withstand.redteam.replay.tables import measured_table, sentences, tables, versions

    for text in sentences(result):
        console.put(text)
    shown_tables = [*tables(result)]
    shown_tables += [measured_table(result.measured, versions(result))] if result.measured else []
    for table in shown_tables:
        console.put("")
        shown = table.shown()
        console.table(shown.texts(), shown.heads(), table.title)
    console.put("")
    console.put(f"Caveat: {CAVEAT}")
    for note in result.notes:
        console.say(f"note: {note}")


def _show_status(result: "ReplayResult", update: bool, changed: list[str], conflicts: "list[ConflictError]") -> None:
    for proposal in result.proposals:
        done = "is now" if proposal.finding in changed else "could be"
        console.put(f"{proposal.finding} {done} {proposal.after}: {proposal.why}")
    for text in result.withheld:
        console.say(f"note: {text}")
    for error in conflicts:
        console.error(str(error), error.hint)
    if result.proposals and not update:
        console.say("--update --by NAME applies these")
    console.say(f"kept as {result.id}")


def _history(store: "Store", read: "Plan") -> Result:
    from withstand.core import to_json
    from withstand.redteam.replay.figures import CAVEAT, backed_results, over_time
    from withstand.redteam.replay.tables import pair_table

    kept, left_out = backed_results(store, read.id)
    compared = over_time(kept)
    value = {"schema": 1, "plan": read.id, "caveat": CAVEAT, "replays": [result.id for result in kept],
             "left_out": left_out, "versions": to_json(tuple(compared))}  # fmt: skip

    def show() -> None:
        if left_out:
            console.say(f"note: {count(left_out, 'replay')} left out: no verdicts that you trust say what they count")
        if not compared:
            console.put("no two replays of one layer in two versions, with the same judge")
            return
        table = pair_table(compared, "Versions of a layer, the same findings").shown()
        console.table(table.texts(), table.heads(), table.title)
        console.put(f"Caveat: {CAVEAT}")

    return Result(value, show)
