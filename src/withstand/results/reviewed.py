"""Verdicts that people replaced: a case that somebody labeled counts as people say."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from withstand.core import Json
from withstand.core.text import count
from withstand.formats.labels import newest, revision, settled
from withstand.results.graded import Graded
from withstand.results.labeling import place_named
from withstand.store.store import RunRow, Store


def reviewed(store: Store, run: RunRow, cells: Sequence[Graded]) -> list[Graded]:
    """The cells of a run, in the plan's order, with what most people said in place of the judge's verdict.

    A ruling on a disagreement stands above the votes (`settled`), a tie is unscored, and so counts against either
    answer of a gate; "unsure" leaves the verdict as it is, and so does what a model said. It does not matter how the
    cases were chosen: what nobody labeled stays as the judge said, so that no label lowers a rate for more than its own
    case. A break that the judge missed and nobody labeled stays missed.
    """
    outcomes = said_of(store.labels(run.key))
    return [_reviewed(index, cell, outcomes) for index, cell in enumerate(cells)] if outcomes else [*cells]


def overruled(judged: Iterable[Graded], after: Iterable[Graded]) -> Iterator[str]:
    """A note on the verdicts that people replaced by others, of the cells as judged and as `reviewed`."""
    cleared = raised = 0
    for before, now in zip(judged, after, strict=True):
        for key, at in now.labeled:
            was, is_now = (cell.behaviors[key].outcomes[at] == "success" for cell in (before, now))
            cleared, raised = cleared + (was and not is_now), raised + (is_now and not was)
    if cleared or raised:
        yield (
            f"people overruled the judge: {count(cleared, 'judged break')} {'does' if cleared == 1 else 'do'} not "
            f"count, and {count(raised, 'other case')} {'does' if raised == 1 else 'do'}"
        )


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
    places = votes.keys() | rulings.keys()
    decided = {place: settled([*votes.get(place, {}).values()], rulings.get(place)) for place in places}
    return {place: {True: "success", False: "failure", None: "unscored"}[broken] for place, broken in decided.items()}


def changed(labels: Iterable[Json]) -> str:
    """How many labels of people called a case broken and were then corrected, in words; "" where none was. What was
    said first is kept, and whoever reads a gate should know of it.
    """
    first: dict[tuple[str, str, str], list[str]] = {}
    for label in sorted(labels, key=revision):
        if label["annotator"] == "person":
            first.setdefault((label["place"], label["labeler"], label["purpose"]), []).append(label["vote"])
    withdrawn = sum("success" in votes[:-1] and votes[-1] != "success" for votes in first.values())
    if not withdrawn:
        return ""
    verb = "was" if withdrawn == 1 else "were"
    return f"{count(withdrawn, 'label')} of people said broken first and {verb} corrected: the last one counts"


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
