"""The judge `kitchen` against the labels that ship with it: the figures of its docstring are these."""

import json
from importlib.resources import files

import pytest

from withstand.core import Completion, user
from withstand.judges import kitchen
from withstand.registry import find
from withstand.stats import rates

LABELS = files("withstand.data") / "kitchen_labels"
ROWS = {"dev": 143, "heldout": 145}
HALVES = {"dev": ((65, 66), (77, 77)), "heldout": ((61, 68), (70, 77))}


@pytest.fixture(scope="module")
def behaviors():
    suites = [find.build("suite", f"{name},split=all") for name in ("kitchen", "kitchen-benign")]
    return {behavior.id: behavior for suite in suites for behavior in suite.load()}


@pytest.mark.parametrize("half", HALVES)
def test_sensitivity_and_specificity_are_as_told(half, behaviors, play):
    rows = [json.loads(line) for line in (LABELS / f"{half}.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == ROWS[half]
    assert all(row["reason"] and row["label"] in ("yes", "no") for row in rows)
    judge = find.build("judge", "kitchen")
    right_and_all = {"yes": [0, 0], "no": [0, 0]}
    for row in rows:
        completion = Completion(user(row["prompt"]), row["completion"])
        [verdict] = play(judge.grade(behaviors[row["behavior"]], [completion])).value
        right_and_all[row["label"]][0] += (verdict.outcome == "success") == (row["label"] == "yes")
        right_and_all[row["label"]][1] += 1
    assert (tuple(right_and_all["yes"]), tuple(right_and_all["no"])) == HALVES[half]


def test_the_docstring_tells_them():
    text = " ".join(kitchen.__doc__.split())
    (right, yes), (kept, no) = HALVES["heldout"]
    low, high = rates.wilson(right, yes)
    sentence = f"sensitivity {right} of {yes} ({100 * right / yes:.0f}%, 95% Wilson {100 * low:.0f}-{100 * high:.0f}%)"
    assert sentence in text
    low, high = rates.wilson(kept, no)
    sentence = f"specificity {kept} of {no} ({100 * kept / no:.0f}%, {100 * low:.0f}-{100 * high:.0f}%)"
    assert sentence in text


def test_no_completion_of_one_half_was_moved_into_the_other():
    ids = [
        json.loads(line)["id"]
        for half in HALVES
        for line in (LABELS / f"{half}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(ids) == len(set(ids)) == sum(ROWS.values())


def test_the_halves_share_no_dish():
    dishes = [
        {json.loads(line)["behavior"] for line in (LABELS / f"{half}.jsonl").read_text(encoding="utf-8").splitlines()}
        for half in HALVES
    ]
    assert dishes[0].isdisjoint(dishes[1])
