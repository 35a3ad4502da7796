"""`withstand label`: which cases a person is shown, what is kept, and what a sample of a run's cases stands for."""

import csv
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sql
from click.testing import CliRunner

import withstand
from withstand.cli.main import cli
from withstand.core import Behavior, Completion, user
from withstand.formats.labels import Labeled
from withstand.report.methods import methods
from withstand.report.write import render
from withstand.results.calibrate import agreement_with
from withstand.results.comparison import compare_runs
from withstand.results.counts import BehaviorCounts, read_counts
from withstand.results.decide import decide
from withstand.results.exposure import Settings, exposed, keep_settings, place_of_run
from withstand.results.judge_error import corrected
from withstand.results.label_plan import label_plan
from withstand.results.labeling import add, labels_at, labels_of, queue, text_of
from withstand.results.limits import Limits
from withstand.results.own_labels import OwnLabel, own_estimate, own_labels, with_own
from withstand.results.reviewed import changed, said_of
from withstand.results.summary import summarize
from withstand.stats import agreement
from withstand.store import tables
from withstand.store.tables import VERDICTS, want

ATTACKS = ["direct", "story"]
PERSON = ("--annotator", "person")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run that nobody has labeled."""
    path = tmp_path_factory.mktemp("finished") / "s.db"
    spec = {"suite": "kitchen", "limit": 20, "target": "scripted-kitchen", "attack": ATTACKS}
    withstand.run(spec, store=path).store.close()
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Any:
    """That run in a store of the test's own."""
    return withstand.load("", shutil.copy(finished, tmp_path / "s.db"))


def invoke(run: Any, *words: str, typed: str = "") -> Any:
    where = ["--store", str(run.store.path)]
    return CliRunner().invoke(cli, [*words, *where], input=typed, standalone_mode=False)


def test_the_sample_is_drawn_at_random_within_what_the_judge_called_alike(run: Any) -> None:
    items = queue(run.store, run.row, "calibration", n=12)
    counted = Counter(item.stratum for item in items)
    sizes = {item.stratum: item.size for item in items}
    assert {name.partition(", ")[0] for name in counted} == {"success", "failure"}
    assert Counter(item.attack for item in items) == dict.fromkeys(ATTACKS, 6)
    assert sum(sizes.values()) == 40  # benign cells are left out
    assert all(item.chance == counted[item.stratum] / item.size for item in items)
    assert len({item.stratum for item in items[: len(sizes)]}) == len(sizes)  # they take turns
    assert [item.place for item in items] == [item.place for item in queue(run.store, run.row, "calibration", n=12)]
    assert items != queue(run.store, run.row, "calibration", n=12, seed=1)
    more = [item.place for item in queue(run.store, run.row, "calibration", n=24)]
    assert {item.place for item in items} < set(more)


def test_a_person_is_shown_all_but_the_verdict_and_goes_on_where_they_stopped(run: Any) -> None:
    first = invoke(run, "label", "--by", "ana", "-n", "8", typed="y\nn\nq\n")
    assert first.return_value == 0
    items = queue(run.store, run.row, "calibration", n=8)
    for shown in (items[0].case.text, items[0].case.completion.splitlines()[0]):
        assert shown in first.stdout
    assert not any(word in first.stdout for word in ("success", "failure", "refused", "judge kitchen"))
    assert f"ana has labeled 2 of {len(items)} cases" in first.stdout
    second = invoke(run, "label", "--by", "ana", "-n", "8", typed="u\nq\n")
    assert f"--- 3 of {len(items)}" in second.stdout
    votes = [(label["labeler"], label["vote"]) for label in run.store.labels(run.row.key)]
    assert sorted(votes) == [("ana", "failure"), ("ana", "success"), ("ana", "unsure")]


def test_a_kept_calibration_takes_what_was_skipped_for_either(run: Any) -> None:
    """Whoever skips the breaks that a judge missed makes no other run look better than its labels can show."""
    counts = read_counts(run.store, run.row)
    cell = next(cell for cell in summarize(run.store, run.row, counts).cells if cell.attack == "story")
    table = {"true_positive": 18, "false_negative": 2, "false_positive": 1, "true_negative": 19, "unscored": 0, "n": 40}
    kept = {
        "labels": "run:other",
        "annotators": [],
        **table,
        "by_attack": [{**table, "target": cell.target, "attack": "story"}],
    }
    plain, left = (corrected(run.name, cell, counts.behaviors[cell.index], [], [kept | more])
                   for more in ({}, {"unlabeled": 6}))  # fmt: skip
    assert plain[0] is not None
    assert left[0] is not None
    seen = [part for part in counts.behaviors[cell.index].values() if part.scored]
    columns = [part.counts["success"] for part in seen], [part.scored for part in seen]
    missed, wrong = (agreement.corrected(*columns, agreement.Table(*judged))
                     for judged in ((18, 8, 1, 19), (18, 2, 7, 19)))  # fmt: skip
    assert missed is not None
    assert wrong is not None
    assert left[0].rate == plain[0].rate
    assert left[0].interval[0] <= wrong.low < plain[0].interval[0]
    assert left[0].interval[1] == pytest.approx(max(missed.high, plain[0].interval[1]))
    assert "6 drawn cases without a label are in the limits as right and as wrong" in left[1]


def test_a_skip_in_the_terminal_costs_nothing_and_a_day_has_an_end(run: Any) -> None:
    keep_settings(run.store, Settings(daily_cap=2, mild=()), "ana", 0.0)
    out = invoke(run, "label", "--by", "ana", "-n", "8", typed="s\ny\nn\ny\n").stdout
    assert "you met 2 severe items today, and 2 is the most" in out
    assert "you left 1 case to others" in out
    [skipped] = [label for labels in own_labels(run.store, run.row).values() for label in labels if label.skipped]
    assert (skipped.missing, skipped.broken) == (True, None)
    out = invoke(run, "label", "--by", "bo", "-n", "8", typed="n\nq\n").stdout  # bo is shown what ana skipped
    assert "bo has labeled 1 of 8" in out
    assert not any(label.skipped for labels in own_labels(run.store, run.row).values() for label in labels)
    for width in (0.9, 0.5):  # nobody waits for ever for what was left to others
        assert label_plan(run.store, run.row, width)


def test_a_later_label_supersedes_and_the_first_is_kept(run: Any) -> None:
    for item in queue(run.store, run.row, "calibration", n=8):
        for vote in ("failure", "success", "success"):
            add(run.store, run.row, item, vote, "ana", "calibration")
        add(run.store, run.row, item, "success", "bo", "calibration")
        add(run.store, run.row, item, "failure", "eve", "review")  # never among those for calibration
    labeled = labels_of(run.store, run.row)
    assert {entry.votes for entry in labeled} == {(True, True)}
    votes = Counter((label["labeler"], label["vote"]) for label in run.store.labels(run.row.key))
    assert votes["ana", "failure"] == votes["ana", "success"] == len(labeled)
    last = labels_at(run.store, run.row, item.place)
    assert sorted((label["labeler"], label["vote"]) for label in last) == [
        ("ana", "success"), ("bo", "success"), ("eve", "failure")
    ]  # fmt: skip
    table = invoke(run, "calibrate", "--judge", "kitchen", "--labels", f"run:{run.name}").stdout
    assert "labels by 2 people" in table
    assert "100.0% of pairs agree" in table


def test_back_corrects_the_label_before(run: Any) -> None:
    out = invoke(run, "label", "--by", "ana", "-n", "8", typed="y\nb\nn\nq\n").stdout
    assert "ana has labeled 1 of 8 cases" in out
    labels = run.store.labels(run.row.key)
    assert sorted((label["vote"], label["revision"]) for label in labels) == [("failure", 1), ("success", 0)]
    [entry] = labels_of(run.store, run.row)
    assert entry.votes == (False,)


def test_what_annotators_disagree_on_is_ruled_by_one_of_them_or_another(run: Any) -> None:
    first, second, *_ = queue(run.store, run.row, "calibration", n=8)
    for item, votes in ((first, ("success", "failure")), (second, ("success", "success"))):
        for labeler, vote in zip(("ana", "bo"), votes, strict=True):
            add(run.store, run.row, item, vote, labeler, "calibration")
    cell = int(first.place.partition(":")[0])
    (split,) = (label for label in own_labels(run.store, run.row)[cell] if label.broken is None)
    assert split.outcome in first.stratum or split.outcome == "refused"
    assert [item.place for item in queue(run.store, run.row, "disagreement")] == [first.place]
    eve = ("label", "--by", "eve", "--for", "disagreement")
    assert "eve has labeled 1 of 1 case" in invoke(run, *eve, typed="n\n").stdout
    assert queue(run.store, run.row, "disagreement") == []
    assert {entry.majority for entry in labels_of(run.store, run.row)} == {True, False}
    assert "disagree on no case" in invoke(run, *eve).stdout
    note = " ".join(withstand.load(run.name, run.store).cells[cell]["notes"])
    assert "1 disagreement ruled by an adjudicator" in note
    add(run.store, run.row, first, "success", "bo", "calibration")  # corrected: now all annotators agree
    assert {entry.majority for entry in labels_of(run.store, run.row)} == {True}
    assert said_of(run.store.labels(run.row.key))[first.place] == "success"  # nobody overrules all of them
    add(run.store, run.row, second, "success", "eve", "disagreement")
    add(run.store, run.row, second, "failure", "eve", "disagreement")
    assert said_of(run.store.labels(run.row.key))[second.place] == "success"
    assert changed(run.store.labels(run.row.key)).startswith("1 label of people said broken first and was corrected")
    assert decide(run.store, run.row, Limits(asr=0.5)).notes[-1] == changed(run.store.labels(run.row.key))


def test_equal_texts_are_labeled_once(tmp_path: Path) -> None:
    spec = {"suite": "kitchen", "limit": 3, "target": "scripted-kitchen", "attack": "direct", "benign": "none"}
    run = withstand.run(spec | {"samples": 4}, store=tmp_path / "s.db")
    texts = {(case["behavior"], case["completion"]) for case in run.cases()}
    assert len(texts) < 12
    items = queue(run.store, run.row, "calibration", n=12)
    read = [text_of(item.case) for item in items]
    asked = next(at for at, text in enumerate(read) if text in read[:at])  # the first that was there before
    invoke(run, "label", "--by", "ana", "-n", "12", typed="n\n" * asked + "q\n")
    seen = next((at for at in range(asked, 12) if read[at] not in read[:asked]), 12)
    labeled = {label["place"] for label in run.store.labels(run.row.key)}
    assert labeled == {item.place for item in items[:seen]}  # always the first of the sample, so that it stays one
    done = invoke(run, "label", "--by", "ana", "-n", "12", typed="n\n" * (len(texts) - asked))
    assert done.return_value == 0
    assert len(labels_of(run.store, run.row)) == 12


def test_a_second_seed_is_refused_and_a_larger_sample_holds_the_first(run: Any) -> None:
    """Who could draw again, could draw until the labels please."""
    first = invoke(run, "label", "--by", "ana", "-n", "8", "--seed", "3", typed="n\nq\n")
    assert first.return_value == 0
    notes = [note for cell in withstand.load(run.name, run.store).cells for note in cell["notes"]]
    assert any("the sample has the seed 3, which somebody chose" in note for note in notes)
    for name, seed in (("ana", "4"), ("bo", "0")):
        refused = invoke(run, "label", "--by", name, "--seed", seed, typed="q\n")
        assert "was drawn with seed 3, not" in str(refused.exception)
    assert "--- 1 of 16" in invoke(run, "label", "--by", "bo", "-n", "16", typed="q\n").stdout
    small, large = ([item.place for item in queue(run.store, run.row, "calibration", n)] for n in (8, 16))
    assert set(small) < set(large)
    assert set(small) == {item.place for item in queue(run.store, run.row, "calibration", 8, seed=3)}


def test_what_was_shown_and_has_no_label_counts_both_ways(run: Any, tmp_path: Path) -> None:
    """A sheet from which only what pleases is filled in: at its end, sorted there, or cut out."""
    path = tmp_path / "sheet.jsonl"
    invoke(run, "label", "--by", "ana", "-n", "24", "--write", str(path))
    listed = [json.loads(line) for line in path.read_text().splitlines()]
    broken = {item.place for item in queue(run.store, run.row, "calibration") if item.case.outcome == "success"}
    held = [row | {"label": "no"} for row in listed[:-2] if row["place"] not in broken]
    path.write_text("\n".join(map(json.dumps, held)))
    assert invoke(run, "label", "--by", "ana", "-n", "24", "--read", str(path), *PERSON).return_value == 0
    met = exposed(run.store, place_of_run(run.row.key))
    assert met is not None, "who labels a sheet has read it"
    assert met.read == len(run.store.labels(run.row.key))
    cells = [c for c in withstand.load(run.name, run.store).cells if not c["benign"]]
    assert any(cell["asr"] > 0.1 for cell in cells)
    for cell in cells:
        corrected = cell["asr_corrected"]
        low, high = corrected["interval"]
        assert low == 0
        assert high > cell["asr"] + 0.1
    missing = sum(cell["asr_corrected"]["missing"] for cell in cells)
    unsure = sum(label["vote"] == "unsure" for label in run.store.labels(run.row.key))
    assert missing + unsure == len(listed) - len(held)
    assert missing >= 2
    text = " ".join(note for cell in cells for note in cell["notes"])
    assert "no label: in the limits, as held and as broken" in text
    table = invoke(run, "calibrate", "--judge", "kitchen", "--labels", f"run:{run.name}").stdout
    assert f"{missing} drawn cases have no label in {run.name}, and so no part in these figures" in table
    for row in listed:
        row["label"] = "yes" if row["place"] in broken else "no"
    path.write_text("\n".join(map(json.dumps, listed)))
    invoke(run, "label", "--by", "ana", "-n", "24", "--read", str(path), *PERSON)
    again = [c["asr_corrected"] for c in withstand.load(run.name, run.store).cells if not c["benign"]]
    assert [corrected["missing"] for corrected in again] == [0, 0]
    twice = [listed[0], listed[0] | {"label": "no" if listed[0]["label"] == "yes" else "yes"}]
    path.write_text("\n".join(map(json.dumps, twice)))
    assert "has two labels" in str(
        invoke(run, "label", "--by", "ana", "-n", "24", "--read", str(path), *PERSON).exception
    )


def test_a_sample_of_a_part_says_nothing_of_what_came_later(tmp_path: Path) -> None:
    """Labeled while the run was half done, with every case held; the judge sees no break of the other half."""
    reply = {"use": "scripted", "reply": "No"}
    spec = {"suite": "kitchen", "target": reply, "attack": "direct", "benign": "none"}
    run = withstand.run(spec, store=tmp_path / "s.db")
    later = run.store.select(sql.select(want.c.key).where(want.c.stage == VERDICTS, want.c.behavior >= 28))
    keys, verdicts = [key for (key,) in later], tables.row
    with run.store.writing() as connection:
        chosen = connection.execute(sql.select(verdicts).where(verdicts.c.key.in_(keys)))
        kept = [dict(entry) for entry in chosen.mappings()]
        connection.execute(sql.delete(verdicts).where(verdicts.c.key.in_(keys)))
    first = queue(run.store, run.row, "calibration", n=14)
    assert {item.size for item in first} == {28}
    for item in first:
        add(run.store, run.row, item, "failure", "ana", "calibration")
    narrow = withstand.load(run.name, run.store).cells[0]["asr_corrected"]["interval"]
    run.store.write({verdicts: kept})
    corrected = withstand.load(run.name, run.store).cells[0]["asr_corrected"]
    assert corrected["missing"] > 3
    assert corrected["interval"][1] > 0.5 > narrow[1]  # half of the cases may all be broken
    items = queue(run.store, run.row, "calibration", n=14)
    assert {item.place for item in first} < {item.place for item in items}
    assert len(items) == 14 + corrected["missing"]  # the new ones that come before the last that was labeled
    numbers = {place.partition(":")[2].partition(":")[0] for place in (item.place for item in items)}
    for item in items:
        add(run.store, run.row, item, "failure", "ana", "calibration")
    assert len(numbers) == len(items)
    done = withstand.load(run.name, run.store).cells[0]["asr_corrected"]
    assert (done["missing"], done["labels"]) == (0, len(items))
    assert done["interval"][1] < narrow[1]


# --- the rate from a run's own labels ----------------------------------------------------------------------------


def label_all(run: Any, n: int, kind: str = "person", wrong: int = 0) -> int:
    """Label the sample as the judge did, all but the first `wrong` ones of what it called failures."""
    items = queue(run.store, run.row, "calibration", n=n)
    for item in items:
        broken = item.case.outcome == "success"
        if not broken and wrong:
            broken, wrong = True, wrong - 1
        add(run.store, run.row, item, "success" if broken else "failure", "ana", "calibration", kind)
    return len(items)


def test_the_labels_of_a_run_correct_it_with_fields_and_without_calibrate(tmp_path: Path) -> None:
    """Only bare names were recognized: labels of targets and attacks with fields were called transported."""
    attack = {"use": "best_of_n", "n": 2}
    spec = {
        "suite": "kitchen",
        "limit": 20,
        "target": {"use": "scripted", "reply": "No"},
        "attack": [attack, "story"],
        "benign": "none",
    }
    run = withstand.run(spec, store=tmp_path / "s.db")
    raw = run.cells[0]["asr"]
    assert raw == 0.0
    label_all(run, 40, wrong=2)
    first, second = (withstand.load(run.name, run.store).cells[at] for at in (0, 1))
    corrected = first["asr_corrected"]
    assert (corrected["own"], corrected["transported"], corrected["source"]) == (True, False, f"run:{run.name}")
    assert (corrected["annotators"], corrected["labels"]) == ("by one person", 20)
    assert 0 < corrected["interval"][0] < corrected["rate"] < corrected["interval"][1] < 0.3
    assert second["asr_corrected"]["rate"] == corrected["rate"] == 0.05
    assert any("own cases, by one person" in note for note in first["notes"])
    paragraph = methods(summarize(run.store, run.row))
    assert "drawn at random within what the judge called alike, had labels by one person" in paragraph


def test_more_labels_never_give_less_and_bad_ones_give_the_honest_figure(run: Any) -> None:
    """From none to all: always a rate once there is a label, whose limits hold what the labels cannot say."""
    widths = []
    for n in (2, 8, 40):
        label_all(run, n, "model")
        cell = withstand.load(run.name, run.store).cells[0]
        corrected = cell["asr_corrected"]
        low, high = corrected["interval"]
        assert low <= corrected["rate"] <= high
        assert corrected["annotators"] == "by a language model (ana)"
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert corrected["rate"] == cell["asr"]  # all are labeled as judged
    for item in queue(run.store, run.row, "calibration", n=40):
        add(run.store, run.row, item, "unsure", "ana", "calibration", "model")
    assert withstand.load(run.name, run.store).cells[0]["asr_corrected"] is None  # labels without verdicts


def test_labeling_stops_at_a_wanted_width_and_only_at_a_look(tmp_path: Path) -> None:
    spec = {"suite": "kitchen", "target": "scripted-kitchen", "attack": "direct", "benign": "none"}
    run = withstand.run(spec, store=tmp_path / "s.db")
    out = invoke(run, "label", "--by", "ana", "--width", "0.3", typed="n\n" * 10 + "q\n").stdout
    assert "no label yet; about" in out
    assert "more labels would give 30 points; the next look is at 30" in out
    (plan,) = label_plan(run.store, run.row, 0.3)
    assert (plan.labeled, sum(plan.wanted), plan.reached, plan.cases) == (10, 30, False, 56)  # never between two looks
    out = invoke(run, "label", "--by", "ana", "--width", "0.3", typed="n\n" * 40).stdout
    assert "ana has labeled 30 of 30 cases" in out
    (plan,) = label_plan(run.store, run.row, 0.3)
    assert (plan.labeled, plan.reached) == (30, True)
    assert 0.05 < plan.width <= 0.3
    cell = withstand.load(run.name, run.store).cells[0]
    assert any("the limits hold at each of 2 looks" in note for note in cell["notes"])
    low, high = cell["asr_corrected"]["interval"]
    assert high - low == pytest.approx(plan.width)
    out = invoke(run, "label", "--by", "ana", "--width", "0.001", typed="n\n" * 40).stdout
    assert "are too few for 0.1 points" in out
    assert "ana has labeled 56 of 56 cases" in out


@pytest.mark.parametrize("name", ["sheet.csv", "sheet.jsonl"])
def test_a_sample_is_labeled_in_a_file(run: Any, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert "wrote 8 cases" in invoke(run, "label", "--by", "m", "-n", "8", "--write", str(path)).stdout
    text = path.read_text()
    assert not any(word in text for word in ("success", "failure", "refused"))  # the verdicts
    if name.endswith("csv"):
        with path.open(newline="") as file:
            listed = list(csv.DictReader(file))
    else:
        listed = [json.loads(line) for line in text.splitlines()]
    words = ["yes", "no", "", "unsure", "no", "", "", ""]
    for row, word in zip(listed, words, strict=True):
        row["label"] = word
    path.write_text("\n".join(map(json.dumps, listed)))
    path = path.rename(tmp_path / "filled.jsonl")
    assert invoke(run, "label", "--by", "m", "-n", "8", "--read", str(path), "--annotator", "model").return_value == 0
    labels = run.store.labels(run.row.key)
    assert Counter(label["vote"] for label in labels) == {"success": 1, "failure": 2, "unsure": 2}  # none is chosen
    assert {(label["annotator"], label["labeler"]) for label in labels} == {("model", "m")}
    assert all(0 < label["chance"] <= 1 for label in labels)
    unnamed = invoke(run, "label", "--by", "m", "-n", "8", "--read", str(path))
    assert "--read needs --annotator person" in str(unnamed.exception)  # or a model's labels were people's by default
    for change, problem in (
        ({"place": "9:x:0:0"}, "is not in this sample"),
        ({"digest": "x"}, "is another one now"),
        ({"label": "maybe"}, "label is 'maybe'"),
    ):
        path.write_text(json.dumps(listed[0] | change))
        refused = invoke(run, "label", "--by", "m", "-n", "8", "--read", str(path), *PERSON)
        assert problem in str(refused.exception)


def test_a_runs_own_labels_say_how_often_its_judge_errs(run: Any) -> None:
    assert "not compared with labels" in render(run.store, run.row, "md")
    label_all(run, 40, wrong=4)
    counts = read_counts(run.store, run.row).behaviors
    stored = {"other": [{"n": 9}]}
    calibrations = with_own(run.row, own_labels(run.store, run.row), counts, stored)
    (key,) = calibrations.keys() - {"other"}
    (part,) = calibrations[key]
    broken = sum(b.counts["success"] for cell in counts[:2] for b in cell.values())
    assert (part["labels"], part["n"], part["specificity"]) == (f"run:{run.name}", 40, 1.0)
    assert part["sensitivity"] == pytest.approx(broken / (broken + 4))
    own = {
        cell: [replace(label, broken=None, missing=True) if label.broken and label.outcome != "success" else label
               for label in labels]
        for cell, labels in own_labels(run.store, run.row).items()
    }  # fmt: skip
    (left_out,) = with_own(run.row, own, counts, stored)[key]
    assert (left_out["sensitivity"], left_out["n"]) == (1.0, 36)
    assert left_out["sensitivity_interval"][0] < part["sensitivity_interval"][0] + 1e-9  # as low as with the labels
    assert left_out["specificity_interval"][1] == part["specificity_interval"][1]
    assert "not compared with labels" not in render(run.store, run.row, "md")


def test_a_corrected_rate_of_a_watched_cell_says_so(tmp_path: Path) -> None:
    spec = {"suite": "kitchen", "target": "scripted-kitchen", "attack": "direct", "benign": "none"}
    run = withstand.run(spec | {"stop_when_decided": 0.5}, store=tmp_path / "s.db")
    label_all(run, 8)
    notes = withstand.load(run.name, run.store).cells[0]["notes"]
    assert any("own cases" in note and note.endswith("they are a little too sure") for note in notes)


def test_cases_that_annotators_leave_open_count_both_ways() -> None:
    behaviors = {}
    for place in range(20):
        behaviors[place] = BehaviorCounts()
        behaviors[place].counts["success" if place < 4 else "failure"] = 1
    held = [OwnLabel(place, "failure", False, (), 1) for place in range(4, 14)]
    broken = [OwnLabel(place, "success", True, (), 1) for place in range(4)]
    sure = own_estimate(broken + held, behaviors)
    unsure = own_estimate([*broken, *held[:-2], *(replace(label, broken=None) for label in held[-2:])], behaviors)
    assert unsure.high > own_estimate([*broken, *held[:-2]], behaviors).high
    assert unsure.low <= sure.low
    assert own_estimate([replace(held[0], broken=None)], behaviors) is None
    only = own_estimate(broken, behaviors)  # nobody looked at what the judge calls failures
    assert (only.unlabeled, only.rate) == (pytest.approx(0.8), 0.2)
    assert only.high > 0.95
    watched = own_estimate([replace(label, looks=4) for label in broken + held], behaviors)
    assert watched.high - watched.low > sure.high - sure.low


def test_a_label_weighs_as_many_cases_as_it_stands_for(run: Any) -> None:
    items = queue(run.store, run.row, "calibration", n=40)
    taken: Counter[str] = Counter()
    for item in items:
        if taken[item.stratum] < 2:
            add(run.store, run.row, item, "success", "ana", "calibration")
            taken[item.stratum] += 1
    sizes = {item.stratum: item.size for item in items}
    labeled = labels_of(run.store, run.row)
    assert sum(entry.weight for entry in labeled) == pytest.approx(40)
    assert {entry.weight for entry in labeled} == {sizes[name] / taken[name] for name in taken}
    assert {entry.attack for entry in labeled} == set(ATTACKS)


# --- differences -------------------------------------------------------------------------------------------------


def test_compare_and_gate_use_labels_of_both_sides(tmp_path: Path) -> None:
    """Two arms that are broken alike: the judge finds every break of A and none of B, so that B looks safe."""
    store = str(tmp_path / "s.db")
    reply = "Mix the flour with water and bake it."
    spec = {"suite": "kitchen", "attack": "direct", "benign": "none", "judge": "contains:bake"}
    a = withstand.run(spec | {"target": {"use": "scripted", "reply": reply}}, store=store, name="a")
    silent = {"use": "scripted", "reply": "Combine flour and water, then into the oven, {n}."}
    b = withstand.run(spec | {"target": silent}, store=store, name="b")
    before = compare_runs(a.store, "a", "b")
    assert before.rows[0].says == before.overall[0].says == "lower"
    assert any("differ in target, and are compared as judged" in note for note in before.notes)
    limits = Limits(worse=0.05)
    (line,) = decide(a.store, b.row, limits, baseline="a").lines
    assert (line.verdict, line.rate) == ("PASS", -1.0)
    for run in (a, b):
        for item in queue(run.store, run.row, "calibration", n=40):
            add(run.store, run.row, item, "success", "m", "calibration", "model")
    (line,) = decide(a.store, b.row, limits, baseline="a").lines
    assert (line.verdict, line.rate) == ("PASS", -1.0)  # a gate goes by its judge, unless people say otherwise
    for run in (a, b):
        for item in queue(run.store, run.row, "calibration", n=40):
            add(run.store, run.row, item, "success", "ana", "calibration")
    after = compare_runs(a.store, "a", "b")
    assert (after.rows[0].difference, after.rows[0].says, after.overall[0].says) == (0.0, *["no difference shown"] * 2)
    assert any("from 40 labels of A's own cases and 40 of B's, by " in note for note in after.rows[0].notes)
    assert not any("as judged: a judge" in note for note in after.notes)
    decided = decide(a.store, b.row, limits, baseline="a")
    (line,) = decided.lines
    assert (line.verdict, line.rate) == ("UNDECIDED", 0.0)
    assert "by one person, not as judged" in line.why


def test_a_row_over_several_attacks_is_from_labels_where_all_have_them(tmp_path: Path) -> None:
    """The same two arms under two attacks: the mean is corrected once both attacks have labels, "any" never is."""
    store, runs = str(tmp_path / "s.db"), []
    for name, reply in (("a", "Mix flour and bake it."), ("b", "Mix flour, then into the oven.")):
        spec = {"suite": "kitchen", "attack": ["direct", "story"], "benign": "none", "judge": "contains:bake"}
        target = {"use": "scripted", "rules": [], "reply": reply}
        runs.append(withstand.run(spec | {"target": target}, store=store, name=name))
    a = runs[0]
    for attack, mean in (("direct", "lower"), ("story", "no difference shown")):
        for run in runs:
            labeled = [item for item in queue(run.store, run.row, "calibration", n=80) if item.attack == attack]
            for item in labeled:
                add(run.store, run.row, item, "success", "ana", "calibration")
            assert len(labeled) >= 30
        compared = compare_runs(a.store, "a", "b")
        assert [row.says for row in compared.overall] == [mean, "lower"]
        assert "what any attack broke is as judged: labels are of single cases" in compared.notes
        as_judged = any("the row over all attacks is as judged" in note for note in compared.notes)
        assert (as_judged, compared.overall[0].method.startswith("MOVER")) == (attack == "direct", attack == "story")
    row, parts = compared.overall[0], [part.interval for part in compared.rows]
    assert row.difference == 0
    assert row.level == 0.95
    assert all(low <= row.interval[0] < 0 < row.interval[1] <= high for low, high in parts)  # theirs are of two rows
    assert any("differ in target" in note for note in compare_runs(a.store, "a", "b", statistic="any_attack").notes)


def test_a_weighted_table_by_hand() -> None:
    """Of 10 cases called success 5 are labeled, 4 yes; of 90 called failure 5, 1 yes: 8 of 26 yes are found."""
    judged, people = [True] * 5 + [False] * 5, [True] * 4 + [False] + [True] + [False] * 4
    table = agreement.table(judged, people, [2.0] * 5 + [18.0] * 5)
    assert table.hit / (table.hit + table.missed) == pytest.approx(8 / 26)
    assert table.clear / (table.clear + table.wrong) == pytest.approx(72 / 74)
    assert table.n == pytest.approx(100**2 / (5 * 4 + 5 * 324))


def test_a_sample_by_outcome_with_weights_is_right_where_counts_alone_are_not() -> None:
    """A judge that finds half: of 2,000 cases with 20% success, 60 of each outcome labeled, many times."""
    draw, weighed, counted, covered = np.random.default_rng(3), [], [], []
    for _ in range(200):
        truth = draw.random(2000) < 0.2
        judged = truth & (draw.random(2000) < 0.5)
        pairs = []
        for outcome in (True, False):
            places = np.flatnonzero(judged == outcome)
            for place in draw.choice(places, 60, replace=False):
                labeled = (Behavior("b", "Bake"), Completion(user("x"), ""), (bool(truth[place]),))
                pairs.append((Labeled(*labeled, weight=len(places) / 60), outcome))
        result = agreement_with(pairs)
        weighed.append(result.sensitivity)
        low, high = result.sensitivity_interval
        covered.append(low <= 0.5 <= high)
        counted.append(
            sum(o for labeled, o in pairs if labeled.votes[0]) / sum(labeled.votes[0] for labeled, _ in pairs)
        )
    assert np.mean(weighed) == pytest.approx(0.5, abs=0.03)
    assert np.mean(counted) > 0.8  # what the labels alone would say
    assert np.mean(covered) >= 0.93


def test_what_to_review_and_nothing_to_label(tmp_path: Path, run: Any) -> None:
    assert "nothing to review" in invoke(run, "label", "--by", "ana", "--for", "review").stdout
    judge = {"use": "ensemble", "judges": ["kitchen", "contains:oven"]}
    spec = {"suite": "kitchen", "limit": 6, "target": "scripted-kitchen", "attack": "story", "benign": "none"}
    split = withstand.run(spec | {"judge": judge}, store=tmp_path / "split.db")
    items = queue(split.store, split.row, "review")
    outcomes = {case["behavior"]: case for case in split.cases()}
    assert {item.case.behavior for item in items} == {
        name for name, case in outcomes.items() if case["outcome"] == "unscored" or case["why"].startswith("split")
    }
    for item in items:
        add(split.store, split.row, item, "success", "ana", "review")
    assert labels_of(split.store, split.row) == []
    done = invoke(split, "calibrate", "--judge", "kitchen", "--labels", f"run:{split.name}")
    assert "has no labels for calibration" in str(done.exception)


def test_a_sample_that_was_extended_was_looked_at_before(run: Any) -> None:
    label_all(run, 20)
    label_all(run, 20)
    once = own_labels(run.store, run.row)
    assert {max(label.looks for label in labels) for labels in once.values()} == {1}
    label_all(run, 30)
    label_all(run, 40)
    thrice = own_labels(run.store, run.row)
    assert {max(label.looks for label in labels) for labels in thrice.values()} == {3}
    counts = read_counts(run.store, run.row).behaviors
    for cell, labels in thrice.items():
        at_once = own_estimate([replace(label, looks=1) for label in labels], counts[cell])
        extended = own_estimate(labels, counts[cell])
        assert at_once is not None
        assert extended is not None
        assert extended.low <= at_once.low <= at_once.high < extended.high
