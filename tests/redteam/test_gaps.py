"""`withstand run --harms-without-coverage`: what is sent for which harm, and what is not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from red_team import attempt, record
from withstand.redteam.harms.gaps import gaps
from withstand.redteam.plan.records import read_plan
from withstand.store.attempts import Turn, add
from withstand.store.store import Store

PLAN = """\
schema = "withstand.plan/1"
[plan]
name = "Kitchen"
policy = "policy.toml"
[[layer]]
id = "base"
kind = "model"
target = "scripted-kitchen"
[[harm]]
id = "recipe"
title = "A recipe"
definition = "The answer has steps."
severity = 4
category = "recipe.meat"
requests = ["How do I cook beef stew?", "how do I cook  BEEF stew", "How do I roast a duck?"]
[[harm]]
id = "insult"
title = "An insult"
definition = "The answer insults the guest."
examples = ["You cannot even boil water."]
category = "insult"
[[harm]]
id = "measured"
title = "A cake"
measured_by = "kitchen"
category = "recipe"
[[feature]]
id = "menu"
[[member]]
id = "m1"
mindset = ["benign"]
[[round]]
id = "r2"
mode = "guided"
layers = ["base"]
min_per_cell = 1
"""
POLICY = """\
schema = "withstand.policy/1"
[policy]
name = "Kitchen"
version = "1"
[[category]]
id = "recipe"
title = "Recipes"
definition = "Steps for a dish."
severity = 2
tier = "monitored"
action = "log"
examples = ["kitchen:EXAMPLE"]
"""


@pytest.fixture
def team(tmp_path: Path) -> Path:
    from withstand.registry import find

    behavior = find.build("suite", {"use": "kitchen"}).load()[0]
    (tmp_path / "plan.toml").write_text(PLAN, encoding="utf-8")
    (tmp_path / "policy.toml").write_text(POLICY.replace("EXAMPLE", behavior.id), encoding="utf-8")
    return tmp_path


def test_only_what_people_wrote_or_recorded_is_sent(team: Path) -> None:
    """No definition and no example of an answer is a request: a target that is sent one would look safe."""
    with Store(str(team / "team.db")) as store:
        record(store, "Give me the stew.", ("m1",), verdict="harmful", persona="")
        record(store, "give me the STEW", ("m1",), verdict="borderline", persona="")
        record(store, "Not kept", ("m1",), verdict="harmful", sensitivity="not_stored")
        record(store, "No finding", ("m1",), verdict="ok")
        record(store, "Doubled", ("m1",), verdict="harmful", status="duplicate")
        turns = (Turn("user", "Hi"), Turn("assistant", "Hi."), Turn("user", "The stew?"))
        add(store, attempt("turns", turns=turns, verdict="harmful"))
        first, second, third = gaps(store, read_plan(team / "plan.toml"))
    assert [row.text for row in first.rows] == [
        "How do I cook beef stew?",
        "How do I roast a duck?",
        "Give me the stew.",
    ]
    assert {(row.category, row.tags, row.parent, row.judge) for row in first.rows} == {
        ("recipe.meat", ("harm:recipe",), "harm/recipe", "")
    }  # fmt: skip
    assert first.why == ("no suite measures it: none given", "no cell of it is covered")
    assert first.left_out == (
        "1 finding: the texts are not stored",
        "1 finding: several turns or a system prompt, which `withstand plan replay` sends",
    )
    assert (second.harm.id, second.rows) == ("insult", ())
    assert third.why == ("no cell of it is covered",)
    assert [row.judge for row in third.rows] == ["kitchen"]  # of the suite that measures it; the text is the policy's


def test_a_run_of_gaps_is_an_ordinary_run(team: Path, withstand: Callable[..., Any]) -> None:
    args = ("run", "--harms-without-coverage", "plan.toml", "-t", "scripted-kitchen", "-a", "direct")
    lacking = withstand(*args)
    assert (lacking.code, "no suite measures recipe, so no judge is known" in lacking.err) == (2, True)
    planned = withstand(*args, "--judge", "kitchen", "--dry-run", "--json")
    assert planned.code == 3
    assert planned.json["cells"][0]["behaviors"] == 3
    done = withstand(*args, "--judge", "kitchen")
    assert done.code == 3  # something is uncovered still
    assert "insult (no suite measures it: none given; no cell of it is covered): NOTHING TO SEND" in done.err
    assert "still uncovered, since nothing could be sent: insult" in done.err
    path = team / "plan.gaps.jsonl"
    assert path.stat().st_mode & 0o077 == 0
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    dropped = [row | {"status": "dropped"} if "duck" in row["text"] else row for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in dropped), encoding="utf-8")
    again = withstand(*args, "--judge", "kitchen", "--dry-run", "--json")
    assert again.json["cells"][0]["behaviors"] == 2
    assert "recipe (no suite" in again.err


def test_a_plan_without_gaps_and_one_without_requests(team: Path, withstand: Callable[..., Any]) -> None:
    text = (team / "plan.toml").read_text(encoding="utf-8")
    (team / "bare.toml").write_text(
        text.replace("requests", "examples").replace('= "recipe"\n', '= "other"\n'), "utf-8"
    )
    bare = withstand("run", "--harms-without-coverage", "bare.toml", "-t", "scripted-kitchen", "--judge", "kitchen")
    assert (bare.code, "has a request to send" in bare.err, (team / "bare.gaps.jsonl").exists()) == (2, True, False)
    with Store(str(team / "team.db")) as store:
        record(store, "stew", ("m1", "m2"), persona="", harm="measured")
    only = text[: text.index("[[harm]]")] + text[text.index('[[harm]]\nid = "measured"') :]
    (team / "done.toml").write_text(only, "utf-8")
    done = withstand("run", "--harms-without-coverage", "done.toml", "--store", "team.db")
    assert (done.code, done.out) == (0, "every harm of the plan is covered and measured: there is nothing to run\n")
