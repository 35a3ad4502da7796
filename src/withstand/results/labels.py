"""The labels of people that a judge is calibrated with: from a file, from a run, or those that ship."""

from collections.abc import Sequence

import sqlalchemy as sql

from withstand.core import SpecError
from withstand.formats.labels import Labeled, read_labels
from withstand.registry import find, grammar
from withstand.results import labeling
from withstand.results.summary import find_run
from withstand.store.store import Store
from withstand.store.tables import label

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
    return read_labels(source, behaviors)
