"""Comparisons and plans by another statistic than the mean: one outcome a behavior."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from withstand import api
from withstand.core import SpecError
from withstand.results.compare import Side
from withstand.results.comparison import compare_runs
from withstand.results.reduced import check_attacks, check_draws, counted_by

from .test_gate_statistic import cell

TOYS = str(Path(__file__).parent.parent / "toys")


def outcomes(side: Side) -> list[list[str]]:
    return [["".join(o[0] for o in b.outcomes.values()) for b in cell.behaviors.values()] for cell in side.cells]


def test_one_outcome_a_behavior_and_what_is_unknown_stays_so():
    first, second = cell("a", ["rrs", "rrr", "rru", "sr"]), cell("b", ["r", "u", "r", "r"])
    side = Side("A", (first, second))
    assert counted_by(side, "mean") is side
    assert outcomes(counted_by(side, "any_attack")) == [["s", "u", "u", "s"]]
    assert outcomes(counted_by(side, "at_k")) == [["s", "f", "u", "s"], ["f", "u", "f", "f"]]
    assert outcomes(counted_by(side, "at_k", 2)) == [["f", "f", "f", "s"], ["u", "u", "u", "u"]]  # b has one draw
    few = replace(second, behaviors={"k0": second.behaviors["k0"]})
    merged = counted_by(Side("A", (first, few)), "any_attack")
    assert outcomes(merged) == [["s", "u", "u", "u"]]  # b did not come to the others
    assert merged.cells[0].attack == "any of 2 attacks"
    for statistic, k in (("all_of_k", None), ("any_attack", 2)):
        with pytest.raises(SpecError):
            counted_by(side, statistic, k)
    with pytest.raises(SpecError, match="stops at its first success"):
        counted_by(Side("A", (replace(first, until_success=True),)), "at_k", 2)


def test_other_sets_of_attacks_are_not_compared():
    a, b = Side("A", (cell("a", ["r"]), cell("b", ["r"]))), Side("B", (cell("a", ["r"]),))
    check_attacks((a, a))
    with pytest.raises(SpecError, match="only one side faced b"):
        check_attacks((a, b))


def test_what_was_drawn_less_often_is_not_safer():
    """One model with 4 draws and with 1: any of them broke more behaviors, which says nothing of the model."""
    four, once = (Side(name, (replace(cell("a", ["r"]), samples=n),)) for name, n in (("A", 4), ("B", 1)))
    for statistic in ("any_attack", "at_k"):
        with pytest.raises(SpecError, match="A has samples 4, B 1"):
            check_draws((four, once), statistic, None)
        check_draws((four, four), statistic, None)
    check_draws((four, once), "at_k", 1)
    check_draws((four, once), "mean", None)


def test_runs_are_compared_and_planned_by_any_attack(tmp_path, monkeypatch, withstand):
    monkeypatch.syspath_prepend(TOYS)
    sys.modules.pop("withstand_toys", None)
    import withstand_toys  # type: ignore[import-not-found,unused-ignore]

    def run(name: str, revision: str, **fields: Any) -> api.Run:
        spec = withstand_toys.spec_of_outcomes(tmp_path, 40, revision, **fields)
        return api.run(
            spec | {"attack": ["direct", "withstand_toys:Words"], "benign": "none"}, store=tmp_path / "s.db", name=name
        )

    run("a", "1", success=range(12)).store.close()
    after = run("b", "2", success=[0])
    comparison = compare_runs(after.store, "a", "b", statistic="any_attack")
    [row] = comparison.rows
    assert (row.label, row.a.hits, row.b.hits, row.a.cases) == ("any of 2 attacks", 12, 1, 40)
    assert row.difference == pytest.approx(-11 / 40)
    assert len(compare_runs(after.store, "a", "b").rows) == 2
    assert "by any_attack: a behavior counts as broken if any case of any attack broke it" in comparison.notes
    where = ("--store", str(tmp_path / "s.db"), "--json")
    code, out, _ = withstand("compare", "a", "b", "--statistic", "at_k", *where)
    assert (code, json.loads(out)["statistic"], len(json.loads(out)["rows"])) == (0, "at_k", 2)
    assert withstand("compare", "a", "--by", "attack", "--statistic", "any_attack", *where)[0] == 2
    plans = json.loads(withstand("sample-size", "--from", "b", "--max-asr", "0.2", *where)[1])["plans"]
    [plan] = plans
    assert (plan["label"].rpartition(", ")[2], plan["asr"]) == ("any of 2 attacks", 1 / 40)
    plans = json.loads(withstand("sample-size", "--from", "b", "--max-asr", "0.2", "--statistic", "mean", *where)[1])
    assert len(plans["plans"]) == 2
    assert withstand("sample-size", "--asr", "0.1", "--max-asr", "0.2", "--statistic", "mean")[0] == 2
