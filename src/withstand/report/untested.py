"""What a run did not test, from its spec and plan: the first thing a reader of one number must know."""

from collections.abc import Iterator

from withstand.core.text import count, series, unique
from withstand.report import sources
from withstand.results.cells import Record
from withstand.results.summary import RunSummary

FAMILIES = {
    "templated": "fixed templates",
    "search": "gradient-free search",
    "gradient": "gradient search (needs weights)",
    "llm": "conversations with an attacker model",
}
"""Folder of the attacks -> what people call it."""


def untested(summary: RunSummary) -> Iterator[str]:
    """Each as a sentence; what a warning or a limit of the report says already is left to that."""
    cells, spec = summary.cells, summary.run.spec
    harmful = [cell for cell in cells if not cell.benign]
    if not cells or "imported" in spec:
        return
    yield from (f"{text}." for text in unique(text for entry in summary.provenance.sets for text in entry["left_out"]))
    tried = {sources.family(cell.attack) for cell in harmful}
    absent = [text for family, text in FAMILIES.items() if family not in tried]
    if harmful and absent:
        yield f"These kinds of attack were not run: {series(absent)}."
    if not harmful:
        yield "No attack was run: only benign requests were sent."
    shown = harmful or [cell for cell in cells if cell.measures != "utility"]
    for suite in summary.provenance.suites:
        if any(cell.suite == suite["name"] for cell in shown):
            yield f"Only {_part(suite, spec)}."
    bare = [
        cell for cell in harmful if not cell.matching and cell.asr_corrected is None and cell.judge_method != "people"
    ]
    if lacking := unique(cell.printed("judge") for cell in bare):
        who = f"The judge {lacking[0]} was" if len(lacking) == 1 else f"The judges {series(lacking)} were"
        where = "" if len(bare) == len(harmful) else f" in {count(len(bare), 'cell')}"
        yield f"{who} not compared with labels{where}, so the intervals do not include a judge's mistakes."
    if harmful and any(sources.family(cell.attack) not in ("templated", "") for cell in harmful):
        yield f"Only one seed ({summary.provenance.seed}) was used; another seed may find other test cases."


def _part(suite: Record, spec: Record) -> str:
    """As in: 20 behaviors of kitchen's test split (chosen by limit = 20) were tested."""
    n = suite["behaviors"]
    own = [given for given in _listed(spec.get("suite")) if given.get("use") == suite["name"]]
    given = {key: value for part in (spec, *own) for key, value in part.items() if key in ("limit", "where", "ids")}
    chosen = [f"limit = {given['limit']}"] if given.get("limit") else []
    chosen += [name for name in ("where", "ids") if given.get(name)]
    split = f"'s {suite['split']} split" if suite["split"] else ""
    by = f" (chosen by {series(chosen)})" if chosen else ""
    return f"{count(n, 'behavior')} of {suite['name']}{split}{by} {'was' if n == 1 else 'were'} tested"


def _listed(value: object) -> list[Record]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
