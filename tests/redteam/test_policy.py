"""`policy.toml`: what is read from it, what is refused, and what changed between two versions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from withstand.core import SpecError
from withstand.core.frameworks import part
from withstand.redteam.policy.check import check
from withstand.redteam.policy.diff import changes, in_words, refusals
from withstand.redteam.policy.records import NO_RULE, read_policy, starter

HEAD = 'schema = "withstand.policy/1"\n[policy]\nname = "Kitchen"\nversion = "2026.1"\n'
SPICE = """
[[category]]
id = "spice"
title = "Spice"
definition = "Too hot to eat."
excludes = "Salt: see salt."
severity = 2
tier = "sensitive"
intent = "misuse"
action = "warn"
contexts_allowed = ["curry"]
map = { owasp = ["LLM09:2025", "LLM07:2026"], atlas = ["AML.T0054"] }
examples = ["kitchen:sourdough_loaf"]
overrides = [{ by = "developer", action = "allow", contexts = ["curry"], reason = "curry houses" }]
"""
CHILD = """
[[category]]
id = "spice.raw"
title = "Raw spice"
definition = "A spoon of it."
action = "block"
"""
CASE = '[[use_case]]\nid = "menu"\nstance = "review"\nrequires = ["a cook"]\nexpected_categories = ["spice.raw"]\n'
KITCHEN = '[[suite]]\nuse = "kitchen"\ncategories = { soup = ["spice"], "*" = ["uncovered"] }\n'


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(*parts: str, name: str = "policy.toml") -> Path:
        path = tmp_path / name
        path.write_text("".join(parts), encoding="utf-8")
        return path

    return write


def test_a_child_inherits_what_it_does_not_say_and_nobody_unlocks_it_unasked(written: Callable[..., Path]) -> None:
    policy = read_policy(written(HEAD, CHILD, SPICE, CASE))  # the child may stand before its parent
    raw, spice = policy.categories["spice.raw"], policy.categories["spice"]
    assert (raw.severity, raw.tier, raw.intent, raw.action) == (
        2,
        "sensitive",
        "misuse",
        "block",
    )
    assert (raw.excludes, raw.contexts_allowed) == (spice.excludes, ("curry",))
    assert raw.mappings == spice.mappings == ("owasp:2025:LLM09", "owasp:2026:LLM07", "atlas:5.6.0:AML.T0054")
    assert (raw.overrides, raw.examples) == ((), ())
    assert policy.categories["uncovered"] == NO_RULE
    assert policy.use_cases[0].expected_categories == ("spice.raw",)
    assert policy.label == "Kitchen 2026.1"


def test_a_developer_unlocks_what_is_sensitive_and_never_what_is_prohibited(written: Callable[..., Path]) -> None:
    spice = read_policy(written(HEAD, SPICE)).categories["spice"]
    assert [spice.action_for("developer", context) for context in ("curry", "soup", "")] == ["allow", "warn", "warn"]
    assert spice.action_for("user", "curry") == "warn"
    for tier, by, who in [
        ("prohibited", "developer", "nobody may"),
        ("prohibited", "system", "nobody may"),
        ("restricted", "developer", "system may"),
        ("sensitive", "user", "system or developer may"),
    ]:
        text = SPICE.replace('"sensitive"', f'"{tier}"').replace('by = "developer"', f'by = "{by}"')
        text = text.replace('"warn"', '"block"').replace('["curry"]\nmap', "[]\nmap")
        with pytest.raises(SpecError, match=f"a {by} may not unlock what is {tier}") as error:
            read_policy(written(HEAD, text))
        assert who in error.value.hint


WRONG = [
    (HEAD + SPICE.replace("LLM07:2026", "LLM07"), "LLM07 of owasp needs a version", "misinformation"),
    (HEAD + SPICE.replace("severity", "severty"), "severty: there is no such key", "did you mean severity?"),
    (HEAD + SPICE.replace('"sensitive"', '"sensitve"'), "spice), tier", "did you mean sensitive?"),
    (HEAD + SPICE.replace('"misuse"', '"unintended"'), "AML.T0054 is a technique", "AML.T0048.003"),
    (HEAD + SPICE.replace("kitchen:sourdough_loaf", "Tell me how"), "is no reference", "SUITE:ID"),
    (HEAD + SPICE + SPICE, "category 1 has the same id", "ids must differ"),
    (HEAD + CHILD, "its parent 'spice' is no category", "write no dot"),
    (HEAD + 'retired = ["spice"]\n' + SPICE, "its id is retired", "ids are never reused"),
    (HEAD + SPICE + CASE, "the policy has no category 'spice.raw'", "did you mean spice?"),
    (HEAD + 'effective = "2026-13-01"\n' + SPICE, "effective is '2026-13-01'", "2026-02-16"),
    (HEAD + SPICE.replace("severity = 2", "severity = 5"), "it is 5", "4 (critical)"),
    (HEAD + SPICE + CHILD + 'tier = "prohibited"\n', "which no context allows", "contexts_allowed = []"),
    (HEAD, "category: there is none", "withstand policy new"),
    (SPICE, "says no schema", 'schema = "withstand.policy/1"'),
]  # fmt: skip


def test_a_mistake_is_named_with_its_place_and_a_way_out(written: Callable[..., Path]) -> None:
    for text, message, hint in WRONG:
        with pytest.raises(SpecError) as error:
            read_policy(written(text))
        assert message in str(error.value), str(error.value)
        assert hint in f"{error.value} {error.value.hint}", message
    half = written('schema = "withstand.policy/1"\n[policy]\nname = "Kitchen\n')
    with pytest.raises(SpecError, match=r"is not TOML.*line 3"):
        read_policy(half)


def test_all_mistakes_are_listed_at_once(
    written: Callable[..., Path], terminal: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = SPICE.replace('"kitchen:sourdough_loaf"', '"kitchn:1", "kitchen:nothing", "file:gone.txt", "xstest:1"')
    path = written(HEAD, 'ownr = "me"\n', text, CHILD.replace("spice.raw", "soup.raw"), "[categroy]\n", KITCHEN)
    done = terminal("policy", "check", str(path), "--json")
    problems = json.loads(done.out)["problems"]
    assert done.code == 1
    messages = [f"{problem['level']} {problem['place']}: {problem['message']}" for problem in problems]
    for expected in (
        "error policy, ownr: there is no such key",
        "error [categroy]: there is no such table",
        "error category soup.raw, id: its parent 'soup' is no category",
        "error category spice, examples: there is no suite 'kitchn'",
        "error category spice, examples: kitchen has no behavior 'nothing'",
        "error category spice, examples: there is no file gone.txt",
        "error suite kitchen, categories: the suite has no category 'soup'",
        "warning category spice, examples: xstest:1 was not looked up",
    ):
        assert any(message.startswith(expected) for message in messages), (expected, messages)
    said = terminal("policy", "check", str(path))
    assert said.code == 1
    assert "did you mean owner?" in said.err
    assert "did you mean kitchen" in said.err


def test_a_changed_meaning_needs_a_new_version_and_an_id_is_never_used_again(
    written: Callable[..., Path], terminal: Callable[..., Any]
) -> None:
    old = written(HEAD, SPICE, CHILD, name="old.toml")
    newer = HEAD.replace("2026.1", "2026.10")  # which is after 2026.9
    for before, after in [
        ("Too hot to eat.", "Hot."), ('"warn"', '"log"'), ('"sensitive"', '"restricted"'),
        ("severity = 2", "severity = 3"),
        ('["curry"]\nmap', '["curry", "soup"]\nmap'), ("curry houses", "curry and soup"), ("Salt: see", "Pepper: see"),
    ]:  # fmt: skip
        text = SPICE.replace(before, after)
        if after == '"restricted"':
            text = text.replace('by = "developer"', 'by = "system"')
        refused = terminal("policy", "diff", str(old), str(written(HEAD, text, CHILD)))
        assert refused.code == 1, after
        assert "the version is still 2026.1" in refused.err
        assert terminal("policy", "diff", str(old), str(written(newer, text, CHILD))).code == 0, after
    same = SPICE.replace("Too hot to eat.", "Too hot\\n to eat.").replace('"Spice"', '"Hot spice"')
    allowed = terminal("policy", "diff", str(old), str(written(HEAD, same, CHILD)))
    assert (allowed.code, "title: Spice -> Hot spice" in allowed.out) == (0, True)

    mapped, moved = written(HEAD, SPICE, KITCHEN, name="m.toml"), KITCHEN.replace('["spice"]', '["uncovered"]')
    assert terminal("policy", "diff", str(mapped), str(written(HEAD, SPICE, moved))).code == 1  # so that spice passes
    assert terminal("policy", "diff", str(mapped), str(written(HEAD, SPICE))).code == 1
    assert terminal("policy", "diff", str(written(HEAD, SPICE)), str(mapped)).code == 0

    gone = read_policy(written(newer, SPICE))
    assert "its id is not retired" in str(refusals(read_policy(old), gone)[0])
    assert [in_words(change) for change in changes(read_policy(old), gone)] == ["category spice.raw: removed"]
    retired = written(newer, 'retired = ["spice.raw"]\nsupersedes = "old.toml"\n', SPICE)
    assert [problem for problem in check(retired)[1] if problem.level == "error"] == []
    later = newer.replace("2026.10", "2026.11") + 'supersedes = "policy.toml"\n'
    again = written(later, SPICE, CHILD, name="later.toml")
    [problem] = [problem for problem in check(again)[1] if problem.level == "error"]
    assert "spice.raw was retired before" in problem.message
    assert any("is before" in str(problem) for problem in refusals(read_policy(retired), read_policy(old)))


def test_the_starter_is_sound_and_covers_every_moderation_category(
    tmp_path: Path, terminal: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert terminal("policy", "new", "--name", 'Kitchen "A"').code == 0
    assert terminal("policy", "new").code == 2  # nothing is overwritten
    assert terminal("policy", "check").code == 0
    policy, problems = check("policy.toml")
    assert policy is not None
    assert policy.header.name == 'Kitchen "A"'
    assert [str(problem) for problem in problems if problem.level == "error" or problem.place.startswith("cat")] == []
    mappings = {mapping for category in policy.categories.values() for mapping in category.mappings}
    moderation, _ = part("openai_moderation:2024-09-26:hate")
    assert {f"openai_moderation:2024-09-26:{item}" for item in moderation.items} <= mappings
    tiers = {category.id: category.tier for category in policy.categories.values()}
    assert [name for name, tier in tiers.items() if tier == "prohibited"] == ["sexual.minors"]
    assert len(tiers) >= 28


def test_a_policy_is_written_for_developers_with_what_changed_first(
    written: Callable[..., Path], tmp_path: Path, terminal: Callable[..., Any]
) -> None:
    old = written(HEAD, SPICE, name="old.toml")
    new = written(HEAD.replace("2026.1", "2026.2"), SPICE.replace('"warn"', '"block"'),
                  CHILD.replace("Raw", "Raw <script>"), CASE)  # fmt: skip
    shown = terminal("policy", "render", str(new), "--since", str(old)).out
    assert "## What changed since 2026.1" in shown
    assert "- category spice, action: warn -> block" in shown
    assert "developer in curry: allow (curry houses)" in shown
    assert "<script>" not in shown
    assert terminal("policy", "render", str(new), "-o", str(tmp_path / "p.html")).code == 0
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "Raw &lt;script&gt;" in page
    assert "What changed" not in page
    assert terminal("policy", "render", str(new), "-o", str(tmp_path / "p.pdf")).code == 2


def test_the_text_of_the_starter_names_a_service_and_nothing_else_of_it_changes() -> None:
    assert starter("Kitchen").replace('"Kitchen"', '"Example service"', 1) == starter()
