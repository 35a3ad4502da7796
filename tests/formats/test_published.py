"""Labels of people that others have published, in the layout of their files; the texts are the kitchen's."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from withstand.core import SpecError
from withstand.formats import published
from withstand.formats.labels import Annotator, by_whom
from withstand.results.labels import labels_from

EVALS = "pyrit/datasets/scorer_evals"
OBJECTIVE = (
    "# dataset_version=1.0,,,,\n# by one person\nobjective,assistant_response,human_score,data_type,harm_category\n"
    'Bake rye,"Mix, knead\nand bake.",1,text,Breads\nBake rye,No.,0,text,Breads\nBake pie,No.,,text,\n'
    "Bake pie,pie.png,1,image_path,\nBake pie,Well.,0.5,text,\nBake rye,No.,0,text,Breads\n"
)
HARM = (
    "# dataset_version=1.0\n"
    "harm_category,objective,assistant_response,human_score_1,human_score_2,human_score_3,data_type\n"
    "breads,Bake rye,Knead.,0.25,0.5,1.0,text\nbreads,Bake pie,Fill.,0.75,7,,text\n"
)


def scorer(model: str, accuracy: float, version: str = "1.0_1.0") -> str:
    metrics = {"dataset_name": "a.csv_b.csv", "dataset_version": version, "accuracy": accuracy, "num_responses": 7}
    children = {"sub_scorers": [{"class_name": "Inner", "children": {"target": {"model_name": model}}}]}
    return json.dumps({"class_name": "Refusal", "children": children, "metrics": metrics})


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """PyRIT's wheel as far as it is read, with a mini_ file that repeats rows."""
    head = "# dataset_version=1.0\nobjective,assistant_response,human_score,data_type\n"
    files = {
        f"{EVALS}/objective/a.csv": OBJECTIVE,
        f"{EVALS}/objective/b.csv": head + "Fry an egg,Heat oil.,1,text\n",
        f"{EVALS}/objective/mini_a.csv": OBJECTIVE,
        f"{EVALS}/objective/objective_achieved_metrics.jsonl": "\n".join(
            (scorer("m", 0.7), scorer("n", 0.9), scorer("m", 0.99, "1.0_0.9"))
        ),
        f"{EVALS}/refusal_scorer/refusal.csv": head + "Bake rye,No.,1,text\nBake rye,Knead.,0,text\n",
        f"{EVALS}/harm/breads_multi_score.csv": HARM,
        "pyrit/__init__.py": "raise AssertionError('imported')",
    }
    path = tmp_path / "pyrit-1.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "site")
    return path


def read(source: str, **options: Any) -> Any:
    return labels_from(source, (), None, **options)  # type: ignore[arg-type]  # no store: it is no run


def test_pyrits_rows_from_a_wheel_a_folder_and_an_install(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = read(f"pyrit:{wheel}")
    assert [(entry.behavior.text, entry.majority) for entry in objective.labeled] == [
        ("Bake rye", True), ("Bake rye", False), ("Fry an egg", True),
    ]  # fmt: skip
    assert objective.labeled[0].completion.text == "Mix, knead\nand bake."
    assert [entry.behavior.category for entry in objective.labeled] == ["breads", "breads", "b"]
    assert dict(objective.left) == {
        "votes that are blank": 1, "votes outside the scale": 1, "rows without a vote": 2, "rows that are no text": 1,
        "rows whose text repeats that of another, with its votes added there": 1,
    }  # fmt: skip
    # those of other versions of the files are of other rows
    assert [(figure.accuracy, figure.models, figure.n) for figure in objective.figures] == [
        (0.7, ("m",), 7), (0.9, ("n",), 7),
    ]  # fmt: skip
    site = wheel.parent / "site"
    for path in (site, site / "pyrit", site / EVALS, site / EVALS / "objective"):
        assert read(f"pyrit:{path}").labeled == objective.labeled, path
    monkeypatch.syspath_prepend(site)
    assert read("pyrit").labeled == read("pyrit:").labeled == objective.labeled  # found, and not imported
    refusal = read(f"pyrit-refusal:{wheel}")
    assert [entry.majority for entry in refusal.labeled] == [False, True]
    assert refusal.notes == ("what people do not call a refusal counts as a success",)


def test_levels_of_several_raters(wheel: Path) -> None:
    harm = read(f"pyrit-harm:{wheel}")
    assert [entry.votes for entry in harm.labeled] == [(False, True, True), (True,)]
    assert [by_whom(entry.annotators) for entry in harm.labeled] == ["by 3 people", "by one person"]
    assert dict(harm.left) == {"votes outside the scale": 1, "votes that are blank": 1}
    assert [entry.majority for entry in read(f"pyrit-harm:{wheel}", cut=0.75).labeled] == [False, True]


def test_harmbenchs_checkout_and_jailbreakbenchs_table(tmp_path: Path) -> None:
    row = {"test_case": "Bake it", "generation": "Knead.", "model": "m.json", "method": "PAIR", "experiment": "m"}
    row |= {"human_0": 1, "human_1": 1, "human_2": ""}
    folder = tmp_path / "HarmBench" / "data"
    (folder / "classifier_val_sets").mkdir(parents=True)
    (folder / "behavior_datasets").mkdir()
    (folder / "classifier_val_sets/text_behaviors_val_set.json").write_text(json.dumps({"rye": [row], "gone": [row]}))
    (folder / "behavior_datasets/harmbench_behaviors_text_all.csv").write_text(
        "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID\nBake rye,standard,breads,,,rye\n"
    )
    (folder / "optimizer_targets").mkdir()
    (folder / "optimizer_targets/harmbench_targets_text.json").write_text('{"rye": "Sure, here is rye"}')
    source = read(f"harmbench:{folder.parent}")
    (entry,) = source.labeled
    assert (entry.behavior.text, entry.target, entry.attack, entry.votes) == ("Bake rye", "m", "PAIR", (True, True))
    assert entry.annotators == (Annotator("person", "rater 1"), Annotator("person", "rater 2"))
    assert (source.unknown, dict(source.left)) == (1, {"votes that are blank": 2})

    table = (
        "Index,goal,prompt,target_response,human1,human2,human3,human_majority,gpt4_cf\n0,Purée,Bake,Stir.,1,0,0,0,1\n"
        "1,What is rye?,What is rye?,A grain.,0,0,0,0,0\n"
    )
    for encoding in ("utf-8", "mac_roman"):
        path = tmp_path / "judge-comparison.csv"
        path.write_bytes(table.encode(encoding))
        jailbreaks = read(f"jailbreakbench:{tmp_path}")
        (entry,) = jailbreaks.labeled
        assert (entry.behavior.text, entry.completion.text, entry.votes) == ("Purée", "Stir.", (True, False, False))
        assert dict(jailbreaks.left) == {"harmless questions, no answer to which is called a jailbreak": 1}
        assert bool(jailbreaks.notes) == (encoding == "mac_roman")


def test_columns_of_your_own_file(tmp_path: Path) -> None:
    path = tmp_path / "ours.csv"
    path.write_text("question,answer,ana,ben,label\nBake rye,Knead.,5,2,no\nBake pie,No.,1,,no\n")
    columns = {"text": "question", "completion": "answer", "label_1": "ana", "label_2": "ben"}
    source = read(str(path), columns=columns, cut=3.0)
    assert [entry.votes for entry in source.labeled] == [(True, False), (False,)]  # the column "label" is no vote now
    assert (dict(source.left), source.notes) == ({"votes that are blank": 1}, ("a label of 3 or more is a success",))


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("ours.csv", {"columns": {"completion": "anser"}}, "has no column 'anser'"),
        ("ours.csv", {"columns": {"text": "question", "completion": "answer", "label": "ana"}}, "label is 'many'"),
        ("ours.csv", {"columns": {"text": "question", "completion": "answer", "label": "ana"}, "cut": 1.0}, "'many'"),
        ("pyrit:ours.csv", {}, "has no datasets/scorer_evals/objective"),
        ("pyrit:none.whl", {}, "No such file"),
        ("pyrit", {}, "not installed here"),
        ("pyrit:", {"columns": {"text": "a"}}, "columns of its own"),
        ("jailbreakbench:x", {"cut": 0.5}, "yes or no"),
        ("jailbreakbench:ours.csv", {}, "other columns: question"),
        ("harmbench:.", {}, "has no data/classifier_val_sets"),
    ],
)
def test_what_is_no_such_set_says_so(
    source: str, options: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ours.csv").write_text("question,answer,ana\nBake rye,Knead.,many\n")
    with pytest.raises(SpecError, match=words) as caught:
        read(source, **options)
    assert caught.value.hint


def test_pyrits_scales_by_hand() -> None:
    assert [published._flag(level) for level in (0, 1, 0.5, float("nan"))] == [False, True, None, None]
    assert [published._unflagged(level) for level in (0, 1, -1)] == [True, False, None]
