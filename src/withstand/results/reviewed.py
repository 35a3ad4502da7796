"""Verdicts that people replaced: a case that somebody labeled counts as people say."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from withstand.core import Json
from withstand.results.graded import Graded
from withstand.results.labeling import place_named
from withstand.store.store import RunRow, Store


def reviewed(store: Store, run: RunRow, cells: Sequence[Graded]) -> list[Graded]:
    """The cells of a run, in the plan's order, with what most people said in place of the judge's verdict.

    A tie is unscored, and so counts against either answer of a gate; "unsure" leaves the verdict as it is. It does not
    matter how the cases were chosen: what nobody labeled stays as the judge said, so that no label lowers a rate for
    more than its own case. A break that the judge missed and nobody labeled stays missed.
    """
    votes: dict[str, list[Json]] = defaultdict(list)
    for label in store.labels(run.key):
        if label["vote"] != "unsure":
            votes[label["place"]].append(label["vote"] == "success")
    if not votes:
        return [*cells]
    return [_reviewed(index, cell, votes) for index, cell in enumerate(cells)]


def _reviewed(index: int, cell: Graded, votes: dict[str, list[Json]]) -> Graded:
    if cell.benign:
        return cell
    behaviors, labeled = dict(cell.behaviors), set()
    for key, behavior in cell.behaviors.items():
        outcomes = dict(behavior.outcomes)
        for number, sample in behavior.outcomes:
            verdicts = votes.get(place_named(index, behavior.id, number, sample))
            if verdicts:
                outcomes[number, sample] = _majority(verdicts)
                labeled.add((key, (number, sample)))
        behaviors[key] = replace(behavior, outcomes=outcomes)
    return replace(cell, behaviors=behaviors, labeled=frozenset(labeled))


def _majority(votes: Sequence[bool]) -> str:
    yes = sum(votes)
    return "unscored" if 2 * yes == len(votes) else "success" if 2 * yes > len(votes) else "failure"
