"""What a report says of where the uncertainty of a rate comes from."""

from dataclasses import replace

import pytest

from withstand import api
from withstand.results.cells import CellResult
from withstand.results.counts import BehaviorCounts
from withstand.results.own_labels import OwnLabel, own_estimate
from withstand.results.variance import with_variance


def test_parts_are_in_the_report_and_the_sentence_where_they_are_shown(ran):
    run = ran("night", {"benign": "none", "samples": 3, "sampling": {"temperature": 1.0}}, success=[*range(20)])
    [cell] = run.result.cells
    assert CellResult.from_json(run.result.to_json()["cells"][0]).variance.draws == cell.variance.draws
    assert cell.variance.interval[0] > 0.9  # every draw of a behavior is as the others
    assert (cell.variance.seeds, cell.variance.number) == (None, 1)
    [note] = [note for note in cell.notes if "variance" in note]
    assert note.endswith("more behaviors would narrow this more than more samples")
    assert "(one seed)" in note


def counts(hits, draws, cluster=""):
    behavior = BehaviorCounts()
    behavior.counts |= {"success": hits, "failure": draws - hits}
    behavior.cluster = cluster
    return behavior


@pytest.fixture
def seeds(tmp_path):
    """Three cells whose attacks differ in their seed alone, and another one."""
    attacks = [*(f"best_of_n,n=4,seed={seed}" for seed in (1, 2)), "best_of_n,n=4", "role_play"]
    spec = {"suite": "kitchen", "limit": 2, "benign": "none", "target": "scripted-kitchen", "attack": attacks}
    return api.run(spec, store=tmp_path / "s.db")


def test_attacks_that_differ_in_their_seed_are_the_seeds_of_one(seeds):
    cells = seeds.result.cells
    assert [cell.variance and cell.variance.number for cell in cells][3] is None
    plain = [replace(cell, notes=()) for cell in cells]
    behaviors = [{place: counts(4 * (place % 2), 4, f"c{place // 2}") for place in range(20)} for _ in cells]
    shown = [*with_variance(seeds.row.plan, plain, behaviors)]
    assert [cell.variance.number for cell in shown] == [3, 3, 3, 1]
    assert shown[0].variance.seeds == 0
    assert "of the variance of the mean of 3 seeds" in shown[0].notes[0]
    assert "more behaviors, in other clusters, would narrow" in shown[0].notes[0]
    apart = [{place: counts(hits, 4) for place in range(20)} for hits in (4, 2, 0, 4)]
    shown = [*with_variance(seeds.row.plan, plain, apart)]
    assert shown[0].variance.seeds > 0.9  # all that differs are the seeds
    assert shown[0].notes == ()


def test_labels_of_a_runs_own_cases_go_by_clusters():
    labels = [OwnLabel(place, "success" if place < 8 else "failure", place < 8, (), 1) for place in range(24)]
    ends = {}
    for size in (1, 4, 24):
        seen = own_estimate(labels, {place: counts(int(place < 8), 1, f"c{place // size}") for place in range(24)})
        ends[size] = (seen.low, seen.high)
    assert ends[4][0] < ends[1][0] < ends[1][1] < ends[4][1]
    assert ends[24] == (0, 1)
