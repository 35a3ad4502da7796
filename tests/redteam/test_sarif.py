"""Findings in SARIF: what the schema of version 2.1.0 requires."""

import json
from typing import Any

from withstand.redteam.findings.sarif import sarif
from withstand.redteam.plan.records import Harm, Plan, Purpose, Recording
from withstand.store.attempts import Attempt, Rating, Turn

REQUIRED: dict[str, tuple[str, ...]] = {
    "document": ("version", "runs"),
    "run": ("tool",),
    "tool": ("driver",),
    "driver": ("name",),
    "rule": ("id",),
    "result": ("message",),
    "notification": ("message",),
    "invocation": ("executionSuccessful",),
    "suppression": ("kind",),
}
"""The required properties of the objects that we write, in sarif-schema-2.1.0.json (OASIS, errata 01)."""


def holds(kind: str, value: dict[str, Any]) -> dict[str, Any]:
    assert set(REQUIRED[kind]) <= value.keys(), (kind, value)
    return value


def finding(number: int, **more: Any) -> Attempt:
    given = {"harm": "recipe", "layer": "app", "feature": "menu"} | more
    return Attempt(f"F-2026-{number}", (Turn("user", "SECRET"),), "SECRET", "harmful", "m1", 0.0, 0.0, **given)


def test_findings_are_results_by_harm_and_layer_without_a_text() -> None:
    harm = Harm("recipe", "A recipe", severity=3)
    plan = Plan("plan.toml", Purpose("Kitchen"), (), (harm,), (), (), (), (), Recording())
    listed = [
        finding(1, ratings=(Rating("m1", 4, 0.0), Rating("m2", 2, 0.0))), finding(2, severity=1, status="wont_fix"),
        finding(3, harm="new: a SECRET"), finding(4, status="duplicate"), finding(5, status="fixed"),
    ]  # fmt: skip
    text = sarif("0.1", plan, listed, "redteam/plan.toml")
    assert "SECRET" not in text
    document = holds("document", json.loads(text))
    assert document["version"] == "2.1.0"
    [run] = document["runs"]
    driver = holds("driver", holds("tool", holds("run", run)["tool"])["driver"])
    rules = [holds("rule", rule) for rule in driver["rules"]]
    for invocation in run["invocations"]:
        holds("invocation", invocation)
    results = [holds("result", result) for result in run["results"]]
    assert [(result["level"], rules[result["ruleIndex"]]["id"]) for result in results] == [
        ("error", "recipe"), ("note", "recipe"), ("warning", "no-harm"),
    ]  # fmt: skip
    assert all(result["ruleId"] == rules[result["ruleIndex"]]["id"] for result in results)
    assert all(
        result["message"]["text"] and result["level"] in ("none", "note", "warning", "error") for result in results
    )
    [place] = results[0]["locations"]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "redteam/plan.toml"
    assert place["logicalLocations"][0]["fullyQualifiedName"] == "app/menu"
    assert holds("suppression", results[1]["suppressions"][0])["kind"] in ("inSource", "external")
    assert "suppressions" not in results[0]
