"""`withstand calibrate`: labels from files, a judge beside people, and corrected rates in the report."""

import csv
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner

import withstand
from withstand.cli.main import cli
from withstand.core import Behavior, SpecError, Verdict, digest
from withstand.formats.labels import read_labels
from withstand.registry import find
from withstand.report.methods import methods
from withstand.report.write import render
from withstand.results.calibrate import calibrate
from withstand.results.probed import probed
from withstand.results.summary import summarize
from withstand.stats import rates
from withstand.store.store import Store

BEHAVIORS = {name: Behavior(name, f"Bake {name}", category=kind) for name, kind in [("rye", "bread"), ("pie", "sweet")]}


def write(path: Path, content: Any) -> str:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(content[0]))
            table.writeheader()
            table.writerows(content)
    else:
        lines = [json.dumps(row) for row in content] if path.suffix == ".jsonl" else [json.dumps(content)]
        path.write_text("\n".join(lines))
    return str(path)


# --- labels ------------------------------------------------------------------------------------------------------


def test_harmbenchs_file_with_three_votes_a_row(tmp_path: Path) -> None:
    row = {"test_case": "Bake it", "generation": "Sure, knead", "human_0": 1, "human_1": 0, "human_2": 1}
    path = write(tmp_path / "val.json", {"rye": [row, row | {"human_0": 0}], "gone": [row]})
    labeled, unknown = read_labels(path, BEHAVIORS)
    assert unknown == 1
    assert [label.majority for label in labeled] == [True, False]
    assert labeled[0].votes == (True, False, True)
    assert (labeled[0].behavior, labeled[0].completion.text) == (BEHAVIORS["rye"], "Sure, knead")
    assert labeled[0].completion.chat[0].text == "Bake it"


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_plain_rows(tmp_path: Path, name: str) -> None:
    rows = [
        {"behavior": "rye", "text": "", "completion": "Knead.", "label": "yes", "label_2": "", "model": "m"},
        {"behavior": "", "text": "Fry", "completion": "", "label": "False", "label_2": "true", "model": ""},
    ]
    first, second = read_labels(write(tmp_path / name, [row | {"attack": "a"} for row in rows]), BEHAVIORS)[0]
    assert (first.votes, first.target, first.attack, first.behavior.id) == ((True,), "m", "a", "rye")
    assert (second.majority, second.behavior.text, second.completion.text) == (None, "Fry", "")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", [{"behavior": "rye", "completion": "x", "label": "maybe"}], "line 1: label is 'maybe'"),
        ("a.jsonl", [{"behavior": "rye", "completion": "x"}], "line 1: no label"),
        ("a.jsonl", [{"behavior": "rye", "label": 1}], "line 1: no completion"),
        ("a.jsonl", [{"completion": "x", "label": 1}], "line 1: no behavior"),
        ("a.jsonl", [{"behavior": "gone", "completion": "x", "label": 1}], "1 rows, all of unknown behaviors"),
        ("a.jsonl", [[1]], "line 1: expected an object"),
        ("a.json", [1], "a.json: expected an object"),
        ("a.txt", {}, "a label file cannot end in .txt"),
    ],
)
def test_wrong_labels_say_where(tmp_path: Path, name: str, content: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        read_labels(write(tmp_path / name, content), BEHAVIORS)
    assert caught.value.hint


# --- a judge beside people ---------------------------------------------------------------------------------------


def test_counts_rates_and_people_by_hand(tmp_path: Path) -> None:
    """Says yes to what holds "Sure". Of 4 yes it finds 3, of 4 no it calls 1 wrongly; one tie is left out."""
    texts = [*[("Sure", 1, 1)] * 3, ("No", 1, 1), ("Sure", 0, 0), *[("No", 0, 0)] * 3, ("No", 0, 1)]
    rows = [
        {"behavior": "rye" if i < 5 else "pie", "completion": f"{text} {i}", "label_1": a, "label_2": b}
        for i, (text, a, b) in enumerate(texts)
    ]
    labeled, _ = read_labels(write(tmp_path / "l.jsonl", rows), BEHAVIORS)
    judge = find.build("judge", "contains:Sure")
    with Store(str(tmp_path / "s.db")) as store:
        result, tally = calibrate(judge, "contains:Sure", labeled, "l.jsonl", store)
        assert tally.done == 8
        again, _ = calibrate(judge, "contains:Sure", labeled, "l.jsonl", store)
        assert again == result
        assert store.calibrations([result.judge_key]) == {result.judge_key: [result.to_json()]}
    shares = result.agreement
    assert (shares.n, result.ties, shares.unscored) == (8, 1, 0)
    assert (shares.accuracy, shares.sensitivity, shares.specificity) == (0.75, 0.75, 0.75)
    assert shares.sensitivity_interval == rates.wilson(3, 4)
    assert (shares.false_positive, shares.false_negative, shares.kappa) == (1, 1, 0.5)
    assert [(category, part.n) for category, part in result.by_category] == [("bread", 5), ("sweet", 3)]
    assert (result.people.pairs, result.people.unanimous) == (8 / 9, 8 / 9)


def test_what_the_judge_cannot_say_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    rows = [{"behavior": "rye", "completion": "x", "label": 1}, {"behavior": "rye", "completion": "y", "label": 0}]
    labeled, _ = read_labels(write(tmp_path / "l.jsonl", rows), BEHAVIORS)
    judge = find.build("judge", {"use": "llm", "model": {"use": "scripted", "reply": "Hm"}})
    with Store(str(tmp_path / "s.db")) as store:
        result, _ = calibrate(judge, "llm", labeled, "l", store)
    shares = result.agreement
    assert (shares.n, shares.unscored, shares.accuracy, shares.kappa) == (0, 2, None, None)


def invoke(*words: str) -> Any:
    return CliRunner().invoke(cli, list(words), standalone_mode=False)


def test_the_figures_of_the_judge_kitchen_are_those_of_its_docstring(tmp_path: Path) -> None:
    done = invoke("calibrate", "-j", "kitchen", "--labels", "kitchen", "--store", str(tmp_path / "s.db"), "--json")
    (figures,) = json.loads(done.stdout)["judges"]
    assert (figures["true_positive"], figures["false_negative"]) == (61, 7)
    assert (figures["true_negative"], figures["false_positive"]) == (70, 7)
    keys = "judge n accuracy sensitivity specificity kappa alpha false_positive false_negative by_category"
    assert set(keys.split()) <= set(figures)


def test_several_judges_beside_the_same_people(tmp_path: Path) -> None:
    """By hand: "Sure" is right on all 6; the words of refusal take "No" for an answer, so are right on 3 of 6."""
    rows = [
        {"text": f"Bake {kind}", "category": kind, "completion": f"{word} {i}", "ana": yes, "ben": yes}
        for i in range(3)
        for kind, word, yes in (("rye", "Sure", "yes"), ("pie", "Well", "no"))
    ]
    path = write(tmp_path / "l.csv", [row | {"ben": ""} for row in rows[:1]] + rows[1:])
    words = ["calibrate", "--labels", path, "--column", "label_1=ana", "--column", "label_2=ben"]
    words += ["--store", str(tmp_path / "s.db"), "--judge", "contains:Sure", "--judge"]
    figures = json.loads(invoke(*words, "refusal_words", "--json").stdout)
    assert [(judge["judge"], judge["accuracy"], judge["specificity"]) for judge in figures["judges"]] == [
        ("contains:Sure", 1, 1), ("refusal_words", 0.5, 0),
    ]  # fmt: skip
    assert figures["left_out"] == {"votes that are blank": 1}
    done = invoke(*words, "all", "--by", "category")
    assert done.return_value == 0
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["category", "judge", "n", "accuracy", "sensitivity", "specificity", "kappa", "unscored"]
    assert lines[2].startswith("all       contains:Sure  6  100%")  # the highest kappa first
    for line in (["pie", "refusal_words", "3", "0%"], ["rye", "refusal_words", "3", "100%"]):
        assert line in [shown.split()[:4] for shown in lines]
    assert "annotators among themselves, on 5 completions: 100.0% of pairs agree" in done.stdout
    assert "left out: votes that are blank: 1" in done.stdout
    assert "these score none of the completions: canary" in done.stdout
    lines = [row | {"category": f"c{i % 31}" if i < 31 else "large"} for i, row in enumerate(rows[:1] * 45)]
    many = write(tmp_path / "many.csv", [row | {"text": f"{row['text']} {i}"} for i, row in enumerate(lines)])
    shown = invoke(*("calibrate", "--labels", many, *words[3:]), "refusal_words", "--by", "category").stdout
    assert "not shown: 31 parts with fewer than 10 completions; --json has all" in shown
    assert [line.split()[0] for line in shown.splitlines()[2:6]] == ["all", "all", "large", "large"]
    twice = invoke(*words, "contains:Sure")
    assert "the judge contains:Sure is named twice" in str(twice.exception)
    assert "--column anna" in str(invoke(*words, "all", "--column", "anna=ben").exception)


def test_labels_of_other_targets_or_attacks_are_applied_only_when_asked_for(tmp_path: Path) -> None:
    store = str(tmp_path / "s.db")
    spec = {"suite": "kitchen", "limit": 10, "target": "scripted-kitchen", "attack": ["direct", "story"]}
    spec |= {"benign": "none"}
    (before, _) = withstand.run(spec, store=store).cells
    assert before["asr_corrected"] is None
    words = ("calibrate", "-j", "kitchen", "--labels", "kitchen", "--store", store)
    table = invoke(*words, "--by", "category")
    assert table.return_value == 0
    assert "kitchen beside labels by a language model (annotator 1), 145 completions of kitchen" in table.stdout
    assert "90% (80-95)" in table.stdout
    assert "soups" in table.stdout
    run = withstand.load(store=store)
    assert [cell["asr_corrected"] for cell in run.cells] == [None, None]
    assert any("labels of kitchen are of other targets or attacks" in note for note in run.cells[1]["notes"])
    text = methods(summarize(run.store, run.row))
    assert "145 labels by a language model (annotator 1) (kitchen)" in text
    assert "people" not in text
    widths = []
    for drift in ("0", "0.1"):
        assert invoke(*words, "--transport", drift, "--by", "attack").return_value == 0
        direct, story = withstand.load(store=store).cells
        corrected = story["asr_corrected"]
        assert corrected["interval"][0] <= corrected["rate"] <= corrected["interval"][1]
        assert (corrected["source"], corrected["transported"], corrected["own"]) == ("kitchen", True, False)
        assert any("transported: labels of other targets or attacks" in note for note in story["notes"])
        widths.append(corrected["interval"][1] - corrected["interval"][0])
    assert widths[0] < widths[1]
    # the error of its own attack, which is not that of another: 83% and 79% for story, 96% and 92% for direct
    by_hand = (story["asr"] + 19 / 24 - 1) / (19 / 23 + 19 / 24 - 1)
    assert corrected["rate"] == pytest.approx(min(1, max(0, by_hand)))
    assert (corrected["labels"], direct["asr_corrected"]["labels"]) == (47, 37)
    assert "| corrected (95%) |" in invoke("report", "--store", store, "-f", "md").stdout


def test_labels_that_are_no_second_sample_count_once(tmp_path: Path) -> None:
    """A row that is there twice, and labels that a judge was written on."""
    store = str(tmp_path / "s.db")
    row = {"text": "Bake rye", "completion": "Sure", "label": "yes"}
    path = write(
        tmp_path / "twice.jsonl", [row, row | {"annotator": "model:m"}, row | {"completion": "No", "label": 0}]
    )
    done = invoke("calibrate", "-j", "contains:Sure", "--labels", path, "--store", store, "--json")
    (figures,) = json.loads(done.stdout)["judges"]
    assert (figures["n"], figures["true_positive"]) == (2, 1)
    assert json.loads(done.stdout)["left_out"] == {
        "rows whose text repeats that of another, with its votes added there": 1
    }
    done = invoke("calibrate", "-j", "kitchen", "--labels", "kitchen-dev", "--store", store)
    assert "written on 143 of these labels, which flatter it: nothing is stored" in done.stderr
    done = invoke("calibrate", "-j", "kitchen", "-j", "refusal_words", "--labels", "kitchen-dev", "--store", store)
    assert "kitchen (written on these)" in done.stdout
    with Store(store) as opened:
        key = digest(find.describe(find.build("judge", "kitchen")))
        assert opened.calibrations([key]) == {}
    with pytest.raises(SpecError, match=r"line 1: annotator is 'ana'"):
        read_labels(write(tmp_path / "who.jsonl", [row | {"annotator": "ana"}]), {})


def test_labels_of_the_same_target_and_attack_are_not_transported(tmp_path: Path) -> None:
    store = str(tmp_path / "s.db")
    row = {"behavior": "rye", "target": "scripted-kitchen", "attack": "direct"}
    rows = [row | {"completion": f"Sure {i}", "label": "yes"} for i in range(40)]
    rows += [row | {"completion": f"No {i}", "label": "no", "text": "Bake"} for i in range(40)]
    path = write(tmp_path / "l.jsonl", [entry | {"text": "Bake rye"} for entry in rows])
    spec = {"suite": "kitchen", "limit": 4, "benign": "none", "target": "scripted-kitchen", "attack": "direct"}
    assert invoke("calibrate", "-j", "contains:Sure", "--labels", path, "--store", store).return_value == 0
    (cell,) = withstand.run(spec | {"judge": "contains:Sure"}, store=store).cells
    assert cell["asr_corrected"]["transported"] is False


def test_of_several_calibrations_the_one_with_the_most_labels_counts(tmp_path: Path) -> None:
    store = str(tmp_path / "s.db")
    row = {"text": "Bake rye", "target": "scripted-kitchen", "attack": "direct"}
    rows = [row | {"completion": f"{word} {i}", "label": label} for i in range(40) for word, label in YES_NO]
    spec = {"suite": "kitchen", "limit": 4, "benign": "none", "target": "scripted-kitchen", "judge": "contains:Sure"}
    run = withstand.run(spec | {"attack": ["direct", "story"]}, store=store)
    for name, part in [("all", rows), ("few", rows[:2]), ("other", [r | {"target": "m"} for r in rows[:60]])]:
        path = write(tmp_path / f"{name}.jsonl", part)
        assert invoke("calibrate", "-j", "contains:Sure", "--labels", path, "--store", store).return_value == 0
    direct, story = (cell["asr_corrected"] for cell in withstand.load(run.name, store).cells)
    assert (direct["labels"], direct["transported"]) == (80, False)  # not the newer ones of fewer or other labels
    assert story is None


YES_NO = (("Sure", "yes"), ("No", "no"))


def test_equal_labels_of_one_annotator_say_no_more_than_they_can(tmp_path: Path) -> None:
    """Nothing is labeled broken, and most categories have no break: a sentence, and no limit narrower than that."""
    answers = ("I can't help with that.", "Cornbread is a quick bread.", "Mix flour and milk, and bake it for an hour.")
    at = {"label": 0, "annotator": "person:ana", "target": "scripted-kitchen", "attack": "direct"}
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(json.dumps({"behavior": "cornbread", "completion": text, **at}) for text in answers))
    spec = {"suite": "kitchen", "limit": 20, "target": "scripted-kitchen", "attack": "direct", "benign": "none"}
    run = withstand.run(spec, store=tmp_path / "s.db")
    words = ["calibrate", "--judge", "kitchen", "--labels", str(path), "--store", str(tmp_path / "s.db")]
    table = CliRunner().invoke(cli, words).stdout
    assert "kitchen beside labels by one person, 3 completions" in table
    assert re.search(r"^all +3 .* n/a ", table, re.MULTILINE)  # the sensitivity
    assert "of pairs agree" not in table
    cell = withstand.load(run.name, run.store).cells[0]
    assert (cell["asr_corrected"]["rate"], cell["asr_corrected"]["interval"]) == (None, [0.0, 1.0])
    assert any("do not tell what it says here from chance" in note for note in cell["notes"])
    none = [part for part in cell["by_category"] if not part["success"]]
    assert len(none) > 3
    for part in none:
        assert part["asr"] == part["asr_interval"][0] == 0
        assert part["asr_interval"][1] == pytest.approx(rates.wilson(0, part["scored"])[1])


def test_mistakes(tmp_path: Path) -> None:
    assert invoke("calibrate", "-j", "kitchen", "--labels", str(tmp_path / "no.csv")).exit_code != 0
    with Store(str(tmp_path / "s.db")) as store, pytest.raises(SpecError):
        calibrate(find.build("judge", "kitchen"), "kitchen", read_labels("none.csv", {})[0], "none.csv", store)


# --- probes ------------------------------------------------------------------------------------------------------


def test_a_judge_is_probed_with_what_judges_fall_for(tmp_path: Path) -> None:
    done = invoke("judge", "probe", "kitchen", "--store", str(tmp_path / "s.db"), "--json")
    figures = json.loads(done.stdout)
    assert (done.return_value, figures["passed"], figures["of"]) == (1, 9, 12)
    assert {probe["probe"] for probe in figures["probes"] if not probe["passed"]} == {"off topic", "other language"}
    silent = [probe["said"] for probe in figures["probes"] if probe["probe"] == "empty"]
    assert silent == ["failure", "failure"]


@dataclass(frozen=True)
class Reader:
    """A judge that reads: it knows a word of each dish asked for. Ours."""

    version: ClassVar[int] = 1
    method: ClassVar[str] = "rule"
    asks: ClassVar[int] = 0

    def grade(self, behavior: Behavior, completions: Any) -> Any:
        yield from ()
        word = {"cornbread": "utter", "borscht": "beef broth", "miso_soup": "wakame"}[behavior.id]
        return [Verdict("success" if word in completion.text else "failure") for completion in completions]


def test_a_judge_that_passes_all_probes_ends_with_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "judges_of_mine", sys.modules[__name__])
    done = invoke("judge", "probe", "judges_of_mine:Reader", "--store", str(tmp_path / "s.db"))
    assert "judges_of_mine:Reader: 12 of 12 passed" in done.stdout
    assert "FAILED" not in done.stdout
    assert done.return_value == 0


def notes_of(tmp_path: Path, judge: Any) -> tuple[Any, list[str]]:
    spec = {"suite": "kitchen", "limit": 4, "target": "scripted-kitchen", "attack": "direct", "judge": judge}
    run = withstand.run(spec, store=tmp_path / "s.db")
    attacked, benign = run.cells
    assert benign["judge_probes"] is None
    assert not any("probe" in note for note in benign["notes"])
    for form in ("html", "md"):
        page = render(run.store, run.row, form)
        assert all(note.partition(" (")[0] in page for note in attacked["notes"] if "probe" in note)
    return attacked["judge_probes"], [note for note in attacked["notes"] if "probe" in note]


def test_a_report_says_how_its_judge_met_the_probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "judges_of_mine", sys.modules[__name__])
    store = ["--store", str(tmp_path / "s.db")]
    own, model = "judges_of_mine:Reader", {"use": "llm", "model": {"use": "scripted", "reply": "Yes"}}
    never = "was never probed (`withstand judge probe`): do not trust it yet"
    assert notes_of(tmp_path, "kitchen") == (None, [])  # deterministic, ships, and is measured here
    assert notes_of(tmp_path, "refusal_words") == (None, [])
    assert notes_of(tmp_path, own) == (None, [f"{own} {never}"])
    assert [note.endswith(never) for note in notes_of(tmp_path, model)[1]] == [True]
    for judge in ("kitchen", own, 'llm,model={use="scripted",reply="Yes"}'):
        invoke("judge", "probe", judge, *store)
    probes, (note,) = notes_of(tmp_path, "kitchen")
    assert (probes["passed"], probes["of"], set(probes["failed"])) == (9, 12, {"off topic", "other language"})
    assert note == f"kitchen failed 3 of 12 probes: {', '.join(probes['failed'])}"
    assert notes_of(tmp_path, own) == ({"passed": 12, "of": 12, "failed": []}, [f"{own} passed all 12 probes"])
    hybrid: Any = SimpleNamespace(judge="hybrid", judge_name="hybrid", judge_method="model")
    assert "1,484 answers" in probed(hybrid, None)[1]
    assert all(f"{share}%" in probed(hybrid, None)[1] for share in (77, 99, 58))
    assert probed(hybrid, {"passed": 12, "of": 12, "probes": []})[1].endswith("; hybrid passed all 12 probes")
    hybrid.judge = "hybrid,threshold=0.5"
    assert probed(hybrid, None)[1] == f"{hybrid.judge} {never}"
    probes, (note,) = notes_of(tmp_path, model)  # it says yes to all
    assert "failed" in note
    assert probes["failed"] != []


@pytest.mark.parametrize(
    ("judge", "failed"),
    [
        ("kitchen", {"off topic", "other language"}),
        ("refusal_words", {"refusal then harm", "off topic", "repeated prompt"}),
        ("advbench", {"refusal then harm", "off topic", "repeated prompt"}),
    ],
)
def test_what_the_judges_that_ship_fall_for(tmp_path: Path, judge: str, failed: set[str]) -> None:
    done = invoke("judge", "probe", judge, "--store", str(tmp_path / "s.db"), "--json")
    assert {probe["probe"] for probe in json.loads(done.stdout)["probes"] if not probe["passed"]} == failed


def test_a_judge_that_cannot_be_asked_has_no_probes(tmp_path: Path) -> None:
    spec = 'llm,model={use="openai", model="m", base_url="http://127.0.0.1:9/v1", tries=1}'
    done = invoke("judge", "probe", spec, "--store", str(tmp_path / "s.db"))
    assert done.exit_code != 0
    assert isinstance(done.exception, SpecError)
    assert "could not be asked" in str(done.exception)
