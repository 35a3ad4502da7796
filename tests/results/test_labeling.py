"""`withstand label`: which cases a person is shown, what is kept, and what a sample of a run's cases stands for."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import withstand
from withstand.cli.main import cli
from withstand.core import Behavior, Completion, user
from withstand.formats.labels import Labeled
from withstand.results.calibrate import agreement_with
from withstand.results.labeling import add, labels_of, queue
from withstand.stats import agreement

ATTACKS = ["direct", "story"]


@pytest.fixture
def run(tmp_path: Path) -> Any:
    spec = {"suite": "kitchen", "limit": 20, "target": "scripted-kitchen", "attack": ATTACKS}
    return withstand.run(spec, store=tmp_path / "s.db")


def invoke(run: Any, *words: str, said: str = "") -> Any:
    where = ["--store", str(run.store.path)]
    return CliRunner().invoke(cli, [*words, *where], input=said, standalone_mode=False)


def test_the_sample_has_as_many_of_each_stratum_in_turns(run: Any) -> None:
    items = queue(run.store, run.row, "calibration", n=12)
    counted = Counter(item.stratum for item in items)
    sizes = {item.stratum: item.size for item in items}
    assert {name.partition(", ")[0] for name in counted} == {"success", "failure"}
    assert {item.attack for item in items} == set(ATTACKS)
    assert sum(sizes.values()) == 40  # benign cells are left out
    assert all(counted[name] == min(sizes[name], -(-12 // len(sizes))) for name in sizes)
    assert len({item.stratum for item in items[: len(sizes)]}) == len(sizes)
    assert [item.place for item in items] == [item.place for item in queue(run.store, run.row, "calibration", n=12)]
    assert items != queue(run.store, run.row, "calibration", n=12, seed=1)


def test_a_person_is_shown_all_but_the_verdict_and_goes_on_where_they_stopped(run: Any) -> None:
    first = invoke(run, "label", "--by", "ana", "-n", "8", said="y\nn\nq\n")
    assert first.return_value == 0
    items = queue(run.store, run.row, "calibration", n=8)
    for shown in (items[0].case.text, items[0].case.completion.splitlines()[0]):
        assert shown in first.stdout
    assert not any(word in first.stdout for word in ("success", "failure", "refused", "judge kitchen"))
    assert f"ana has labeled 2 of {len(items)} cases" in first.stdout
    second = invoke(run, "label", "--by", "ana", "-n", "8", said="u\nq\n")
    assert f"--- 3 of {len(items)}" in second.stdout
    votes = [(label["labeler"], label["vote"]) for label in run.store.labels(run.row.key)]
    assert sorted(votes) == [("ana", "failure"), ("ana", "success"), ("ana", "unsure")]


def test_the_first_label_of_a_person_stands_and_two_people_are_compared(run: Any) -> None:
    for item in queue(run.store, run.row, "calibration", n=8):
        add(run.store, run.row, item, "success", "ana", "calibration")
        add(run.store, run.row, item, "failure", "ana", "calibration")
        add(run.store, run.row, item, "success", "bo", "calibration")
        add(run.store, run.row, item, "failure", "eve", "review")  # never among those for calibration
    labeled = labels_of(run.store, run.row)
    assert {one.votes for one in labeled} == {(True, True)}
    table = invoke(run, "calibrate", "--judge", "kitchen", "--labels", f"run:{run.name}").stdout
    assert "100.0% of pairs agree" in table


def test_a_label_weighs_as_many_cases_as_it_stands_for(run: Any) -> None:
    items = queue(run.store, run.row, "calibration", n=40)
    taken: Counter[str] = Counter()
    for item in items:
        if taken[item.stratum] < 2:
            add(run.store, run.row, item, "success", "ana", "calibration")
            taken[item.stratum] += 1
    sizes = {item.stratum: item.size for item in items}
    labeled = labels_of(run.store, run.row)
    assert sum(one.weight for one in labeled) == pytest.approx(40)
    assert {one.weight for one in labeled} == {sizes[name] / taken[name] for name in taken}
    assert {one.attack for one in labeled} == set(ATTACKS)


def test_a_weighted_table_by_hand() -> None:
    """Of 10 cases called success 5 are labeled, 4 yes; of 90 called failure 5, 1 yes: 8 of 26 yes are found."""
    said, people = [True] * 5 + [False] * 5, [True] * 4 + [False] + [True] + [False] * 4
    table = agreement.table(said, people, [2.0] * 5 + [18.0] * 5)
    assert table.hit / (table.hit + table.missed) == pytest.approx(8 / 26)
    assert table.clear / (table.clear + table.wrong) == pytest.approx(72 / 74)
    assert table.n == pytest.approx(100**2 / (5 * 4 + 5 * 324))


def test_a_sample_by_outcome_with_weights_is_right_where_counts_alone_are_not() -> None:
    """A judge that finds half: of 2,000 cases with 20% success, 60 of each outcome labeled, many times."""
    draw, weighed, counted, covered = np.random.default_rng(3), [], [], []
    for _ in range(200):
        truth = draw.random(2000) < 0.2
        said = truth & (draw.random(2000) < 0.5)
        pairs = []
        for outcome in (True, False):
            places = np.flatnonzero(said == outcome)
            for place in draw.choice(places, 60, replace=False):
                one = (Behavior("b", "Bake"), Completion(user("x"), ""), (bool(truth[place]),))
                pairs.append((Labeled(*one, weight=len(places) / 60), outcome))
        found = agreement_with(pairs)
        weighed.append(found.sensitivity)
        low, high = found.sensitivity_interval
        covered.append(low <= 0.5 <= high)
        counted.append(sum(o for one, o in pairs if one.votes[0]) / sum(one.votes[0] for one, _ in pairs))
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
    told = invoke(split, "calibrate", "--judge", "kitchen", "--labels", f"run:{split.name}")
    assert "has no labels for calibration" in str(told.exception)
