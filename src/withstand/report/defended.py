"""What the defenses of a run are worth (results/defended.py), as tables for a page, a file and a terminal."""

from collections.abc import Iterator, Sequence
from typing import Any

from withstand.core.text import change, decimals, rate, whole
from withstand.report.table import Column, Table
from withstand.results.defended import Broken, DefenseResult
from withstand.results.guarded import FalseAlarms, Guarded, Guards

TITLE = "Defenses: adaptive beside static attacks"
COSTS = "What the defenses cost"
LEAD = (
    "Adaptive: the attack knew the defense, or searched against it. Static: it did not; where it was transferred, its"
    " cases were found on the target without the defense. A behavior counts as broken if any case broke it, in every"
    " column; the number of cases stands beside it where it is not 1. An attacker takes the best of them: read a static"
    " rate only beside an adaptive one. Gains are of the same behaviors with and without the defense, what has no"
    " verdict counted either way. A gain vanishes where none is shown against adaptive attacks and half of the static"
    " gain, or more, is ruled out."
)


def tables(results: Sequence[DefenseResult]) -> list[Table]:
    """The attacks on each defended target; then what the defenses cost."""
    return [*map(attacks, results), *([costs(results)] if results else [])]


def attacks(result: DefenseResult) -> Table:
    """A row for each attack; columns that no row needs are left out."""
    columns = [
        Column("attack"), Column("adaptive ASR", _broken, "95%", right=True),
        Column("static ASR", _broken, "95%", right=True), Column("static cases"),
        Column("without the defense", _broken, "95%", right=True), Column("run without it"),
    ]  # fmt: skip
    rows = [
        [
            row.attack,
            (row.adaptive, "none" if not row.knows else "nothing scored"),
            (row.static, "none"),
            "transferred" if row.transferred else "its own" if row.static else "",
            (row.bare, "not run"),
            row.run,
        ]
        for row in result.attacks
    ]
    return Table(columns, rows, title=f"{result.name} on {result.suite}: {result.word}").shown()


def costs(results: Sequence[DefenseResult]) -> Table:
    """A row for each defended target: what an answer takes, false alarms, and guards that failed."""
    columns = [
        Column("behind the defense"), Column("prompts"), Column("asks", decimals(1), right=True),
        Column("tokens", whole, right=True), Column("without it", _whole, right=True),
        Column("time", _seconds, "s", right=True), Column("without it", _seconds, "s", right=True),
        Column("cost", _dollars, "US$", right=True), Column("without it", _dollars, "US$", right=True),
        Column("false alarms", _alarms, "95%", right=True), Column("blocked", _whole, right=True),
        Column("refused", _whole, right=True), Column("over-refusal", change, "95%", right=True),
        Column("guard failed", _failed, right=True),
    ]  # fmt: skip
    rows = {
        (result.target, result.defense): _costs(result.name, result.guarded) for result in results if result.guarded
    }
    note = (
        "Asks, tokens, time and cost are means of an answer; without the defense, of the same prompts where they are"
        " benign or static. Asks are to any model. Time is of models and of the defense's own process, as busy as the"
        " machine was. A false alarm is a benign prompt that the target answers without the defense and that was"
        " blocked, or refused, behind it. Over-refusal is the paired difference. What a failed guard blocked is"
        " unscored."
    )
    return Table(columns, [*rows.values()], title=COSTS, note=note).shown()


def _costs(name: str, of: Guarded) -> list[Any]:
    cost, alarms = of.cost, of.alarms
    within, without = (cost.within, cost.without) if cost else (None, None)
    priced = any(side and side.cost for side in (within, without))
    return [
        name, cost.prompts if cost else "", cost.asks if cost else None, within.tokens if within else None,
        without and without.tokens, within and within.seconds, without and without.seconds,
        within.cost if within and priced else None, without.cost if without and priced else None, alarms,
        alarms and alarms.blocked, alarms and alarms.refused,
        (alarms.difference, alarms.difference_interval) if alarms else (None, None), of.guards,
    ]  # fmt: skip


def _whole(value: float | None) -> str:
    return "" if value is None else whole(value)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _dollars(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _alarms(alarms: FalseAlarms | None) -> str:
    if alarms is None:
        return "not measured"
    of = f"{alarms.blocked + alarms.refused:,} of {alarms.prompts - alarms.open:,}"
    return f"{of}, {rate(alarms.rate, alarms.interval)}" + (f", {alarms.open:,} open" if alarms.open else "")


def _failed(guards: Guards) -> str:
    if not guards.failed:
        return ""
    return f"{guards.failed:,} of {guards.answers:,}: {guards.closed:,} blocked, {guards.opened:,} let through"


def _broken(share: Broken | None, absent: str) -> str:
    if share is None:
        return absent
    text = f"{share.broken:,} of {share.behaviors:,}, {rate(share.rate, share.interval)}"
    text += f", any of {share.cases:,}" if share.cases > 1 else ""
    return text + (f", {share.open:,} open" if share.open else "")


def sentences(results: Sequence[DefenseResult]) -> Iterator[str]:
    """What each defense is worth, for a terminal."""
    for result in results:
        yield " ".join(result.says)
