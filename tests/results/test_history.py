"""`withstand gate --history`: a run as one of many builds."""

from typing import Any

import pytest

from withstand import api
from withstand.core import SpecError
from withstand.results.course import course
from withstand.results.decide import decide
from withstand.results.history import builds_of
from withstand.results.limits import Limits
from withstand.stats import evalues


@pytest.fixture
def build(ran):
    def run(name: str, behaviors: int, success: Any, more: Any = None, **outcomes: Any) -> api.Run:
        return ran(name, more, behaviors, revision=name, success=success, **outcomes)

    return run


def test_each_build_adds_to_the_evidence_and_none_is_left_out(build):
    for name, success in (("nightly-1", [1]), ("nightly-2", range(30)), ("other", ())):
        build(name, 120, success)
    last = build("nightly-3", 120, [0])
    limits = Limits(asr=0.1)
    [line] = decide(last.store, last.row, limits, history="nightly-").lines
    row = evalues.builds([(1, 120), (30, 120), (1, 120)], 0.1)
    assert (line.verdict, row[2].passes) == ("PASS", True)
    assert line.why.startswith(f"build 3, 2 passed: evidence {row[2].evidence:,.3g}, {row[2].wanted:,.3g} wanted; with")
    assert line.why.endswith("every later build can pass")
    bad = build("nightly-4", 120, range(60))
    [line] = decide(bad.store, bad.row, limits, history="nightly-").lines
    assert line.verdict == "FAIL"  # as it does alone
    weak = build("nightly-5", 120, range(6))
    assert decide(weak.store, weak.row, limits, history="nightly-").lines[0].verdict == "UNDECIDED"
    builds = list(course(weak.store, builds_of(weak.store, weak.row, "nightly-"), limits))
    assert [step.alone.overall for step in builds] == ["PASS", "FAIL", "PASS", "FAIL", "UNDECIDED"]
    for step in builds:
        assert step.decided == decide(weak.store, step.run, limits, history="nightly-")
    with pytest.raises(SpecError, match="does not begin with 'weekly-'"):
        decide(weak.store, weak.row, limits, history="weekly-")
    for limit in (0.0, 1.0):
        with pytest.raises(SpecError, match="above 0 and below 1"):
            decide(weak.store, weak.row, Limits(asr=limit), history="nightly-")
    with pytest.raises(SpecError, match="neither all_of_k nor --pooled"):
        decide(weak.store, weak.row, Limits(asr=0.1, statistic="mean", pooled=True), history="nightly-")


def test_a_build_with_one_answer_to_everything_shows_nothing(build):
    """An application that failed all night breaks no behavior, and makes no later build pass."""
    build("nightly-1", 120, (), failure=range(120))
    last = build("nightly-2", 120, [0])
    [line] = decide(last.store, last.row, Limits(asr=0.1), history="nightly-").lines
    row = evalues.builds([(120, 120), (1, 120)], 0.1)
    assert line.why.startswith(f"build 2, 1 passed: evidence {row[1].evidence:,.3g}, {row[1].wanted:,.3g} wanted; with")


def test_a_dry_run_names_the_last_build_that_can_pass(withstand, tmp_path):
    (tmp_path / "rows.csv").write_text("text\n" + "".join(f"t{i}\n" for i in range(120)))
    for rows, limit, which in ((120, 0.05, "build 6 is the last that can"), (120, 0.1, "every build can"),
                               (60, 0.1, "none can")):  # fmt: skip
        (tmp_path / "withstand.toml").write_text(
            f'suite = "csv:rows.csv,id=,text=text"\ntarget = "scripted"\nattack = "direct"\njudge = "contains:x"\n'
            f"limit = {rows}\n[gate]\nmax_asr = {limit}\n"
        )
        done = withstand("run", "--dry-run")
        assert f"as nightly builds (`withstand gate --history`) with {rows} behaviors of csv: {which} pass" in done.out
    done = withstand("run", "--dry-run", "--stop-when-decided", "0.3")
    assert "nightly" not in done.out  # a watched run is no build
    assert "behaviors asked on average of 60 of csv: 30 at a true ASR of 0%" in done.out


def test_few_behaviors_show_a_drift_and_never_pass(build):
    build("n-1", 40, [0, 1])
    same = build("n-2", 40, [3])
    [line] = decide(same.store, same.row, Limits(asr=0.9), history="n-").lines
    assert line.verdict == "UNDECIDED"
    assert "fewer than 100 behaviors pass no build" in line.why
    worse = build("n-3", 40, range(25))
    [line] = decide(worse.store, worse.row, Limits(asr=0.9), history="n-").lines
    assert line.verdict == "FAIL"
    assert "20 is an alarm" in line.why
    stopped = build("n-4", 40, (), {"stop_when_decided": 0.3})
    with pytest.raises(SpecError, match="stopped cells by what they showed"):
        decide(stopped.store, stopped.row, Limits(asr=0.9), history="n-")
