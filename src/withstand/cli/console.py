"""What the command line shows while it works and when it is done. Long work goes to stderr, results to stdout.

Labels, ids and errors come from models and files: all that is printed goes through `line`.
"""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from withstand.cli.table import TerminalTable
from withstand.core import Json
from withstand.core.errors import suggest
from withstand.core.text import count, unique, visible
from withstand.results.names import aliased, shown_warnings
from withstand.runner.tally import Tally

if TYPE_CHECKING:
    from withstand.api import Run
    from withstand.results.cells import CellResult

out = Console(
    highlight=False, markup=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140
)  # markup: a label may hold brackets
err = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)

PASSWORD = re.compile(r"(://[^\s/:@]*:)\S*(?=@)|([?&](?:ssl)?password=)[^\s&]+")
"""The password in a URL, before its host or as a parameter."""


def line(text: Any) -> str:
    """One line for a terminal: control characters are named and do nothing, a URL has no password."""
    return hidden(re.sub(r"\s*\n\s*", " ", visible(text)))


def hidden(text: str) -> str:
    """The text with *** for the password of a URL."""
    return PASSWORD.sub(lambda match: f"{match[1] or match[2]}***", text)


def put(text: str) -> None:
    """A line of the result, on stdout."""
    out.print(line(text))


def say(text: str) -> None:
    """A line about the work, on stderr."""
    err.print(line(text))


def used(tally: Tally) -> None:
    """What each role has used, where there are several or money was spent."""
    if len(tally.used) > 1 or tally.cost:
        for model, used_by in tally.used.items():
            role = tally.roles.get(model, "model")
            cost = f", ${used_by.cost:.4f}" if used_by.cost else ""
            say(f"{role} at {model.place}: {used_by.asks:,} asks, {used_by.tokens:,} tokens{cost}")


def stopped(tally: Tally) -> None:
    """The cap that stopped a call, where one did."""
    if tally.stopped:
        say(f"stopped by {tally.stopped}; the same command without it continues")


def rate(value: float | None, interval: Sequence[float] | None = None) -> str:
    """A rate in percent with its interval; "n/a" where it cannot be computed."""
    if value is None:
        return "n/a"
    text = f"{100 * value:.0f}%"
    return text if interval is None else f"{text} ({100 * interval[0]:.0f}-{100 * interval[1]:.0f})"


def table(rows: Sequence[Sequence[str]], columns: Sequence[str], title: str = "") -> None:
    """A table of texts on stdout."""
    out.print(TerminalTable(columns, [[line(text) for text in row] for row in rows], line(title)))


def show_cells(run: "Run") -> None:
    """The cells of a run as a table, and what a reader of their rates must know."""
    _cells_table(run.result.cells)
    notes(run.result.cells, run.result.warnings)


def _cells_table(cells: Sequence["CellResult"]) -> None:
    """The harmful cells with over-refusal and utility beside them; benign cells where a run has no other.

    What is the same in every row is in the title.
    """
    cells = [aliased(cell) for cell in cells]
    shown = [cell for cell in cells if not cell.benign]
    shown = shown or [cell for cell in cells if cell.measures != "utility"] or cells
    labels = ["target", "defense", "attack"]
    same = [name for name in labels[:2] if len({getattr(cell, name) for cell in shown}) == 1]
    title = ", ".join(label for name in same if (label := getattr(shown[0], name)) != "none")
    names = [name for name in labels if name not in same]
    heads = [*names, "broken", "ASR (95%)", "corrected", "any draw", "over-refusal", "utility", "unscored", "errors",
             "asks"]  # fmt: skip
    table([_cell_texts(cell, names) for cell in shown], heads, title)


def _cell_texts(cell: "CellResult", names: Sequence[str]) -> list[str]:
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
    labels = ("suite", "target", "defense", "attack", "judge")
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
    asks = ", ".join(f"{count:,} to the {role}" for role, count in estimated["asks"].items())
    put(f"asks at most: {asks}; answer tokens at most: {estimated['answer_tokens']:,}")
    expected = [
        "time unknown" if estimated["seconds"] is None else f"about {estimated['seconds']:.0f} s",
        "cost unknown" if estimated["cost"] is None else f"about ${estimated['cost']:.2f}",
    ]
    put(f"expected from earlier rows: {', '.join(expected)}")
    for model in estimated["memory"]:
        free = "" if model["free"] is None else f"; {model['free']:.1f} GiB are free"
        takes = f"{model['weights']:.2f} GiB of weights, {model['row']:.2f} GiB a row of 1,024 tokens"
        put(f"memory of {model['place']} for {' and '.join(model['roles'])}: {takes}{free}")
    if estimated["hosts"]:
        put(f"Prompts would be sent to {', '.join(estimated['hosts'])}")
    notes([], estimated["warnings"])


def notes(cells: Sequence["CellResult"], warnings: Sequence[str]) -> None:
    """What a reader of the rates must know, each note once."""
    of_cells = [note for cell in map(aliased, cells) for note in cell.notes if note != "benign prompts: no ASR"]
    for note in unique([*shown_warnings(cells, warnings), *of_cells]):
        say(f"note: {note}")


def error(message: str, hint: str = "") -> None:
    """A mistake or a misfortune, on stderr."""
    err.print(line(f"error: {message}"), style="bold")
    if hint:
        err.print("  -> " + line(hint))


def usage(problem: click.ClickException) -> None:
    """A mistake on the command line, as click found it."""
    context = problem.ctx if isinstance(problem, click.UsageError) else None
    near = (getattr(problem, "possibilities", None) or [])[:2]
    message = problem.message if near else problem.format_message()  # this form names the argument or near matches
    where = context.command_path if context else "withstand"
    error(message.rstrip("."), suggest(near, f"`{where} --help` explains it"))


def failed_rows(tally: Tally) -> None:
    """The first failures of a call, one line each."""
    failures([{"rows": 1, "error": failure.error, "hint": failure.hint} for failure in tally.failures[:5]])


def show_imported(run: "Run", store: str) -> None:
    """The cells of a run that was imported or judged anew, its notes, and what to do next."""
    from withstand.cli import flags

    show_cells(run)
    unjudged = any(cell.judge == "none" for cell in run.result.cells)
    command = f"judge run {shlex.quote(run.name)} --judge JUDGE" if unjudged else f"report {shlex.quote(run.name)}"
    for text in flags.then("next", command, store):
        say(text)


def failures(entries: Sequence[Json]) -> None:
    """What went wrong with rows that are missing, most frequent first, and how to see the first traceback."""
    for entry in entries:
        error(f"{count(entry['rows'], 'row')}: {entry['error'].partition(chr(10))[0][:300]}", entry["hint"])
    if trace := next((entry["trace"] for entry in entries if entry.get("trace")), ""):
        say(f"trace: withstand status --trace {trace}")
