"""The cells of a run or of a plan on a terminal, and what a reader of their rates must know."""

import shlex
from collections.abc import Mapping, Sequence

from withstand.api import Run
from withstand.cli.console import put, rate, say, table, then
from withstand.core import Json
from withstand.core.text import unique
from withstand.report.advice import lines
from withstand.report.defended import sentences
from withstand.report.defended import tables as beside
from withstand.report.words import worst_case
from withstand.results.cells import CellResult, defended
from withstand.results.names import aliased, shown_warnings
from withstand.runner.tally import Tally


def show_cells(run: Run) -> None:
    """What any attack broke, the cells of a run as a table, and what a reader of their rates must know."""
    for case in run.result.shown().worst:
        for text in list(worst_case(case, defended(case.target, case.defense.removeprefix("none"))))[:2]:
            put(text)
    _cells_table(run.result.cells)
    for part in beside(run.result.shown().defenses):
        table(part.texts(), part.heads(), part.title)
    for text in sentences(run.result.shown().defenses):
        put(text)
    for text in lines(run.result.advice):
        put(text)
    notes(run.result.cells, run.result.warnings)


def _cells_table(cells: Sequence[CellResult]) -> None:
    """The harmful cells with over-refusal and utility beside them; benign cells where a run has no other.

    What is the same in every row is in the title.
    """
    cells = [aliased(cell) for cell in cells]
    shown = [cell for cell in cells if not cell.benign]
    shown = shown or [cell for cell in cells if cell.measures != "utility"] or cells
    labels = ["suite", "target", "defense", "attack", "knows"]
    same = [name for name in labels[:3] if len({getattr(cell, name) for cell in shown}) == 1]
    title = ", ".join(label for name in same if name != "suite" and (label := getattr(shown[0], name)) != "none")
    names = [name for name in labels if name not in same and (name != "knows" or any(c.knows for c in shown))]
    heads = [*names, "broken", "ASR (95%)", "corrected", "any draw", "over-refusal", "utility", "unscored", "errors",
             "asks"]  # fmt: skip
    table([_cell_texts(cell, names) for cell in shown], heads, title)


def _cell_texts(cell: CellResult, names: Sequence[str]) -> list[str]:
    corrected, utility = cell.asr_corrected, cell.utility
    return [
        *(getattr(cell, name) for name in names),
        "" if cell.benign else f"{cell.success} of {cell.scored}",
        rate(cell.asr, cell.asr_interval),
        rate(corrected.rate, corrected.interval) if corrected else "",
        _any_draw(cell.asr_at_k),
        rate(cell.over_refusal, cell.over_refusal_interval),
        rate(utility.rate, utility.interval) if utility else "",
        str(cell.unscored),
        str(cell.error),
        f"{cell.asks:,}",
    ]


def _any_draw(asr_at_k: Mapping[str, float] | None) -> str:
    """ASR at the most draws there are, where there is more than one: "84% @16"."""
    most = max((int(k) for k in asr_at_k or {}), default=1)
    return "" if most == 1 or asr_at_k is None else f"{rate(asr_at_k[str(most)])} @{most}"


def dry_run(estimated: Json) -> None:
    """The plan, cell by cell, with the upper bounds of what it asks."""
    names = estimated["names"]
    knows = ["knows"] if any(cell["knows"] for cell in estimated["cells"]) else []
    labels = ("suite", "target", "defense", "attack", *knows, "judge")
    rows = [
        [
            *(names.get(name, {}).get(cell[name], cell[name]) for name in labels),
            str(cell["behaviors"]),
            str(cell["cases"]),
            ", ".join(f"{count:,} {role}" for role, count in cell["asks"].items()),
        ]
        for cell in estimated["cells"]
    ]
    table(rows, [*labels, "behaviors", "cases", "asks at most"])
    bounds(estimated)
    for access, form in estimated["forms"].items():
        name = access.replace("_", "-")
        put(f"{name} form: {form['error']}") if "error" in form else bounds(form, f"{name} form: ")
    for stop in estimated["stops"]:
        means = ", ".join(f"{n:.0f} at a true ASR of {rate(float(asr))}" for asr, n in stop["expected"].items())
        put(f"behaviors asked on average of {stop['behaviors']:,} of {stop['suite']}: {means}")
    for text in estimated["builds"]:
        put(text)
    for model in estimated["memory"]:
        free = "" if model["free"] is None else f"; {model['free']:.1f} GiB are free"
        takes = f"{model['weights']:.2f} GiB of weights, {model['row']:.2f} GiB a row of 1,024 tokens"
        put(f"memory of {model['place']} for {' and '.join(model['roles'])}: {takes}{free}")
    if estimated["destination"]:
        put(f"Prompts would be sent to {estimated['destination']}")
    notes([], estimated["warnings"])


def bounds(estimated: Json, head: str = "") -> None:
    """What a plan asks at most, and what that is expected to take."""
    asks = ", ".join(f"{count:,} to the {role}" for role, count in estimated["asks"].items())
    steps = f"; steps on weights at most: {estimated['steps']:,}" if estimated["steps"] else ""
    put(f"{head}asks at most: {asks}; answer tokens at most: {estimated['answer_tokens']:,}{steps}")
    expected = [
        "time unknown" if estimated["seconds"] is None else f"about {estimated['seconds']:.0f} s",
        "cost unknown" if estimated["cost"] is None else f"about ${estimated['cost']:.2f}",
    ]
    if not head or (estimated["seconds"], estimated["cost"]) != (None, None):
        put(f"{head}expected from earlier rows: {', '.join(expected)}")


def notes(cells: Sequence[CellResult], warnings: Sequence[str]) -> None:
    """What a reader of the rates must know, each note once."""
    of_cells = [note for cell in map(aliased, cells) for note in cell.notes if note != "benign prompts: no ASR"]
    for note in unique([*shown_warnings(cells, warnings), *of_cells]):
        say(f"note: {note}")


def show_imported(run: Run, store: str) -> None:
    """The cells of a run that was imported or judged anew, its notes, and what to do next."""
    show_cells(run)
    unjudged = any(cell.judge == "none" for cell in run.result.cells)
    command = f"judge run {shlex.quote(run.name)} --judge JUDGE" if unjudged else f"report {shlex.quote(run.name)}"
    for text in then("next", command, store):
        say(text)


def used(tally: Tally) -> None:
    """What each role has used, where there are several or money was spent."""
    if len(tally.used) > 1 or tally.cost:
        for model, used_by in tally.used.items():
            role = tally.roles.get(model, "model")
            cost = f", ${used_by.cost:.4f}" if used_by.cost else ""
            say(f"{role} at {model.place}: {used_by.asks:,} asks, {used_by.tokens:,} tokens{cost}")
