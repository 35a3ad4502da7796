"""The report as one HTML file that opens anywhere and asks the network for nothing.

`html` turns the summary of a run (report/summary.py) and its cases into a page: the answer in a sentence, what to
doubt, rates with intervals, the cases with their texts hidden, and all that is needed to check and repeat them. The
layout is in `report.html.j2`; what it shows is computed in `words.py`, `tables.py` and, for cases, here.

Everything that came from a model, a data file or a person is text, never markup: jinja2 escapes it, control and
invisible characters are made visible, and a content security policy lets no script run but the page's own, by hash.
"""

import base64
import hashlib
import re
import shlex
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from withstand.core import digest
from withstand.report import tables, words
from withstand.report.words import DASH, Record, visible
from withstand.spec import to_toml

MOST_CHARACTERS = 20_000
"""Of each text; the rest is in the exported cases."""

OUTCOMES = {
    "success": "broken",
    "failure": "held",
    "refused": "refused",
    "filtered": "filtered",
    "unscored": "unscored",
    "error": "error",
}
"""Outcome -> the word that people read. On benign prompts success and failure both mean "answered"."""

CUTS = {"success": "ended at the first success"}
"""What ended an attack early, other than a budget."""


def html(
    summary: Record, cases: Sequence[Record], cases_total: int, reveal: bool = False, with_text: bool = True
) -> str:
    """The report as one self-contained page.

    summary: what report/summary.py says of the run; rates in [0, 1] or None.   cases: the first rows, of `cases_total`.
    reveal: show prompts and completions from the start; else they are in the file, blurred until a person asks.
    with_text: False leaves the texts out and puts their length and a short hash in their place.
    """
    cells: list[Record] = summary["cells"]
    warnings = words.warnings(summary)
    settings = tables.settings(cells, warnings)
    views = [_case(case, cells, with_text) for case in cases]
    provenance, name = summary["provenance"], str(summary["run"]["name"])
    file = shlex.quote(f"{words.file_name(name)}.toml")
    page: str = _template().render(
        run=summary["run"],
        spec=to_toml(summary["run"]["spec"]),
        file=file,
        commands=(summary["run"]["command"],)
        if "imported" in summary["run"]["spec"]
        else (
            f"withstand report {shlex.quote(name)} --format toml -o {file}",
            f"withstand run {file} --name {shlex.quote(name)}",
        ),
        provenance=provenance,
        version=provenance.get("version") or metadata.version("withstand"),
        question=words.question(cells),
        answers=words.answers(settings),
        warnings=warnings,
        limits=words.limits(cells, settings, warnings),
        settings=settings,
        overview=tables.overview(settings),
        reused=summary.get("reused") or {},
        categories=any(len(cell.get("by_category") or []) > 1 for cell in cells if not cell["benign"]),
        at_k=tables.at_k(settings),
        cases=views,
        filters=_filters(views),
        omitted=max(0, cases_total - len(cases)),
        cases_total=cases_total,
        export=f"withstand report {shlex.quote(name)} --format csv",
        reveal=reveal,
        with_text=with_text,
        outcomes=OUTCOMES,
        cost=sum(cell.get("cost") or 0 for cell in cells),
    )
    return page.lstrip()


@cache
def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else visible(value),
    )
    environment.filters.update(
        percent=words.percent, interval=words.interval, whole=words.whole, short=words.short, clock=words.clock
    )
    environment.filters.update(facts=words.facts, prose=_prose, csp_hash=_csp_hash)
    environment.globals["curve"] = tables.curve
    return environment.get_template("report.html.j2")


def _csp_hash(text: Markup) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _prose(text: Any) -> Markup:
    """`text` escaped, with code between backticks and no line break inside a rate."""
    safe = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(visible(text))))
    return Markup(re.sub(rf"(?:ASR |&[lg]t;)?[0-9.]+(?:{DASH}[0-9.]+)? %", r'<span class="nowrap">\g<0></span>', safe))


# --- cases -----------------------------------------------------------------------------------------------------


def _case(case: Record, cells: Sequence[Record], with_text: bool) -> dict[str, Any]:
    """One row of the table of cases. `prompt` and `answer` are what is hidden until a person asks."""
    cell = cells[case["cell"]]
    chat = case.get("chat") or []
    spoken = [message["text"] for message in chat]
    prompt = [("behavior", case.get("text"))] if not any((case.get("text") or "") in text for text in spoken) else []
    if case.get("context") and not any(case["context"] in text for text in spoken):
        prompt.append(("context", case["context"]))
    prompt += [("" if len(chat) == 1 and m["role"] == "user" else m["role"], m["text"]) for m in chat]
    answer = [("reasoning", case["reasoning"])] if case.get("reasoning") else []
    if case.get("completion") is not None:
        answer.append(("answer" if answer else "", case["completion"]))
    why = case.get("why") or ""
    outcome = case["outcome"]
    secrets = [text for _, text in (*prompt, *answer) if text and len(text) > 3]
    spent = case.get("spent") or {}
    return {
        "outcome": outcome,
        "word": "answered" if cell["benign"] and outcome in ("success", "failure") else OUTCOMES[outcome],
        "id": case["behavior"],
        "category": case.get("category") or "",
        "suite": cell["suite"],
        "target": cell["target"],
        "defense": words.defense_of(cell) or "none",
        "attack": cell["attack"],
        "draw": case.get("sample"),
        "draws": cell["samples"],
        "finish": case.get("finish") or "",
        "facts": [
            *([words.count(spent["asks"], "ask")] if spent.get("asks") else []),
            *([f"{words.short(spent['tokens'])} tokens"] if spent.get("tokens") else []),
            *([CUTS.get(case["cut"], f"cut by {case['cut']}")] if case.get("cut") else []),
            *([f"score {case['score']:.2f}"] if case.get("score") is not None else []),
        ],
        "prompt": [_part(label, text, with_text) for label, text in prompt],
        "answer": [_part(label, text, with_text) for label, text in (*answer, *([("judge says", why)] if why else []))],
        "answered": case.get("completion") is not None,
        "error": _without(case.get("error"), secrets),
        "hint": _without(case.get("hint"), secrets),
    }


def _part(label: str, text: str | None, with_text: bool) -> dict[str, Any]:
    text = text or ""
    if not with_text:
        note = f"{words.count(len(text), 'character')}, hash {digest(text)[:12]}"
        return {"label": label, "text": "", "note": note, "length": len(text)}
    cut = len(text) > MOST_CHARACTERS
    note = f"First {MOST_CHARACTERS:,} of {len(text):,} characters." if cut else "" if text else "(empty)"
    return {"label": label, "text": text[:MOST_CHARACTERS], "note": note, "length": len(text)}


def _without(message: str | None, secrets: Sequence[str]) -> str:
    """An error message, less the prompt or completion that it may quote."""
    message = message or ""
    for secret in secrets:
        message = message.replace(secret, "[text hidden]")
    return message[:MOST_CHARACTERS]


def _filters(views: Sequence[Record]) -> list[dict[str, Any]]:
    """The drop-down lists over the cases that have more than one choice."""
    filters = []
    for name in ("target", "defense", "attack", "outcome", "category", "suite"):
        values = words.unique(view[name] for view in views)
        if name == "outcome":
            values = [outcome for outcome in OUTCOMES if outcome in values]
        if len(values) > 1 or (values and name in ("target", "attack", "outcome", "category")):
            labels = [OUTCOMES[value] if name == "outcome" else value for value in values]
            filters.append({"name": name, "options": list(zip(values, labels, strict=True))})
    return filters
