"""The section on coordinated templates."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from withstand.core import to_json
from withstand.core.text import count, percent, whole
from withstand.monitor.clusters.near import ALIKE
from withstand.monitor.clusters.templates import KEPT, LEAST, LEVEL, MANY, Template, Templates, templates_of
from withstand.monitor.section import Chart, Context, Line, Section, words_column
from withstand.redteam.dates import DAY, minute_of, span
from withstand.report.table import Column, Table

ID, QUESTION = "templates", "Do many accounts send the same template at one time?"
SHOWN = 20
LONGEST = 160
"""Characters of a template that a table shows."""
MOST_CURVES, ADVISED = 5, 5
NOTE = (
    f"A template: prompts whose skeletons (numbers, names and addresses masked) are alike (Jaccard index {ALIKE:g} or "
    f"more), {LEAST} exchanges or more. Coordinated: {MANY} accounts or more, and at least twice as many pairs of two "
    "accounts close in time as their applications' traffic gives by chance "
    f"(false ones among them: {percent(LEVEL)} expected at most). Many people who ask one question after an event may "
    "look alike: read the template. Application: its own template, most of its traffic. Bulk: few accounts."
)


def templates(context: Context) -> Section:
    """The section: which templates are coordinated, and what else is sent in bulk."""
    result = templates_of(context.traffic)
    if not result.exchanges or not result.kept:
        return Section(ID, QUESTION, "Unknown: no exchange has a prompt that could be compared.", "unknown")
    coordinated = result.coordinated
    [(total, whose)] = context.traffic.rows("SELECT count(*), count(*) FILTER (account <> '') FROM exchange")
    if not coordinated and 2 * whose < total:
        return Section(
            ID, QUESTION, "Unknown: most exchanges have no account, so that nobody can be counted.", "unknown"
        )
    answer = f"{_answer(coordinated)} {_read(result)}"
    tables = [_table(result.listed[:SHOWN], len(result.listed))] if result.listed else []
    advice = [
        f"Look at the accounts of template {template.id[:8]}: {count(template.accounts, 'account')}, "
        f"{count(template.exchanges, 'exchange')}. Harmless requests sent so are spam or an attack on a limit."
        for template in coordinated[:ADVISED]
    ]
    value = {
        "skeletons": result.skeletons, "compared": result.kept, "rate_of_single": result.rate,
        "exchanges": result.exchanges, "templates": [_value(template) for template in result.listed[: 5 * SHOWN]],
    }  # fmt: skip
    charts = _charts(context, coordinated[:MOST_CURVES])
    state: Any = "alarm" if coordinated else "calm"
    return Section(ID, QUESTION, answer, state, tables, charts, advice, value)


def _answer(coordinated: Sequence[Template]) -> str:
    if not coordinated:
        return "No template of many accounts was sent in tighter times than the traffic around it."
    largest = coordinated[0]
    assert largest.tight is not None
    head = "One template looks" if len(coordinated) == 1 else f"{len(coordinated)} templates look"
    return (
        f"{head} coordinated. The largest: {count(largest.accounts, 'account')}, "
        f"{count(largest.exchanges, 'exchange')} from {minute_of(largest.first)} to {minute_of(largest.last)}, "
        f"{largest.tight.times:.0f} times as many pairs within {span(largest.tight.window)} as by chance; "
        f"{percent(largest.flagged / largest.exchanges)} of them were flagged."
    )


def _read(result: Templates) -> str:
    text = f"Compared: {result.kept:,} of {count(result.skeletons, 'distinct skeleton')}"
    if result.rate < 1:
        text += (
            f" (those seen most often, and {percent(result.rate)} of those seen once; at most {KEPT:,} are kept, so "
            "counts of other templates of ever new words are least counts)"
        )
    return f"{text}; shorter ones are left out."


def _table(listed: Sequence[Template], number: int) -> Table:
    columns = [
        words_column("template"), Column("kind"), Column("exchanges", whole, right=True),
        Column("accounts", whole, right=True), Column("first (UTC)", minute_of),
        Column("last (UTC)", minute_of), Column("close pairs", _tight, "times chance", right=True),
        Column("flagged", percent, right=True), Column("id"),
    ]  # fmt: skip
    rows = [
        (
            text if len(text := template.text) <= LONGEST else f"{text[:LONGEST]}...",
            template.kind, template.exchanges, template.accounts, template.first, template.last, template,
            template.flagged / template.exchanges, template.id[:8],
        )
        for template in listed
    ]  # fmt: skip
    title = "Templates" if number <= len(listed) else f"The first {len(listed)} of {number:,} templates"
    return Table(columns, rows, title, NOTE)


def _tight(template: Template) -> str:
    if template.tight is None or template.q is None:
        return ""
    q = "q < 0.0001" if template.q < 1e-4 else f"q {template.q:.2g}"
    return f"{template.tight.times:.1f} ({q})"


def _value(template: Template) -> Any:
    value = to_json(replace(template, hashes=()))
    return {**value, "hashes": len(template.hashes)}


def _charts(context: Context, coordinated: Sequence[Template]) -> list[Chart]:
    """Exchanges per day of each coordinated template, days without any among them."""
    lines = []
    for template in coordinated:
        rows = context.traffic.rows(
            f"SELECT floor(ts / {DAY})::BIGINT, count(*) FROM exchange "
            "WHERE list_contains(?::UBIGINT[], skeleton) AND ts BETWEEN ? AND ? GROUP BY 1",
            [list(template.hashes), template.first, min(template.last, context.now)],
        )
        days = dict(rows)
        if days:
            points = [(float(day * DAY), float(days.get(day, 0))) for day in range(min(days) - 1, max(days) + 2)]
            lines.append(Line(template.id[:8], points))
    return [Chart("Exchanges per day of coordinated templates", lines)] if lines else []
