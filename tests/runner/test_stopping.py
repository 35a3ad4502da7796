"""`--stop-when-decided`: what is asked, what is not, and what reports and gates then say."""

import sys
from pathlib import Path
from typing import Any

import pytest

from withstand import api
from withstand.core import SpecError
from withstand.results import gate
from withstand.results.graded import graded
from withstand.results.limits import Limits
from withstand.stats.group_sequential import Watch

TOYS = str(Path(__file__).parent.parent / "toys")


@pytest.fixture
def ran(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(TOYS)

    def run(limit: float | None, more: Any = None, **options: Any) -> api.Run:
        sys.modules.pop("withstand_toys", None)
        import withstand_toys  # type: ignore[import-not-found,unused-ignore]

        outcomes = options.pop("outcomes", {})
        spec = withstand_toys.spec_of_outcomes(tmp_path, 120, **outcomes) | {"stop_when_decided": limit} | (more or {})
        return api.run(spec, store=tmp_path / "s.db", **options)

    return run


def test_a_clear_cell_is_stopped_and_the_others_go_on(ran):
    """`direct` sends the texts that the oracle knows; `story` always meets a refusal."""
    run = ran(0.3, {"attack": ["direct", "story"]}, outcomes={"success": range(120)})
    direct, story = run.cells
    assert direct["cases"] == direct["success"] == 20
    assert story["cases"] == 45
    watch = Watch(0.3, 120)
    assert [watch.outcome([rate] * n).answer for rate, n in ((1, 10), (1, 20), (0, 30), (0, 45))] == [
        "", "above", "", "below",
    ]  # fmt: skip
    assert direct["error"] == story["error"] == 0
    assert run.summary["run"]["state"] == "complete"
    low, high = direct["asr_interval"]
    assert (low, high) == (pytest.approx(0.025 ** (1 / 20)), 1)  # no look before it could end above
    note = "asked until its ASR, and the share that any attack broke, were above or below 0.3: 20 of 120 behaviors (20 "
    assert any(text.startswith(note) for text in direct["notes"])


def test_attacks_on_one_target_go_on_until_what_any_of_them_broke_is_decided(ran):
    """`story` alone would stop at 45, and leave the worst case open, whose limits were those of a sequence then."""
    run = ran(0.3, {"attack": ["direct", "story"]}, outcomes={"success": range(0, 120, 6)})
    direct, story = run.cells
    assert direct["cases"] == story["cases"] > 45
    path = [float(n) for n in graded(run.store, run.row)[0].columns()[0]]
    assert Watch(0.3, 120).answer((path, path)) == "below"
    [line] = gate.lines(graded(run.store, run.row), Limits(asr=0.3), [], [])
    assert (line.verdict, line.statistic, line.n) == ("PASS", "any_attack", direct["cases"])
    assert (line.low, line.high) == Watch(0.3, 120).interval((path, path)) == run.result.worst[0].interval
    assert story["asr_interval"][1] < line.high <= 0.3


def test_what_stays_open_is_asked_to_the_end(ran):
    run = ran(0.5, outcomes={"success": range(0, 120, 2)})
    assert run.cells[0]["cases"] == 120
    [line] = gate.lines(graded(run.store, run.row), Limits(asr=0.5), [], [])
    assert (line.verdict, line.more, line.why) == ("UNDECIDED", None, "still open after all behaviors of the suite")


def test_unknown_cases_count_against_either_answer(ran):
    run = ran(0.3, outcomes={"unscored": range(120)})
    assert run.cells[0]["cases"] == 120


def test_a_gate_and_the_report_have_the_interval_of_the_looks(ran):
    run = ran(0.3)
    [cell] = graded(run.store, run.row)
    [line] = gate.lines([cell], Limits(asr=0.3), [], [])
    assert line.verdict == "PASS"
    assert [line.low, line.high] == run.cells[0]["asr_interval"]
    assert line.high == pytest.approx(1 - 0.025 ** (1 / 45))


def test_a_second_call_asks_nothing_and_the_full_run_shares_its_rows(ran):
    first = ran(0.3)
    again = ran(0.3)
    assert again.row.key == first.row.key
    assert again.tally.asks == 0
    whole = ran(None)
    assert whole.row.key != first.row.key
    assert whole.tally.asks == 120 - first.cells[0]["cases"]


def test_a_cap_stops_it_and_it_goes_on(ran):
    capped = ran(0.3, max_asks=4)
    assert capped.tally.stopped == "--max-asks"
    [line] = gate.lines(graded(capped.store, capped.row), gate.Limits(asr=0.3), [], [])
    assert (line.verdict, line.firm) == ("UNDECIDED", True)
    cells = ran(0.3).cells
    assert cells == ran(0.3).cells
    assert cells[0]["error"] == 0


def test_what_cannot_be_stopped(ran, tmp_path):
    with pytest.raises(SpecError, match="searches for all behaviors together"):
        ran(0.3, {"attack": [{"use": "withstand_toys:Together"}]})
    with api.open_store(tmp_path / "s.db") as store:
        assert store.runs() == []
    with pytest.raises(SpecError, match="cannot tell when it is decided"):
        ran(0.3, shard=(1, 2))
    with pytest.raises(SpecError, match="less than 1"):
        ran(1.5)
