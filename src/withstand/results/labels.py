"""The labels that a judge is calibrated with: from a file, from a run, or those that ship."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sql

from withstand.core import Behavior, SpecError, digest
from withstand.core.text import count
from withstand.formats import published
from withstand.formats.labels import Labeled, labeled_rows, read_labels
from withstand.registry import find, grammar
from withstand.results import labeling
from withstand.results.own_labels import left_to_others, own_labels
from withstand.results.summary import find_run
from withstand.store.store import RunRow, Store
from withstand.store.tables import label

WRITTEN_ON = {"kitchen": "kitchen-dev"}
"""Name of a judge -> the labels that its rule was written on, which flatter it."""

FITTED = ("linear", "logistic")
"""Judges whose weights were fitted to labels, and keep of each answer its `fitted_key`."""

PUBLISHED = (*published.SETS, "harmbench", "jailbreakbench")
KITCHEN = ("kitchen,split=all", "kitchen-benign,split=all")


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The labeled completions of a source. unknown: rows of behaviors that no suite has.

    left: why rows or votes were left out, and how often.   notes: what a reader of figures must know of the labels.
    unlabeled: cases of a run's sample that were drawn and have no label.
    figures: what the authors of the labels measured of judges of theirs on these rows.
    """

    labeled: tuple[Labeled, ...]
    unknown: int = 0
    left: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    figures: tuple[published.PublishedFigure, ...] = ()
    unlabeled: int = 0


def labels_from(
    source: str,
    suites: Sequence[str],
    store: Store,
    columns: Mapping[str, str] | None = None,
    cut: float | None = None,
) -> LabelSet:
    """The labeled completions of a source.

    source: a file; `run:NAME`; `kitchen`; or a set that others published, `pyrit:PATH`, `pyrit-refusal:PATH`,
    `pyrit-harm:PATH`, `harmbench:PATH`, `jailbreakbench:PATH`.   suites: where the behaviors are; by default those of
    HarmBench for a .json file, else the kitchen's.   columns, cut: as of `read_labels`.
    Raises `SpecError` where there are no labels, and for columns or a cut that the source has no use for.
    """
    kind, _, path = source.partition(":")
    if columns and (kind in PUBLISHED or kind == "run"):
        raise SpecError(f"{kind} has columns of its own", hint="leave out --column; it is for files of yours")
    if cut is not None and (kind == "run" or (kind in PUBLISHED and kind != "pyrit-harm")):
        raise SpecError(f"the labels of {kind} are yes or no", hint="leave out --cut; pyrit-harm has levels")
    if kind == "run":
        run = find_run(store, path)
        note, labels = missing_in(store, run), tuple(_of_run(store, path))
        return LabelSet(labels, notes=(note,) if note else (), unlabeled=unlabeled_in(store, run))
    if kind in PUBLISHED:
        return _published(source, suites, published.CUT if cut is None else cut)
    names = suites or (("harmbench,split=all",) if source.endswith(".json") else KITCHEN)
    left: Counter[str] = Counter()
    labeled, unknown = read_labels(source, _behaviors(names), columns, cut, left)
    notes = () if cut is None else (f"a label of {cut:g} or more is a success",)
    return _label_set(labeled, unknown, left, notes)


def unlabeled_in(store: Store, run: RunRow) -> int:
    """How many cases of a run's sample were drawn and have no label."""
    return sum(entry.missing for entries in own_labels(store, run).values() for entry in entries)


def missing_in(store: Store, run: RunRow) -> str:
    """What a reader of a judge's figures must know of drawn cases of a run without a label, of which somebody may have
    chosen those that have one; "" where all have one."""
    listed = [entry for entries in own_labels(store, run).values() for entry in entries if entry.missing]
    if not listed:
        return ""
    left = left_to_others(sum(entry.skipped for entry in listed))
    cases = count(len(listed), "drawn case has", "drawn cases have")
    return (
        f"{cases} no label in {run.name}{left}, and so no "
        f"part in these figures, which may flatter the judge: `withstand label {run.name}` asks for the rest"
    )


def _published(source: str, suites: Sequence[str], cut: float) -> LabelSet:
    kind, _, path = source.partition(":")
    behaviors: dict[str, Behavior] = {}
    if kind in published.SETS:
        labels = published.pyrit(path, kind, cut)
    elif kind == "jailbreakbench":
        labels = published.jailbreakbench(path)
    else:
        labels, checkout = published.harmbench(path)
        suite = {"use": "harmbench", "path": str(checkout), "split": "all"}
        behaviors = _behaviors(suites or (suite if checkout else "harmbench,split=all",))
    labeled, unknown = labeled_rows(source, labels.rows, behaviors)
    return _label_set(labeled, unknown, labels.left, labels.notes, labels.figures)


def _label_set(
    labeled: Sequence[Labeled],
    unknown: int,
    left: Counter[str],
    notes: Sequence[str],
    figures: Sequence[published.PublishedFigure] = (),
) -> LabelSet:
    kept = tuple(merged(labeled))
    if len(labeled) > len(kept):
        left["rows whose text repeats that of another, with its votes added there"] = len(labeled) - len(kept)
    return LabelSet(kept, unknown, tuple(left.items()), tuple(notes), tuple(figures))


def _behaviors(suites: Sequence[str | Mapping[str, Any]]) -> dict[str, Behavior]:
    specs = [grammar.parse(suite) if isinstance(suite, str) else suite for suite in suites]
    return {behavior.id: behavior for spec in specs for behavior in find.build("suite", spec).load()}


def _of_run(store: Store, name: str) -> list[Labeled]:
    run = find_run(store, name)
    if store.select(sql.select(label.c.key).where(label.c.run == run.key, label.c.purged == 1).limit(1)):
        raise SpecError(
            f"the texts of the labels of {run.name} were purged", hint="no judge can be asked of them; label anew"
        )
    if labeled := labeling.labels_of(store, run):
        return labeled
    raise SpecError(f"{run.name} has no labels for calibration", hint=f"`withstand label {run.name}` asks for them")


def merged(labeled: Sequence[Labeled]) -> list[Labeled]:
    """Rows with the same behavior, question and answer, of the same target and attack, as one with the votes of all: a
    text that is there twice is no second sample."""
    groups: dict[tuple[str, ...], list[Labeled]] = defaultdict(list)
    for entry in labeled:
        asked = entry.completion.chat[-1].text if entry.completion.chat else ""
        text = (entry.behavior.id, entry.behavior.text, asked, entry.completion.text, entry.target, entry.attack)
        groups[text].append(entry)
    return [
        replace(
            same[0],
            votes=tuple(vote for entry in same for vote in entry.votes),
            annotators=tuple(dict.fromkeys(name for entry in same for name in entry.annotators)),
        )
        for same in groups.values()
    ]


def held_out(judge: Any, labeled: Sequence[Labeled]) -> tuple[list[Labeled], int]:
    """The labels on whose completions the judge was not written or fitted, and how many others there are."""
    fitted, own = set[str](), set[tuple[str, str]]()
    for part in find.parts(judge):  # a judge of judges knows what each of them knows
        name = find.name_of(type(part))
        if name in FITTED:
            fitted |= part.fitted()
        if name in WRITTEN_ON:
            read, _ = read_labels(WRITTEN_ON[name], _behaviors(KITCHEN))
            own |= {(entry.behavior.id, entry.completion.text) for entry in read}
    kept = [
        entry
        for entry in labeled
        if not (fitted and fitted_key(entry.completion.text) in fitted)
        and (entry.behavior.id, entry.completion.text) not in own
    ]
    return kept, len(labeled) - len(kept)


def fitted_texts(component: Any, texts: Iterable[str]) -> int:
    """How many of these texts a judge, alone or in a guard, was fitted to."""
    keys = {key for part in find.parts(component) if find.name_of(type(part)) in FITTED for key in part.fitted()}
    return sum(fitted_key(text.strip()) in keys for text in texts) if keys else 0


def fitted_key(text: str) -> str:
    """What a judge's weights keep of an answer that they were fitted to: it can be known again, and not read."""
    return digest(text)[:8]
