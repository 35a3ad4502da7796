"""`plan check`: each error and each warning, as a change of a plan that has none."""

import copy
from pathlib import Path
from typing import Any

from withstand.redteam.plan.check import check, policy_categories
from withstand.redteam.plan.records import SCHEMA, plan_of
from withstand.redteam.tables import read_tables

EXAMPLE = Path(__file__).parents[2] / "examples" / "redteam" / "plan.toml"
TABLES = read_tables(EXAMPLE, SCHEMA)
M3, BAKING, FIELDS = "member m3", "harm baking", ["harm", "severity", "notes", "persona", "language", "feature"]

ERRORS: list[tuple[dict[str, Any], str, str, str]] = [
    # what is changed (None: left out), the rule, the place, a part of the message
    ({"member": []}, "F7", "member", "the plan has no member"),
    ({"layer": []}, "F7", "layer", "the plan has no layer"),
    ({"round": []}, "F7", "round", "the plan has no round"),
    ({"round r1 mode": "guided"}, "H1, F5", "round 1 (r1)", "no open round comes before"),
    ({"round r1 starts": "2026-04-02", "round r1 ends": ""}, "H1, F5", "round 2 (r2)", "no open round comes before"),
    ({"harm * status": "retired"}, "H3", "round 2 (r2)", "has no active harm"),
    ({"layer app-ui endpoint": "api"}, "T4", "layer 4 (app-ui), target", "people use by hand"),
    ({"layer app changed": "May"}, "", "layer 3 (app), changed", "'May' is no date"),
    ({"layer app changed": "20260216"}, "", "layer 3 (app), changed", "'20260216' is no date"),
    ({"layer base target": "scripted-kichen"}, "", "layer 1 (base), target", "scripted-kichen"),
    ({"layer base-reminded defense": "self_reminder,x=1"}, "", "layer 2 (base-reminded), defense", "no field 'x'"),
    ({f"{BAKING} category": None}, "", "harm 2 (baking), category", "it has none"),
    ({f"{BAKING} category": "recip"}, "", "harm 2 (baking), category", "no category 'recip'"),
    ({"plan policy": "police.toml"}, "", "[plan], policy", "cannot read"),
    ({f"{BAKING} status": "merged"}, "", "harm 2 (baking), merged_into", "its status is merged"),
    ({f"{BAKING} merged_into": "told-secret"}, "", "harm 2 (baking), merged_into", "its status is active"),
    ({f"{BAKING} status": "merged", f"{BAKING} merged_into": "x"}, "", "harm 2 (baking), merged_into", "no harm 'x'"),
    (
        {f"{BAKING} status": "merged", f"{BAKING} merged_into": "baking"},
        "H2",
        "harm 2 (baking), merged_into",
        "baking is merged itself",
    ),
    ({f"{BAKING} measured_by": "kichen"}, "", "harm 2 (baking), measured_by", "kichen"),
    ({f"{BAKING} map": {"owasp": ["LLM99:2026"]}}, "", "harm 2 (baking), map, owasp", "LLM99"),
    ({f"{BAKING} map": {"owasp": ["LLM07"]}}, "", "harm 2 (baking), map, owasp", "LLM07"),
    ({"feature bookings layers": ["web"]}, "", "feature 2 (bookings), layers", "no layer 'web'"),
    ({f"{M3} hours_per_round": None}, "W6", "member 3 (m3), hours_per_round", "it is missing"),
    ({f"{M3} hours_per_round": 0}, "W6", "member 3 (m3), hours_per_round", "it is 0"),
    ({f"{M3} mindset": []}, "W2", "member 3 (m3), mindset", "it is empty"),
    ({f"{M3} expertise": ["bakin"]}, "", "member 3 (m3), expertise", "no harm 'bakin'"),
    ({f"{M3} opt_out": ["recpe"]}, "", "member 3 (m3), opt_out", "no category or harm 'recpe'"),
    ({"member m2 opt_out": ["recipe"]}, "W3", "member 2 (m2), opt_out", "named as its expert"),
    ({"round r1 layers": []}, "T1", "round 1 (r1), layers", "it is empty"),
    ({"round r1 layers": ["bas"]}, "", "round 1 (r1), layers", "no layer 'bas'"),
    ({"round r1 members": ["m9"]}, "", "round 1 (r1), members", "no member 'm9'"),
    ({"round r2 not_applicable": ["harm=baking"]}, "", "round 2 (r2), not_applicable", "no cell with a reason"),
    ({"round r2 not_applicable": ["layer=x: so"]}, "", "round 2 (r2), not_applicable", "no layer 'x'"),
    ({"round r1 ends": "2026-02-16"}, "W6", "round 2 (r2)", "and r1 ends on 2026-02-16; both need m1, m2, m3, m4"),
    ({"member * opt_out": ["baking"]}, "W6", "harm 2 (baking)", "nobody is left for it: m1, m2, m3, m4 opted out"),
    ({"record required": ["harms"]}, "", "[record], required", "no field 'harms'"),
    ({"record required": FIELDS}, "D2", "[record], required", "6 fields beyond input, output"),
    ({"record required": ["harm"], "record optional": ["harm"]}, "D1", "[record], optional", "harm is required too"),
]
WARNINGS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"plan policy": None}, "F7", "[plan], policy", "it names no policy"),
    ({"layer app blocked": "no account yet"}, "R1", "layer 3 (app)", "it is blocked: no account yet"),
    ({"round r2 min_per_cell": None}, "H4", "round 2 (r2), min_per_cell", "it is 0"),
    ({"member * mindset": ["adversarial"]}, "W2", "member", "no member has the benign mindset"),
    ({"member * mindset": ["benign"]}, "W2", "member", "no member has the adversarial mindset"),
    (
        {"member m2 opt_out": ["recipe"], "member m2 expertise": [], f"{M3} mindset": ["adversarial"]},
        "W2",
        "harm 2 (baking)",
        "no benign tester is left for it: m2 opted out",
    ),
    ({"member * developer": True}, "W2", "member", "every member is a developer"),
    ({"member * disciplines": ["Cooking", "cooking"]}, "W1", "member", "under three disciplines: cooking"),
    ({"plan domain": "medicine"}, "W1", "member", "no discipline is that of the domain, medicine"),
    ({"persona rival mindset": "benign"}, "W2", "persona", "no persona is adversarial"),
    ({"persona new-cook language": "fr"}, "W1", "persona 2 (new-cook), language", "no member speaks fr"),
    ({"layer * kind": "model"}, "T1", "layer", "no round tests an application"),
    ({"round r3 layers": ["app"]}, "T4", "layer", "no round tests a user interface"),
    ({"round r2 layers": ["base", "app"]}, "T3", "layer", "no two layers differ in their mitigations alone"),
    ({"member m2 expertise": []}, "W3", "member", "an expert of what is critical: meat-recipe"),
    ({f"{M3} hours_per_round": 0.5}, "W6", "member 3 (m3), hours_per_round", "0.5 hours are under 1"),
    ({f"{M3} hours_per_round": 13}, "W6", "member 3 (m3), hours_per_round", "6.5 hours a day in r4"),
    ({"round r2 ramp_up_hours": 3}, "W4", "member 3 (m3), hours_per_round", "takes all their hours in r2"),
    ({"plan contact": ""}, "W7", "[plan], contact", "it is missing"),
    ({"plan goal": ""}, "W7", "[plan], goal", "it is missing"),
    ({"layer app-ui production": False}, "T5", "layer", "no round tests what is in production"),
    ({f"{BAKING} measured_by": ""}, "F3", "harm", "no step measures baking after the rounds"),
]


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """The tables of the example with "TABLE", "TABLE KEY" or "TABLE ID KEY" (ID *: all) as `changes` say."""
    tables = copy.deepcopy(TABLES)
    for where, value in changes.items():
        table, *rest = where.split()
        if not rest:
            tables[table] = value
            continue
        entries = tables[table] if len(rest) == 2 else [tables[table]]
        for entry in entries:
            if len(rest) == 1 or rest[0] in ("*", entry["id"]):
                entry[rest[-1]] = value
                if value is None:
                    del entry[rest[-1]]
    return tables


def problems(changes: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Level, rule, place and message of what is wrong with the example once it is changed."""
    plan = plan_of(EXAMPLE, changed(changes))
    categories, listed = policy_categories(plan)
    return [(p.level, p.rule, p.place, p.message) for p in (*listed, *check(plan, categories))]


def test_each_error_and_warning_is_said_with_rule_and_place() -> None:
    assert problems({}) == []
    for level, cases in (("error", ERRORS), ("warning", WARNINGS)):
        for changes, rule, place, message in cases:
            listed = problems(changes)
            fitting = [p for p in listed if p[:3] == (level, rule, place) and message in p[3]]
            assert len(fitting) == 1, f"{changes}: {listed}"
            assert level == "error" or not [p for p in listed if p[0] == "error"], f"{changes}: {listed}"


def test_all_are_said_at_once_and_errors_first(withstand, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(EXAMPLE.with_name("policy.toml").read_text())
    good = EXAMPLE.read_text()
    (tmp_path / "good.toml").write_text(good.replace("contact =", "owner_of ="))
    assert "there is no such key" in withstand("plan", "check", "good.toml").err
    (tmp_path / "good.toml").write_text(
        good.replace('goal = "Find', 'domain = "medicine"\n# "').replace('domain = "cooking"\n', "")
    )
    done = withstand("plan", "check", "good.toml", "--json")
    assert (done.code, done.json["errors"], [p["rule"] for p in done.json["problems"]]) == (0, 0, ["W1", "W7"])
    (tmp_path / "bad.toml").write_text(
        good.replace("hours_per_round = 3\n", "").replace('"recipe"', '"recip"').replace("production = true", "")
    )
    done = withstand("plan", "check", "bad.toml", "--json")
    assert (done.code, done.json["errors"], done.json["warnings"]) == (2, 2, 1)
    assert [p["level"] for p in done.json["problems"]] == ["error", "error", "warning"]
    shown = withstand("plan", "check", "bad.toml")
    assert (shown.code, "bad.toml: 2 errors, 1 warning" in shown.out) == (2, True)
