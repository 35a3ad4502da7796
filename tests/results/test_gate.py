"""The gate: three verdicts, what never passes, baselines, files for machines, exit codes."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binom

from withstand import api
from withstand.core import SpecError
from withstand.report import gate as gate_page
from withstand.results import baselines, gate
from withstand.results.compare import Pair
from withstand.results.decide import Decided
from withstand.results.graded import BehaviorResult, Graded
from withstand.results.labeled_pairs import LabeledPair
from withstand.results.limits import Limits
from withstand.runner import baseline
from withstand.stats import planning
from withstand.stats.group_sequential import Watch
from withstand.stats.labeled import LabeledEstimate, LabeledSide
from withstand.stats.labeled_difference import LabeledDifference
from withstand.stats.winners import clopper_pearson

TOYS = str(Path(__file__).parent.parent / "toys")


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TOYS)


def cell(outcomes: str, **labels: Any) -> Graded:
    """A cell whose behaviors have one case each: a letter an outcome (s, f, r, x filtered, u, e)."""
    names = {"s": "success", "f": "failure", "r": "refused", "x": "filtered", "u": "unscored", "e": "error"}
    behaviors = {
        f"k{i}": BehaviorResult(f"b{i}", outcomes={(0, 0): names[letter]}) for i, letter in enumerate(outcomes)
    }
    plain = {
        "run": "r", "suite": "s", "target": "t", "defense": "none", "attack": "direct", "judge": "j", "benign": False,
        "suite_version": "1", "checksum": "c", "judge_key": "j1", "judge_method": "rule", "sampling": {},
        "samples": 1, "until_success": False, "budget": {}, "identity": None, "behaviors": behaviors,
    }  # fmt: skip
    return Graded(**(plain | labels))


def asr(outcomes: str, limit: float) -> gate.Line:
    [line] = gate.lines([cell(outcomes)], Limits(asr=limit), [], [])
    return line


# --- three verdicts ----------------------------------------------------------------------------------------------


def test_the_verdict_is_that_of_the_interval():
    assert asr("r" * 100, 0.1).verdict == "PASS"
    assert asr("s" * 30 + "r" * 70, 0.1).verdict == "FAIL"
    line = asr("s" * 5 + "r" * 45, 0.1)
    assert (line.verdict, line.firm, line.n) == ("UNDECIDED", False, 50)
    assert (line.low, line.high) == pytest.approx(clopper_pearson(5, 50))
    # .9^35 = 2.503%, .9^36 = 2.25%
    assert (asr("r" * 36, 0.1).verdict, asr("r" * 35, 0.1).verdict) == ("PASS", "UNDECIDED")
    assert asr("r" * 35, 0.1).more == 36


def test_unscored_and_missing_count_against_a_pass_and_against_a_fail():
    good = "r" * 97
    assert asr(good + "uee", 0.1).verdict == "PASS"
    line = asr("r" * 85 + "u" * 8 + "e" * 7, 0.1)
    assert line.verdict == "UNDECIDED"
    assert line.rate == 0
    assert (line.low, line.high) == pytest.approx((0, clopper_pearson(15, 100)[1]))
    assert line.why.startswith("15 unscored or missing cases would decide it")
    bad = asr("s" * 30 + "u" * 70, 0.1)
    assert bad.verdict == "FAIL"
    assert bad.low == pytest.approx(clopper_pearson(30, 100)[0])


@pytest.mark.parametrize("outcomes", ["", "u", "ee", "u" * 50])
def test_what_was_not_measured_never_passes(outcomes):
    line = asr(outcomes, 0.99)
    assert (line.verdict, line.firm, line.rate) == ("UNDECIDED", True, None)
    assert gate.exit_code([line], "pass") == 3
    assert gate.exit_code([line], None) == 3
    assert gate.exit_code([line], "fail") == 1
    assert gate.exit_code([], "pass") == 3


def test_a_limit_without_cells_to_gate_is_undecided():
    benign = cell("ff", benign=True)
    assert gate.lines([benign], Limits(asr=0.5), [], [])[0].firm
    assert gate.lines([cell("rr")], Limits(over_refusal=0.5), [], [])[0].firm
    assert gate.lines([benign], Limits(worse=0.5), [], [])[0].firm


def test_over_refusal_counts_refused_and_filtered():
    [line] = gate.lines([cell("f" * 90 + "r" * 5 + "x" * 5, benign=True)], Limits(over_refusal=0.2), [], [])
    assert (line.gate, line.verdict, line.rate) == ("max-over-refusal", "PASS", 0.1)


def test_too_many_errors_are_undecided_and_no_option_lets_them_pass():
    limits = Limits(errors=0.02)
    few, many = ([cell("r" * n + "e" * (100 - n))] for n in (98, 97))
    assert gate.lines(few, limits, [], [])[0].verdict == "PASS"
    [line] = gate.lines(many, limits, [], [])
    assert (line.verdict, line.rate, line.firm) == ("UNDECIDED", 0.03, True)
    assert gate.exit_code([line], "pass") == 3


def test_exit_codes():
    good, bad, open_ = asr("r" * 100, 0.1), asr("s" * 100, 0.1), asr("r" * 9, 0.1)
    assert gate.exit_code([good], None) == 0
    assert gate.exit_code([good, bad, open_], None) == gate.exit_code([bad, open_], "pass") == 1
    assert gate.exit_code([good, open_], None) == 3
    assert gate.exit_code([good, open_], "pass") == 0
    assert gate.exit_code([good, open_], "fail") == 1


def test_an_undecided_line_says_how_many_behaviors_decide_it():
    line = asr("s" * 3 + "r" * 37, 0.1)
    assert line.more == planning.behaviors_to_decide(3, 40, 40, 0.1)
    assert line.why == f"about {line.more:,} behaviors would decide it, {line.more - 40:,} more (in 8 of 10 such runs)"
    assert "no number" in asr("r" * 50, 0.0).why


def test_cells_pooled_in_one_model_can_pass_and_none_is_excused():
    def verdicts(*outcomes: str, **limits: Any) -> list[str]:
        cells = [cell(text, attack=f"a{i}") for i, text in enumerate(outcomes)]
        lines = gate.lines(cells, Limits(asr=0.1, statistic="mean", **limits), [], [])
        assert all((line.above is None) != limits.get("pooled", False) for line in lines)
        return [line.verdict for line in lines]

    good = ["r" * 33] * 8
    assert set(verdicts(*good)) == {"UNDECIDED"}  # 0 of 33 leaves up to 10.6%
    assert set(verdicts(*good, pooled=True)) == {"PASS"}
    bad = verdicts("s" * 9 + "r" * 24, "u" * 9 + "r" * 24, *good, pooled=True)
    assert bad == ["FAIL", "UNDECIDED", *["PASS"] * 8]  # what fails alone is not helped, and unscored may be broken
    line = gate.lines(
        [cell("r" * 33, attack=f"a{i}") for i in range(8)], Limits(asr=0.1, statistic="mean", pooled=True), [], []
    )[0]
    assert line.why == "with all 8 cells, the chance of an ASR above 10% is <0.1%; alone it is UNDECIDED"
    few = [cell("r" * 8, attack=f"a{i}") for i in range(20)]  # as if one behavior in five broke always: .8^8 = 17%
    for line in gate.lines(few, Limits(asr=0.1, statistic="mean", pooled=True), [], []):
        assert (line.verdict, (line.above or 0) < 0.04) == ("UNDECIDED", True)
        assert "their mean over the cells leaves up to 33%" in line.why
    assert set(verdicts(*["r" * 30] * 8, pooled=True)) == {"UNDECIDED"}  # .9^30 = 4.2%, .9^31 = 3.8%
    assert set(verdicts(*["r" * 31] * 8, pooled=True)) == {"PASS"}
    with pytest.raises(SpecError, match="stopped cells by what they showed") as refused:
        gate.lines([cell("r" * 9, watched=True)], Limits(asr=0.1, statistic="mean", pooled=True), [], [])
    assert "leave --pooled out" in str(refused.value.hint)
    with pytest.raises(SpecError, match="--pooled decides the mean"):
        Limits(asr=0.1, pooled=True).check(None, False, True)


# --- worse than the baseline -------------------------------------------------------------------------------------


def worse(before: str, now: str, limit: float, lost: Any = ()) -> gate.Line:
    a, b = cell(before, run="before"), cell(now, run="now")
    return gate.lines([b], Limits(worse=limit), [Pair("direct", ("run",), a, b)], lost)[0]


def test_no_worse_than_before_is_a_paired_test():
    line = worse("s" * 5 + "r" * 95, "s" * 5 + "r" * 95, 0.05)
    assert (line.verdict, line.rate, line.worse, line.better, line.p) == ("PASS", 0, (), (), 1)
    line = worse("s" * 5 + "r" * 95, "r" * 5 + "s" * 30 + "r" * 65, 0.05)
    assert (line.verdict, line.rate) == ("FAIL", 0.25)
    assert (len(line.worse), line.better) == (30, ("b0", "b1", "b2", "b3", "b4"))
    line = worse("r" * 100, "s" * 9 + "r" * 91, 0.05)
    assert line.verdict == "UNDECIDED"
    assert gate_page.changed(line) == "9 behaviors newly broken, 0 newly held, p = .0039"


def test_what_the_run_lacks_counts_as_broken():
    assert worse("r" * 100, "r" * 100, 0.05).verdict == "PASS"
    line = worse("r" * 100, "r" * 80, 0.05)
    assert line.verdict == "UNDECIDED"
    assert line.high > 0.2
    assert worse("r" * 100, "r" * 80 + "e" * 20, 0.05).high == line.high
    lost = gate.lines([cell("r")], Limits(worse=0.5), [], [cell("r", attack="gcg")])
    assert [(line.cell, line.firm) for line in lost] == [("s, t, gcg", True)]


def test_a_behavior_that_the_run_lacks_weighs_as_one_however_many_cases_the_others_have():
    """20 behaviors of 10 cases, one of them lost: it may have broken, which is 5 points, and not 1 case of 191."""
    ten = {(0, sample): "refused" for sample in range(10)}
    before = cell("r" * 20)
    before = replace(before, behaviors={key: replace(b, outcomes=ten) for key, b in before.behaviors.items()})
    now = replace(before, behaviors=dict([*before.behaviors.items()][:19]))
    held = LabeledSide((LabeledEstimate(0.0, 0.0, 0.0, 200.0, 190, 0.0),))
    people = LabeledPair(LabeledDifference(held, held), (190, 190), "by one person")
    [line] = gate.lines([now], Limits(worse=0.1), [Pair("direct", (), before, now)], [], labeled=[people])
    assert line.high == pytest.approx(held.at().high + 0.05, abs=0.01)


def test_false_passes_of_no_worse_are_rare():
    """Exact, where a model is just as much worse as the limit says. No change of 39 would be seen in 13.5% of runs."""
    passed = {
        n: [k for k in range(n // 10) if worse("r" * n, "s" * k + "r" * (n - k), 0.05).verdict == "PASS"]
        for n in (39, 71, 72, 150)
    }
    assert passed == {39: [], 71: [], 72: [0], 150: [0, 1, 2]}
    assert all(binom.pmf(some, n, 0.05).sum() <= 0.025 for n, some in passed.items())


# --- through a store ---------------------------------------------------------------------------------------------


def test_a_baseline_gates_a_later_run(withstand, ran, tmp_path):
    ran("before", success=[0, 1])
    assert withstand("gate", "before", "--write-baseline", "b.json")[0] == 0
    ran("same", revision="2", success=[0, 1])
    code, out, err = withstand("gate", "same", "--baseline", "b.json", "--max-worse", "0.1", "--max-asr", "0.2")
    assert code == 0
    assert "same: PASS (2 PASS)" in out
    assert err.count("note") == err.count("the sides differ in target, and are compared as judged") == 1
    ran("later", revision="3", success=range(20))
    code, out, _ = withstand("gate", "--baseline", "b.json", "--max-worse", "0.1")
    assert code == 1
    assert "18 behaviors newly broken, 0 newly held, p <.0001" in out
    assert re.search(r"newly broken: b10, b11, .* 8 more", out)
    assert withstand("gate", "later", "--baseline", "before", "--max-worse", "0.1")[0] == 1


def test_a_baseline_file_is_small_and_holds_no_text(ran, tmp_path):
    run = ran("before", success=[3], unscored=[4])
    text = baselines.baseline_of(run.store, run.row, "2026")
    written = json.loads(text)
    assert text.count("\n") < 40 + 30
    assert "oracle" in text.lower()
    assert '"told"' not in text  # a field of the target
    assert len(text) < 40 * 250 + 1500
    (tmp_path / "b.json").write_text(text)
    side = baselines.side_of(run.store, str(tmp_path / "b.json"))
    from withstand.results.graded import graded

    [cell] = graded(run.store, run.row)
    [read] = side.cells
    assert read.columns() == read.columns(cell.behaviors) or sorted(read.behaviors) == sorted(cell.behaviors)
    assert {key: dict(behavior.outcomes) for key, behavior in read.behaviors.items()} == {
        key: dict(behavior.outcomes) for key, behavior in cell.behaviors.items()
    }
    assert replace(read, behaviors={}, identity=None) == replace(cell, behaviors={}, identity=None)
    assert written["cells"][0]["identity"]["identity"] == {"revision": "1"}


def test_frozen_cases_are_sent_again(withstand, ran, tmp_path):
    """An attack that searches finds other cases on another target; from a baseline it is sent the very same."""
    search = {"attack": [{"use": "best_of_n", "n": 1}, "direct"]}
    ran("before", more=search, success=[0], behaviors=6)
    withstand("gate", "before", "--write-baseline", "b.json")
    ran("anew", revision="2", more=search | {"seed": 5}, success=[1], behaviors=6)
    code, _, err = withstand("gate", "anew", "--baseline", "b.json", "--max-worse", "0.9")
    assert "met other test cases than in the baseline" in err
    frozen = {"attack": [], "cases_from": str(tmp_path / "b.json")}
    again = ran("again", revision="2", more=frozen, success=[0], behaviors=6)
    assert again.row.plan["draws_at"] == {"0": 1.0}  # best_of_n's are drawn as before
    code, out, err = withstand("gate", "again", "--baseline", "b.json", "--max-worse", "0.9", "--json")
    assert code == 0
    assert [line["rate"] for line in json.loads(out)["lines"]] == [0, 0]
    assert [note.startswith("the sides differ in target") for note in json.loads(out)["notes"]] == [True]


def test_frozen_cases_need_their_store(ran, tmp_path):
    run = ran("before")
    (tmp_path / "b.json").write_text(baselines.baseline_of(run.store, run.row, ""))
    with (
        api.open_store(tmp_path / "other.db") as elsewhere,
        pytest.raises(SpecError, match="lacks the test cases of 40 of 40") as error,
    ):
        baseline.given(str(tmp_path / "b.json"), elsewhere)
    assert "store merge" in error.value.hint
    changed = json.loads((tmp_path / "b.json").read_text())
    first = next(iter(changed["cells"][0]["behaviors"].values()))
    first["sent"] = "0" * 16
    (tmp_path / "b.json").write_text(json.dumps(changed))
    with pytest.raises(SpecError, match="are not those that the baseline names"):
        baseline.given(str(tmp_path / "b.json"), run.store)


def test_old_rows_of_an_unnamed_version_are_refused(withstand, ran):
    ran("first", revision="", behaviors=4)
    assert withstand("gate", "first", "--max-asr", "0.9")[0] in (0, 3)
    ran("second", revision="", behaviors=4, more={"attack": ["direct", "story"]})
    code, _, err = withstand("gate", "second", "--max-asr", "0.9")
    assert code == 2
    assert "has no revision, and 4 rows of second are from before the run" in err
    assert "--revision" in err
    ran("named", revision="1", behaviors=4)
    ran("named2", revision="1", behaviors=4, more={"attack": ["direct", "story"]})
    assert withstand("gate", "named2", "--max-asr", "0.9")[0] != 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to gate"),
        (["--junit", "j.xml", "--write-baseline", "b"], "nothing to gate"),
        (["--max-worse", "0.1"], "no baseline"),
        (["--max-worse", "0.1", "--baseline", "no.json"], "cannot read the baseline"),
        (["--max-worse", "0.1", "--baseline", "broken.json"], "is no baseline"),
        (["--max-worse", "0.1", "--baseline", "future.json"], "is format 9"),
        (["--max-worse", "0.1", "--baseline", "damaged.json"], "is a damaged baseline"),
        (["--max-worse", "0.1", "--baseline", "nobody"], "has no run 'nobody'"),
        (["--max-asr", "7"], "max-asr"),
        (["--max-asr", "0.1", "--undecided", "perhaps"], "undecided"),
    ],
)
def test_mistakes(withstand, ran, tmp_path, arguments, message):
    ran("a", behaviors=2)
    (tmp_path / "broken.json").write_text('{"x": 1}')
    (tmp_path / "future.json").write_text('{"withstand_baseline": 9}')
    (tmp_path / "damaged.json").write_text('{"withstand_baseline": 1, "run": "a", "cells": [{}]}')
    code, _, err = withstand("gate", "a", *arguments)
    assert code == 2
    assert message in err
    assert "->" in err


# --- for machines ------------------------------------------------------------------------------------------------

LINES = [
    asr("r" * 100, 0.1),
    asr("s" * 100, 0.1),
    asr("r" * 9, 0.1),
    asr("", 0.1),
    worse("r" * 100, "s" * 9 + "r" * 91, 0.05),
]


@pytest.mark.parametrize(
    ("undecided", "kinds"),
    [
        (None, ["", "failure", "error", "error", "error"]),
        ("pass", ["", "failure", "skipped", "error", "skipped"]),
        ("fail", ["", "failure", "failure", "failure", "failure"]),
    ],
)
def test_junit_has_a_test_case_per_line(undecided, kinds):
    tops = ET.fromstring(gate_page.junit(Decided("run \x1b[31m<&>", LINES, ("a note",), "", "", {}), undecided))
    [suite] = tops
    cases = suite.findall("testcase")
    assert [next((child.tag for child in case if child.tag != "system-out"), "") for case in cases] == kinds
    assert suite.findtext("system-out") == "note: a note"
    for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert tops.get(name) == suite.get(name) == str(kinds.count(kind))
    assert tops.get("tests") == "5"
    assert "n 100, rate 0% (95% 0" in suite[0].findtext("system-out")
    assert "newly broken: b0, b1" in suite[4].findtext("system-out")


def test_sarif_has_what_its_schema_requires():
    """The required properties of SARIF 2.1.0 (OASIS, sections 3.13, 3.14, 3.18, 3.19, 3.27, 3.49)."""
    decided = Decided("r", LINES, ("a note",), "", "", {})
    report = json.loads(gate_page.sarif("1.2", decided, "withstand.toml", None))
    assert report["version"] == "2.1.0"
    assert set(report) <= {"$schema", "version", "runs"}
    [run] = report["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "withstand"
    rules = [rule["id"] for rule in driver["rules"]]
    assert len(set(rules)) == len(rules) == 8
    assert [(r["ruleId"], r["level"]) for r in run["results"]] == [
        ("max-asr", "error"), ("max-asr", "warning"), ("max-asr", "warning"), ("max-worse", "warning"),
    ]  # fmt: skip
    [invocation] = run["invocations"]
    assert (invocation["executionSuccessful"], len(invocation["toolExecutionNotifications"])) == (True, 1)
    assert invocation["toolExecutionNotifications"][0]["message"]["text"] == "a note"
    strict = json.loads(gate_page.sarif("1.2", decided, "withstand.toml", "fail"))["runs"][0]["results"]
    assert {result["level"] for result in strict} == {"error"}  # as its exit code says
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["message"]["text"]
        [location] = result["locations"]
        assert location["physicalLocation"]["artifactLocation"]["uri"] == "withstand.toml"
        assert location["physicalLocation"]["region"]["startLine"] == 1
        assert all(isinstance(value, str) for value in result["partialFingerprints"].values())


def test_markdown_is_a_table_whose_cells_no_label_can_break():
    lines = (replace(LINES[0], cell="a|b\n<script>"), *LINES[1:])
    text = gate_page.markdown(Decided("r", lines, ("x",), "b.json", "", {}), "FAIL")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(lines)
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 9 for row in rows)
    assert "<script" not in text
    assert "| FAIL | max-asr | direct | 100 | 100% | 96" in text
    assert "newly broken: b0, b1" in text


def test_files_are_written(withstand, ran, tmp_path):
    ran("a", success=[0], behaviors=50)
    code, out, err = withstand(
        "gate", "--max-asr", "0.2", "--junit", "j.xml", "--sarif", "s.json", "--markdown", "m.md"
    )
    assert code == 0
    assert err.count("wrote ") == 3
    assert ET.parse(tmp_path / "j.xml").getroot().get("tests") == "1"
    assert json.loads((tmp_path / "s.json").read_text())["runs"][0]["results"] == []
    assert (tmp_path / "m.md").read_text().startswith("## withstand gate: PASS (1 PASS)")
    assert re.search(r"PASS +max-asr +direct +50 +2% +<0\.1.11% +20%", out)


def test_sarif_says_what_the_exit_code_says() -> None:
    lines = gate.lines([cell("s" * 5 + "r" * 45)], Limits(asr=0.1), [], [])
    decided, levels = Decided("r", tuple(lines), (), "", "", {}), []
    for undecided in (None, "pass", "fail"):
        [result] = json.loads(gate_page.sarif("1", decided, "s.toml", undecided))["runs"][0]["results"]
        levels.append((gate.exit_code(lines, undecided), result["level"]))
    assert levels == [(3, "warning"), (0, "note"), (1, "error")]


def test_a_baseline_that_stopped_by_what_it_showed_passes_nothing() -> None:
    limits, watch = Limits(worse=0.1), Watch(0.5, 100)
    after = cell("r" * 100)

    def line(before: Graded, now: Graded = after) -> gate.Line:
        [line] = gate.lines([now], limits, [Pair("direct", (), before, now)], [])
        return line

    assert line(cell("r" * 90)).verdict == "PASS"
    assert line(cell("r" * 100, watched=True, watch=watch)).verdict == "PASS"  # nothing was left to ask
    assert line(cell("r" * 100, watched=True)).verdict == "PASS"  # of a file
    for stopped in (cell("r" * 90, watched=True, watch=watch), cell("r" * 90, watched=True)):
        assert (line(stopped).verdict, line(stopped).firm) == ("UNDECIDED", True)
        assert "stopped early by what it showed" in line(stopped).why
    assert line(cell("r" * 90, watched=True), cell("r" * 90, watched=True, watch=watch)).verdict == "UNDECIDED"
    worse = cell("s" * 40 + "r" * 60)
    assert line(cell("r" * 90, watched=True), worse).verdict == "FAIL"


def test_a_target_that_its_training_marked_passes_no_gate_and_no_way_out_is_silent(withstand, tmp_path):
    spec = {"suite": {"use": "kitchen", "limit": 4}, "target": "scripted-kitchen", "attack": "direct", "benign": "none"}
    with api.open_store(tmp_path / "withstand.db") as store:
        other = api.run(spec | {"seed": 1}, store=store).name
        run = api.run(spec, store=store)
        store.set_beside(run.row, {**run.row.plan, "marked": {"scripted-kitchen": ["tampered"]}})
    done = withstand("gate", "--max-asr", "0.99", "--json")
    assert (done.code, {line["verdict"] for line in done.json["lines"]}) == (3, {"UNDECIDED"})
    assert "marked it as no model to ship" in done.json["lines"][0]["why"]
    said = "scripted-kitchen was tampered with to undo its guard"
    assert said in " ".join(done.json["notes"])
    assert said in withstand("report", "--format", "md").out
    assert said in withstand("export", "jsonl", run.name, "cases.jsonl").err
    assert said in withstand("export", "harmbench", run.name, "files").err
    assert said in withstand("compare", other, run.name).err
    assert withstand("bundle", run.name, "-o", "bundle").code == 0
    assert said in (tmp_path / "bundle" / "summary.json").read_text()
    assert withstand("bundle", "verify", "bundle", "--store", "withstand.db").code == 0
    assert withstand("store", "check", "withstand.db").code == 0
