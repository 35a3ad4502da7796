"""Pages that read: runs, a run, its cases, a case."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.responses import Response

from withstand.core import digest
from withstand.core.text import count, unique
from withstand.explorer import queries
from withstand.explorer.app import PageRequest, plain
from withstand.explorer.downloads import offered
from withstand.explorer.index import RunIndex
from withstand.explorer.numbers import whole
from withstand.explorer.queries import Wanted
from withstand.explorer.security import Refused
from withstand.report import words
from withstand.report.settings import overview, settings_of
from withstand.results import labeling
from withstand.results.by_hand import findings_of, is_by_hand
from withstand.results.cases import CaseResult, Spot, picked
from withstand.results.cells import CellResult
from withstand.results.names import plan_names
from withstand.store.store import RunRow

LONGEST = 20_000
"""Characters of a text in a page; the rest is in its file."""
SNIPPET = 220
SEARCHES = 1_000
"""Searches that a session remembers as recorded."""


def runs(asked: PageRequest) -> Response:
    """All runs of the store, newest first."""
    index = asked.explorer.index
    listed: list[dict[str, Any]] = []
    for run in index.runs():
        indexed = index.of_run(run, wait=0.1 if len(listed) < 3 else 0.0)
        labels = indexed.once("labels", partial(_labels, run)) if indexed else _labels(run)
        listed.append({"run": run, "indexed": indexed, **labels})
    return asked.page("runs", listed=listed)


def _labels(run: RunRow) -> dict[str, Any]:
    """What a run is about, by the names that people read."""
    cells, names = run.plan["cells"], plan_names(run.plan)
    return {
        "suites": ", ".join(suite["name"] for suite in run.plan["suites"]),
        "targets": unique(names.get(cell["target"], cell["target"]) for cell in cells),
        "attacks": unique(names.get(cell["attack"], cell["attack"]) for cell in cells if not cell["benign"]),
    }


def run(asked: PageRequest) -> Response:
    """A run: the answer in sentences, its cells with their rates, what went wrong."""
    indexed = asked.indexed(texts=False)
    cells, summary = indexed.summary.cells, indexed.summary.shown()
    warnings = words.warnings(summary)
    settings = settings_of(summary.cells, summary.worst, summary.defenses)
    launcher = asked.explorer.launcher
    return asked.run_page(
        "run", indexed, launch=launcher.launch(indexed.run.key) if launcher else None, cells=cells,
        question=words.question(summary.cells, summary.advice),
        answers=words.answers(settings, summary.advice), warnings=warnings, overview=overview(settings),
        columns=columns(cells), findings=len(findings_of(asked.explorer.store, indexed.run)),
        by_hand=is_by_hand(indexed.run), **offered(asked),
    )  # fmt: skip


def columns(cells: Sequence[CellResult]) -> list[str]:
    """The labels that tell the cells apart."""
    names = [name for name in ("suite", "target", "defense") if len({getattr(cell, name) for cell in cells}) > 1]
    return [*names, "attack"]


def cases(asked: PageRequest) -> Response:
    """The cases of a run that are wanted, a page of them."""
    indexed = asked.indexed()
    wanted = _wanted(asked, indexed.run)
    index = asked.explorer.index
    entries = queries.find(index, indexed, wanted, queries.PAGE + 1)
    more = len(entries) > queries.PAGE
    entries = entries[: queries.PAGE]
    counts = queries.count(index, indexed, wanted)
    return asked.run_page(
        "cases", indexed, wanted=wanted, facets=queries.facets(counts), options=queries.options(indexed),
        listed=views(asked, indexed, [entry.spot for entry in entries], near=wanted.text),
        matching=sum(n for place, n in counts.items() if wanted.fits(*place)),
        capped=bool(wanted.text) and sum(counts.values()) > queries.MOST,
        next=wanted.query(after=entries[-1].id) if more else None, columns=columns(indexed.summary.cells),
    )  # fmt: skip


def _wanted(asked: PageRequest, run: RunRow) -> Wanted:
    """Which cases the query is about. A search looks at texts only where this person may see them all, and the audit
    records it: many searches for phrases tell a text word by word. A search is in the audit once for each session, and
    by a digest, since no purge erases what the audit holds."""
    explorer, searched = asked.explorer, asked.session.searched
    wanted = Wanted.of(asked.query, in_texts=explorer.reveal or not explorer.read_only)
    if wanted.text.strip() and not explorer.read_only and (run.key, wanted.text) not in searched:
        words = count(len(wanted.text.split()), "word")
        explorer.audit(asked.who, "search", f"{run.name}, {words}, digest {digest(wanted.text)[:12]}")
        if len(searched) >= SEARCHES:
            searched.clear()
        searched.add((run.key, wanted.text))
    return wanted


def case(asked: PageRequest) -> Response:
    """One case: the whole conversation, what came back, what the judge and people say."""
    indexed, spot = asked.indexed(), asked.spot()
    entry = queries.entry_of(asked.explorer.index, indexed, spot)
    record = asked.case(indexed.run, spot)
    if not entry:
        raise Refused(404, "this run has no such case")
    wanted = _wanted(asked, indexed.run)
    before, after = queries.beside(asked.explorer.index, indexed, wanted, entry.id)
    place = labeling.place_of(record)
    labels = labeling.labels_at(asked.explorer.store, indexed.run, place)
    findings = [
        finding for finding in findings_of(asked.explorer.store, indexed.run)
        if finding.spot == tuple(spot) or finding.id == record.behavior
    ]  # fmt: skip
    return asked.run_page(
        "case", indexed, view=view(asked, indexed, spot, record, LONGEST), wanted=wanted, before=before, after=after,
        labels=labels, findings=findings,
    )  # fmt: skip


def text(asked: PageRequest) -> Response:
    """The whole of one text of a case that was revealed, as a file."""
    run, spot = asked.run(), asked.spot()
    parts = parts_of(asked.case(run, spot))
    if not asked.shows(place_of(run.key, spot)):
        raise Refused(403, "this text was not revealed", "reveal it on the page of the case")
    number = whole(asked.query.get("part", "0"), least=-1)
    if number is None or not 0 <= number < len(parts):
        raise Refused(404, "this case has no such text")
    return plain(parts[number][1], f"{run.name}-{'.'.join(map(str, spot))}-{number}.txt")


def place_of(run_key: str, spot: Spot) -> str:
    return f"{run_key[:16]}/{'.'.join(map(str, spot))}"


def parts_of(case: CaseResult) -> list[tuple[str, str]]:
    """The texts of a case in order, each with its role."""
    parts = [("behavior", case.text)]
    if case.context and not any(case.context in turn.text for turn in case.chat):
        parts.append(("context", case.context))
    parts += [(turn.role, turn.text) for turn in case.chat]
    parts += [("reasoning", case.reasoning)] if case.reasoning else []
    parts += [("completion", case.completion)] if case.completion is not None else []
    parts += [("judge says", case.why)] if case.why else []
    return [*parts, *case.failure]


@dataclass(frozen=True, slots=True)
class Part:
    """A text as a page shows it. text: "" unless it was asked for; else from character `start` on, up to `longest`.

    length: characters of the whole.   digest: of the whole, 12 hexadecimal digits.   number: in `parts_of`.
    """

    role: str
    text: str
    length: int
    start: int = 0
    cut: bool = False
    digest: str = ""
    number: int = 0

    @property
    def lines(self) -> list[int]:
        """Widths of the bars, in percent, that stand for the text; they tell nothing but its length."""
        full, rest = divmod(min(self.length, 420), 105)
        return [*[100, 94, 97, 91][:full], *([max(6, rest * 90 // 105)] if rest else [])]


def part(role: str, text: str, shown: bool, longest: int = LONGEST, near: str = "", number: int = 0) -> Part:
    """A text for a page, without the text itself unless `shown`. near: words that the part shown is to hold."""
    start = _start(text, near, longest)
    seen = text[start : start + longest] if shown else ""
    return Part(role, seen, len(text), start, len(text) > longest, digest(text)[:12], number)


@dataclass(frozen=True, slots=True)
class CaseView:
    """A case as a page shows it. spot: its place in the run, as in an address.   place: run and spot.

    shown: whether its texts were asked for.   error, hint: why the run has not come to it;
    what a model or a judge said when it failed is one of the texts.
    """

    case: CaseResult
    cell: CellResult
    spot: str
    place: str
    shown: bool
    parts: list[Part]
    error: str
    hint: str

    @property
    def word(self) -> str:
        return self.cell.word_of(self.case.outcome)


def views(asked: PageRequest, indexed: RunIndex, spots: Sequence[Spot], near: str = "") -> list[CaseView]:
    """Cases of a list, the beginning of each text."""
    records = picked(asked.explorer.store, indexed.run, spots)
    return [view(asked, indexed, spot, case, SNIPPET, near) for spot, case in zip(spots, records, strict=True)]


def view(
    asked: PageRequest, indexed: RunIndex, spot: Spot, case: CaseResult, longest: int, near: str = ""
) -> CaseView:  # fmt: skip
    """A case as a page shows it. A text that was not asked for is not in the page: its length and digest are.

    longest: characters of each text.   near: words that a search was for, which the part shown is to hold.
    """
    place = place_of(indexed.run.key, spot)
    shown = asked.shows(place)
    parts = [part(*text, shown, longest, near, number) for number, text in enumerate(parts_of(case))]
    own_words = ("", "") if case.failure else (case.error, case.hint)
    return CaseView(case, indexed.summary.cells[spot[0]], ".".join(map(str, spot)), place, shown, parts, *own_words)


def _start(text: str, near: str, longest: int) -> int:
    """Where to begin, so that a word that was searched for is seen."""
    places = [place for word in re.findall(r"\w+", near) if (place := text.lower().find(word.lower())) >= 0]
    return max(0, min(min(places) - longest // 4, len(text) - longest)) if places and len(text) > longest else 0


ROUTES = (
    ("/", runs, ["GET"]),
    ("/runs/{run}", run, ["GET"]),
    ("/runs/{run}/cases", cases, ["GET"]),
    ("/runs/{run}/cases/{spot}", case, ["GET"]),
    ("/runs/{run}/cases/{spot}/text", text, ["GET"]),
)
