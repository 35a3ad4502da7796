"""The rates of a run by category, hazard, OWASP id or category of a policy (results/taxonomy.py), as a table."""

from collections.abc import Sequence

from withstand.core.text import DASH, rate, series
from withstand.report.settings import short_names
from withstand.report.table import Column, Table
from withstand.results.by_policy import Assigned
from withstand.results.cells import Interval, defended
from withstand.results.taxonomy import By, GroupResult

TITLES: dict[By, str] = {
    "category": "By category", "mlcommons": "By hazard of MLCommons", "owasp": "By OWASP id",
    "policy": "By category of the policy",
}  # fmt: skip
INTENTS = {"misuse": "misuse", "unintended": "unintended harm", "either": "misuse or unintended harm"}
"""Intent of a category -> the words over its rows."""
NOTE = (
    "The harmful behaviors of all suites together, with 95% intervals that hold for one row at a time; a behavior of"
    " several ids is in each of their rows. Bounds count cases without a verdict as held, then as broken. The maps from"
    " categories to ids are coarse, and judges may differ from suite to suite: read a row beside its judges."
)


WATCHED = " The run stopped its cells by what it found, which these intervals do not know: they are a little too sure."


def table(results: Sequence[GroupResult], by: By, watched: bool, policy: Assigned | None = None) -> Table:
    """A row for each id, below its target and attack; columns that no row needs are left out.

    watched: the run had `stop_when_decided`.   policy: whose categories these are; misuse and unintended harms have
    headings of their own.
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
        heading += f": {INTENTS[result.intent]}" if result.intent else ""
        values = (
            result.id or "(none)", result.name, result.behaviors, f"{result.success} of {result.scored}",
            (result.asr, result.asr_interval), result.asr_bounds or (0.0, 0.0), [*result.suites],
            [short[judge] for judge in result.judges],
        )  # fmt: skip
        groups.setdefault(heading, []).append(values)
    rows = [row for heading, values in groups.items() for row in (heading, *values)]
    title = f"By category of {policy.grouping.label}" if policy else TITLES[by]
    notes = [NOTE + WATCHED * watched, *(policy.notes() if policy else ())]
    return Table(columns, rows, title=title, note=" ".join(notes)).shown()


def _rate(value: float | None, ends: Interval | None) -> str:
    return "no case scored" if value is None else rate(value, ends)


def _bounds(low: float, high: float) -> str:
    """The bounds, where they differ from each other."""
    return f"{100 * low:.0f}{DASH}{100 * high:.0f}%" if high - low > 1e-9 else ""
