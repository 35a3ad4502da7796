"""HarmBench's files as parts of a run, and back. Pure: no store, and writing is the caller's.

Layout and schemas are those of centerforaisafety/HarmBench at commit 8e1604d (Mazeika et al. 2024, arXiv:2402.04249):
results/METHOD/EXPERIMENT holds test_cases/test_cases.json, completions/MODEL.json and results/MODEL.json, the last two
in a folder N_tokens where a completion had another length than 512 tokens. JSON is indented by four, ASCII, without an
end of line, behaviors as CSV with CRLF: as HarmBench's own scripts write them, so that equal content is equal bytes.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from withstand.core import Behavior, SpecError
from withstand.core.bounded import parse_json
from withstand.core.outcomes import HITS, SCORED
from withstand.formats import rows

BEHAVIORS = "data/behavior_datasets/harmbench_behaviors_text_all.csv"
TARGETS = "data/optimizer_targets/harmbench_targets_text.json"
COLUMNS = ("Behavior", "FunctionalCategory", "SemanticCategory", "Tags", "ContextString", "BehaviorID")

OUTCOMES = {1: "success", 0: "failure", -1: "unscored"}
"""Label -> outcome. -1: the classifier said neither yes nor no; upstream's rates count it as a failure, ours do not."""

LABELS = {outcome: int(outcome in HITS["harm"]) for outcome in SCORED} | {"unscored": -1}

TOKENS = 512
GAVE_UP = "$ERROR$"
"""What HarmBench writes where an API did not answer. It is no answer, so it is read as none."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A test case and what came of it. `generation` None: nothing; `label` None: not judged."""

    test_case: str
    generation: str | None = None
    label: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What one model made of one experiment: the entries of each behavior id, in order. `tokens`: most in an answer."""

    method: str
    experiment: str
    model: str
    entries: Mapping[str, tuple[Entry, ...]]
    tokens: int = TOKENS
    defense: str = "none"


# --- reading -----------------------------------------------------------------------------------------------------


def read(place: str) -> list[Part]:
    """The parts of an experiment's folder, of any folder above it, or of one file of completions or results.

    Raises `SpecError` that names file, behavior and entry.
    """
    path = Path(place).expanduser().resolve()
    if path.is_file():
        return [Part("imported", path.stem, path.stem, _lined_up(None, None, _answers(path), path))]
    if not path.is_dir():
        raise SpecError(f"{place}: no such folder", hint="name HarmBench's folder of results, or one JSON file of it")
    parts = [part for folder in _experiments(path, 4) for part in _parts(folder)]
    if not parts:
        cases = next((folder / CASES for folder in _experiments(path, 4) if (folder / CASES).is_file()), None)
        if cases:
            raise SpecError(f"{place} holds test cases alone", hint=f"send them: withstand run --cases-from {cases}")
        raise SpecError(
            f"{place} holds no completions", hint="they are in results/METHOD/EXPERIMENT/completions/MODEL.json"
        )
    return parts


CASES = "test_cases/test_cases.json"


def _experiments(folder: Path, depth: int) -> Iterator[Path]:
    """The folders of experiments, in order; what is inside one is not looked into."""
    if any((folder / name).is_dir() for name in ("test_cases", "completions")) or _by_model(folder / "results"):
        yield folder
    elif depth:
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.name.startswith("."):
                yield from _experiments(child, depth - 1)


def _by_model(folder: Path) -> dict[tuple[int, str], Path]:
    """The JSON files of a folder by length of answer and model."""
    files = {(TOKENS, path.stem): path for path in folder.glob("*.json")}
    for path in folder.glob("*_tokens/*.json"):
        if match := re.fullmatch(r"(\d+)_tokens", path.parent.name):
            files[int(match[1]), path.stem] = path
    return files


def _parts(folder: Path) -> Iterator[Part]:
    cases = _cases(folder / CASES) if (folder / CASES).is_file() else None
    completions, results = _by_model(folder / "completions"), _by_model(folder / "results")
    for key in sorted({*completions, *results}):
        answers = _answers(completions[key]) if key in completions else None
        judged = _answers(results[key]) if key in results else None
        entries = _lined_up(cases, answers, judged, completions.get(key) or results[key])
        yield Part(folder.parent.name, folder.name, key[1], entries, key[0])


def _cases(path: Path) -> dict[str, list[str]]:
    cases = {}
    for behavior, listed in _object(path).items():
        for number, case in enumerate(_list(path, behavior, listed), 1):
            _check(path, behavior, number, case, "test case")
        cases[behavior] = listed
    return cases


def _answers(path: Path) -> dict[str, list[Entry]]:
    """The entries of a file of completions or results."""
    answers: dict[str, list[Entry]] = {}
    for behavior, listed in _object(path).items():
        answers[behavior] = []
        for number, row in enumerate(_list(path, behavior, listed), 1):
            if not isinstance(row, dict):
                raise SpecError(f"{path}: {behavior} {number} is no object", hint="it has test_case and generation")
            _check(path, behavior, number, row.get("test_case"), "test_case")
            _check(path, behavior, number, row.get("generation"), "generation")
            label = row.get("label")
            number_or_none = label is None or (isinstance(label, (int, float)) and not isinstance(label, bool))
            if not number_or_none or (label is not None and label not in OUTCOMES):
                raise SpecError(f"{path}: {behavior} {number}: label is {label!r}", hint="it is 1, 0 or -1")
            answers[behavior].append(Entry(row["test_case"], row["generation"], None if label is None else int(label)))
    return answers


def _check(path: Path, behavior: str, number: int, value: Any, name: str) -> None:
    if not isinstance(value, str):
        kind = "missing" if value is None else f"{type(value).__name__}, not text"
        raise SpecError(
            f"{path}: {behavior} {number}: its {name} is {kind}",
            hint="multimodal test cases are not read yet" if isinstance(value, list) else "fix the file",
        )


def _list(path: Path, behavior: str, listed: Any) -> list[Any]:
    if not isinstance(listed, list):
        raise SpecError(f"{path}: {behavior} holds {type(listed).__name__}, not a list", hint="{BehaviorID: [...]}")
    return listed


def _object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. A behavior that is in it twice is an error: one of the two would be lost."""
    value = load(path)
    if not isinstance(value, dict):
        raise SpecError(f"{path}: no JSON object", hint="HarmBench's files are {BehaviorID: [...]}")
    return value


def load(path: Path) -> Any:
    """The JSON of a file. Raises `SpecError` where it cannot be read, is none, or has a name twice."""
    file = rows.read(str(path))
    return parse_json(file.name, file.text(), unique=True)


# --- lining up ---------------------------------------------------------------------------------------------------


def _lined_up(
    cases: Mapping[str, Sequence[str]] | None,
    completions: Mapping[str, Sequence[Entry]] | None,
    results: Mapping[str, Sequence[Entry]] | None,
    path: Path,
) -> dict[str, tuple[Entry, ...]]:
    """Test cases with their completions and labels.

    The generation is that of the completions, since results hold it clipped to the classifier's window.
    """
    answered = completions if completions is not None else results or {}
    cases = cases if cases is not None else {name: [e.test_case for e in listed] for name, listed in answered.items()}
    judged = results or {}
    for name in [*answered, *judged]:
        if name not in cases:
            raise SpecError(
                f"{path}: {name} has no test case in the experiment", hint="test_cases.json and it must be of one run"
            )
    entries = {}
    for name, texts in cases.items():
        where = f"{path}: {name}"
        answers = answered.get(name, ())
        labels = _aligned(answers, judged.get(name, ()), _same_answer, f"{where}, results")
        labeled = [
            Entry(entry.test_case, entry.generation, label.label if label else None)
            for entry, label in zip(answers, labels, strict=True)
        ]
        placed = _aligned([Entry(text) for text in texts], labeled, _same_case, where)
        entries[name] = tuple(
            entry if entry and entry.generation != GAVE_UP else Entry(text)
            for text, entry in zip(texts, placed, strict=True)
        )
    return entries


def _aligned(
    wanted: Sequence[Entry], given: Sequence[Entry], same: Callable[[Entry, Entry], bool], where: str
) -> list[Entry | None]:
    """What is given for each of `wanted`: in order, with gaps where fewer are given."""
    if len(wanted) == len(given):
        same = _same_case
    aligned: list[Entry | None] = [None] * len(wanted)
    place = 0
    for number, entry in enumerate(given, 1):
        while place < len(wanted) and not same(wanted[place], entry):
            place += 1
        if place == len(wanted):
            raise SpecError(
                f"{where} {number}: its test case is not where it should be",
                hint="test cases, completions and results of an experiment list the same test cases in one order",
            )
        aligned[place] = entry
        place += 1
    return aligned


def _same_case(a: Entry, b: Entry) -> bool:
    return a.test_case == b.test_case


def _same_answer(a: Entry, b: Entry) -> bool:
    """Where not all are judged, a test case alone does not tell which of its answers was."""
    return a.test_case == b.test_case and a.generation == b.generation


# --- writing -----------------------------------------------------------------------------------------------------


def files(parts: Iterable[Part], behaviors: Sequence[Behavior]) -> dict[str, str]:
    """The files by their path in HarmBench's folder. What has no completion or no label is left out of those files."""
    written = {BEHAVIORS: _csv(behaviors)}
    targets = {behavior.id: behavior.target_string for behavior in behaviors if behavior.target_string}
    if targets:
        written[TARGETS] = _dumps(targets)
    for part in parts:
        folder = f"results/{part.method}/{part.experiment}"
        inner = "" if part.tokens == TOKENS else f"{part.tokens}_tokens/"
        cases = {name: [entry.test_case for entry in entries] for name, entries in part.entries.items()}
        written[f"{folder}/{CASES}"] = _dumps(cases)
        completions = {
            name: [{"test_case": e.test_case, "generation": e.generation} for e in entries if e.generation is not None]
            for name, entries in part.entries.items()
        }
        written[f"{folder}/completions/{inner}{part.model}.json"] = _dumps(_filled(completions))
        results = {
            name: [
                {"test_case": e.test_case, "generation": e.generation, "label": e.label}
                for e in entries
                if e.label is not None
            ]
            for name, entries in part.entries.items()
        }
        if any(results.values()):
            written[f"{folder}/results/{inner}{part.model}.json"] = _dumps(_filled(results))
    return written


def _filled(listed: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Without the behaviors of which there is nothing."""
    return {name: entries for name, entries in listed.items() if entries}


def _dumps(value: Any) -> str:
    return json.dumps(value, indent=4)


def _csv(behaviors: Sequence[Behavior]) -> str:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for behavior in behaviors:
        tags = ", ".join(behavior.tags)
        writer.writerow([behavior.text, behavior.functional, behavior.category, tags, behavior.context, behavior.id])
    return file.getvalue()
