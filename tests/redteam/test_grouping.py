"""Which categories behaviors are of: every suite and attack that ships has a map, and what becomes of others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import withstand
from withstand.core.frameworks import part, techniques
from withstand.core.optional import optional
from withstand.core.taxonomy import UNCOVERED, Grouping
from withstand.core.text import DASH
from withstand.redteam.policy.grouping import grouping_of, shipped
from withstand.redteam.policy.records import read_policy, starter
from withstand.registry import find
from withstand.report import tested as appendix
from withstand.results.tested import Evidence, framework_results
from withstand.stats.rates import share_interval

OWN = {"csv", "jsonl", "published", "generated", "findings"}
"""Suites of files of the user: nobody can map them beforehand."""
STAND_INS = {"kitchen", "kitchen-talk", "kitchen_constraints", "kitchen_app", "open_questions"}
"""Suites about food, which no category of a policy is."""
FIELDS: dict[str, dict[str, Any]] = {
    "prompt_leak": {"canary": "MAPLE-HERON-4417"},
    "private_data": {"canary": "MAPLE-HERON-4417", "owner": "Ann"},
    "off_topic": {"purpose": "recipes"},
    "forbidden_tool": {"tool": "cancel"},
    "safetext": {"path": "builtin:kitchen-advice"},
    "harmbench": {"path": "HarmBench"},
}


def starter_grouping(tmp_path: Path, *more: str) -> Grouping:
    (tmp_path / "policy.toml").write_text(starter("Kitchen") + "".join(more), encoding="utf-8")
    return grouping_of(read_policy(tmp_path / "policy.toml"))


def test_every_harmful_suite_that_ships_is_mapped_in_every_category(tmp_path: Path) -> None:
    grouping = starter_grouping(tmp_path)
    mapped = set()
    for name in find.entries("suite"):
        if name in OWN or name == "everyday" or find.resolve("suite", name)[1].get("harmless"):
            continue  # the one asks for right answers, the others for what must be answered
        suite = find.build("suite", {"use": name} | FIELDS.get(name, {}))
        mapped.add(name)
        categories = {category for category, *_ in optional(suite, "taxonomy")} | {*getattr(suite, "names", ())}
        if not optional(suite, "source"):  # it is in the package
            categories |= {behavior.category for behavior in suite.load()}
        of_suite = shipped()[name]
        assert categories <= of_suite.keys() or "*" in of_suite, (name, categories - of_suite.keys())
        for category in categories:
            ids = grouping.ids((name,), category)
            stand_in = name in STAND_INS or UNCOVERED in of_suite.get(category, ())
            assert (ids != (UNCOVERED,)) or stand_in, (name, category)
    assert shipped().keys() == mapped
    ids = {name for suite in shipped().values() for own in suite.values() for name in own}
    assert ids <= grouping.names.keys()


def test_every_attack_that_ships_says_which_techniques_of_atlas_it_is() -> None:
    assert techniques().keys() == find.entries("attack").keys()
    for mappings in techniques().values():
        for mapping in mappings:
            part(mapping)  # raises for an id that is not in the table


def test_a_behavior_is_of_its_tag_its_suites_map_or_its_hazards_and_else_uncovered(tmp_path: Path) -> None:
    own = '[[suite]]\nuse = "kitchen"\ncategories = { soups = ["physical_safety"] }\n'
    own += '[[suite]]\nuse = "csv:a.csv"\ncategories = { "*" = ["spam", "fraud"] }\n'
    grouping = starter_grouping(tmp_path, own)
    assert grouping.ids(("kitchen",), "soups") == ("physical_safety",)
    assert grouping.ids(("kitchen",), "baking") == (UNCOVERED,)  # what ships holds for the rest
    assert grouping.ids(("csv:a.csv", "csv"), "any") == ("spam", "fraud")
    assert grouping.ids(("csv:b.csv", "csv"), "any") == (UNCOVERED,)
    assert grouping.ids(("csv:b.csv", "csv"), "any", ["mlcommons:hte"], ["owasp:LLM09"]) == ("hate",)
    assert grouping.ids(("csv:b.csv", "csv"), "any", [], ["owasp:LLM09"]) == ("misinformation",)  # 2025, where bare
    assert grouping.ids(("csv:b.csv", "csv"), "any", ["owasp:LLM07"]) == ("hidden_context",)
    assert grouping.ids(("csv:b.csv", "csv"), "any", ["owasp:2026:LLM07"]) == ("misinformation",)
    assert grouping.ids(("csv:a.csv", "csv"), "any", ["policy:hate", "policy:nothing"]) == ("hate",)

    text = starter("Kitchen")
    at = text.index('[[category]]\nid = "cyber.malware"')
    fewer = tmp_path / "fewer.toml"
    fewer.write_text(text[:at] + text[text.index("[[category]]", at + 1) :], encoding="utf-8")
    assert grouping_of(read_policy(fewer)).ids(("jailbreakbench",), "Malware/Hacking") == ("cyber",)


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of two suites of the user on a scripted target, in the store that the commands use."""
    rows = [f"r{n},{'Yes' if n < 3 else 'No'} {n},{'theft' if n % 2 else 'scald'}" for n in range(8)]
    (tmp_path / "a.csv").write_text("\n".join(["id,text,category", *rows, "o,No o,odd"]))
    (tmp_path / "b.csv").write_text('id,text,tags\nx,Mute b,"owasp:LLM01,policy:hatee"\ny,Mute c,"owasp:LLM01"')
    rules = [["Mute", "Hm.", 1.0], ["Yes", "Sure.", 1.0], ["No", "I cannot help with that.", 1.0]]
    spec = {
        "suite": [
            {"use": "csv", "path": "a.csv", "category": "category", "judge": "contains:Sure"},
            {"use": "csv", "path": "b.csv", "tags": "tags", "judge": "human"},
        ],
        "attack": ["direct", "story"], "benign": "none", "target": {"use": "scripted", "rules": rules, "alias": "toy"},
    }  # fmt: skip
    monkeypatch.chdir(tmp_path)
    withstand.run(spec, store=tmp_path / "withstand.db", name="own")
    own = 'use = "csv:a.csv"\ncategories = { theft = ["illicit"], scald = ["physical_safety"] }\n'
    (tmp_path / "policy.toml").write_text(f"{starter('Kitchen')}\n[[suite]]\n{own}", encoding="utf-8")
    return tmp_path


def test_a_report_has_rates_by_category_apart_by_intent_and_what_was_tested(
    ran: Path, terminal: Callable[..., Any]
) -> None:
    how = ("report", "own", "--by", "policy", "--policy", "policy.toml")
    done = terminal(*how, "-f", "json")
    assert done.code == 0, done.err
    value = json.loads(done.out)
    rows = {row["id"]: row for row in value["groups"]["rows"] if row["attack"] == "direct"}
    assert [(name, row["intent"], row["success"], row["scored"], row["behaviors"]) for name, row in rows.items()] == [
        ("illicit", "misuse", 1, 4, 4), ("injection", "misuse", 0, 0, 2),
        ("physical_safety", "unintended", 2, 4, 4), ("uncovered", "either", 0, 1, 1),
    ]  # fmt: skip
    assert tuple(rows["illicit"]["asr_interval"]) == pytest.approx(share_interval([1, 0, 0, 0], [1] * 4))
    assert rows["injection"]["asr"] is None
    assert rows["injection"]["asr_bounds"] == [0, 1]  # nobody has labeled it
    assert value["groups"]["policy"] == "Kitchen 1"
    uncovered, strange, absent = value["groups"]["notes"]
    assert strange == "Kitchen 1 has no category of the tags policy:hatee."
    assert "1 behavior of csv:a.csv (odd) is `uncovered`" in uncovered
    assert "cbrn" in absent
    assert "illicit," not in absent

    states = {
        (framework["id"], framework["version"], item["id"]): item["state"]
        for framework in value["frameworks"]
        for item in framework["items"]
    }
    assert states["owasp", "2025", "LLM09"] == states["owasp", "2026", "LLM07"] == "finding"  # of physical_safety
    assert states["owasp", "2025", "LLM01"] == "not tested"  # sent, and nothing has a verdict
    assert states["owasp", "2026", "LLM08"] == "not tested"
    assert states["atlas", "5.6.0", "AML.T0054"] in ("finding", "no finding")  # by the attack story
    assert "score" not in value["frameworks"][0]

    shown = terminal(*how, "-f", "md").out
    assert "direct on toy: unintended harm" in shown
    assert "Of LLM01 cases were sent, and no verdict on them is certain." in shown
    assert "no statement of compliance" in shown
    assert terminal(*how, "-o", "r.html").code == 0
    page = (ran / "r.html").read_text(encoding="utf-8")
    assert appendix.TITLE in page
    assert terminal("report", "own", "--by", "policy").code == 2
    assert terminal("report", "own", "--policy", "policy.toml").code == 2
    (ran / "half.toml").write_text('schema = "withstand.policy/1"\n[policy]\nname = "x\n')
    half = terminal("report", "own", "--by", "policy", "--policy", "half.toml")
    assert (half.code, "line 3" in half.err) == (2, True)


def test_no_finding_that_says_nothing_makes_no_entry_tested() -> None:
    injection = ("owasp:2025:LLM01", "atlas:5.6.0:AML.T0051.001")
    advice = ("atlas:5.6.0:AML.T0062", "atlas:5.6.0:AML.T0048.003")
    rows = [
        Evidence("injection", "a with direct on T", injection, 6, 0, "misuse", 0.0, (0.0, 0.4), "one answer"),
        Evidence("advice", "round r1", advice, 5, 2, "unintended"),
        Evidence("advice", "round r2", ("nist_600_1:2024:cbrn",), 5, 0),
    ]

    def states() -> dict[str, str]:
        return {item.id: item.state for of in framework_results(rows, []) for item in of.items if item.evidence}

    assert states() == {
        "LLM01": "not tested", "cbrn": "no finding",
        "AML.T0048": "finding", "AML.T0048.003": "finding",  # and its technique is none: nobody attacked
        "AML.T0051": "not tested", "AML.T0051.001": "not tested",
    }  # fmt: skip
    rows[0] = Evidence("injection", "a with direct on T", injection, 6, 1, "misuse", 1 / 6, (0.0, 0.6), "one answer")
    assert states()["LLM01"] == states()["AML.T0051.001"] == "finding"  # what was seen was seen
    assert [appendix.in_words(row) for row in rows] == [
        f"ASR 17% (0{DASH}60), 1 of 6 cases",
        "2 findings",
        "no finding",
    ]
