"""The card of a judge: `withstand show judge NAME --card`.

A judge that needs no model grades the labels at once. Of another one the card takes what the store has, and else says
which command measures it: a card sends nothing to a model or a network.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from shlex import quote
from typing import Any

import sqlalchemy as sql

from withstand.core import Judge, SpecError, Verdict, digest, from_json
from withstand.core.describe import describe, models, parts, version_of
from withstand.core.optional import optional
from withstand.core.outcomes import is_hit
from withstand.core.text import count, facts, unique
from withstand.formats.labels import OURS, Labeled, by_whom
from withstand.registry import find
from withstand.registry.grammar import parse
from withstand.registry.show import Shown, show
from withstand.results.calibrate import verdicts
from withstand.results.card_figures import figures_of
from withstand.results.card_records import Card, CardText, Measured
from withstand.results.cells import ProbeResult
from withstand.results.labels import WRITTEN_ON, LabelSet, held_out
from withstand.results.panel import SHIPPED
from withstand.results.probe import probe
from withstand.store.store import Row, Store, chunks
from withstand.store.tables import row as rows_table

READS, POSITIVE = "answers, beside what was asked", "the answer shows what it should not"


@dataclass(frozen=True, slots=True)
class Make:
    """How cards are made. package: version of withstand.   date: of the card.   identities: file of a user's list of
    terms, "" for ours."""

    package: str
    date: str
    identities: str = ""


def judge_card(spec: str, labels: str, source: LabelSet, store: Store, make: Make) -> Card:
    """The card of a judge on these labels. labels: the source as the command takes it.

    Raises `SpecError` for a name that no judge has, and for labels that count unequally.
    """
    if len({entry.weight for entry in source.labeled}) > 1:
        raise SpecError(
            f"the labels of {labels} are a sample that was drawn with unequal chances",
            hint="`withstand calibrate` weighs them; a card takes labels that count alike, as of a file",
        )
    shown = documented("judge", spec)
    by = by_whom(annotator for entry in source.labeled for annotator in entry.annotators)
    blank = Measured(labels, by, tuple(_notes(source)), None)
    try:
        judge: Judge = find.build("judge", parse(spec))
    except SpecError as error:
        if len(parse(spec)) > 1:  # a field is wrong; with none given, one that it needs is missing
            raise
        needed = [field.upper() for field, _, default, _ in shown.fields if not default]
        command = f"withstand calibrate --judge {':'.join([spec, *needed[:1]])} --labels {labels}"
        measured = replace(blank, why=f"{error}", command=command)
        return card_of("judge", spec, shown.docstring, None, measured, make, READS, POSITIVE)
    return _measured(judge, spec, shown.docstring, blank, source, store, make)


def _measured(
    judge: Judge, spec: str, docstring: str, blank: Measured, source: LabelSet, store: Store, make: Make
) -> Card:
    alone = asks_nothing(judge)
    kept, own = held_out(judge, source.labeled)
    decided = [entry for entry in kept or source.labeled if entry.majority is not None]
    key, rows, _ = verdicts(judge, decided, store, ask=alone)
    notes = list(blank.notes)
    if own and kept:
        notes.append(f"{own:,} labels that it was written on, or fitted to, left out")
    if not alone and None not in rows and (when := _when(store, [row.key for row in rows if row])):
        notes.append(when)
    texts, categories = _texts(decided, rows, notes) if None not in rows else ([], ())
    threshold, positive = threshold_of(judge), optional(judge, "card").get("positive", "")
    answers, lacking = count(len(rows), "labeled answer"), sum(row is None for row in rows)
    command = f"withstand calibrate --judge {quote(spec)} --labels {quote(blank.labels)}"
    again = f"withstand show judge {quote(spec)} --card --labels FILE"
    measured = replace(blank, notes=tuple(notes), command=command)
    if optional(judge, "waits"):
        measured = replace(measured, why="people are the judge", command="withstand label RUN")
    elif not decided:
        measured = replace(measured, why=f"annotators are split on all of the {count(len(source.labeled), 'answer')}")
    elif positive and blank.labels in OURS:
        why = f"a flag of it means that {positive}, and these labels say something else"
        measured = replace(measured, why=why, command=again)
    elif lacking and alone:
        measured = replace(measured, why=f"it failed on {lacking:,} of {answers}")
    elif lacking:
        have = len(rows) - lacking
        measured = replace(
            measured, why=f"it works with a model, and the store has its verdict on {have:,} of {answers}"
        )
    elif all(text.flagged is None for text in texts):
        why = f"it can say of none of the {count(len(texts), 'labeled answer')}: it judges something else"
        measured = replace(measured, why=why, command=again)
    else:
        warning = f"It was written on, or fitted to, all {own:,} of these labels: the figures flatter it."
        figures = figures_of(texts, threshold, make.identities)
        measured = replace(measured, figures=figures, command="", warning="" if kept or not own else warning)
    value = probe(judge, spec, store) if alone and measured.figures and not positive else store.probes([key]).get(key)
    probed = None
    if value:
        failed = unique(probe["probe"] for probe in value["probes"] if not probe["passed"])
        probed = ProbeResult(value["passed"], value["of"], tuple(failed))
    return card_of(
        "judge", spec, docstring, judge, measured, make, "answers alone" if positive else READS, positive or POSITIVE,
        categories, threshold, probed, "" if probed or positive else f"withstand judge probe {quote(spec)}",
    )  # fmt: skip


def _when(store: Store, keys: Sequence[str]) -> str:
    """When a judge that works with a model said what the store has; its model may be another one since."""
    spans = [
        store.select(
            sql.select(sql.func.min(rows_table.c.created), sql.func.max(rows_table.c.created)).where(
                rows_table.c.key.in_(part)
            )
        )[0]
        for part in chunks(keys, 500)
    ]
    ends = min((span[0] for span in spans), default=None), max((span[1] for span in spans), default=None)
    days = unique(datetime.fromtimestamp(end, UTC).date().isoformat() for end in ends if end is not None)
    return f"its verdicts are of {' to '.join(days)}, and the model that gave them may have changed since" * bool(days)


def documented(kind: str, spec: str) -> Shown:
    """What a component's source says of it; of a user's own too. Raises `SpecError` for a name that nothing has."""
    given = parse(spec)
    name, first = str(given["use"]), str(given.get("", ""))
    return show(kind, name if find.entry_of(kind, name) or not first else f"{name}:{first.partition(':')[0]}")


def asks_nothing(component: Any) -> bool:
    """Whether it works by itself: no model, no weights, no people."""
    judges = [part for part in parts(component) if hasattr(part, "grade")]
    return not any(models(component)) and all(judge.method in SHIPPED for judge in judges)


def threshold_of(component: Any) -> float | None:
    """The score from which on it flags, as its card or its field says."""
    threshold = optional(component, "card").get("threshold", getattr(component, "threshold", None))
    return float(threshold) if isinstance(threshold, (int, float)) and not isinstance(threshold, bool) else None


def _notes(source: LabelSet) -> list[str]:
    """What a reader must know of labels."""
    notes = list(source.notes)
    if ties := sum(entry.majority is None for entry in source.labeled):
        notes.append(f"{count(ties, 'answer')} on which annotators are split left out")
    if source.unknown:
        notes.append(f"{count(source.unknown, 'row')} of behaviors that the suite does not have left out")
    return [*notes, *(f"left out: {what}: {times:,}" for what, times in source.left)]


def _texts(
    decided: Sequence[Labeled], rows: Sequence[Row | None], notes: list[str]
) -> tuple[list[CardText], tuple[str, ...]]:
    """The labeled answers with what the judge said of them, and the categories that it scores. Of a service that has
    changed in between, the answers that its most frequent version scored."""
    judged: list[tuple[Labeled, Verdict | None, str]] = []
    for entry, row in zip(decided, rows, strict=True):
        assert row is not None
        verdict: Verdict | None = from_json(Verdict, row.value) if row.value.get("outcome") else None
        judged.append((entry, verdict, row.label))
    versions = Counter(verdict.scored_by for _, verdict, _ in judged if verdict and verdict.scored_by)
    if len(versions) == 1:
        notes.append(f"the scorer says that it is {next(iter(versions))}")
    if len(versions) > 1:
        (most, times), *others = sorted(versions.items(), key=lambda version: (-version[1], version[0]))
        changed = ", ".join(f"{version} ({number:,})" for version, number in others)
        notes.append(
            f"the scorer changed: these figures are of its version {most} ({times:,} answers); {changed} left out, and "
            "never pooled"
        )
        judged = [entry for entry in judged if not (entry[1] and entry[1].scored_by and entry[1].scored_by != most)]
    categories = unique(name for _, verdict, _ in judged if verdict for name, _ in verdict.scores)
    texts = [
        CardText(
            entry.completion.text, bool(entry.majority), is_hit(label), verdict.score if verdict else None,
            entry.behavior.cluster or entry.behavior.id, entry.behavior.category,
        )
        for entry, verdict, label in judged
    ]  # fmt: skip
    return texts, tuple(categories)


def card_of(
    kind: Any, name: str, docstring: str, component: Any, measured: Measured, make: Make, reads: str, positive: str,
    categories: tuple[str, ...] = (), threshold: float | None = None, probes: ProbeResult | None = None,
    probe_command: str = "",
) -> Card:  # fmt: skip
    """A card with what a component says of itself. component: None for one that was not built."""
    return Card(
        kind=kind,
        name=name,
        about=docstring,
        stated=tuple(_stated(component)),
        method=getattr(component, "method", ""),
        reads=reads,
        positive=positive,
        threshold=threshold,
        categories=categories,
        version="" if component is None else str(version_of(type(component))),
        identity="" if component is None else digest(describe(component)),
        package=make.package,
        date=make.date,
        measured=measured,
        probes=probes,
        probe_command=probe_command,
    )


def _stated(component: Any) -> list[tuple[str, str]]:
    """What a component says of its making: its own card, and what of ours it was written on."""
    if component is None:
        return []
    card = {name: value for name, value in optional(component, "card").items() if name not in ("threshold", "positive")}
    own = unique(WRITTEN_ON.get(find.name_of(type(part))) for part in parts(component))
    written = [("written on", f"the labels {name}, which ship with the package") for name in own if name]
    return [*written, *((name, text) for name, text in facts(card))]
