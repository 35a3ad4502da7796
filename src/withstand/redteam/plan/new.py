"""A commented plan.toml to start from: `plan new`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from withstand.core.taxonomy import UNCOVERED
from withstand.redteam.plan.records import SCHEMA, slug
from withstand.redteam.policy.records import Category
from withstand.registry.grammar import to_toml

LAYERS = """\
# Where members test. Two layers that differ in their mitigations alone show what these do. version, changed: of what
# is tested; blocked = "why": it cannot be reached; production = true: users meet this very one.
"""
HARMS = """\
# What they look for: the categories of the policy at first. Delete what your users cannot meet, say what each is in
# your product, with near_misses = ["..."] that are none, and add what the open round finds. likelihood: 1 rare to
# 4 expected. measured_by: a suite that measures it, or unmeasured_because: why none does.
"""
PROHIBITED = """\
# {name} is prohibited: to ask for it may itself be an offense. Add it only as lawyers tell you to, and keep no text.
"""
FEATURES = """\
# What the product does, and the users whom testers play. A feature may name its layers.
"""
MEMBERS = """\
# Who tests; the ids may stay pseudonyms. opt_out: categories or harms that they do not test; nobody asks why.
# expertise: ids of harms; disciplines: such as "medicine"; developer = true: who builds it.
"""
ROUNDS = """\
# When. The open round maps the risks with no list in hand; guided ones probe the list, in changing hands.
"""
RECORD = """\
# What testers must fill in, and may. shared: whether they see each other's attempts.
[record]
required = ["input", "output", "layer", "verdict"]
optional = ["harm", "severity", "notes", "screenshot", "persona", "language"]
shared = true
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a plan is written from. policy: as the plan names it, from its own folder.

    model, application: specs of targets; page: the address of a user interface; "" for none, but not all of them.
    benign, adversarial: members of each mindset.   hours: of each in a round.   starts: the first day.
    """

    name: str
    policy: str
    starts: date
    goal: str = ""
    domain: str = ""
    contact: str = ""
    model: str = ""
    application: str = ""
    page: str = ""
    features: tuple[str, ...] = ()
    benign: int = 2
    adversarial: int = 2
    hours: float = 2.0


def plan_text(answers: Answers, categories: Mapping[str, Category]) -> str:
    """The text of a plan whose harms are the categories of the policy; `plan check` finds no error in it."""
    parts = [_head(answers), *_layers(answers), *_harms(categories), *_features(answers), *_members(answers)]
    return "\n".join([*parts, *_rounds(answers), RECORD])


def _table(name: str, fields: Mapping[str, Any], comments: Mapping[str, str] | None = None) -> str:
    """A table of an array in TOML, empty values left out, with comments behind keys."""
    lines = [f"[[{name}]]" if "id" in fields else f"[{name}]"]
    for key, value in fields.items():
        if value not in ("", ()):
            comment = f" # {comments[key]}" if comments and key in comments else ""
            text = f"{key} = {value.isoformat()}" if isinstance(value, date) else to_toml({key: value}).rstrip("\n")
            lines.append(text + comment)
    return "\n".join(lines) + "\n"


def _head(answers: Answers) -> str:
    fields = {
        "name": answers.name, "goal": answers.goal, "contact": answers.contact, "policy": answers.policy,
        "domain": answers.domain, "content_warning": True, "break_minutes": 45, "exposure_cap": 20,
    }  # fmt: skip
    comments = {
        "contact": "whom testers ask", "domain": "what at least one member should know",
        "exposure_cap": "severe items a day that a member reads or makes, at most",
    }  # fmt: skip
    head = f'# A red team of people. `withstand plan check` says what is missing.\nschema = "{SCHEMA}"\n'
    return f"{head}\n{_table('plan', fields, comments)}"


def _layers(answers: Answers) -> Iterator[str]:
    yield LAYERS
    rows = (
        ("base", "model", answers.model, "api", "provider"),
        ("app", "application", answers.application, "api", "full"),
        ("app-ui", "application", answers.page and f"url:{answers.page.removeprefix('url:')}", "ui", "full"),
    )
    for own, kind, target, endpoint, mitigations in rows:
        if target:
            fields = {"id": own, "kind": kind, "target": target, "endpoint": endpoint, "mitigations": mitigations}
            comments = {"mitigations": "none, provider, full or a word of yours"} if own == "base" else None
            yield _table("layer", fields | {"production": False}, comments)


def _harms(categories: Mapping[str, Category]) -> Iterator[str]:
    yield HARMS
    for name, category in categories.items():
        if category.tier == "prohibited":
            yield PROHIBITED.format(name=name)
        elif name != UNCOVERED:
            fields = {
                "id": name.replace(".", "-"), "title": category.title, "definition": category.definition,
                "severity": max(1, category.severity), "likelihood": 2, "category": name,
            }  # fmt: skip
            yield _table("harm", fields)


def _features(answers: Answers) -> Iterator[str]:
    yield FEATURES
    for title in answers.features:
        yield _table("feature", {"id": slug(title), "title": title})
    yield _table("persona", {"id": "user", "mindset": "benign", "language": "en", "skill": "novice"})
    yield _table("persona", {"id": "attacker", "mindset": "adversarial", "language": "en", "skill": "security"})


def _members(answers: Answers) -> Iterator[str]:
    yield MEMBERS
    mindsets = ["benign"] * answers.benign + ["adversarial"] * answers.adversarial
    for number, mindset in enumerate(mindsets, 1):
        fields = {
            "id": f"m{number}", "mindset": [mindset], "disciplines": [], "expertise": [], "languages": ["en"],
            "hours_per_round": answers.hours, "opt_out": [],
        }  # fmt: skip
        yield _table("member", fields)


def _rounds(answers: Answers) -> Iterator[str]:
    yield ROUNDS
    targets = (("base", answers.model), ("app", answers.application), ("app-ui", answers.page))
    layers = [own for own, target in targets if target]
    last = [own for own in layers if own != "base"] or layers
    guided: dict[str, Any] = {"ramp_up_hours": 0.25, "min_per_cell": 3}
    rounds: tuple[tuple[str, str, list[str], str, dict[str, Any]], ...] = (
        ("r1", "open", layers, "Map the risks", {}),
        ("r2", "guided", layers, "Probe the list of harms", guided),
        ("r3", "guided", last, "The same, in other hands", {"rotate": True, **guided}),
    )
    for number, (own, mode, on, goal, more) in enumerate(rounds):
        starts = answers.starts + timedelta(days=14 * number)
        days = {"starts": starts, "ends": starts + timedelta(days=4)}
        fields = {"id": own, "mode": mode, **days, "layers": on, "goal": goal, **more}
        yield _table("round", fields, {"min_per_cell": "inputs that cover a cell, by two testers or more"})
