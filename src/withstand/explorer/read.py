"""Pages that read: runs, a run, its cases, a case, exports."""

import re
from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse, Response, StreamingResponse

from withstand.core import digest
from withstand.core.text import unique
from withstand.explorer import queries
from withstand.explorer.app import PageRequest, plain
from withstand.explorer.index import RunIndex
from withstand.explorer.queries import Wanted
from withstand.explorer.security import Refused
from withstand.report import tables, words
from withstand.report import write as files
from withstand.results import labeling
from withstand.results.cases import CaseResult, Spot, picked
from withstand.results.cases import cases as all_cases
from withstand.results.cells import CellResult
from withstand.results.names import plan_names, shown_summary

LONGEST = 20_000
"""Characters of a text in a page; the rest is in its file."""
SNIPPET = 220


def runs(asked: PageRequest) -> Response:
    """All runs of the store, newest first."""
    listed: list[dict[str, Any]] = []
    for run in asked.explorer.index.runs():
        indexed = asked.explorer.index.of_run(run, wait=0.1 if len(listed) < 3 else 0.0)
        cells, names = run.plan["cells"], plan_names(run.plan)
        listed.append(
            {
                "run": run,
                "suites": ", ".join(suite["name"] for suite in run.plan["suites"]),
                "targets": unique(names.get(cell["target"], cell["target"]) for cell in cells),
                "attacks": unique(names.get(cell["attack"], cell["attack"]) for cell in cells if not cell["benign"]),
                "indexed": indexed,
                "totals": totals(indexed.summary.cells) if indexed else None,
            }
        )
    return asked.page("_runs" if asked.partial else "runs", listed=listed)


def totals(cells: Sequence[CellResult]) -> dict[str, int]:
    """Broken, scored and missing cases of the harmful cells."""
    harmful = [cell for cell in cells if not cell.benign]
    return {
        "broken": sum(cell.success for cell in harmful),
        "scored": sum(cell.scored for cell in harmful),
        "missing": sum(cell.error for cell in cells),
        "cases": sum(cell.cases for cell in cells),
    }


def run(asked: PageRequest) -> Response:
    """A run: the answer in sentences, its cells with their rates, what went wrong."""
    indexed = asked.indexed(texts=False)
    cells, summary = indexed.summary.cells, shown_summary(indexed.summary.to_json())
    warnings = words.warnings(summary)
    settings = tables.settings(summary["cells"], warnings)
    values: dict[str, Any] = {
        "indexed": indexed,
        "run": indexed.run,
        "cells": cells,
        "question": words.question(summary["cells"]),
        "answers": words.answers(settings),
        "warnings": warnings,
        "overview": tables.overview(settings),
        "findings": len(asked.explorer.store.findings(indexed.run.key)),
        "columns": columns(cells),
    }
    return asked.page("_run" if asked.partial else "run", **values)


def columns(cells: Sequence[CellResult]) -> list[str]:
    """The labels that tell the cells apart."""
    names = [name for name in ("suite", "target", "defense") if len({getattr(cell, name) for cell in cells}) > 1]
    return [*names, "attack"]


def cases(asked: PageRequest) -> Response:
    """The cases of a run that are wanted, a page of them."""
    indexed = asked.indexed()
    wanted = Wanted.of(asked.query)
    index = asked.explorer.index
    entries = queries.find(index, indexed, wanted, queries.PAGE + 1)
    more = len(entries) > queries.PAGE
    entries = entries[: queries.PAGE]
    spots = [spot for _, spot in entries]
    texts = picked(asked.explorer.store, indexed.run, spots)
    listed = [view(asked, indexed, spot, case, near=wanted.text) for spot, case in zip(spots, texts, strict=True)]
    counts = queries.count(index, indexed, wanted)
    values: dict[str, Any] = {
        "indexed": indexed,
        "run": indexed.run,
        "wanted": wanted,
        "listed": listed,
        "facets": queries.facets(counts),
        "matching": sum(n for place, n in counts.items() if wanted.fits(*place)),
        "capped": bool(wanted.text) and sum(counts.values()) > queries.MOST,
        "options": queries.options(indexed),
        "next": wanted.query(after=entries[-1][0]) if more else None,
        "columns": columns(indexed.summary.cells),
    }
    return asked.page("_cases" if asked.partial else "cases", **values)


def case(asked: PageRequest) -> Response:
    """One case: the whole conversation, what came back, what the judge and people say."""
    indexed, spot = asked.indexed(), asked.spot()
    entry = queries.entry_of(asked.explorer.index, indexed, spot)
    records = picked(asked.explorer.store, indexed.run, [spot])
    if not entry or not records:
        raise Refused(404, "this run has no such case")
    wanted = Wanted.of(asked.query)
    before, after = queries.beside(asked.explorer.index, indexed, wanted, entry["id"])
    seen = view(asked, indexed, spot, records[0], LONGEST)
    place = labeling.place_of(records[0])
    labels = [label for label in asked.explorer.store.labels(indexed.run.key) if label["place"] == place]
    findings = [f for f in asked.explorer.store.findings(indexed.run.key) if f.get("spot") == list(spot)]
    values: dict[str, Any] = {
        "indexed": indexed, "run": indexed.run, "case": seen, "cell": indexed.summary.cells[spot[0]], "wanted": wanted,
        "before": before, "after": after, "labels": labels, "findings": findings, "path": asked.request.url.path,
        "blind": any(label["labeler"] != asked.who for label in labels),
    }  # fmt: skip
    return asked.page("case", **values)


def text(asked: PageRequest) -> Response:
    """The whole of one text of a case that was revealed, as a file."""
    run, spot = asked.run(), asked.spot()
    records = picked(asked.explorer.store, run, [spot])
    place = place_of(run.key, spot)
    if not records:
        raise Refused(404, "this run has no such case")
    if not asked.shows(place):
        raise Refused(403, "this text was not revealed", "reveal it on the page of the case")
    parts = parts_of(records[0])
    number = asked.query.get("part", "0")
    if not number.isdigit() or int(number) >= len(parts):
        raise Refused(404, "this case has no such text")
    return plain(parts[int(number)][2], f"{run.name}-{'.'.join(map(str, spot))}-{number}.txt")


def place_of(run_key: str, spot: Spot) -> str:
    return f"{run_key[:16]}/{'.'.join(map(str, spot))}"


def parts_of(case: CaseResult) -> list[tuple[str, str, str]]:
    """The texts of a case in order: (kind, role, text); kind is "prompt" or "answer"."""
    spoken = [turn.text for turn in case.chat]
    parts = [("prompt", "behavior", case.text)]
    if case.context and not any(case.context in text for text in spoken):
        parts.append(("prompt", "context", case.context))
    parts += [("prompt", turn.role, turn.text) for turn in case.chat]
    parts += [("answer", "reasoning", case.reasoning)] if case.reasoning else []
    parts += [("answer", "completion", case.completion)] if case.completion is not None else []
    parts += [("answer", "judge says", case.why)] if case.why else []
    return parts


def view(
    asked: PageRequest, indexed: RunIndex, spot: Spot, case: CaseResult, longest: int = SNIPPET, near: str = ""
) -> dict[str, Any]:
    """A case as a page shows it. A text that was not asked for is not in the page: its length and digest are.

    longest: characters of each text.   near: words that a search was for, which the part shown is to hold.
    """
    place = place_of(indexed.run.key, spot)
    shown = asked.shows(place)
    cell = indexed.summary.cells[spot[0]]
    outcome = case.outcome
    texts = [(kind, role, text, _start(text, near, longest)) for kind, role, text in parts_of(case)]
    parts = [
        {
            "kind": kind,
            "role": role,
            "text": text[start : start + longest] if shown else "",
            "start": start,
            "length": len(text),
            "cut": len(text) > longest,
            "number": number,
            "digest": digest(text)[:12],
            "lines": blurred(len(text)),
        }
        for number, (kind, role, text, start) in enumerate(texts)
    ]
    return {
        **{
            name: getattr(case, name)
            for name in ("behavior", "category", "finish", "cut", "score", "error", "hint", "case")
        },
        "sample": case.sample,
        "outcome": outcome,
        "word": cell.word_of(outcome),
        "cell": cell,
        "spot": ".".join(map(str, spot)),
        "place": place,
        "shown": shown,
        "parts": parts,
        "error": case.error if shown else _without(case),
        "spent": case.spent or {},
    }


def _start(text: str, near: str, longest: int) -> int:
    """Where to begin, so that a word that was searched for is seen."""
    places = [place for word in re.findall(r"\w+", near) if (place := text.lower().find(word.lower())) >= 0]
    return max(0, min(min(places) - longest // 4, len(text) - longest)) if places and len(text) > longest else 0


def _without(case: CaseResult) -> str:
    """An error message less the text that it may quote."""
    message: str = case.error
    for _, _, text in parts_of(case):
        if len(text) > 3:
            message = message.replace(text, "[text hidden]")
    return message[:2_000]


def blurred(length: int) -> list[int]:
    """Widths of the bars, in percent, that stand for so many characters; they tell nothing else of the text."""
    full, rest = divmod(min(length, 420), 105)
    return [*[100, 94, 97, 91][:full], *([max(6, rest * 90 // 105)] if rest else [])]


def export(asked: PageRequest) -> Response:
    """The cases as CSV; digests instead of texts unless the server was started for more and an admin asks."""
    indexed = asked.indexed(texts=False)
    with_text = asked.query.get("text") == "1"
    if with_text:
        asked.need("admin")
        if not asked.explorer.with_text:
            raise Refused(403, "this explorer exports no texts", "start it with --with-text")
    if with_text or not asked.explorer.read_only:
        asked.explorer.audit(asked.who, "export", f"{indexed.run.name}, cases{' with texts' if with_text else ''}")
    lines = files.csv_of(
        indexed.summary.to_json(), (case.to_json() for case in all_cases(asked.explorer.store, indexed.run)), with_text
    )
    answer = StreamingResponse((line.encode("utf-8", "replace") for line in lines), media_type="text/csv")
    answer.headers["Content-Disposition"] = 'attachment; filename="cases.csv"'
    return answer


def summary(asked: PageRequest) -> Response:
    """The numbers as JSON, as `withstand report --format json` prints them."""
    return JSONResponse(asked.indexed(texts=False).summary.to_json())


ROUTES = (
    ("/", runs, ["GET"]),
    ("/runs/{run}", run, ["GET"]),
    ("/runs/{run}/cases", cases, ["GET"]),
    ("/runs/{run}/cases.csv", export, ["GET"]),
    ("/runs/{run}/summary.json", summary, ["GET"]),
    ("/runs/{run}/cases/{spot}", case, ["GET"]),
    ("/runs/{run}/cases/{spot}/text", text, ["GET"]),
)
