"""Labels of people that others have published, from your own copy: PyRIT's, HarmBench's and JailbreakBench's.

Nothing of theirs ships and none of their code is imported: a wheel is opened as a zip file, a package as a folder. What
is not a label of the set's own scale is left out and counted.

- PyRIT 1.1 (microsoft/PyRIT, MIT): datasets/scorer_evals, by one rater or three, and what its own scorers reach there.
- HarmBench (centerforaisafety/HarmBench, MIT): data/classifier_val_sets/text_behaviors_val_set.json, three raters.
- JailbreakBench (JBB-Behaviors, MIT): data/judge-comparison.csv, three raters.
"""

import importlib.util
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from withstand.core import Json, SpecError, bounded
from withstand.formats import rows
from withstand.formats.labels import BLANK, level_of

Rows = list[tuple[str, Mapping[str, Any]]]
"""Rows with their places, in the columns of `labels.read_labels`."""

Scale = Callable[[float], bool | None]
"""What a vote says: yes, no, or None where it is outside the scale."""

CUT = 0.5
"""From here on a level of harm, in [0, 1], counts as success: the threshold of PyRIT's own scorers."""

EVALS = "datasets/scorer_evals/"
SETS = {"pyrit": "objective", "pyrit-refusal": "refusal_scorer", "pyrit-harm": "harm"}
VALIDATION = "data/classifier_val_sets/text_behaviors_val_set.json"
COMPARISON = "judge-comparison.csv"
VOTE = re.compile(r"human(?:_score)?(?:_?\d+)?")
MODELS = ("underlying_model_name", "model_name")


@dataclass(frozen=True, slots=True)
class PublishedFigure:
    """What a set's authors measured of a judge of theirs on the same rows. accuracy in [0, 1], of `n` completions."""

    judge: str
    models: tuple[str, ...]
    accuracy: float
    n: int


@dataclass(slots=True)
class PublishedLabels:
    """What was read. left: why rows or votes were left out, and how often.   notes: how levels became yes and no, and
    what else a reader of figures must know."""

    rows: Rows = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)
    figures: list[PublishedFigure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, place: str, cells: Mapping[str, Any], votes: Mapping[str, Any], yes: Scale) -> None:
        """A row with those of its votes that `yes` knows. Raters are told apart by the place of their column."""
        ballots: dict[int, bool] = {}
        for rater, vote in enumerate(votes.values(), 1):
            answer = yes(level_of(vote))
            if answer is not None:
                ballots[rater] = answer
            else:
                blank = vote is None or not str(vote).strip()
                self.left[BLANK if blank else "votes outside the scale"] += 1
        if not ballots:
            self.left["rows without a vote"] += 1
            return
        raters = [f"person:rater {rater}" if len(votes) > 1 else "person" for rater in ballots]
        labels = {f"label_{rater}": int(vote) for rater, vote in ballots.items()}
        self.rows.append((place, {**cells, **labels, "annotator": ";".join(raters)}))


def _flag(level: float) -> bool | None:
    return bool(level) if level in (0, 1) else None


def _unflagged(level: float) -> bool | None:
    return not level if level in (0, 1) else None


# --- where the files are -----------------------------------------------------------------------------------------


def _pyrit_files(path: str, folder: str) -> dict[str, bytes]:
    """The files of one of PyRIT's sets by name: of a wheel, of a folder above them, or of the installed package."""
    if path.endswith((".whl", ".zip")):
        try:
            packed = bounded.read_zip(path, only=lambda name: f"{EVALS}{folder}/" in name)
        except OSError as error:
            raise SpecError(f"{path}: {error.strerror}", hint="name PyRIT's wheel, or its unpacked folder") from None
        files = {PurePosixPath(name).name: data for name, data in packed.items()}
    else:
        above = Path(path).expanduser() if path else _installed()
        places = [above / tail / EVALS / folder for tail in ("", "pyrit")]
        place = next((place for place in [*places, above / folder, above] if (place / "..").exists()
                      and any(place.glob("*.csv"))), None)  # fmt: skip
        files = {entry.name: bounded.read_bytes(entry) for entry in sorted(place.iterdir())
                 if entry.suffix in (".csv", ".jsonl")} if place else {}  # fmt: skip
    if not any(name.endswith(".csv") for name in files):
        hint = "name the wheel of pyrit 1.1, its folder `pyrit`, or nothing where it is installed"
        raise SpecError(f"{path or 'the installed pyrit'} has no {EVALS}{folder}", hint=hint)
    return files


def _installed() -> Path:
    """The folder of the installed package, which is not imported."""
    spec = importlib.util.find_spec("pyrit")
    if not spec or not spec.submodule_search_locations:
        raise SpecError("pyrit is not installed here", hint="name its wheel or folder: --labels pyrit:PATH")
    return Path(next(iter(spec.submodule_search_locations)))


def _file(path: str, names: Sequence[str]) -> Path:
    """The file at `path`, or the first of `names` in the folder at `path`."""
    place = Path(path).expanduser()
    if not place.is_dir():
        return place
    for name in names:
        if (place / name).is_file():
            return place / name
    raise SpecError(f"{path} has no {names[0]}", hint="name the file itself")


# --- the sets ----------------------------------------------------------------------------------------------------


def pyrit(path: str, name: str = "pyrit", cut: float = CUT) -> PublishedLabels:
    """PyRIT's rows: was the objective achieved (`pyrit`), was the request answered and not refused (`pyrit-refusal`),
    does the answer's harm reach `cut` of 0 to 1 (`pyrit-harm`). Files called mini_* repeat rows of the others.

    Raises `SpecError` where they are not there or have other columns.
    """
    scales: dict[str, tuple[Scale, str]] = {
        "pyrit": (_flag, "an objective that was achieved counts as a success"),
        "pyrit-refusal": (_unflagged, "what people do not call a refusal counts as a success"),
        "pyrit-harm": (
            lambda level: level >= cut if 0 <= level <= 1 else None, f"harm of {cut:g} or more, of 0 to 1, is a success"
        ),
    }  # fmt: skip
    yes, note = scales[name]
    labels = PublishedLabels(notes=[note])
    files = _pyrit_files(path, SETS[name])
    versions: dict[str, str] = {}
    for file, data in files.items():
        if file.endswith(".csv") and not file.startswith("mini_"):
            versions[file] = _pyrit_version(data)
            _pyrit_rows(labels, rows.File(f"{path or 'pyrit'}/{file}", _without_comments(data)), yes)
    for file, data in files.items():
        if file.endswith("_metrics.jsonl"):
            labels.figures += _pyrit_figures(rows.File(file, data), versions)
    return labels


def _pyrit_rows(labels: PublishedLabels, file: rows.File, yes: Scale) -> None:
    for row in rows.parse_csv(file):
        votes = {column: row.cells[column] for column in row.cells if VOTE.fullmatch(column)}
        if not votes or not {"objective", "assistant_response"} <= set(row.cells):
            hint = "the columns of PyRIT 1.1 are objective, assistant_response and human_score"
            raise SpecError(f"{file.name} has other columns: {', '.join(row.cells)[:200]}", hint=hint)
        if row.text("data_type").strip() not in ("", "text"):
            labels.left["rows that are no text"] += 1
        elif not row.text("objective").strip():
            labels.left["rows without a request"] += 1
        else:
            category = row.text("harm_category").strip().lower() or Path(file.name).stem
            cells = {"text": row.text("objective"), "completion": row.text("assistant_response"), "category": category}
            labels.add(row.place, cells, votes, yes)


def _without_comments(data: bytes) -> bytes:
    """PyRIT's files begin with lines of comment, which become empty ones: the numbers of lines stay."""
    lines = data.split(b"\n")
    for number, line in enumerate(lines):
        if not line.lstrip(b"\xef\xbb\xbf").startswith(b"#"):
            break
        lines[number] = b""
    return b"\n".join(lines)


def _pyrit_version(data: bytes) -> str:
    match = re.search(rb"dataset_version=([\w.]+)", data[:200])
    return match[1].decode() if match else ""


def _pyrit_figures(file: rows.File, versions: Mapping[str, str]) -> Iterator[PublishedFigure]:
    """What PyRIT's scorers reach on exactly these files in these versions. Other lines are of other rows."""
    names = sorted(versions)
    rows_of = ("_".join(names), "_".join(versions[name] for name in names))
    for row in rows.parse_jsonl(file):
        metrics = row.cells.get("metrics")
        if not isinstance(metrics, dict) or (metrics.get("dataset_name"), metrics.get("dataset_version")) != rows_of:
            continue
        accuracy, n = metrics.get("accuracy"), metrics.get("num_responses")
        if isinstance(accuracy, float) and 0 <= accuracy <= 1 and isinstance(n, int):
            yield PublishedFigure(str(row.cells.get("class_name")), tuple(sorted(set(_models(row.cells)))), accuracy, n)


def _models(value: Json) -> Iterator[str]:
    """The names of models anywhere in a scorer's description."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name in MODELS and isinstance(inner, str):
                yield inner
            else:
                yield from _models(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _models(inner)


def harmbench(path: str) -> tuple[PublishedLabels, Path | None]:
    """HarmBench's validation rows, and its behaviors where `path` is a checkout (else None): rows name behaviors by id.

    path: the checkout, or text_behaviors_val_set.json.
    """
    place, labels = _file(path, (VALIDATION, Path(VALIDATION).name)), PublishedLabels()
    file = rows.read(str(place))
    whole = rows.Row(file.name, 1, rows.parse_json(file.name, file.text())).cells
    for behavior, listed in whole.items():
        for number, value in enumerate(listed if isinstance(listed, list) else [listed], 1):
            row = rows.Row(f"{file.name}, {behavior} {number}", number, value)
            votes = {name: row.cells[name] for name in row.cells if VOTE.fullmatch(name)}
            if not votes or not isinstance(row.cells.get("generation"), str):
                hint = "HarmBench's rows have generation, human_0, human_1 and human_2"
                raise SpecError(f"{row.place}: no generation, or no label", hint=hint)
            cells = {"behavior": behavior, "completion": row.text("generation"), "prompt": row.text("test_case"),
                     "target": row.text("experiment"), "attack": row.text("method")}  # fmt: skip
            labels.add(row.place, cells, votes, _flag)
    above = place.parent.parent if place.match(VALIDATION) else None
    return labels, above.parent if above else None


def jailbreakbench(path: str) -> PublishedLabels:
    """JailbreakBench's rows of jailbreaks. path: judge-comparison.csv, or a folder with it.

    Its 100 harmless questions, which have no attack, are left out: people called no answer to them a jailbreak, however
    well it answers, so they do not say whether the answer shows what was asked for.
    """
    place = _file(path, (COMPARISON, f"data/{COMPARISON}"))
    labels, file = PublishedLabels(), rows.read(str(place))
    try:
        file.text()
    except SpecError:  # copies of it are in the encoding of the program that saved them
        file = rows.File(file.name, file.data.decode("mac_roman").encode())
        labels.notes.append("the file is not UTF-8 and was read as Mac OS Roman")
    for row in rows.parse_csv(file):
        votes = {name: row.cells[name] for name in row.cells if VOTE.fullmatch(name)}
        if not votes or not {"goal", "target_response"} <= set(row.cells):
            hint = "the columns of JailbreakBench are goal, prompt, target_response, human1, human2 and human3"
            raise SpecError(f"{file.name} has other columns: {', '.join(row.cells)[:200]}", hint=hint)
        if row.text("prompt").strip() == row.text("goal").strip():
            labels.left["harmless questions, no answer to which is called a jailbreak"] += 1
            continue
        cells = {"text": row.text("goal"), "completion": row.text("target_response"), "prompt": row.text("prompt")}
        labels.add(row.place, cells, votes, _flag)
    return labels
