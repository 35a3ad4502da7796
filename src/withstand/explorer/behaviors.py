"""A person accepts, edits or drops each generated behavior before a run asks it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from withstand.core.text import visible
from withstand.explorer.app import PageRequest
from withstand.explorer.read import LONGEST, SNIPPET, Part, part
from withstand.explorer.security import Refused
from withstand.runner.review import EDITABLE, BehaviorFile, OutdatedError, Row, key_of, state_of

STATUSES = ("new", "accepted", "edited", "dropped")
SHOWN = 200
"""Rows of a page of the list."""


@dataclass(frozen=True, slots=True)
class BehaviorView:
    """A row as a page shows it. key: its name in an address.   place: for the request to show its texts.

    parts: its context and text, without the texts unless `shown`.
    """

    row: Row
    key: str
    place: str
    shown: bool
    parts: list[Part]


def view(asked: PageRequest, row: Row, longest: int) -> BehaviorView:
    key = key_of(row)
    shown = asked.shows(f"behavior/{key}")
    texts = [(name, getattr(row, name)) for name in ("context", "text", "target_string") if getattr(row, name)]
    parts = [part("the behavior" if name == "text" else name, text, shown, longest) for name, text in texts]
    return BehaviorView(row, key, f"behavior/{key}", shown, parts)


def listing(asked: PageRequest) -> Response:
    """All behaviors of the file, or those of one status."""
    file = _file(asked)
    rows = file.rows()
    wanted = str(asked.query.get("status", ""))
    listed = [row for row in rows if not wanted or row.status == wanted]
    start = min(asked.number("after"), max(0, len(listed) - 1))
    return asked.page(
        "behaviors", file=file.path, counts=Counter(row.status for row in rows), statuses=STATUSES, wanted=wanted,
        views=[view(asked, row, SNIPPET) for row in listed[start : start + SHOWN]], total=len(listed), start=start,
        more=start + SHOWN if start + SHOWN < len(listed) else 0, first=_next_new(rows, ""),
    )  # fmt: skip


def behavior(asked: PageRequest) -> Response:
    """One behavior, with what it was made from and its counterpart."""
    rows = _file(asked).rows()
    return _page(asked, rows, _row(asked, rows))


def decide(asked: PageRequest) -> Response:
    """Keep what a person decided of a behavior, and show the next one that nobody has looked at."""
    asked.need("labeler")
    file, decision = _file(asked), str(asked.form.get("decision", ""))
    row = _row(asked, file.rows())
    if decision not in STATUSES:
        raise Refused(400, f"{decision!r} is no decision", "accepted, edited, dropped or new")
    if decision in ("accepted", "edited") and not asked.shows(f"behavior/{key_of(row)}"):
        raise Refused(403, "nobody accepts what they have not read", "show the text first")
    texts = {name: str(asked.form[name]).replace("\r\n", "\n") for name in EDITABLE if name in asked.form}
    edits = texts if decision == "edited" else None
    seen = str(asked.form.get("seen", ""))
    asked.explorer.audit(asked.who, "behaviors", f"{file.path.name}: {decision} {row.id}")
    try:
        decided = file.decide(row.id, seen, decision, edits)  # type: ignore[arg-type] # checked above
    except OutdatedError as error:
        rows = file.rows()
        return _page(asked, rows, error.row, 409, f"{error}: {error.hint}", edits)
    after = _next_new(file.rows(), decided.id)
    return asked.to(f"/behaviors/{after}" if after else "/behaviors")


def _page(
    asked: PageRequest, rows: Sequence[Row], row: Row, status: int = 200, problem: str = "",
    draft: dict[str, str] | None = None,
) -> Response:  # fmt: skip
    """The page of a row. draft: what a person wrote and could not save."""
    place = next((place for place, entry in enumerate(rows) if entry.id == row.id), 0)
    twin = next((entry for entry in rows if row.twin and entry.id == row.twin), None)
    return asked.page(
        "behavior", status, view=view(asked, row, LONGEST), seen=state_of(row), problem=problem,
        twin=view(asked, twin, LONGEST) if twin else None, number=place + 1, total=len(rows),
        before=key_of(rows[place - 1]) if place else "", after=key_of(rows[place + 1]) if rows[place + 1 :] else "",
        draft=draft or {name: getattr(row, name) for name in EDITABLE},
        done=sum(entry.settled for entry in rows),
        plain=all(visible(getattr(row, name)) == getattr(row, name) for name in EDITABLE),
    )  # fmt: skip


def _file(asked: PageRequest) -> BehaviorFile:
    if asked.explorer.behaviors is None:
        raise Refused(404, "there are no behaviors to review", "start it with --behaviors FILE")
    return asked.explorer.behaviors


def _row(asked: PageRequest, rows: Sequence[Row]) -> Row:
    wanted = asked.request.path_params["row"]
    for row in rows:
        if key_of(row) == wanted:
            return row
    raise Refused(404, "the file has no such behavior")


def _next_new(rows: Sequence[Row], behind: str) -> str:
    """The key of the next row that nobody has looked at, from the one with this id on, and round; "" for none."""
    place = next((place for place, row in enumerate(rows) if row.id == behind), -1)
    return next((key_of(row) for row in [*rows[place + 1 :], *rows[: place + 1]] if not row.settled), "")


ROUTES = (
    ("/behaviors", listing, ["GET"]),
    ("/behaviors/{row}", behavior, ["GET"]),
    ("/behaviors/{row}", decide, ["POST"]),
)
