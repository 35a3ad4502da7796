"""The report as one HTML file that opens anywhere and asks the network for nothing.

`html` turns the summary of a run (report/summary.py) and its cases into a page: the answer in a sentence, what to
doubt, rates with intervals, the cases with their texts hidden, and all that is needed to check and repeat them. The
layout is in `report.html.j2`, `figures.html.j2`, `report.css` and `report.js`; what it shows is computed in `words.py`,
`tables.py`, `figures.py`, `untested.py` and, for cases, `packed.py`.

Everything that came from a model, a data file or a person is text, never markup: jinja2 escapes it, control and
invisible characters are made visible, and a content security policy lets no script run but the page's own, by hash.
"""

import base64
import hashlib
import re
import shlex
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from withstand.core.text import DASH, clock, facts, file_name, interval, percent, short, visible, whole
from withstand.report import figures, tables, words
from withstand.report.packed import pack
from withstand.report.untested import untested
from withstand.results.cells import Record
from withstand.runner.spec import to_toml


def html(
    summary: Record,
    cases: Iterable[Record],
    cases_total: int,
    reveal: bool = False,
    with_text: bool = True,
    points: Sequence[Record] = (),
    votes: Sequence[Record] = (),
) -> str:
    """The report as one self-contained page.

    summary: what report/summary.py says of the run; rates in [0, 1] or None.   cases: the first rows, of `cases_total`.
    reveal: show prompts and completions from the start; else they are in the file, blurred until a person asks.
    with_text: False leaves the texts out and puts their length and a short hash in their place.
    points: success against asks and operations (report/budget.py).
    votes: how the members of an ensemble voted (report/votes.py).
    """
    cells: list[Record] = summary["cells"]
    warnings = words.warnings(summary)
    settings = tables.settings(cells, warnings)
    packed = pack(cases, cells, with_text)
    provenance, name = summary["provenance"], str(summary["run"]["name"])
    file = shlex.quote(f"{file_name(name)}.toml")
    page: str = template("report.html.j2").render(
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
        untested=untested(summary),
        settings=settings,
        maps=[(each, heat) for each in settings if (heat := figures.heat_map(each))],
        budgets=[
            (by, panels)
            for by in ("asks", "flops")
            if (panels := figures.budget(settings, [point for point in points if point["by"] == by]))
        ],
        tradeoffs=[(each, dots) for each in settings if (dots := figures.tradeoff(each))],
        transfers=[(each, sent) for each in settings if (sent := figures.transfer(each, summary["run"]["spec"]))],
        agreements=figures.agreement(summary.get("calibrations") or []),
        votes=votes,
        overview=tables.overview(settings),
        reused=summary.get("reused") or {},
        categories=any(len(cell.get("by_category") or []) > 1 for cell in cells if not cell["benign"]),
        at_k=tables.at_k(settings),
        blocks=packed.blocks,
        total=packed.total,
        filters=packed.filters,
        omitted=max(0, cases_total - packed.total),
        cases_total=cases_total,
        export=f"withstand report {shlex.quote(name)} --format csv",
        reveal=reveal,
        with_text=with_text,
        cost=sum(cell.get("cost") or 0 for cell in cells),
    )
    return page.lstrip()


@cache
def template(name: str) -> Any:
    """A template of this folder, in which every value is escaped and made visible."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else visible(value),
    )
    environment.filters.update(percent=percent, interval=interval, whole=whole, short=short, clock=clock)
    environment.filters.update(facts=facts, prose=_prose, csp_hash=_csp_hash)
    environment.globals["curve"] = tables.curve
    return environment.get_template(name)


def style() -> str:
    """The style of a report, for other pages of the same look."""
    return (Path(__file__).parent / "report.css").read_text(encoding="utf-8")


def _csp_hash(text: Markup) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _prose(text: Any) -> Markup:
    """`text` escaped, with code between backticks and no line break inside a rate."""
    safe = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(visible(text))))
    return Markup(re.sub(rf"(?:ASR |&[lg]t;)?[0-9.]+(?:{DASH}[0-9.]+)? %", r'<span class="nowrap">\g<0></span>', safe))
