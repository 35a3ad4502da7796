"""A search told again from the store: the same steps, and no model asked."""

from typing import Any

import pytest

import withstand
from withstand.core import SpecError
from withstand.explorer.search import curve
from withstand.runner.replay import Step, Transcript, transcript
from withstand.store.tables import answer

SPEC: dict[str, Any] = {"suite": "kitchen", "limit": 3, "target": "scripted-kitchen", "benign": "none"}


def test_the_steps_are_those_of_the_run(tmp_path):
    run = withstand.run(
        {**SPEC, "attack": "best_of_n,n=6,batch=2", "until_success": "kitchen"}, store=tmp_path / "s.db"
    )
    cases = {case["behavior"]: case for case in run.cases()}
    for place, key in enumerate(run.row.plan["suites"][0]["behaviors"]):
        case = cases[run.store.behaviors([key])[key]["id"]]
        search = transcript(run.store, run.row, 0, place)
        assert search.complete
        asks = [step for step in search.steps if step.kind == "ask"]
        candidates = [step for step in search.steps if step.kind == "test case"]
        assert all(step.role == "target" for step in asks)
        sent = [[(turn.role, turn.text) for turn in step.chat] for step in candidates]
        assert [(turn["role"], turn["text"]) for turn in case["chat"]] in sent
        if case["cut"] == "success":
            assert candidates[-1].answer == case["completion"]
            assert len(asks) == case["spent"]["asks"] <= 6


def test_behind_a_defense_the_attacker_s_view_is_told(tmp_path):
    run = withstand.run({**SPEC, "attack": "best_of_n,n=2", "defense": "self_reminder"}, store=tmp_path / "s.db")
    search = transcript(run.store, run.row, 0, 0)
    assert search.complete
    assert [step.kind for step in search.steps].count("ask") == 2
    assert "responsibl" not in str(search.steps)  # what the defense adds is not what the attack sent


def test_without_its_answers_a_search_is_not_made_up(tmp_path):
    run = withstand.run({**SPEC, "attack": "best_of_n,n=2"}, store=tmp_path / "s.db")
    with run.store.engine.begin() as connection:
        connection.execute(answer.delete())
    search = transcript(run.store, run.row, 0, 0)
    assert (search.complete, search.steps) == (False, [])


def test_other_components_are_refused(tmp_path):
    run = withstand.run({**SPEC, "attack": "best_of_n,n=2"}, store=tmp_path / "s.db")
    run.row.plan["cells"][0]["keys"]["attack"] = "another"
    with pytest.raises(SpecError, match="not those that made these rows"):
        transcript(run.store, run.row, 0, 0)


def test_the_curve_of_a_loss_falls():
    search = Transcript([Step("test case", score=-loss) for loss in (3.0, 1.0, 2.0, 0.5)], loss=True)
    drawn = curve(search)
    assert (drawn["low"], drawn["high"], drawn["final"], drawn["count"]) == (0.5, 3.0, 0.5, 4)
    assert drawn["points"].split() == ["0.00,0.00", "33.33,80.00", "66.67,40.00", "100.00,100.00"]
    assert drawn["best"].split() == ["0.00,0.00", "33.33,80.00", "66.67,80.00", "100.00,100.00"]
    assert curve(Transcript([Step("test case", score=1.0)])) is None
