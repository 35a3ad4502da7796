"""The section "did the mitigation work": every mitigation that is registered, analysed as it was registered."""

from collections.abc import Iterator, Sequence

from withstand.core.text import count
from withstand.monitor.effects.analysis import Analysis, amount, analyse, difference, plain, sentence, written
from withstand.monitor.effects.mitigation import content, registered
from withstand.monitor.report.record import PAST, history
from withstand.monitor.report.summary import ORDER
from withstand.monitor.section import Context, Section, State
from withstand.redteam.dates import day_of
from withstand.report.table import Column, Row, Table

QUESTION = "Did the mitigation work?"
STATES: dict[str, State] = {"worked": "calm", "worse": "alarm", "no effect": "note", "undecided": "note",
                            "unknown": "unknown"}  # fmt: skip


def section(context: Context) -> Section:
    """The effects of what is registered."""
    listed = registered(context.store, context.settings.keeping.name)
    if not listed:
        answer = "Unknown: no mitigation is registered. Register one, with its test, before its data come in."
        advice = ("withstand monitor effect DIR --register --category C --since DATE --hypothesis TEXT",)
        return Section("effects", QUESTION, answer, "unknown", advice=advice)
    categories = list(context.policy.categories)
    analyses = [analyse(context.traffic, entry.mitigation, categories, entry) for entry in listed]
    states = [_state(analysis) for analysis in analyses]
    answers = [f"{analysis.mitigation.id}: {sentence(analysis)}{_past(context, analysis)}" for analysis in analyses]
    answer = answers[0] if len(answers) == 1 else f"{count(len(answers), 'mitigation')}. " + " ".join(answers)
    return Section(
        "effects", QUESTION, answer, min(states, key=ORDER.index), tables(analyses),
        value=[plain(analysis) for analysis in analyses],
    )  # fmt: skip


def _past(context: Context, analysis: Analysis) -> str:
    """What a run before said of the same test, where this one cannot: its data may have been deleted meanwhile."""
    if analysis.word != "unknown":
        return ""
    # the store keeps no text of several words
    same = {
        key: value for key, value in content(analysis.mitigation).items() if key not in ("hypothesis", "mitigation")
    }
    for report in history(context.store, context.settings.keeping.name, PAST):
        for entry in next((part.value for part in report.answers if part.id == "effects"), None) or ():
            if same.items() <= entry["mitigation"].items() and entry["verdict"] != "unknown":
                effect = written(analysis.primary, entry["primary"]["difference"], entry["primary"]["interval"])
                return f" The run up to {day_of(report.end)} said {entry['verdict']}: {effect}."
    return ""


def _state(analysis: Analysis) -> State:
    state = STATES[analysis.word]
    return (
        "note"
        if state == "calm" and (analysis.costs or analysis.moves or analysis.mute or not analysis.registered)
        else state
    )


def tables(analyses: Sequence[Analysis]) -> list[Table]:
    """The figures of analyses, and what weakens them."""
    columns = [
        Column("outcome"), Column("without", right=True), Column("with", right=True),
        Column("difference (95%)", right=True), Column("p", _p, right=True), Column("basis"),
    ]  # fmt: skip
    rows = [row for analysis in analyses for row in _rows(analysis)]
    note = (
        "Displacement has p values after Holm's correction. Errors are between accounts, or those of a series whose "
        "days resemble each other; never those of single requests. Flags are the screeners', and no prevalence."
    )
    weak = [
        (analysis.mitigation.id, warning)
        for analysis in analyses
        for warning in (analysis.registration, *analysis.primary.warnings)
    ]
    return [
        Table(columns, rows, "Effects of mitigations", note),
        Table([Column("mitigation"), Column("what it rests on")], weak, "What weakens or backs it"),
    ]


def _rows(analysis: Analysis) -> Iterator[Row]:
    mitigation = analysis.mitigation
    about = f" on {mitigation.population}" if mitigation.population else ""
    what = f": {mitigation.mitigation}" if mitigation.mitigation else ""
    yield f"{mitigation.id}{what}; since {day_of(mitigation.since)}{about}, {mitigation.design}: {analysis.word}"
    primary_p = analysis.primary.effect.p if analysis.primary.effect else None
    cost_p = analysis.cost.effect.p if analysis.cost.effect else None
    listed = [(analysis.primary, primary_p, ""), (analysis.cost, cost_p, "cost: ")]
    listed += [(finding, p, "displaced: ") for finding, p in zip(analysis.displaced, analysis.moved, strict=True)]
    for finding, p, kind in listed:
        yield (
            kind + finding.outcome.title, amount(finding, finding.reference), amount(finding, finding.treated),
            difference(finding), p, finding.basis or finding.why,
        )  # fmt: skip


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}" if value >= 0.001 else "<0.001"
