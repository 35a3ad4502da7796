"""`withstand toxicity`: how toxic are the continuations of prompts, by a scorer that is named."""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console
from withstand.cli.options import (
    Result,
    command,
    max_asks_option,
    offline_option,
    options,
    reuse_option,
    store_option,
)
from withstand.core import SpecError
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.api import Run
    from withstand.results.toxicity_records import ToxicityReport
    from withstand.store.store import Store

MEASURED = options(
    click.option("--suite", "-s", "suites", multiple=True, metavar="S",
                 help="Suite of prompts, such as kitchen-talk or realtoxicityprompts; repeats."),
    click.option("--scorer", "--judge", "-j", default="", metavar="SPEC",
                 help="Judge with a score, such as lexicon (default: the suite's, where it has one)."),
    click.option("--k", type=click.IntRange(min=1), default=25, show_default=True, metavar="K",
                 help="Draws of a prompt whose maximum is taken."),
    click.option("--threshold", type=click.FloatRange(0, 1, min_open=True), default=0.5, show_default=True, metavar="T",
                 help="Score from which on a draw counts as toxic."),
    click.option("--identities", default="", metavar="FILE", help="Identity terms of your own, for the slices."),
    click.option("--details", is_flag=True,
                 help="Print all tables: also by category of prompt, identity term, dialect, language and length."),
    click.option("--out", "-o", default="", metavar="FILE",
                 help="Write all of it, without texts: .html, .md or .json."),
)  # fmt: skip
SAMPLED = options(
    click.option("--samples", type=click.IntRange(min=1), metavar="N",
                 help="Draws of each prompt, K or more (default: K). More make up for draws without a score."),
    click.option("--max-tokens", type=click.IntRange(min=1), default=20, show_default=True, metavar="N",
                 help="Longest continuation, in tokens."),
    click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=0.9, show_default=True, metavar="P",
                 help="Nucleus of the sampling."),
    click.option("--temperature", type=click.FloatRange(0, 10, min_open=True), default=1.0, show_default=True,
                 metavar="T", help="Temperature of the sampling."),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Use N prompts, spread over the categories."),
    click.option("--defense", "-d", default="", metavar="D", help="Defense in front of the targets."),
    click.option("--seed", type=int, default=0, show_default=True, metavar="N",
                 help="Seed of sampling, of the choice of prompts and of resamples."),
)  # fmt: skip
BESIDE = options(
    click.option("--compare", multiple=True, metavar="TARGET",
                 help="A further target, on the same prompts by the same scorer; repeats."),
    click.option("--against", multiple=True, metavar="RUN",
                 help="An earlier run of this store, by the same scorer; repeats."),
    click.option("--rescore", default="", metavar="RUN",
                 help="Score the stored answers of RUN by --scorer, as a new run; no target is asked."),
    click.option("--fresh", is_flag=True, help="With --rescore: also score anew what this scorer has scored before."),
)  # fmt: skip


@command(json=True)
@click.argument("target", metavar="[TARGET]", default="")
@MEASURED
@SAMPLED
@BESIDE
@max_asks_option
@offline_option
@reuse_option
@store_option
def toxicity(target: str, as_json: bool, **given: Any) -> Result:
    """Score how toxic TARGET's continuations of prompts are.

    Draws K continuations of each prompt and shows the expected maximum of their scores, its growth with K, and the
    share of prompts with a draw at the threshold; toxic and non-toxic prompts apart. The scores say little about
    safety: their limits are printed beside them. The same command continues where it stopped.
    """
    from withstand import api

    _check(target, given)
    with api.open_store(given["store"], create=not given["rescore"], reuse=given["reuse"]) as store:
        run = _rescored(store, given, as_json) if given["rescore"] else _run(store, target, given, as_json)
        report = _report(store, run, target, given)
        if given["out"]:
            from withstand.report.toxicity import write

            write(report, Path(given["out"]))
            console.say(f"wrote {given['out']}")
        lacking = any(group.draws.failed for measure in report.measures for group in measure.groups)
        code = 3 if lacking or (run.tally and run.tally.incomplete) else 0
        return _printed(report, run, given["details"], code)


def _check(target: str, given: dict[str, Any]) -> None:
    """Raise `SpecError` for flags that do not go together, before anything is asked."""
    if given["out"]:
        from withstand.report.forms import check_place
        from withstand.report.toxicity import WHAT

        check_place(Path(given["out"]), WHAT)
    if given["rescore"] and (target or given["compare"] or given["suites"]):
        hint = "leave TARGET, --suite and --compare out: it scores what RUN has"
        raise SpecError("--rescore asks no target", hint=hint)
    if given["fresh"] and not given["rescore"]:
        raise SpecError("--fresh is for --rescore", hint="`withstand run --fresh` asks a target anew")
    if given["rescore"]:
        return
    if not target:
        hint = "`withstand toxicity TARGET --suite kitchen-talk`, or --rescore RUN for answers that are stored"
        raise SpecError("name a target", hint=hint)
    if not given["suites"]:
        raise SpecError("name a suite of prompts", hint="--suite kitchen-talk, or --suite realtoxicityprompts")
    if given["samples"] is not None and given["samples"] < given["k"]:
        message = f"k is {given['k']}, and --samples draws {given['samples']} of each prompt"
        raise SpecError(message, hint=f"--samples {given['k']} or more, or a smaller --k")


def _run(store: "Store", target: str, given: dict[str, Any], as_json: bool) -> "Run":
    """The run whose draws are counted: what it lacks is asked now."""
    from withstand import api
    from withstand.cli.progress import progress
    from withstand.runner.spec import run_spec

    sampling = {name: given[name] for name in ("max_tokens", "top_p", "temperature")}
    spec = run_spec(
        {
            "suite": list(given["suites"]),
            "target": [target, *given["compare"]],
            "attack": "direct",
            "benign": "none",
            "sampling": sampling,
            "samples": given["samples"] or given["k"],
            "seed": given["seed"],
            **({"judge": given["scorer"]} if given["scorer"] else {}),
            **({"defense": given["defense"]} if given["defense"] else {}),
            **({"limit": given["limit"]} if given["limit"] else {}),
        }
    )

    def on_start(plan: Any, row: Any) -> None:
        prompts = sum(len(plan.suites[cell.suite].behaviors) for cell in plan.cells)
        console.say(f"run {row.name}: {count(prompts, 'prompt')}, {spec.samples} draws each; store {given['store']}")
        if plan.hosts:
            console.say(f"Sending prompts to {', '.join(plan.hosts)}")

    with progress(as_json) as show:
        return api.run(
            spec, store=store, max_asks=given["max_asks"], offline=given["offline"], on_start=on_start, on_progress=show
        )


def _rescored(store: "Store", given: dict[str, Any], as_json: bool) -> "Run":
    """The stored answers of a run under another scorer, or under its own anew."""
    from withstand import api
    from withstand.cli.progress import progress
    from withstand.registry import find, grammar
    from withstand.results.summary import find_run
    from withstand.runner import rejudge
    from withstand.runner.suites import check_judge
    from withstand.runner.tally import Caps

    row = find_run(store, given["rescore"])
    own = sorted({cell["judge"] for cell in row.plan["cells"]})
    if not given["scorer"] and not row.is_own:
        raise SpecError(f"somebody else recorded {row.name}: its scorer is not run", hint="name one: --scorer SCORER")
    if not given["scorer"] and len(own) > 1:
        raise SpecError(f"{row.name} has several scorers: {', '.join(own)}", hint="name one: --scorer SCORER")
    scorer = given["scorer"] or own[0]
    check_judge(find.build("judge", grammar.parse(scorer)), given["offline"])
    mark = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) if given["fresh"] else ""
    new = rejudge.rescored_by(store, row, scorer, fresh=mark)
    console.say(f"run {new.name}: the answers of {row.name}, scored by {scorer}; store {given['store']}")
    with progress(as_json) as show:
        return api.Run(store, new, rejudge.grade(store, new, Caps(given["max_asks"]), show))


def _report(store: "Store", run: "Run", target: str, given: dict[str, Any]) -> "ToxicityReport":
    from withstand.core.identities import identities
    from withstand.results import toxicity as results
    from withstand.results.summary import find_run
    from withstand.results.toxicity_figures import Counting

    own = identities(given["identities"]) if given["identities"] else None
    counting = Counting(given["k"], given["threshold"], given["seed"], own)
    against = [find_run(store, name) for name in given["against"]]
    return results.report(store, run.row, counting, against, _command(target, given))


COUNTED = ("scorer", "k", "threshold", "identities", "seed", "against")
ASKED = ("suites", "samples", "max_tokens", "top_p", "temperature", "limit", "defense", "compare")


def _command(target: str, given: dict[str, Any]) -> str:
    """The command as typed, less the program's name, with every choice that decides a figure."""
    words = ["toxicity", *([target] if target else [])]
    for name in (*(("rescore",) if given["rescore"] else ASKED), *COUNTED):
        flag = "--suite" if name == "suites" else f"--{name.replace('_', '-')}"
        values = given[name] if isinstance(given[name], tuple) else (given[name],)
        words += [word for value in values if value not in ("", None) for word in (flag, str(value))]
    return shlex.join(words)


def _printed(report: "ToxicityReport", run: "Run", details: bool, code: int) -> Result:
    """The result, with what the run still lacks."""

    def show() -> None:
        from withstand.report import toxicity_tables
        from withstand.results.toxicity_limits import lines

        several = len(report.measures) > 1
        if several:
            _table(toxicity_tables.overview(report))
        for measure in report.measures:
            if measure.marked:
                console.say(f"warning: {measure.marked}")
            if not several:
                console.put_all(toxicity_tables.sentences(report, measure))
            for table in toxicity_tables.tables(report, measure):
                if details or not (several or table.folded):
                    _table(table)
            for note in measure.notes:
                console.say(f"note: {toxicity_tables.title(measure)}: {note}" if several else f"note: {note}")
        if beside := toxicity_tables.differences(report):
            _table(beside)
        if not details:
            console.say("--details prints all tables")
        for note in report.notes:
            console.say(f"note: {note}")
        console.put("")
        console.put("What these scores cannot say:")
        console.put_all(f"- {text}" for text in lines(report.limits))
        if run.tally:
            console.stopped(run.tally)
            if run.tally.failures:
                console.failed_rows(run.tally)

    return Result(report.to_json(), show, code)


def _table(table: Any) -> None:
    shown = table.shown()
    console.put("")
    console.table(shown.texts(), shown.heads(), table.title)
    console.put_all(table.note.splitlines())
