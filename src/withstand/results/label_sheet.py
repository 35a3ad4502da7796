"""A drawn sample as a file to label elsewhere, and the labels of such a file: `withstand label --write`, `--read`."""

from collections.abc import Sequence
from typing import Any

from withstand.core import SpecError, digest
from withstand.formats import rows
from withstand.results import labeling
from withstand.results.exposure import HARM, place_of_run, reader, topic_of_case
from withstand.results.labeling import Item, Purpose, Vote
from withstand.store.store import RunRow, Store

COLUMNS = ("place", "digest", "chance", "behavior", "text", "context", "prompt", "completion", "label")
"""Of a sheet. place and digest name a case; chance: that it was drawn; label: for the annotator to fill in."""

VOTES: dict[str, Vote] = {
    **dict.fromkeys(("1", "1.0", "yes", "y", "true", "success"), "success"),
    **dict.fromkeys(("0", "0.0", "no", "n", "false", "failure"), "failure"),
    **dict.fromkeys(("unsure", "u", "?"), "unsure"),
}


def sheet(items: Sequence[Item]) -> list[dict[str, Any]]:
    """One row a case, in the order to label them in, without the judge's verdict."""
    return [
        {
            "place": item.place,
            "digest": _digest(item),
            "chance": round(item.chance, 6),
            "behavior": item.case.behavior,
            "text": item.case.text,
            "context": item.case.context,
            "prompt": labeling.asked_of(item.case),
            "completion": item.case.completion or "",
            "label": "",
        }
        for item in items
    ]


def _digest(item: Item) -> str:
    return digest([item.place, item.case.completion or ""])[:16]


def read_sheet(path: str, items: Sequence[Item]) -> list[tuple[Item, Vote]]:
    """The labels of a sheet. A case that was left empty, or out, before the last one of the sample's order that has a
    label is unsure, wherever its row is: who labels may not choose. Raises `SpecError` with the file and row for a case
    that was not drawn, or an answer that is not its own.
    """
    by_place = {item.place: item for item in items}
    votes: dict[str, Vote] = {}
    for row in rows.parse(rows.read(path)):
        place = str(row.cells.get("place") or "")
        if place not in by_place:
            raise SpecError(
                f"{row.place}: the case {place!r} is not in this sample",
                hint="read the sheet with the -n and --for that it was written with",
            )
        if row.cells.get("digest") != _digest(by_place[place]):
            raise SpecError(f"{row.place}: the answer of {place} is another one now", hint="write the sheet anew")
        if word := str(row.cells.get("label") or "").strip().lower():
            vote = _vote(row.place, word)
            if votes.setdefault(place, vote) != vote:
                raise SpecError(f"{row.place}: {place} has two labels", hint="keep one row of each case")
    last = max((at for at, item in enumerate(items, 1) if item.place in votes), default=0)
    return [(item, votes.get(item.place, "unsure")) for item in items[:last]]


def _vote(place: str, word: str) -> Vote:
    if word not in VOTES:
        raise SpecError(f"{place}: label is {word!r}", hint=f"write one of {', '.join(VOTES)}")
    return VOTES[word]


def add_sheet(
    store: Store, run: RunRow, labels: Sequence[tuple[Item, Vote]], labeler: str, purpose: Purpose, kind: str
) -> None:
    """Keep the labels of a sheet, as those of an annotator of this kind. What a person read there counts as what they
    met today, whatever the cap; a sheet that is read again adds nothing."""
    before = labeling.labeled_by(store, run, labeler, purpose)
    person = reader(store, labeler, place_of_run(run.key))
    for item, vote in labels:
        labeling.add(store, run, item, vote, labeler, purpose, kind)
        if kind == "person" and before.get(item.place) != vote:
            person.judge(item.place, topic_of_case(run.plan, item.case.cell, item.case.category), HARM[vote])
