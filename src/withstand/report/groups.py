"""The rates of a run by category, hazard or OWASP id (results/taxonomy.py), as a table."""

from collections.abc import Sequence

from withstand.core.text import DASH, rate, series
from withstand.report.settings import short_names
from withstand.report.table import Column, Table
from withstand.results.cells import Interval, defended
from withstand.results.taxonomy import By, GroupResult

TITLES: dict[By, str] = {"category": "By category", "mlcommons": "By hazard of MLCommons", "owasp": "By OWASP id"}
NOTE = (
    "The harmful behaviors of all suites together, with 95% intervals that hold for one row at a time; a behavior of"
    " several ids is in each of their rows. Bounds count cases without a verdict as held, then as broken. The maps from"
    " categories to ids are coarse, and judges may differ from suite to suite: read a row beside its judges."
)


WATCHED = " The run stopped its cells by what it found, which these intervals do not know: they are a little too sure."


def table(results: Sequence[GroupResult], by: By, watched: bool) -> Table:
    """A row for each id, below its target and attack; columns that no row needs are left out.

    watched: the run had `stop_when_decided`.
    """
    columns = [
        Column("id"), Column("name"), Column("behaviors", right=True), Column("broken", right=True),
        Column("ASR", _rate, "95%", right=True), Column("bounds", _bounds, right=True), Column("suites", series),
        Column("judges", series),
    ]  # fmt: skip
    short = short_names(judge for result in results for judge in result.judges)
    groups: dict[str, list[Sequence[object]]] = {}
    for result in results:
        heading = f"{result.attack} on {defended(result.target, result.defense.removeprefix('none'))}"
        values = (
            result.id or "(none)", result.name, result.behaviors, f"{result.success} of {result.scored}",
            (result.asr, result.asr_interval), result.asr_bounds or (0.0, 0.0), [*result.suites],
            [short[judge] for judge in result.judges],
        )  # fmt: skip
        groups.setdefault(heading, []).append(values)
    rows = [row for heading, values in groups.items() for row in (heading, *values)]
    return Table(columns, rows, title=TITLES[by], note=NOTE + WATCHED * watched).shown()


def _rate(value: float | None, ends: Interval | None) -> str:
    return "no case scored" if value is None else rate(value, ends)


def _bounds(low: float, high: float) -> str:
    """The bounds, where they differ from each other."""
    return f"{100 * low:.0f}{DASH}{100 * high:.0f}%" if high - low > 1e-9 else ""
