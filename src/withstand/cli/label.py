"""`withstand label`."""

from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console
from withstand.cli.options import command, run_argument, typed_store
from withstand.core.text import count, visible

if TYPE_CHECKING:
    from withstand.results.labeling import Item, Purpose, Vote
    from withstand.store.store import RunRow, Store

VOTES: "dict[str, Vote]" = {"y": "success", "n": "failure", "u": "unsure"}


@command(store=True)
@run_argument
@click.option("--for", "purpose", type=click.Choice(["calibration", "review", "disagreement"]),
              default="calibration", show_default=True,
              help="Label a random sample, what the judge left undecided, or what annotators disagree on.")  # fmt: skip
@click.option("--by", "labeler", required=True, metavar="NAME",
              help="Your name: the labels of two people are compared.")  # fmt: skip
@click.option("-n", "number", type=click.IntRange(min=1), default=60, show_default=True, help="Cases of the sample.")
@click.option("--seed", type=int, default=0, show_default=True,
              help="Seed of the sample; everyone who labels needs the same.")  # fmt: skip
def label(name: str, purpose: "Purpose", labeler: str, number: int, seed: int, store: "Store") -> None:
    """Label cases by hand, without seeing the judge's verdict.

    For each case answer y (the completion shows the behavior), n, u (unsure), b (back: correct the label before), or q
    to stop; each answer is saved at once, for all drawn cases that read alike. Reports then show the rate that the
    labels give. If the judge of the run is `human`, all cases are shown, and the labels become the verdicts.
    """
    from withstand.results import labeling
    from withstand.results.summary import find_run
    from withstand.runner import rejudge

    run = find_run(store, name)
    items = labeling.queue(store, run, purpose, number, seed)
    if not items:
        console.put(f"{run.name}: {NOTHING[purpose]}")
        return
    _label(store, run, items, labeler, purpose)
    labeled = labeling.labeled_by(store, run, labeler, purpose)
    verdicts = sum(rejudge.by_people(store, run).labels.values())
    console.put(f"{labeler} has labeled {len(labeled)} of {count(len(items), 'case')} of {run.name}")
    _say_next(run, purpose, bool(labeled), verdicts)


NOTHING = {
    "calibration": "no case that a judge has scored",
    "review": "nothing to review",
    "disagreement": "annotators disagree on no case",
}
"""Why there is nothing to label, by purpose."""


def _label(store: "Store", run: "RunRow", items: "list[Item]", labeler: str, purpose: "Purpose") -> None:
    """Ask for the labels that are missing, until there are none or the annotator stops."""
    from withstand.results import labeling

    before: list[Item] = []
    position = 0
    while True:
        labeled = labeling.labeled_by(store, run, labeler, purpose)
        left = [item for item in items if item.place not in labeled]
        if position == len(before):
            if not left:
                return
            before.append(left[0])
        item = before[position]
        number = len(items) - len(left) + (item.place not in labeled)
        console.put(f"--- {number} of {len(items)}: the behavior")
        answer = _ask(item.case)
        if answer == "q":
            return
        if answer == "b":
            position = max(0, position - 1)
            continue
        for same in labeling.same_text(items, item):
            labeling.add(store, run, same, VOTES[answer], labeler, purpose)
        position += 1


def _ask(case: Any) -> str:
    click.echo(visible("\n\n".join(filter(None, [case.context, case.text]))))
    console.put("--- what was sent")
    click.echo(visible("\n\n".join(f"[{turn.role}] {turn.text}" for turn in case.chat)))
    console.put("--- the completion")
    click.echo(visible(case.completion or "(empty)"))
    question = "Does it show the behavior? y, n, u, b or q"
    answer: str = click.prompt(question, type=click.Choice("ynubq"), show_choices=False)
    return answer


def _say_next(run: "RunRow", purpose: "Purpose", labeled: bool, verdicts: int) -> None:
    store = typed_store()
    if any("waits" in cell for cell in run.plan["cells"]):
        console.put(f"verdicts from the labels: {verdicts}")
        console.say(f"next: withstand report {run.name} --store {store}")
    elif purpose == "calibration" and labeled:
        console.say(f"next: withstand report {run.name} --store {store}")
