"""Completions that people or models have labeled, from files: HarmBench's validation file, ours of the kitchen, CSV and
JSONL."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import isfinite, nan
from pathlib import Path
from typing import Any

from withstand.core import Behavior, Completion, Json, Outcome, SpecError, Verdict, did_you_mean, digest, user
from withstand.core.bounded import parse_json
from withstand.formats import rows

OURS = {"kitchen": "heldout.jsonl", "kitchen-dev": "dev.jsonl", "probes": "probes.jsonl"}
"""Label files that ship with the package. The judge `kitchen` was written on the second. The third probes any judge."""

WORDS = {
    **dict.fromkeys(("1", "1.0", "yes", "true", "success"), True),
    **dict.fromkeys(("0", "0.0", "no", "false", "failure"), False),
}
VOTE = re.compile(r"(?:label|human)(?:_?\d+)?")
BLANK = "votes that are blank"
OPTIONAL = ("completion", "text", "behavior", "context", "category", "prompt", "target", "attack", "annotator")
"""The columns of a label file but those of votes."""
COMPLETION = ("completion", "generation", "response")


@dataclass(frozen=True, slots=True, order=True)
class Annotator:
    """Who labeled. kind: "person", "model", or "" where a file does not say.   name: "" where it is not given."""

    kind: str = ""
    name: str = ""

    @staticmethod
    def parse(text: str) -> "Annotator":
        """From "person", "model:NAME" and the like. Raises `ValueError` for another kind."""
        kind, _, name = text.strip().partition(":")
        if kind not in ("person", "model", ""):
            raise ValueError(f"annotator is {text!r}")
        return Annotator(kind, name.strip())


def by_whom(annotators: Iterable[Annotator]) -> str:
    """As in "labels by 2 people and by a language model (m)". People are counted, models are named."""
    listed = sorted(set(annotators))
    people = [annotator for annotator in listed if annotator.kind == "person"]
    models = [annotator for annotator in listed if annotator.kind == "model"]
    parts = []
    if people:
        parts.append("by one person" if len(people) == 1 and people[0].name else
                     "by people" if len(people) == 1 else f"by {len(people)} people")  # fmt: skip
    if models:
        named = ", ".join(annotator.name for annotator in models if annotator.name)
        parts.append(f"by {'a language model' if len(models) == 1 else f'{len(models)} language models'}"
                     + (f" ({named})" if named else ""))  # fmt: skip
    if len(people) + len(models) < len(listed) or not listed:
        parts.append("by annotators who are not named as people or models")
    return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class Labeled:
    """A completion with the votes of annotators: does it show the behavior? `target` and `attack` as the file tells.

    `weight`: how many completions it stands for, where a sample was drawn.   `ruled`: what an adjudicator said where
    annotators disagreed, None where nobody did.
    """

    behavior: Behavior
    completion: Completion
    votes: tuple[bool, ...]
    target: str = ""
    attack: str = ""
    probe: str = ""
    weight: float = 1.0
    annotators: tuple[Annotator, ...] = ()
    ruled: bool | None = None

    @property
    def split(self) -> bool:
        """One annotator said yes and another no."""
        return len(set(self.votes)) > 1

    @property
    def majority(self) -> bool | None:
        """What the adjudicator said where annotators disagree, else what most say; None for a tie."""
        return settled(self.votes, self.ruled)


def settled(votes: Sequence[bool], ruled: bool | None) -> bool | None:
    """What annotators say of a case in all; None where they are split.

    ruled: what an adjudicator said, None where nobody did. It rules what is split alone: of annotators who agree, as
    after a correction, it is a vote as any other, so that nobody overrules all of them.
    """
    if ruled is not None and len(set(votes)) > 1:
        return ruled
    votes = [*votes] if ruled is None else [*votes, ruled]
    yes = sum(votes)
    return None if 2 * yes == len(votes) else 2 * yes > len(votes)


def revision(label: Json) -> int:
    """How often an annotator had labeled the case before, of a label as the store has it."""
    return int(label.get("revision", 0))


def newest(labels: Iterable[Json]) -> list[Json]:
    """Of each annotator, case and purpose the last label, of labels as the store has them."""
    last: dict[tuple[str, str, str, str], Json] = {}
    for label in sorted(labels, key=revision):
        last[label["run"], label["place"], label["labeler"], label["purpose"]] = label
    return list(last.values())


def said_by(votes: Sequence[bool], people: int = 1) -> Verdict:
    """The verdict of people: that of the majority; unscored for a tie, or while fewer than `people` have voted."""
    if len(votes) < max(1, people):
        return Verdict("unscored", why=f"labeled by {len(votes)} of {people} people" if votes else "labeled by nobody")
    yes, n = sum(votes), len(votes)
    outcome: Outcome = "unscored" if 2 * yes == n else "success" if 2 * yes > n else "failure"
    return Verdict(outcome, yes / n, f"{yes} of {n} people say yes")


def read_labels(
    path: str,
    behaviors: Mapping[str, Behavior],
    columns: Mapping[str, str] | None = None,
    cut: float | None = None,
    left: Counter[str] | None = None,
) -> tuple[list[Labeled], int]:
    """The labeled completions of a file, or of one of `OURS` by name, and how many rows are of unknown behaviors.

    behaviors: by id.   columns: what the file calls a column, by the name that it has here.   cut: votes are numbers,
    and yes from here on.   left: counts the votes that are blank.

    A row names its behavior by "behavior" (or "id"), or brings the text in "text", with "context"
    and "category" if there are any. Its answer is in "completion", "generation" or "response"; its votes are in
    "label" or in "label_1", "human_0" and so on: yes, no, true, false, 1, 0, success, failure. "annotator" says who
    labeled: person, model, or either with a name ("model:NAME"). "prompt" (or "test_case"), "target" (or "model") and
    "attack" may say more. A JSON object is read as HarmBench's validation
    file: behavior ids with lists of such rows. Raises `SpecError` with the file and row.
    """
    listed = ((place, _renamed(path, row, columns) if columns else row) for place, row in _rows(path))
    return labeled_rows(path, listed, behaviors, cut, left)


def labeled_rows(
    path: str,
    listed: Iterable[tuple[str, Mapping[str, Any]]],
    behaviors: Mapping[str, Behavior],
    cut: float | None = None,
    left: Counter[str] | None = None,
) -> tuple[list[Labeled], int]:
    """As `read_labels`, of rows with their places."""
    labeled, unknown, stranger = [], 0, ""
    for place, row in listed:
        answer = next((str(row[name]) for name in COMPLETION if isinstance(row.get(name), str)), None)
        if answer is None:
            hint = "put the answer into a column called completion, or say which it is: --column completion=NAME"
            raise SpecError(f"{place}: no completion", hint=hint)
        behavior = _behavior(place, row, behaviors)
        if behavior is None:
            unknown += 1
            stranger = stranger or str(row.get("behavior") or row.get("id"))
            continue
        ballots = {name: row[name] for name in sorted(row) if VOTE.fullmatch(name)}
        votes = tuple(_vote(place, name, vote, cut) for name, vote in ballots.items() if _given(vote))
        if left is not None and len(ballots) > len(votes):
            left[BLANK] += len(ballots) - len(votes)
        if not votes:
            raise SpecError(f"{place}: no label", hint="put yes or no into a column called label")
        prompt = str(row.get("prompt") or row.get("test_case") or behavior.prompt())
        target, attack = str(row.get("target") or row.get("model") or ""), str(row.get("attack") or "")
        labeled.append(
            Labeled(
                behavior,
                Completion(user(prompt), answer),
                votes,
                target,
                attack,
                str(row.get("probe") or ""),
                annotators=_annotators(place, row),
            )
        )
    if not labeled:
        if unknown:
            hint = "the column holds ids of behaviors, not texts (those go into text); name their suite with --suite"
            raise SpecError(f"{path}: {unknown} rows, all of unknown behaviors, such as {stranger!r}", hint=hint)
        raise SpecError(f"{path} is empty", hint="give a file with at least one row")
    return labeled, unknown


def _renamed(path: str, row: Mapping[str, Any], columns: Mapping[str, str]) -> Mapping[str, Any]:
    """The row with the columns that are named here, and no other that could stand in for them."""
    if lacking := [theirs for theirs in columns.values() if theirs not in row]:
        raise SpecError(f"{path} has no column {lacking[0]!r}", hint=did_you_mean(lacking[0], row))
    taken = {*columns.values(), *(COMPLETION if "completion" in columns else ())}
    votes = any(VOTE.fullmatch(ours) for ours in columns)
    kept = {name: value for name, value in row.items() if name not in taken and not (votes and VOTE.fullmatch(name))}
    return kept | {ours: row[theirs] for ours, theirs in columns.items()}


def _behavior(place: str, row: Mapping[str, Any], behaviors: Mapping[str, Behavior]) -> Behavior | None:
    name = str(row.get("behavior") or row.get("id") or "")
    if name in behaviors:
        return behaviors[name]
    if isinstance(row.get("text"), str) and row["text"].strip():
        text, context, category = (str(row.get(part) or "") for part in ("text", "context", "category"))
        return Behavior(name or digest([text, context])[:12], text, context, category=category)
    if not name:
        raise SpecError(f"{place}: no behavior", hint="put its id into a column called behavior, or its text into text")
    return None


def _annotators(place: str, row: Mapping[str, Any]) -> tuple[Annotator, ...]:
    """Who labeled a row, as far as it says; a column that is called human_0 was labeled by a person."""
    if not _given(row.get("annotator")):
        people = any(name.startswith("human") and VOTE.fullmatch(name) for name in row)
        return (Annotator("person"),) if people else (Annotator(),)
    try:
        return tuple(Annotator.parse(part) for part in str(row["annotator"]).split(";"))
    except ValueError as error:
        raise SpecError(f"{place}: {error}", hint="write person, model, or either with a name: model:NAME") from None


def _given(vote: Any) -> bool:
    return vote is not None and str(vote).strip() != ""


def _vote(place: str, name: str, vote: Any, cut: float | None) -> bool:
    if cut is not None:
        level = level_of(vote)
        if not isfinite(level):
            raise SpecError(f"{place}: {name} is {vote!r}", hint="with --cut each label is a number")
        return level >= cut
    meaning = WORDS.get(str(vote).strip().lower())
    if meaning is None:
        hint = f"write one of {', '.join(WORDS)}; for levels say --cut, from which on they are a yes"
        raise SpecError(f"{place}: {name} is {vote!r}", hint=hint)
    return meaning


def level_of(vote: Any) -> float:
    """A vote as a number, not-a-number where it is none."""
    try:
        return float(vote)
    except (TypeError, ValueError):
        return nan


def _rows(path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each row with its place."""
    if path in OURS:
        data = (files("withstand.data") / "kitchen_labels" / OURS[path]).read_bytes()
        file = rows.File(OURS[path], data)
    else:
        file = rows.File(Path(path).name, rows.read(path).data)
    match Path(file.name).suffix.lower():
        case ".csv" | ".jsonl" as ending:
            listed = rows.parse_csv(file) if ending == ".csv" else rows.parse_jsonl(file)
            yield from ((row.place, row.cells) for row in listed)
        case ".json":
            whole = rows.Row(file.name, 1, parse_json(file.name, file.text())).cells
            for behavior, labeled in whole.items():
                for number, value in enumerate(labeled if isinstance(labeled, list) else [labeled], 1):
                    row = rows.Row(f"{file.name}, {behavior} {number}", number, value)
                    yield row.place, {**row.cells, "behavior": behavior}
        case ending:
            raise SpecError(
                f"{path}: a label file cannot end in {ending or 'nothing'}", hint="name it .csv, .jsonl or .json"
            )
