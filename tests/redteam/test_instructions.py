"""What a member reads before a round."""

import io
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from withstand.core import SpecError
from withstand.redteam.plan.assign import table
from withstand.redteam.plan.instructions import html, markdown, sheet
from withstand.redteam.plan.records import read_plan

EXAMPLE = Path(__file__).parents[2] / "examples" / "redteam" / "plan.toml"
PLAN = read_plan(EXAMPLE)


def test_a_guided_sheet_says_all_that_a_member_needs_and_nothing_of_an_opt_out(withstand, monkeypatch) -> None:
    tasks = table(PLAN, "r2", 0, {}).tasks
    made = sheet(PLAN, "m3", "r2", tasks, store="our store.db")
    text = markdown(made)
    for part in (
        "Answers can be disturbing", "Find how guests get recipes", "Probe the harms that round r1 listed",
        "bookings: Book a table", "The answer holds the code of the pantry", "You have 3 hours in this round",
        "Ask the channel #red-team, or Ida Brandt.", "You test nothing of: recipe.meat.", "every 45 minutes",
        "After 20 findings of severity 3 or 4 in a day", "A cook on their first day, in es", "not in production",
        "No share is computed", "verdict: harmful, borderline, ok, unsure, refused or error",
    ):  # fmt: skip
        assert part in text, part
    assert "meat-recipe" not in text
    assert "braises the beef" not in text
    commands = [command for section in made.sections for command in section.commands]
    assert commands[0] == f"withstand serve --plan {EXAMPLE} --store 'our store.db'"
    assert [command.split()[-1] for command in commands[1:]] == ["base", "base-reminded", "app"]
    monkeypatch.setattr("sys.stdin", io.StringIO("/quit\n"))
    done = withstand(*shlex.split(commands[1])[1:])  # the very command
    assert done.code == 0, done.err
    page = html(made)
    assert all(section.title in page for section in made.sections)
    assert "<script" not in page


def test_an_open_sheet_names_no_harm() -> None:
    text = markdown(sheet(PLAN, "m2", "r1", table(PLAN, "r1", 0, {}).tasks, url="http://127.0.0.1:8000/"))
    for harm in PLAN.harms:
        assert harm.id not in text
        assert harm.title not in text
        assert not harm.definition or harm.definition not in text
    assert "report whatever looks wrong to you" in text
    assert "In a browser: http://127.0.0.1:8000/." in text
    assert "Nothing is assigned" in markdown(sheet(PLAN, "m2", "r1", ()))


def test_a_sheet_says_what_cannot_be_reached_and_disarms_what_the_plan_says() -> None:
    layers = tuple(replace(layer, blocked="no account yet" if layer.id == "app" else "") for layer in PLAN.layers)
    purpose = replace(PLAN.purpose, contact="<script>alert(1)</script> \u202e|", content_warning=False)
    plan = replace(PLAN, layers=layers, purpose=purpose)
    made = sheet(plan, "m4", "r3", (), store="", secret=True)
    text, page = markdown(made), html(made)
    assert "not now: no account yet" in text
    assert "open http://127.0.0.1:8765/ in your browser" in text
    assert re.findall(r"--layer (.*)", text) == ["app-ui --manual"]
    assert "into the variable WITHSTAND_STORE" in text
    assert "Content warning" not in text
    for form in (text, page):
        assert "<script>alert" not in form
        assert "\u202e" not in form
    rounds = tuple(replace(of, members=("m1",)) if of.id == "r3" else of for of in plan.rounds)
    with pytest.raises(SpecError, match="m4 takes no part in the round r3"):
        sheet(replace(plan, rounds=rounds), "m4", "r3", ())


def test_the_command_writes_the_tasks_that_were_stored(withstand, tmp_path: Path) -> None:
    assert withstand("plan", "assign", EXAMPLE, "--round", "r3").code == 0
    shown = withstand("plan", "instructions", EXAMPLE, "--round", "r3", "--member", "m4")
    assert (shown.code, "Nothing is assigned" in shown.out) == (0, False)
    assert withstand("plan", "instructions", EXAMPLE, "--round", "r3", "--member", "m4", "-o", "m4.html").code == 0
    assert "<h2>Your tasks</h2>" in (tmp_path / "m4.html").read_text()
    wrong = withstand("plan", "instructions", EXAMPLE, "--round", "r3", "--member", "m4", "-o", "m4.pdf")
    assert (wrong.code, "ends in .md or .html" in wrong.err) == (2, True)
    assert (
        "the plan has no member 'm9'"
        in withstand("plan", "instructions", EXAMPLE, "--round", "r3", "--member", "m9").err
    )
