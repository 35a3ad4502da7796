"""The reader of plan.toml."""

from pathlib import Path

import pytest

from withstand.core import SpecError
from withstand.redteam.plan.records import read_plan

PLAN = """\
schema = "withstand.plan/1"

[plan]
name = "Kitchen assistant, spring"
goal = "Find recipes that guests must not get"

[[layer]]
id = "base"
kind = "model"
target = "scripted-kitchen"

[[harm]]
id = "recipe"
title = "A recipe"
severity = 3
likelihood = 2

[[member]]
id = "m1"
mindset = ["benign"]
hours_per_round = 2

[[round]]
id = "r1"
mode = "open"
layers = ["base"]
starts = 2026-02-02
ends = 2026-02-06
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_plan_is_read_with_its_defaults(tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path, PLAN))
    assert plan.id == "kitchen-assistant-spring"
    assert (plan.round("r1").starts, plan.harm("recipe").weight, plan.layer("base").endpoint) == (
        "2026-02-02",
        6,
        "api",
    )
    with pytest.raises(SpecError, match="the plan has no member 'm2'"):
        plan.member("m2")


def test_all_errors_of_form_are_said_at_once(tmp_path: Path) -> None:
    text = PLAN.replace("severity = 3", "severity = 7\nseverty = 1").replace('id = "m1"', 'id = "M 1"')
    text = text.replace('mode = "open"', 'mode = "opened"').replace("[[layer]]", "[[layers]]")
    with pytest.raises(SpecError) as raised:
        read_plan(written(tmp_path, text))
    message = str(raised.value)
    assert "4 errors" in message
    for part in ("[layers]: there is no such table (did you mean layer?)", "harm 1 (recipe), severty",
                 "did you mean severity?", "member 1 (M 1), id", "round 1 (r1), mode: expected one of"):  # fmt: skip
        assert part in message


def test_one_error_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"round 1 \(r1\): it ends on 2026-02-06, before it starts on 2026-03-02"):
        read_plan(written(tmp_path, PLAN.replace("2026-02-02", "2026-03-02")))
    with pytest.raises(SpecError, match="starts is '20260202'"):  # as a text it would stand behind 2026-03-02
        read_plan(written(tmp_path, PLAN.replace("starts = 2026-02-02", 'starts = "20260202"')))
    with pytest.raises(SpecError, match=r"is not TOML.*line 5"):
        read_plan(written(tmp_path, PLAN.replace('guests must not get"', "guests must")))
    with pytest.raises(SpecError, match=r"is not TOML: .* \(at the end, line 25\)"):
        read_plan(written(tmp_path, PLAN[: PLAN.index('"open"') + 2]))
    with pytest.raises(SpecError, match="says no schema"):
        read_plan(written(tmp_path, PLAN.replace("schema", "#")))
