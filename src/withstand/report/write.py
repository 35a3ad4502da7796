"""A run as a file: HTML, JSON, CSV, Markdown, LaTeX, or its spec as TOML."""

import contextlib
import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from withstand.core import Json, SpecError, digest
from withstand.core.outcomes import SCORED
from withstand.core.text import head_of, visible
from withstand.report.html import html
from withstand.report.latex import latex
from withstand.results.cases import cases, labeled
from withstand.results.cells import ends_of
from withstand.results.counts import read
from withstand.results.success_by_budget import within
from withstand.results.summary import summarize
from withstand.results.votes import votes
from withstand.runner.spec import to_toml
from withstand.store.store import RunRow, Store

FORMATS = ("html", "pdf", "json", "csv", "md", "tex", "toml")
"""By what a file's name ends in."""

HTML_CASES, HTML_SOME = 50_000, 10_000
"""Most cases in one HTML file; and how many of a run that has more: the CSV and the explorer have all."""


def render(store: Store, run: RunRow, form: str, reveal: bool = False, with_text: bool | None = None) -> str:
    """The report as text. `with_text` None: texts stay in the HTML (blurred) and are left out of the CSV."""
    if form == "toml":
        return to_toml(run.spec)
    counts = read(store, run)
    summary = summarize(store, run, counts)
    if form == "json":
        return json.dumps(summary, indent=1) + "\n"
    if form == "tex":
        return latex(summary)
    if form == "md":
        return markdown(summary)
    if form == "csv":
        return "".join(csv_lines(summary, cases(store, run), bool(with_text)))
    total = sum(cell["cases"] for cell in summary["cells"])
    per_cell = None if total <= HTML_CASES else max(1, HTML_SOME // len(summary["cells"]))
    return html(
        summary,
        cases(store, run, per_cell),
        total,
        reveal=reveal,
        with_text=with_text is not False,
        points=[*within(store, run, "asks", counts), *within(store, run, "flops", counts)],
        votes=votes(store, run),
    )


def save(path: Path, text: str | bytes) -> None:
    """Write by rename, so that a file is whole or not there."""
    content = text if isinstance(text, bytes) else text.encode("utf-8", errors="replace")
    temporary = path
    try:
        if path.is_dir():
            raise SpecError(f"cannot write {path}: it is a folder", hint="name a file in it with -o")
        if path.is_file() or not path.exists():  # else /dev/stdout or a pipe: nothing to put in its place
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        if temporary != path:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise SpecError(f"cannot write {path}: {error.strerror}", hint="name another file with -o") from error


COLUMNS = (
    "suite", "target", "defense", "attack", "judge", "behavior", "category", "case", "sample", "outcome", "score",
    "why", "finish", "error", "asks", "tokens", "prompt", "completion",
)  # fmt: skip


FORMULA = re.compile("[=+\\-@\\t\\r\\n\uff1d\uff0b\uff0d\uff20]")
"""How a text begins that a spreadsheet may run. OWASP, "CSV Injection"; the last four are wide forms of the first."""


def rows(summary: Json, listed: Iterable[Json], with_text: bool) -> Iterator[dict[str, Any]]:
    """Each case as the values of `COLUMNS`. Without texts, prompt and completion are digests by which to check them."""
    for case in labeled(summary, listed):
        prompt = "\n\n".join(f"[{turn['role']}] {turn['text']}" for turn in case["chat"])
        texts: dict[str, Any] = {"prompt": prompt, "completion": case["completion"] or ""}
        if not with_text:
            texts = {name: digest(text) if text else "" for name, text in texts.items()}
        values = {**case, **case["spent"], **texts}
        yield {name: values.get(name) for name in COLUMNS}


def csv_lines(summary: Json, listed: Iterable[Json], with_text: bool) -> Iterator[str]:
    """One line per case. A text that a spreadsheet could take for a formula gets a single quote before it."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows(summary, listed, with_text):
        writer.writerow({name: _inert(value) for name, value in row.items()})
        yield file.getvalue()
        file.seek(0)
        file.truncate()
    yield file.getvalue()


def points(listed: Iterable[Json]) -> str:
    """Success against budget, one line per point of each cell's curve (see `budget.within`)."""
    file = io.StringIO()
    writer = csv.DictWriter(
        file, ("target", "defense", "attack", "by", *_POINT), lineterminator="\n", extrasaction="ignore"
    )
    writer.writeheader()
    writer.writerows({name: _inert(value) for name, value in point.items()} for point in listed)
    return file.getvalue()


_POINT = ("spent", "broken", "behaviors", "rate", "low", "high", "area")


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def markdown(summary: Json) -> str:
    """A table of the cells with their notes."""
    asked = any(cell.get("utility") for cell in summary["cells"])
    lines = [
        f"# Run {_escape(summary['run']['name'])}",
        "",
        f"{summary['run']['created']}, {summary['run']['state']}.",
        "",
        "| target | defense | attack | suite | broken | ASR (95%) | corrected | bounds | over-refusal "
        f"{'| utility ' * asked}| unscored | error | asks | tokens | seconds | by |",
        f"|---|---|---|---|---:|---:|---:|---:|---:|{'---:|' * asked}---:|---:|---:|---:|---:|---|",
    ]
    for cell in summary["cells"]:
        lines.append("| " + " | ".join(_escape(text) for text in _columns(cell, asked)) + " |")
    notes = [*summary["warnings"], *_notes(summary["cells"])]
    return "\n".join([*lines, "", *(f"- {_escape(note)}" for note in dict.fromkeys(notes)), ""])


def _notes(cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each note once, with the attacks it is about where it is not about all of them."""
    labels = {cell["attack"] for cell in cells}
    heads = Counter(map(head_of, labels))
    attacks: dict[str, list[str]] = {}
    for cell in cells:
        head = head_of(cell["attack"])  # without its fields, where no other attack has its name
        for note in cell["notes"]:
            attacks.setdefault(note, []).append(head if heads[head] == 1 else cell["attack"])
    for note, names in attacks.items():
        yield note if len(names) == len(cells) else f"{', '.join(dict.fromkeys(names))}: {note}"


def _columns(cell: Mapping[str, Any], utility: bool) -> Iterator[str]:
    scored = sum(cell[name] for name in SCORED)
    yield from (cell["target"], cell["defense"], cell["attack"], f"{cell['suite']} ({cell['split']})")
    yield "" if cell["benign"] else f"{cell['success']} of {scored}"
    yield _rate(cell["asr"], cell["asr_interval"])
    found = cell["asr_corrected"]
    yield _rate(found["rate"], found["interval"]) if found else ""
    yield _rate(None, cell["asr_bounds"]) if cell["asr_bounds"] else "n/a"
    yield _rate(cell["over_refusal"], cell["over_refusal_interval"])
    if utility:
        told = cell["utility"] or {}
        yield _rate(told.get("rate"), ends_of(told))
    yield from (str(cell["unscored"]), str(cell["error"]), f"{cell['asks']:,}", f"{cell['tokens']:,}")
    yield from (f"{cell['seconds']:,.0f}", cell["judge"])


def _rate(value: float | None, interval: Sequence[float] | None) -> str:
    spread = f"{100 * interval[0]:.1f}-{100 * interval[1]:.1f}" if interval else ""
    if value is None:
        return spread or "n/a"
    return f"{100 * value:.1f}% ({spread})" if spread else f"{100 * value:.1f}%"


def _escape(text: str) -> str:
    return " ".join(visible(text).replace("|", "\\|").split())
