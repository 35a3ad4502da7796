"""Attempts as rows of a run: seen like all others, and in no rate."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from explorer_web import client, run_path
from redteam.test_plan import PLAN, written
from redteam.test_triage import finding
from withstand import api
from withstand.core import SpecError
from withstand.redteam.findings import rows, triage
from withstand.redteam.plan.records import read_plan
from withstand.report.write import render
from withstand.results import labeling
from withstand.results.by_hand import NO_RATE
from withstand.results.cases import cases
from withstand.results.decide import decide
from withstand.results.limits import Limits
from withstand.runner.rejudge import judged_by
from withstand.store.attempts import Turn, add, attempts
from withstand.store.damage import damage
from withstand.store.purge import purge
from withstand.store.store import Store

TALK = (Turn("user", "Hi"), Turn("assistant", "Hello!"), Turn("user", "And how do I make stew?"))


def test_a_round_is_a_run_without_a_rate(tmp_path: Path, withstand: Any) -> None:
    plan = read_plan(written(tmp_path, PLAN))
    with Store(str(tmp_path / "s.db")) as store:
        for entry in (
            finding(1, severity=3), finding(2, turns=TALK, tester="m2"), finding(3, verdict="ok", harm=""),
            finding(4, verdict="refused", output=""), finding(5, harm="new: soup"), finding(6, round="r2"),
            finding(7, sensitivity="not_stored"),
        ):  # fmt: skip
            add(store, entry)
        done = rows.publish(store, plan, "r1")
        assert (done.attempts, done.new, done.left_out) == (5, True, {"of no stored text": 1})
        assert not rows.publish(store, plan, "r1").new
        run = done.run
        seen = {case.behavior: case for case in cases(store, run)}
        assert [turn.text for turn in seen["F-2"].chat] == [turn.text for turn in TALK]
        assert (seen["F-1"].completion, seen["F-1"].category) == ("Brown the beef.", "recipe")
        assert seen["F-1"].why == "m1 by hand: harmful, severity 3 (high), recipe; new"
        assert damage(store) == ""
        # no count, however it is made, has a case of it
        summary = api.Run(store, run).summary
        for cell in summary["cells"]:
            assert cell["success"] == cell["failure"] == cell["refused"] == cell["filtered"] == 0
            assert NO_RATE in cell["notes"]
            rates = [value for name, value in cell.items() if name.startswith(("asr", "over_refusal"))]
            assert not any(rates), cell
        assert summary["worst"] == summary["advice"] == []
        for form in ("html", "md", "csv", "json"):
            page = render(store, run, form)
            shown = re.sub(r"<svg.*?</svg>|<style.*?</style>|<script.*?</script>|95%", "", page, flags=re.DOTALL)
            assert "%" not in shown, form
            assert form == "csv" or NO_RATE in page
        item = labeling.Item("0.0.0.0", "success", 1, "base", "by hand", seen["F-1"])
        for refused in (
            lambda: labeling.add(store, run, item, "success", "ana", "calibration"),
            lambda: decide(store, run, Limits(asr=1.0)), lambda: labeling.queue(store, run, "calibration"),
            lambda: judged_by(store, run, "kitchen"),
        ):  # fmt: skip
            with pytest.raises(SpecError, match=NO_RATE):
                refused()
        automatic = api.run({"suite": "kitchen", "limit": 2, "benign": "none", "target": "scripted-kitchen",
                             "attack": "direct"}, store=store, name="auto")  # fmt: skip
        before = automatic.summary["cells"]
        place = ("--store", store.path)
        for command in (("compare", "auto", run.name), ("gate", run.name, "--max-asr", 1),
                        ("gate", "auto", "--max-worse", 0.5, "--baseline", run.name),
                        ("run", "--name", run.name)):  # fmt: skip
            failed = withstand(*command, *place)
            assert failed.code == 2, command
            assert "by hand" in failed.err
        assert automatic.summary["cells"] == before
        triage.edit(store, "F-1", "ana", 9.0, {"status": "confirmed"})  # an edit makes another snapshot
        later = rows.publish(store, plan, "r1")
        assert (later.new, later.run.name) == (True, f"{run.name}-2")
        assert "5 attempts, as published before" in withstand(
            "plan", "findings", "publish", plan.path, "--round", "r1", *place
        ).out  # fmt: skip
        with client(Path(store.path), reveal=True) as web:
            page = web.get(run_path(web, run.name)).text
            assert "What did people try by hand" in page
            for purpose in ("review", "calibration", "breaks"):  # a label would make a rate of it
                refused = web.get(f"{run_path(web, run.name)}/label?for={purpose}")
                assert (refused.status_code, NO_RATE in refused.text) == (400, True)
            assert '<a href="/findings?round=r1">3</a>' in page
            assert all(name in web.get("/findings?round=r1").text for name in ("F-1", "F-2", "F-5"))
            assert "Brown the beef." in web.get(f"{run_path(web, run.name)}/cases").text
        for snapshot in (later.run, run):
            purge(store, snapshot, "ana")
        assert {entry.id for entry in attempts(store) if entry.purged} == {"F-1", "F-2", "F-3", "F-4", "F-5"}
        with pytest.raises(SpecError, match="no attempt of round 'r1'"):
            rows.publish(store, plan, "r1")
        with pytest.raises(SpecError, match="no round 'r9'"):
            rows.publish(store, plan, "r9")


def test_what_others_wrote_is_not_published_as_ours(tmp_path: Path) -> None:
    from hostile.stores import change

    plan = read_plan(written(tmp_path, PLAN))
    with Store(str(tmp_path / "s.db")) as store:
        for entry in (finding(1), replace(finding(2), output="No.")):
            add(store, entry)
    change(tmp_path / "s.db", "UPDATE attempt SET value = replace(value, 'No.', 'Yes') WHERE id = 'F-2'")
    with Store(str(tmp_path / "s.db")) as store:
        assert rows.publish(store, plan, "r1").left_out == {"of writers whom you do not trust in this store": 1}
