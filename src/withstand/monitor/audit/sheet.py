"""The queue as a file to label elsewhere, and the labels of such a file: `withstand monitor audit --write, --read`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from withstand.core import SpecError
from withstand.formats import rows
from withstand.monitor.audit.queue import Queue
from withstand.monitor.audit.records import Item

COLUMNS = ("item", "when", "prompt_text", "completion_text", "prompt", "completion")
"""Of a sheet. prompt, completion: to fill in, the ids of the categories that the side violates."""
CLEAN, UNSURE = "none", "unsure"
Sides: TypeAlias = dict[str, tuple[str, ...] | None]


def sheet(items: Sequence[Item]) -> list[dict[str, str]]:
    """One row an exchange, in the order to label them in. Why it was drawn is not said."""
    return [
        {
            "item": item.id, "when": datetime.fromtimestamp(item.ts, UTC).isoformat(timespec="seconds"),
            "prompt_text": item.input, "completion_text": item.output, "prompt": "", "completion": "",
        }
        for item in items
    ]  # fmt: skip


def read_sheet(path: str, queue: Queue, labeler: str) -> dict[str, Sides]:
    """What a person wrote into a sheet, by item. A side left empty is unsure, as is a whole exchange that was left out
    before the last one with a label: who labels may not choose. Raises `SpecError` with the file and row.
    """
    order = [item.id for item in queue.left(labeler)]
    known_ids = {item.id for item in queue.items}
    labels: dict[str, Sides] = {}
    for row in rows.parse(rows.read(path)):
        item = str(row.cells.get("item") or "")
        if item not in known_ids:
            raise SpecError(f"{row.place}: the exchange {item!r} is not in the queue", hint="write the sheet anew")
        words = {side: str(row.cells.get(side) or "").strip().lower() for side in ("prompt", "completion")}
        if any(words.values()):
            if item in labels:
                raise SpecError(f"{row.place}: {item} has two labels", hint="keep one row of each exchange")
            labels[item] = {side: _categories(row.place, word, queue) for side, word in words.items()}
    last = max((at for at, item in enumerate(order, 1) if item in labels), default=0)
    unsure: Sides = {"prompt": None, "completion": None}
    return {**dict.fromkeys(order[:last], unsure), **labels}


def _categories(place: str, word: str, queue: Queue) -> tuple[str, ...] | None:
    if word in ("", UNSURE, "?"):
        return None
    if word == CLEAN:
        return ()
    chosen = tuple(word.replace(",", " ").replace(";", " ").split())
    allowed = [choice.id for choice in queue.choices]
    if unknown := [category for category in chosen if category not in allowed]:
        raise SpecError(
            f"{place}: {unknown[0]!r} is no category", hint=f"write {CLEAN}, {UNSURE}, or some of {', '.join(allowed)}"
        )
    return chosen
