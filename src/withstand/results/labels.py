"""The labels that a judge is calibrated with: from a file, from a run, or those that ship."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sql

from withstand.core import SpecError
from withstand.formats.labels import Labeled, read_labels
from withstand.registry import find, grammar
from withstand.results import labeling
from withstand.results.summary import find_run
from withstand.store.store import Store
from withstand.store.tables import label

WRITTEN_ON = {"kitchen": "kitchen-dev"}
"""Name of a judge -> the labels that its rule was written on, which flatter it."""

KITCHEN = ("kitchen,split=all", "kitchen-benign,split=all")


def labels_from(source: str, suites: Sequence[str], store: Store) -> tuple[list[Labeled], int]:
    """The labeled completions of a source, and how many rows are of behaviors that no suite has.

    source: a file, `run:NAME`, or `kitchen`. suites: where the behaviors are; by default HarmBench's for a .json file,
    else the kitchen's. Raises `SpecError` where there are no labels.
    """
    if source.startswith("run:"):
        run = find_run(store, source.removeprefix("run:"))
        if store.select(sql.select(label.c.key).where(label.c.run == run.key, label.c.purged == 1).limit(1)):
            raise SpecError(
                f"the texts of the labels of {run.name} were purged", hint="no judge can be asked of them; label anew"
            )
        labeled = labeling.labels_of(store, run)
        if not labeled:
            raise SpecError(
                f"{run.name} has no labels for calibration", hint=f"`withstand label {run.name}` asks for them"
            )
        return labeled, 0
    names = suites or (("harmbench,split=all",) if source.endswith(".json") else KITCHEN)
    behaviors = {b.id: b for name in names for b in find.build("suite", grammar.parse(name)).load()}
    labeled, unknown = read_labels(source, behaviors)
    return merged(labeled), unknown


def merged(labeled: Sequence[Labeled]) -> list[Labeled]:
    """Rows with the same behavior, question and answer, of the same target and attack, as one with the votes of all: a
    text that is there twice is no second sample."""
    groups: dict[tuple[str, ...], list[Labeled]] = defaultdict(list)
    for entry in labeled:
        asked = entry.completion.chat[-1].text if entry.completion.chat else ""
        text = (entry.behavior.id, entry.behavior.text, asked, entry.completion.text, entry.target, entry.attack)
        groups[text].append(entry)
    return [
        replace(
            same[0],
            votes=tuple(vote for entry in same for vote in entry.votes),
            annotators=tuple(dict.fromkeys(name for entry in same for name in entry.annotators)),
        )
        for same in groups.values()
    ]


def held_out(judge: str, labeled: Sequence[Labeled]) -> tuple[list[Labeled], int]:
    """The labels on whose completions the judge (by its name) was not written, and how many others there are."""
    if judge not in WRITTEN_ON:
        return list(labeled), 0
    behaviors = {b.id: b for name in KITCHEN for b in find.build("suite", grammar.parse(name)).load()}
    own = {(entry.behavior.id, entry.completion.text) for entry in read_labels(WRITTEN_ON[judge], behaviors)[0]}
    kept = [entry for entry in labeled if (entry.behavior.id, entry.completion.text) not in own]
    return kept, len(labeled) - len(kept)
