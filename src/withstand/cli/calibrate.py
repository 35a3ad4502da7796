"""The commands that say how far a judge can be believed: `withstand label` and `withstand calibrate`."""

from typing import TYPE_CHECKING, Any

import click

from withstand.cli.options import CONTEXT, json_option, store_option
from withstand.core import SpecError

if TYPE_CHECKING:
    from withstand.results.labeling import Purpose, Vote


@click.command(context_settings=CONTEXT)
@click.option("--judge", "-j", required=True, metavar="SPEC", help="The judge, as in a run.")
@click.option("--labels", required=True, metavar="FILE",
              help="CSV, JSONL, HarmBench's validation file, run:NAME, or kitchen: the labels that ship.")  # fmt: skip
@click.option("--suite", "-s", multiple=True, metavar="SPEC",
              help="Where the behaviors are. Default: harmbench for a .json file, else the kitchen's.")  # fmt: skip
@click.option("--by", type=click.Choice(["category"]), default=None, help="A line for each category too.")
@click.option("--max-asks", type=click.IntRange(min=1), default=None, help="Cap on chats sent by this call.")
@click.option("--offline", is_flag=True, help="Refuse every host but this machine.")
@store_option
@json_option
def calibrate(
    judge: str, labels: str, suite: tuple[str, ...], by: str | None, max_asks: int | None, offline: bool, store: str,
    as_json: bool,
) -> int:  # fmt: skip
    """Set a judge beside people: accuracy, sensitivity, specificity, kappa and alpha, each with a 95% interval.

    The result is stored under the judge's key, and reports in this store then show corrected rates too.
    """
    import json

    from withstand import api
    from withstand.cli import console
    from withstand.core.text import count
    from withstand.formats.labels import read_labels
    from withstand.registry import find, grammar
    from withstand.results import labeling
    from withstand.results.calibrate import calibrate as calibrated
    from withstand.runner import suites
    from withstand.runner.drive import Caps

    built = find.build("judge", grammar.parse(judge))
    for part in find.parts(built):
        if hasattr(part, "generate"):
            part.check()
    if offline:
        suites.check_offline({host for part in find.parts(built) for host in getattr(part, "hosts", ())})
    with console.progress(as_json) as show, api.open_store(store) as opened:
        if labels.startswith("run:"):
            run = api.load(labels.removeprefix("run:"), opened).row
            labeled, unknown = labeling.labels_of(opened, run), 0
            if not labeled:
                raise SpecError(
                    f"{run.name} has no labels for calibration", hint=f"`withstand label {run.name}` asks for them"
                )
        else:
            named = suite or (("harmbench,split=all",) if labels.endswith(".json") else KITCHEN)
            known = {b.id: b for each in named for b in find.build("suite", grammar.parse(each)).load()}
            labeled, unknown = read_labels(labels, known)
        found, tally = calibrated(
            built, find.label("judge", grammar.parse(judge)), labeled, labels, opened, Caps(max_asks),
            lambda tally: show(tally, len(labeled)),
        )  # fmt: skip
    found["unknown"] = unknown
    if as_json:
        click.echo(json.dumps(found))
        return 3 if found["missing"] else 0
    _print(found, by is not None)
    if found["missing"]:
        console.failures([{"rows": 1, "error": failure.error, "hint": failure.hint} for failure in tally.failures[:5]])
        console.say(f"{count(found['missing'], 'completion')} not graded: nothing is stored; the same command goes on")
        return 3
    return 0


@click.command(context_settings=CONTEXT)
@click.argument("name", metavar="[RUN]", default="")
@click.option("--for", "purpose", type=click.Choice(["calibration", "review"]), default="calibration",
              show_default=True, help="A random sample, or what the judge could not say.")  # fmt: skip
@click.option("--by", "labeler", required=True, metavar="NAME", help="Who labels: two people's labels are compared.")
@click.option("-n", "number", type=click.IntRange(min=1), default=60, show_default=True, help="Cases of the sample.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sample; all people must have the same.")
@store_option
def label(name: str, purpose: "Purpose", labeler: str, number: int, seed: int, store: str) -> int:
    """Show cases one by one, without the judge's answer, and keep what you say of each.

    For each case answer y (the completion shows the behavior), n, u (unsure), or q to stop; everything is kept at once.
    Of a run whose judge is `human` all cases are shown, and the verdicts are made of what people said.
    """
    from withstand import api
    from withstand.cli import console
    from withstand.core.text import count, visible
    from withstand.results import labeling
    from withstand.runner import rejudge

    with api.open_store(store, create=False) as opened:
        run = api.load(name, opened).row
        items = labeling.queue(opened, run, purpose, number, seed)
        if not items:
            why = "no case that a judge has scored" if purpose == "calibration" else "nothing to review"
            console.put(f"{run.name}: {why}")
            return 0
        done = labeling.labeled_by(opened, run, labeler, purpose)
        left = [item for item in items if item.place not in done]
        for number_, item in enumerate(left, len(items) - len(left) + 1):
            case = item.case
            console.put(f"--- {number_} of {len(items)}: the behavior")
            click.echo(visible("\n\n".join(filter(None, [case["context"], case["text"]]))))
            console.put("--- what was sent")
            click.echo(visible("\n\n".join(f"[{turn['role']}] {turn['text']}" for turn in case["chat"])))
            console.put("--- the completion")
            click.echo(visible(case["completion"] or "(empty)"))
            said = click.prompt(
                "does it show the behavior? y, n, u or q", type=click.Choice("ynuq"), show_choices=False
            )
            if said == "q":
                break
            labeling.add(opened, run, item, VOTES[said], labeler, purpose)
        done = labeling.labeled_by(opened, run, labeler, purpose)
        made = sum(rejudge.by_people(opened, run).labels.values())
    console.put(f"{labeler} has labeled {len(done)} of {count(len(items), 'case')} of {run.name}")
    if any("waits" in cell for cell in run.plan["cells"]):
        console.put(f"{count(made, 'verdict')} made of the labels")
        console.say(f"next: withstand report {run.name} --store {store}")
    elif purpose == "calibration" and done:
        console.say(f"next: withstand calibrate --judge JUDGE --labels run:{run.name} --store {store}")
    return 0


VOTES: "dict[str, Vote]" = {"y": "success", "n": "failure", "u": "unsure"}
KITCHEN = ("kitchen,split=all", "kitchen-benign,split=all")
RATES = ("accuracy", "sensitivity", "specificity", "kappa", "alpha")


def _print(found: dict[str, Any], by_category: bool) -> None:
    from withstand.cli import console
    from withstand.core.text import count

    console.put(f"{found['judge']} beside people, {count(found['n'], 'completion')} of {found['labels']}")
    rows = [("all", found)] + [(each["category"] or "none", each) for each in found["by_category"] * by_category]
    columns = ["", "n", *RATES, "wrongly success", "missed", "unscored"]
    counts = ("false_positive", "false_negative", "unscored")
    table = [
        [name, str(part["n"]), *(_rate(part, rate) for rate in RATES), *(f"{part[counted]:.3g}" for counted in counts)]
        for name, part in rows
    ]
    console.out.print(console.fields_table(table, columns))
    if found["people"]:
        people = found["people"]
        console.put(
            f"people among themselves: {100 * people['pairs']:.1f}% of pairs agree, "
            f"{100 * people['unanimous']:.1f}% of completions are unanimous, alpha {_rate(people, 'alpha')}"
        )
    left = {"ties": "with as many yes as no", "unknown": "of behaviors that the suite does not have"}
    for name, why in left.items():
        if found[name]:
            console.put(f"left out: {count(found[name], 'row')} {why}")


def _rate(part: dict[str, Any], name: str) -> str:
    from withstand.cli import console

    if name not in ("kappa", "alpha"):
        return console.rate(part[name], part[f"{name}_interval"])
    if part[name] is None:
        return "n/a"
    spread = part[f"{name}_interval"]
    return f"{part[name]:.2f}" + (f" ({spread[0]:.2f} to {spread[1]:.2f})" if spread else "")
