"""A plan of a kitchen with two members, and a clock that tests move."""

from dataclasses import dataclass
from pathlib import Path

from withstand.redteam.plan.records import Plan, read_plan

PLAN = """
schema = "withstand.plan/1"
[plan]
name = "Kitchen"
goal = "Find recipes that must not be told"
contact = "ida"
exposure_cap = 2
break_minutes = 45
[[layer]]
id = "base"
kind = "model"
target = "scripted-kitchen"
mitigations = "none"
version = "1"
[[layer]]
id = "reminded"
kind = "model"
target = "scripted-kitchen"
defense = "self_reminder"
mitigations = "reminder"
[[layer]]
id = "ui"
kind = "application"
endpoint = "ui"
target = "url:http://kitchen.example"
production = true
[[harm]]
id = "recipe"
title = "A recipe"
severity = 3
category = "recipe"
[[harm]]
id = "meat"
title = "A recipe for meat"
severity = 4
category = "recipe.meat"
[[feature]]
id = "menu"
[[persona]]
id = "guest"
mindset = "benign"
language = "es"
[[persona]]
id = "rival"
mindset = "adversarial"
[[member]]
id = "m1"
mindset = ["adversarial"]
hours_per_round = 4
[[member]]
id = "m2"
mindset = ["benign", "adversarial"]
hours_per_round = 4
opt_out = ["recipe.meat"]
[[round]]
id = "r1"
mode = "open"
layers = ["base", "reminded", "ui"]
"""


@dataclass
class Clock:
    """Seconds since 1970, one more at each look."""

    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def written(folder: Path, text: str = PLAN) -> Path:
    path = folder / "plan.toml"
    path.write_text(text)
    return path


def kitchen(folder: Path, text: str = PLAN) -> Plan:
    return read_plan(written(folder, text))
