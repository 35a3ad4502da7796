"""The JSON of results keeps its keys and their order: programs of users read it."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import withstand
from withstand.cli.main import cli
from withstand.report.write import render
from withstand.results.cells import CellResult, plain
from withstand.store.store import Store

GOLDEN = Path(__file__).parent.parent / "golden"

SUMMARY = "schema run provenance reused calibrations cells warnings worst advice families defenses exposure"
RUN = "name key created state spec command seconds"
PROVENANCE = "writers others targets components suites budget seed prompts sets"
CELL = (
    "index suite suite_version split judge judge_method judge_probes sampling samples target defense attack benign "
    "measures behaviors cases success failure refused filtered unscored error asr asr_interval asr_bounds "
    "asr_corrected asr_micro asr_at_k over_refusal over_refusal_interval utility asks tokens seconds cost "
    "used notes by_category shown asr_at_k_interval asr_interval_all clusters variants variance knows"
)
PARTS = {
    "judge_probes": "passed of failed",
    "asr_corrected": "rate interval identified clipped transported labels source own annotators misfit missing",
    "utility": "n rate low high",
    "used": "search answers verdicts",
    "variance": "behaviors interval draws seeds number",
}
CATEGORY = "category behaviors cases success scored asr asr_interval"
CASE = (
    "cell behavior category text context case sample completion reasoning tool_calls finish tokens outcome score why "
    "error hint spent cut chat cluster checks"
)
POINT = "cell target defense attack by spent rate low high broken at_most behaviors area forecast"
PAIR = (
    "label varied benign measures a b behaviors difference interval bounds p method p_unchanged worse better notes "
    "p_corrected says name level p_unchanged_corrected category"
)
OVERALL = (
    "measures statistic side rows behaviors a b difference interval level bounds p p_corrected p_unchanged "
    "p_unchanged_corrected method worse better says name"
)
SIDE = "run suite target defense attack judge judge_method hits scored unknown cases rate interval shown"
CHANGE = "behavior category a b cases text"
LINE = "gate cell verdict n cases rate low high limit why more firm p worse better statistic k attacks above category"


def keys(value):
    return " ".join(value)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A copy of the store of release 0.1, in the current folder."""
    for name in ("old-store.sqlite", "baseline.json"):
        shutil.copy(GOLDEN / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    with Store("old-store.sqlite") as opened:
        opened.marks.trust()
    return "old-store.sqlite"


def printed(store, *args):
    return json.loads(CliRunner().invoke(cli, [*args, "--json", "--store", store]).stdout)


def test_a_summary(store):
    summary = withstand.load("kitchen", store).summary
    assert keys(summary) == SUMMARY
    assert keys(summary["run"]) == RUN
    assert keys(summary["provenance"]) == PROVENANCE
    assert keys(summary["reused"]) == "rows of oldest"
    assert {keys(cell) for cell in summary["cells"]} == {CELL}
    for name, expected in PARTS.items():
        assert {keys(cell[name]) for cell in summary["cells"] if cell[name]} == {expected}, name
    assert {keys(part) for cell in summary["cells"] for part in cell["by_category"]} == {CATEGORY}
    assert json.loads(json.dumps(summary)) == summary  # lists, not tuples


def test_a_cell_is_read_as_it_was_written(store):
    for cell in withstand.load("kitchen", store).cells:
        assert plain(CellResult.from_json(cell)) == cell


def test_cases_and_the_curve_of_a_search(store):
    run = withstand.load("searches", store)
    assert {keys(case) for case in run.cases()} == {CASE}
    assert {keys(point) for point in run.within()} == {POINT}


def test_a_comparison(store):
    value = printed(store, "compare", "kitchen", "--by", "attack")
    assert keys(value) == "schema a b margin correction revealed rows notes overall statistic k policy defenses"
    assert {keys(row) for row in value["rows"]} == {PAIR}
    assert {keys(row) for row in value["overall"]} == {OVERALL}
    assert {keys(row[side]) for row in value["rows"] for side in "ab"} == {SIDE}
    assert {keys(change) for row in value["rows"] for change in row["worse"] + row["better"]} <= {CHANGE}


def test_a_gate(store):
    value = printed(store, "gate", "kitchen", "--baseline", "baseline.json", "--max-worse", "0.05", "--max-asr", "0.5")
    assert keys(value) == "schema run baseline verdict exit_code lines notes names policy"
    assert {keys(line) for line in value["lines"]} == {LINE}


@pytest.mark.parametrize("form", ["html", "csv", "md", "tex"])
def test_every_report_of_a_run_with_utility_is_written(store, form):
    run = withstand.load("kitchen", store)
    assert "scripted-kitchen" in render(run.store, run.row, form)
