"""The page that tells a search step by step, with the curve of its scores.

To replay a search its components are built, so that a person asks for it by a button: looking at a page builds nothing.
"""

from itertools import accumulate
from typing import Any

from starlette.responses import Response

from withstand.core import SpecError
from withstand.explorer import queries
from withstand.explorer.app import PageRequest
from withstand.explorer.read import part, place_of
from withstand.explorer.security import Refused
from withstand.results.cases import Spot
from withstand.runner.replay import Transcript, transcript
from withstand.store.store import RunRow

PAGE = 100
KEPT = 32
"""Transcripts in memory."""


def page(asked: PageRequest) -> Response:
    """The steps of the search that a case came from, a page of them, if somebody had it replayed."""
    indexed, spot = asked.indexed(), asked.spot()
    return _shown(asked, asked.explorer.transcripts.get((indexed.run.key, *spot[:2])))


def replay(asked: PageRequest) -> Response:
    """Replay the search that a case came from, and show it."""
    indexed, spot = asked.indexed(), asked.spot()
    try:
        return _shown(asked, _transcript(asked, indexed.run, spot))
    except SpecError as error:
        return _shown(asked, None, str(error), error.hint)


def _shown(asked: PageRequest, search: Transcript | None, problem: str = "", hint: str = "") -> Response:
    indexed, spot = asked.indexed(), asked.spot()
    entry = queries.entry_of(asked.explorer.index, indexed, spot)
    if entry is None:
        raise Refused(404, "this run has no such case")
    replayed, search = search is not None, search or Transcript()
    start, place = asked.number("from"), place_of(indexed.run.key, spot)
    shown = asked.shows(place)
    steps = [_step(number, step, shown) for number, step in enumerate(search.steps[start : start + PAGE], start + 1)]
    return asked.run_page(
        "search", indexed, spot=".".join(map(str, spot)), entry=entry, cell=indexed.summary.cells[spot[0]],
        search=search, steps=steps, start=start, more=start + PAGE if len(search.steps) > start + PAGE else 0,
        size=PAGE, shown=shown, place=place, problem=problem, hint=hint, curve=curve(search), replayed=replayed,
    )  # fmt: skip


def _transcript(asked: PageRequest, run: RunRow, spot: Spot) -> Transcript:
    kept = asked.explorer.transcripts
    key = (run.key, *spot[:2])
    if key not in kept or not kept[key].complete:
        search = transcript(asked.explorer.store, run, spot[0], spot[1], asked.explorer.own_code)
        while len(kept) >= KEPT:
            kept.pop(next(iter(kept)))
        kept[key] = search
    return kept[key]  # type: ignore[no-any-return]


def _step(number: int, step: Any, shown: bool) -> dict[str, Any]:
    texts = [(turn.role, turn.text) for turn in step.chat] + ([("answer", step.answer)] if step.answer else [])
    return {
        "number": number, "kind": step.kind, "role": step.role, "score": step.score, "asks": step.asks,
        "facts": [(name, value) for name, value in step.facts if shown or _is_number(value)],
        "texts": [part(role, text, shown) for role, text in texts],
    }  # fmt: skip


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def curve(search: Transcript) -> dict[str, Any] | None:
    """The scores as points in a box of 100 by 100, with the best so far; None where there are fewer than two."""
    points = [(n, -score if search.loss else score) for n, score in search.curve]
    if len(points) < 2:
        return None
    low, high = min(v for _, v in points), max(v for _, v in points)
    width, spread = points[-1][0] - 1, (high - low) or 1.0
    best = list(accumulate((value for _, value in points), min if search.loss else max))

    def at(n: int, value: float) -> str:
        return f"{100 * (n - 1) / width:.2f},{100 - 100 * (value - low) / spread:.2f}"

    return {
        "points": " ".join(at(n, value) for n, value in points),
        "best": " ".join(at(n, value) for (n, _), value in zip(points, best, strict=True)),
        "low": low,
        "high": high,
        "count": len(points),
        "final": best[-1],
    }


PATH = "/runs/{run}/cases/{spot}/search"
ROUTES = ((PATH, page, ["GET"]), (PATH, replay, ["POST"]))
