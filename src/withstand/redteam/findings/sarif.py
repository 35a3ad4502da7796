"""Findings in SARIF 2.1.0 (OASIS 2020), for tools that collect the results of code scanners.

A rule is a harm, a result a finding, its place the layer and the feature. No text of a finding goes with it.
"""

from collections.abc import Sequence

from withstand.core import Json, digest
from withstand.core.text import visible
from withstand.redteam.findings.triage import CLOSED
from withstand.redteam.plan.records import Harm, Plan
from withstand.report.gate import sarif_document
from withstand.store.attempts import Attempt

LEVELS = {1: "note", 2: "warning", 3: "error", 4: "error"}
"""Severity -> level. A finding that nobody rated is a warning."""
UNNAMED = Harm("no-harm", "A harm that the plan does not name", severity=2)


def sarif(version: str, plan: Plan, findings: Sequence[Attempt], artifact: str) -> str:
    """The open findings of a plan. version: of this program.   artifact: the file that results point to, relative.

    A finding that nobody will mend is a result that is suppressed.
    """
    harms = {harm.id: harm for harm in plan.harms} | {UNNAMED.id: UNNAMED}
    rules = [
        {
            "id": harm.id,
            "shortDescription": {"text": visible(harm.title) or harm.id},
            "fullDescription": {"text": visible(harm.definition or harm.title) or harm.id},
            "defaultConfiguration": {"level": LEVELS[harm.severity]},
            "properties": {"category": harm.category, "severity": harm.severity},
        }
        for harm in harms.values()
    ]
    listed = [finding for finding in findings if finding.is_finding and finding.status not in CLOSED]
    places = {harm_id: place for place, harm_id in enumerate(harms)}
    return sarif_document(version, rules, [_result(finding, harms, places, artifact) for finding in listed])


def _result(finding: Attempt, harms: dict[str, Harm], places: dict[str, int], artifact: str) -> Json:
    harm = harms.get(finding.harm, UNNAMED)
    where = "/".join(filter(None, (finding.layer or "unknown", finding.feature)))
    rated = f"severity {finding.rated}" if finding.rated else "not rated yet"
    text = f"{finding.id}: {harm.title} at {where}, {finding.verdict}, {finding.status}, {rated}"
    suppressed = {"suppressions": [{"kind": "external", "status": "accepted"}]} if finding.status == "wont_fix" else {}
    return {
        "ruleId": harm.id,
        "ruleIndex": places[harm.id],
        "level": LEVELS[finding.rated] if finding.rated else "warning",
        "message": {"text": visible(text)},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": artifact}, "region": {"startLine": 1}},
                "logicalLocations": [{"name": visible(finding.feature or where), "fullyQualifiedName": visible(where)}],
            }
        ],
        "partialFingerprints": {"finding/v1": digest([finding.id])},
        "properties": {"id": finding.id, "status": finding.status, "severity": finding.rated, "raters": finding.raters},
        **suppressed,
    }
