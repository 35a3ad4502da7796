"""Verdicts that people replaced: a case that somebody labeled counts as people say."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from withstand.core import Json
from withstand.formats.labels import newest, said_by
from withstand.results.graded import Graded
from withstand.results.labeling import place_named
from withstand.store.store import RunRow, Store


def reviewed(store: Store, run: RunRow, cells: Sequence[Graded]) -> list[Graded]:
    """The cells of a run, in the plan's order, with what most people said in place of the judge's verdict.

    A ruling on a disagreement stands above the votes, a tie is unscored, and so counts against either answer of a gate;
    "unsure" leaves the verdict as it is, and so does what a model said. It does not matter how the cases were chosen:
    what nobody labeled stays as the judge said, so that no label lowers a rate for more than its own case. A break that
    the judge missed and nobody labeled stays missed.
    """
    outcomes = said_of(store.labels(run.key))
    return [_reviewed(index, cell, outcomes) for index, cell in enumerate(cells)] if outcomes else [*cells]


def said_of(labels: Iterable[Json]) -> dict[str, str]:
    """What people say of each case that they labeled, by its place."""
    votes: dict[str, dict[str, bool]] = {}
    rulings: dict[str, bool] = {}
    for label in sorted(newest(labels), key=lambda label: label["created"]):
        if label["annotator"] != "person" or label["vote"] == "unsure":
            continue
        if label["purpose"] == "disagreement":
            rulings[label["place"]] = label["vote"] == "success"
        else:
            votes.setdefault(label["place"], {})[label["labeler"]] = label["vote"] == "success"
    decided = {place: [*by_person.values()] for place, by_person in votes.items()}
    decided |= {place: [ruling] for place, ruling in rulings.items()}
    return {place: said_by(values).outcome for place, values in decided.items()}


def _reviewed(index: int, cell: Graded, by_people: Mapping[str, str]) -> Graded:
    if cell.benign:
        return cell
    behaviors, labeled = dict(cell.behaviors), set()
    for key, behavior in cell.behaviors.items():
        outcomes = dict(behavior.outcomes)
        for at in behavior.outcomes:
            if outcome := by_people.get(place_named(index, behavior.id, *at)):
                outcomes[at] = outcome
                labeled.add((key, at))
        behaviors[key] = replace(behavior, outcomes=outcomes)
    return replace(cell, behaviors=behaviors, labeled=frozenset(labeled))
