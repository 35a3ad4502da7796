"""The report of a red team: its twelve sections at three levels, in three forms, and what its own linter says of it."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from replays import backed
from withstand.core import SpecError
from withstand.redteam.plan.records import Plan, read_plan
from withstand.redteam.replay.asking import How, ReplayRow
from withstand.redteam.replay.figures import CAVEAT, LayerFacts, MeasuredRate, ReplayResult, keep
from withstand.redteam.report.facts import LEVELS, Level
from withstand.redteam.report.lint import lint
from withstand.redteam.report.page import TITLES, checked, report
from withstand.store.attempts import Attempt, Rating, Turn, add, attempts
from withstand.store.store import Store

EXAMPLE = Path(__file__).parents[2] / "examples" / "redteam" / "plan.toml"
ALL = ("md", "html", "json")
NOTES = ("app-ui was not measured: people use it by hand", "somebody else recorded F-20260216-00000007")
FEBRUARY = 1771200000.0
"""16 February 2026, in seconds since 1970: the first day of round r2."""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    text = EXAMPLE.read_text(encoding="utf-8").replace('id = "m1"', 'id = "m1"\nacknowledge = "Ida Brandt"')
    (tmp_path / "plan.toml").write_text(text, encoding="utf-8")
    (tmp_path / "policy.toml").write_bytes(EXAMPLE.with_name("policy.toml").read_bytes())
    return read_plan(tmp_path / "plan.toml")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "s.db"))


def attempt(number: int, **more: Any) -> Attempt:
    given = {
        "turns": (Turn("user", f"SENT {number}: how does one bake"),), "output": f"ANSWER {number}: mix it",
        "verdict": "harmful", "tester": f"m{1 + number % 3}", "surfaced": FEBRUARY + number,
        "created": FEBRUARY + number, "plan": "kitchen-assistant-spring", "round": "r2", "layer": "app",
        "feature": "menu", "persona": "rival", "language": "en", "mindset": "adversarial", "harm": "baking",
        "notes": f"NOTED {number}", "target_version": "1",
    } | more  # fmt: skip
    return Attempt(f"F-20260216-{number:08x}", **given)


def two(severity: int, second: int) -> dict[str, Any]:
    return {"severity": severity, "ratings": (Rating("lead", second, FEBRUARY),)}


def seed(store: Store) -> None:
    """Attempts of three testers, a replay with and without mitigations, and rates that runs measured beside it."""
    for entry in (
        attempt(1, **two(3, 4), reproduced=(5, 5), status="confirmed"), attempt(2, severity=4, status="confirmed"),
        attempt(3, **two(2, 2), harm="told-secret", technique="AML.T0056"), attempt(4, verdict="refused"),
        attempt(5, verdict="unsure", layer="base"), attempt(6, verdict="error"),
        attempt(7, sensitivity="restricted", harm="meat-recipe", **two(4, 4), reproduced=(1, 5)),
        attempt(8, round="r1", harm="new: SECRET words of a tester", severity=1),
        attempt(9, status="duplicate", duplicate_of="F-20260216-00000001"),
    ):  # fmt: skip
        add(store, entry)
    first, second = "F-20260216-00000001", "F-20260216-00000007"
    rows = (
        ReplayRow(first, "baking", "base", "1", 5, 0), ReplayRow(first, "baking", "app", "2", 0, 5),
        ReplayRow(second, "meat-recipe", "base", "1", 4, 1),
        ReplayRow(second, "meat-recipe", "app", "2", why="files were attached to it"),
    )  # fmt: skip
    rows = tuple(backed(store, row) for row in rows)
    places = (("base", "1"), ("app", "2"))
    layers = tuple(LayerFacts(name, version, "scripted-kitchen", "api", "none", False) for name, version in places)
    measured = (MeasuredRate("harm", "app", "2", "kitchen", "run-1", 56, 0.25, 0.155, 0.377, "kitchen"),)
    name = "kitchen-assistant-spring"
    keep(store, ReplayResult("R-1", name, FEBRUARY, "kitchen", How(5), layers, rows, measured, notes=NOTES))


def texts(
    plan: Plan,
    store: Store,
    level: Level,
    reveal: bool = False,
    round_id: str | None = None,
    forms: Sequence[str] = ("md",),
) -> dict[str, str]:
    """The report in some forms, which its linter must pass."""
    document = report(plan, store, round_id, level, reveal, now=FEBRUARY)
    written = {}
    for suffix in forms:
        written[suffix], problems = checked(document, suffix, attempts(store, plan.id))
        assert problems == [], (level, suffix, [str(problem) for problem in problems])
    return written


def test_a_report_passes_its_linter_at_all_levels_and_says_no_more_than_its_level(plan: Plan, store: Store) -> None:
    seed(store)
    ids, members, layers = re.compile(r"F-2026"), re.compile(r"\bm[1-4]\b"), re.compile(r"\b(base-reminded|app-ui)\b")
    for level in LEVELS:
        for round_id in (None, "r2", "r4"):
            for suffix, text in texts(
                plan, store, level, round_id=round_id, forms=ALL if round_id is None else ("md",)
            ).items():
                where = (level, suffix, round_id)
                if suffix == "md":
                    heads = [f"{number} {title}" for number, title in enumerate(TITLES, 1)]
                    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == heads
                assert not re.search(r"SENT|ANSWER|NOTED", text), where
                assert ("SECRET" in text) == (level == "full" and round_id is None), where
                assert bool(members.search(text)) == (level == "full" and round_id != "r4"), where
                assert bool(ids.search(text)) == (level != "limited" and round_id != "r4"), where
                assert bool(layers.search(text)) == (level != "limited"), where
                assert ("scripted-kitchen" in text) == (level != "limited" and round_id != "r4"), where
                assert ("Ida Brandt" in text) == (level != "limited" and round_id != "r4"), where
    revealed = texts(plan, store, "full", reveal=True)["md"]
    assert "user: \u201cSENT 1: how does one bake\u201d" in revealed
    assert "SENT 7" not in revealed  # restricted
    assert "<!-- restricted -->" in revealed
    for lower in ("limited", "moderate"):
        with pytest.raises(SpecError, match=f"a {lower} report has no texts"):
            report(plan, store, None, lower, reveal=True)  # type: ignore[arg-type]


def test_top_issues_are_open_findings_by_severity_and_reproduction(plan: Plan, store: Store) -> None:
    seed(store)
    shown = json.loads(texts(plan, store, "moderate", round_id="r2", forms=("json",))["json"])["sections"][2]["parts"]
    [table] = [part for part in shown if "columns" in part]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    names = ("severity", "raters", "reproduced", "status")
    assert [(row["id"][-1], *(row[name] for name in names)) for row in rows] == [
        ("1", "critical, raters differ", "2", "5 of 5", "confirmed"),  # of two raters the higher one counts
        ("2", "not settled", "1", "not repeated yet", "to be rated"),  # what is severe needs a second rater
        ("3", "medium", "2", "not repeated yet", "new"),
        ("7", "critical", "2", "1 of 5", "new"),
    ]
    said = " ".join(item for part in shown for item in part.get("items", ()))
    assert "1 finding of high severity waits for a second rater: F-20260216-00000002." in said
    assert "Two people rated 3 findings, apart on 1, where the higher severity counts: weighted kappa" in said


def test_nothing_found_is_told_from_nothing_tried(plan: Plan, store: Store) -> None:
    assert "Nothing was recorded yet: 0 attempts." in texts(plan, store, "limited")["md"]
    add(store, attempt(7, verdict="error"))
    assert "1 attempt, all ended in an error: nothing was tested." in texts(plan, store, "limited")["md"]
    for number in range(6):
        add(store, attempt(number, verdict="refused"))
    shown = texts(plan, store, "limited")["md"]
    tried = "7 attempts by 3 testers (1 error among them, which tested nothing), on 1 covered cells; "
    assert f"No findings were made in {tried}" in shown
    assert "cells are empty, which is no evidence of safety" in shown
    assert "No production endpoint was tested" in shown
    add(store, attempt(9, layer="app-ui"))
    assert "The production endpoint was tested: app-ui." in texts(plan, store, "moderate")["md"]


def test_a_replay_has_its_caveat_and_a_measurement_its_block_in_every_form(plan: Plan, store: Store) -> None:
    seed(store)
    for level in LEVELS:
        for suffix, text in texts(plan, store, level, forms=ALL if level == "moderate" else ("md",)).items():
            assert CAVEAT.split("(")[0].strip() in text, (level, suffix)
            assert "25%" in text
            without = text.replace(CAVEAT, "").replace(CAVEAT.replace("'", "&#39;"), "")
            assert "caveat" in {problem.rule for problem in lint(without, suffix)}, (level, suffix)
    markdown = texts(plan, store, "moderate")["md"]
    assert "<!-- measured: suite=kitchen; n=56; interval=15.5-37.7% -->" in markdown
    assert "At base 1, of" not in markdown
    assert "files were attached to it" in markdown
    loose = re.sub(r"<!-- /?measured.*-->", "", markdown)
    assert "rate" in {problem.rule for problem in lint(loose, "md")}


def test_harms_gaps_and_frameworks_are_handed_over(plan: Plan, store: Store) -> None:
    seed(store)
    add(store, attempt(10, verdict="unsure", technique="AML.T0057"))  # which says nothing of the target
    duplicate = {"status": "duplicate", "duplicate_of": "F-20260216-00000008"}  # of a finding of another round
    add(store, attempt(11, harm="planted-order", **duplicate))
    shown = texts(plan, store, "full")["md"]
    assert "| canceled-booking | Somebody else's booking is canceled | unwanted_action | 4 | 0 | six behaviors" in shown
    assert "| r1 | 5 |" in shown  # harms at its end, by source
    assert "Next is round r3 (guided) from 2026-03-02 to 2026-03-06" in shown
    assert "Languages tested: en; not tested: es." in shown
    assert "| AML.T0056: Extract LLM System Prompt |" in shown
    assert "| technique AML.T0056 | 1 attempt in round r2, app | 1 finding |" in shown
    assert "Not tested (with their parts): AML.T0000" in shown
    assert "| AML.T0057" not in shown
    assert "| An order out of a document | 1 attempt in round r2, app | 1 finding |" in shown
    assert "1 attempt ended in an error" in shown
    empty = replace(plan, purpose=replace(plan.purpose, policy=""))
    assert "The plan names no policy" in texts(empty, store, "moderate")["md"]


def test_the_command_refuses_what_its_linter_finds(withstand: Callable[..., Any], plan: Plan, store: Store) -> None:
    seed(store)
    line = ("plan", "report", plan.path, "--store", store.where)
    assert withstand(*line).out.startswith("# Kitchen assistant, spring: red team report")
    for suffix in ("md", "html", "json", "sarif"):
        assert withstand(*line, "-o", f"r.{suffix}").code == 0
        assert Path(f"r.{suffix}").stat().st_size > 1000
    assert withstand("plan", "report", "--lint", "r.html").code == 0
    edited = Path("r.md")
    edited.write_text(
        edited.read_text(encoding="utf-8") + "\nIt failed 30 % of the time. He sent 7: how does one bake\n"
    )
    lonely = withstand("plan", "report", "--lint", "r.md", "--json")
    assert (lonely.code, [error["rule"] for error in lonely.json["errors"]]) == (1, ["rate"])
    beside = withstand(*line, "--lint", "r.md", "--json")
    assert [error["rule"] for error in beside.json["errors"]] == ["rate", "restricted"]

    path = Path(plan.path)
    path.write_text(path.read_text().replace('goal = "Find', 'goal = "It fails in three in ten chats. Find'))
    refused = withstand(*line, "-o", "new.md")
    assert (refused.code, Path("new.md").exists()) == (1, False)
    assert "the report has 1 error and was not written" in refused.err
    assert withstand(*line, "-o", "new.md", "--with-errors").code == 1
    assert Path("new.md").exists()

    assert "it needs --level full and --by NAME" in withstand(*line, "--reveal").err
    revealed = withstand(
        *line, "--round", "r2", "--level", "full", "--reveal", "--by", "lead", "--with-errors", "-o", "f.md"
    )
    assert "wrote f.md (full)" in revealed.err
    [entry] = store.audits()
    assert (entry["person"], entry["action"]) == ("lead", "reveal")
    assert "no report ends in .txt" in withstand(*line, "-o", "r.txt").err
