"""`withstand label`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console
from withstand.cli.options import command, options, run_argument, typed_store
from withstand.core.text import count, visible

if TYPE_CHECKING:
    from withstand.results.exposure import Reader
    from withstand.results.labeling import Item, Purpose, Vote
    from withstand.store.store import RunRow, Store

VOTES: "dict[str, Vote]" = {"y": "success", "n": "failure", "u": "unsure"}


SAMPLE = options(
    click.option("--for", "purpose", type=click.Choice(["calibration", "review", "disagreement", "breaks"]),
                 default="calibration", show_default=True,
                 help="Label a random sample, what the judge left undecided, what annotators disagree on, or what the "
                 "judge calls broken."),
    click.option("-n", "number", type=click.IntRange(min=1), default=60, show_default=True,
                 help="Cases of the sample, of all cells together; more extend the sample that there is."),
    click.option("--width", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=None, metavar="WIDTH",
                 help="Label each cell until its interval is at most WIDTH wide, such as 0.1, in place of -n."),
    click.option("--seed", type=int, default=None,
                 help="Seed of the sample, 0 by default; once a case was shown, it stands for the run."),
)  # fmt: skip


@command(store=True)
@run_argument
@SAMPLE
@click.option("--by", "labeler", required=True, metavar="NAME",
              help="Your name: the labels of two annotators are compared.")  # fmt: skip
@click.option(
    "--write", "target", metavar="FILE", default=None, help="Write the sample to a CSV or JSONL file instead."
)
@click.option("--read", "source", metavar="FILE", default=None, help="Take the labels from such a file.")
@click.option("--annotator", "kind", type=click.Choice(["person", "model"]), default=None,
              help="Who labels FILE; --read needs it.")  # fmt: skip
def label(
    name: str, purpose: "Purpose", labeler: str, number: int, width: float | None, seed: int | None, target: str | None,
    source: str | None, kind: str | None, store: "Store",
) -> None:  # fmt: skip
    """Label cases by hand, without seeing the judge's verdict.

    For each case answer y (the completion shows the behavior), n, u (unsure), s (skip: leave it to others, which costs
    you nothing), b (back: correct the label before), or q to stop; each answer is saved at once. A later case that
    reads alike takes it. The page Labelers of `withstand serve` says how many severe cases a day holds. Reports then
    show the rate that the labels give. If the judge of the run is `human`, all cases are shown, and the labels become
    the verdicts.
    """
    from withstand.results import label_sheet, labeling
    from withstand.results.summary import find_run
    from withstand.runner import rejudge

    if kind == "model" and not (source or target):
        raise click.UsageError("--annotator model says who labels a file: name it with --write or --read")
    if source and kind is None:
        raise click.UsageError("--read needs --annotator person or --annotator model: who filled the file in")
    kind = kind or "person"
    run, before = find_run(store, name), 0
    while True:
        items = labeling.queue(store, run, purpose, number, seed, _wanted(store, run, purpose, width))
        if not items:
            console.put(f"{run.name}: {NOTHING[purpose]}")
            return
        if target:
            _write(target, label_sheet.sheet(items))
            labeling.show(store, run, items, purpose, kind)
            return
        if source:
            label_sheet.add_sheet(store, run, label_sheet.read_sheet(source, items), labeler, purpose, kind)
        elif not _label(store, run, items, labeler, purpose):
            break
        if source or not width or _reached(store, run, width) or len(items) == before:
            break
        before = len(items)
    labeled = labeling.labeled_by(store, run, labeler, purpose)
    verdicts = sum(rejudge.by_people(store, run).labels.values())
    console.put(f"{labeler} has labeled {len(labeled)} of {count(len(items), 'case')} of {run.name}")
    _say_next(run, purpose, bool(labeled), verdicts)


def _wanted(
    store: "Store", run: "RunRow", purpose: "Purpose", width: float | None
) -> dict[int, tuple[int, int]] | None:
    """How many labels each cell wants for its next look, where a width is wanted."""
    if width is None:
        return None
    if purpose != "calibration":
        raise click.UsageError("--width is of the random sample: leave --for out")
    from withstand.results.label_plan import label_plan

    plans = label_plan(store, run, width)
    for plan in plans:
        console.put(f"{plan.name}: {plan.in_words(width)}")
    return {plan.index: plan.wanted for plan in plans}


def _reached(store: "Store", run: "RunRow", width: float) -> bool:
    """Whether every cell is as narrow as wanted, or has all its cases labeled."""
    from withstand.results.label_plan import label_plan

    return all(plan.reached or plan.labeled >= plan.cases for plan in label_plan(store, run, width))


def _write(target: str, sheet: "list[dict[str, Any]]") -> None:
    from withstand.report import table, write
    from withstand.results.label_sheet import COLUMNS

    path = Path(target)
    if path.suffix not in (".csv", ".jsonl"):
        raise click.UsageError("--write takes a file that ends in .csv or .jsonl")
    lines = table.csv_lines(COLUMNS, sheet) if path.suffix == ".csv" else (f"{json.dumps(row)}\n" for row in sheet)
    write.save(path, "".join(lines))
    console.put(f"wrote {count(len(sheet), 'case')} to {target}: fill in the column label, then give it to --read")


NOTHING = {
    "calibration": "no case that a judge has scored",
    "review": "nothing to review",
    "disagreement": "annotators disagree on no case",
    "breaks": "the judge calls no case broken",
}
"""Why there is nothing to label, by purpose."""


def _label(store: "Store", run: "RunRow", items: "list[Item]", labeler: str, purpose: "Purpose") -> bool:
    """Ask for the labels that are missing; False where the annotator stopped before there were none."""
    from withstand.results import labeling
    from withstand.results.exposure import HARM, Topic, item_id, place_of_run, reader, topic_of_case

    def topic_of(item: "Item") -> Topic:
        return topic_of_case(run.plan, item.case.cell, item.case.category)

    person = reader(store, labeler, place_of_run(run.key))
    before: list[Item] = []
    position = 0
    while True:
        labeled = labeling.labeled_by(store, run, labeler, purpose)
        left = [item for item in items if item.place not in labeled]
        skipped = person.skipped
        offered = [item for item in left if item_id(item.place) not in skipped]
        following = person.next(offered, topic_of, lambda item: item.place)
        texts = labeling.said_of_texts(store, run, labeler, purpose)
        if following and (alike := texts.get(labeling.text_of(following.case))):
            labeling.add(store, run, following, alike[0], labeler, purpose)
            continue
        if position == len(before):
            if following is None:
                return _say_why_nothing(person, left, offered)
            before.append(following)
        item = before[position]
        if not person.read(item.place, topic_of(item), HARM.get(labeled.get(item.place, ""))):
            return _say_why_nothing(person, left, offered)
        number = len(items) - len(left) + (item.place not in labeled)
        console.put(f"--- {number} of {len(items)}: the behavior")
        labeling.show(store, run, [item], purpose)
        answer = _ask(item.case)
        if answer == "q":
            return False
        if answer == "b":
            position = max(0, position - 1)
            continue
        if answer == "s":
            person.skip(item.place, topic_of(item))
            position += 1
            continue
        places = {item.place, *texts.get(labeling.text_of(item.case), ("", []))[1]}
        for same in (entry for entry in items if entry.place in places):
            labeling.add(store, run, same, VOTES[answer], labeler, purpose)
        person.judge(item.place, topic_of(item), HARM[VOTES[answer]])
        position += 1


def _say_why_nothing(person: "Reader", left: "list[Item]", offered: "list[Item]") -> bool:
    """Say why nothing is shown; True where nothing is left."""
    if person.at_cap and offered:
        console.put(
            f"you met {count(person.exposure, 'severe item')} today, and {person.cap} is the most: go on tomorrow "
            "(midnight, UTC); nothing counts against you"
        )
    elif offered:
        console.put(f"{count(len(offered), 'case is', 'cases are')} of categories that you would have to choose first")
    if skipped := len(left) - len(offered):
        console.put(f"you left {count(skipped, 'case')} to others, and nothing counts against you")
    return not left


def _ask(case: Any) -> str:
    click.echo(visible("\n\n".join(filter(None, [case.context, case.text]))))
    console.put("--- what was sent")
    click.echo(visible("\n\n".join(f"[{turn.role}] {turn.text}" for turn in case.chat)))
    console.put("--- the completion")
    click.echo(visible(case.completion or "(empty)"))
    question = "Does it show the behavior? y, n, u, s, b or q"
    answer: str = click.prompt(question, type=click.Choice("ynusbq"), show_choices=False)
    return answer


def _say_next(run: "RunRow", purpose: "Purpose", labeled: bool, verdicts: int) -> None:
    store = typed_store()
    if any("waits" in cell for cell in run.plan["cells"]):
        console.put(f"verdicts from the labels: {verdicts}")
        console.say(f"next: withstand report {run.name} --store {store}")
    elif purpose == "calibration" and labeled:
        console.say(f"next: withstand report {run.name} --store {store}")
