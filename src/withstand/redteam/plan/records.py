"""`plan.toml`: purpose, layers, harms, features, personas, members and rounds of a red team.

After Microsoft's "Planning red teaming for large language models" (ids such as W2 in `check` are of its
recommendations, as docs/red-team-plans.md lists them).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from withstand.core import Json, SpecError, at_least
from withstand.core.taxonomy import is_under
from withstand.redteam.dates import day
from withstand.redteam.tables import Problems, check_names, named, read_tables, record_of, records_of

SCHEMA = "withstand.plan/1"
Mindset: TypeAlias = Literal["benign", "adversarial"]
MINDSETS: tuple[Mindset, ...] = ("benign", "adversarial")
ALWAYS_RECORDED = ("input", "output", "layer", "verdict")
"""What every attempt has, whatever [record] says."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """[plan]. id: its name in the store, by default from `name`.   contact: whom testers ask.   policy: a file beside
    the plan, "" for none.   jurisdictions: for reviewers.   domain: as "medicine", what members should know.

    break_minutes: after which the console suggests a break; exposure_cap: findings of severity 3 and 4 that a member
    reads or makes in a day, at most.
    """

    name: str
    id: str = ""
    goal: str = ""
    owner: str = ""
    contact: str = ""
    policy: str = ""
    domain: str = ""
    content_warning: bool = True
    jurisdictions: tuple[str, ...] = ()
    break_minutes: float = 45.0
    exposure_cap: int = 20

    def __post_init__(self) -> None:
        at_least(1, self, "break_minutes")
        at_least(0, self, "exposure_cap")


@dataclass(frozen=True, slots=True)
class Layer:
    """Where members test. target: a spec of a target, or "url:..." of a user interface that people use by hand.

    defense: a spec, "" for none.   mitigations: "none", "provider", "full" or an id of your own.   production: whether
    users meet this very one.   version, changed: of what is tested, and the ISO date of its last change (or date and
    hour): coverage from before is stale.   blocked: why it cannot be reached now, "" if it can.
    """

    id: str
    kind: Literal["model", "application"]
    target: str
    endpoint: Literal["api", "ui", "cli", "batch"] = "api"
    defense: str = ""
    mitigations: str = "none"
    production: bool = False
    system: str = ""
    version: str = ""
    changed: str = ""
    blocked: str = ""


@dataclass(frozen=True, slots=True)
class Harm:
    """What members look for. severity: 1 low to 4 critical.   likelihood: 1 rare to 4 expected in this context.

    category: an id of the policy.   examples, near_misses: of answers, harmless to print.   requests: what a user could
    ask to get it, which `run --harms-without-coverage` sends.   source: "initial", "incident", or
    "open-ended:F-..." or "guided:F-..." of the finding.   merged_into: of one with the status merged.   measured_by: a
    suite that measures it; unmeasured_because: why none does.   map: framework and version -> ids, beside the policy's.
    """

    id: str
    title: str
    definition: str = ""
    examples: tuple[str, ...] = ()
    near_misses: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()
    severity: int = 2
    likelihood: int = 2
    category: str = ""
    source: str = "initial"
    status: Literal["active", "merged", "retired"] = "active"
    merged_into: str = ""
    reason: str = ""
    measured_by: str = ""
    unmeasured_because: str = ""
    map: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("severity", "likelihood"):
            if not 1 <= getattr(self, name) <= 4:
                raise SpecError(f"{name} is {getattr(self, name)}", hint="it must be 1, 2, 3 or 4")

    @property
    def weight(self) -> int:
        """Severity by likelihood, 1 to 16: how much a cell of it counts (H5)."""
        return self.severity * self.likelihood


@dataclass(frozen=True, slots=True)
class Feature:
    """What the application does for its users. layers: which of them have it; all, if none is named."""

    id: str
    title: str = ""
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Persona:
    """A user whom testers play."""

    id: str
    mindset: Mindset
    title: str = ""
    language: str = "en"
    skill: Literal["novice", "domain", "security"] = "novice"


@dataclass(frozen=True, slots=True)
class Member:
    """A person of the team; the id may be a pseudonym. expertise: ids of harms.   hours_per_round: None: not said.

    opt_out: ids of categories (with their children) or harms that they do not test.   acknowledge: the name that
    reports may print, if they agree to that.
    """

    id: str
    mindset: tuple[Mindset, ...]
    disciplines: tuple[str, ...] = ()
    developer: bool = False
    expertise: tuple[str, ...] = ()
    languages: tuple[str, ...] = ("en",)
    hours_per_round: float | None = None
    opt_out: tuple[str, ...] = ()
    acknowledge: str = ""

    def __post_init__(self) -> None:
        if self.hours_per_round is not None:
            at_least(0, self, "hours_per_round")

    def opts_out(self, harm: Harm) -> bool:
        """Whether they test no such harm: they named it, its category, or one above its category."""
        return any(harm.id == name or is_under(harm.category, name) for name in self.opt_out)


@dataclass(frozen=True, slots=True)
class Round:
    """A round. starts, ends: ISO dates.   min_per_cell: distinct inputs that cover a cell, 0 in an open round.

    members: who takes part, all if none is named.   rotate: whether harms change hands.   ramp_up_hours: of a member
    for each harm that is new to them.   not_applicable: cells left out, each "harm=ID,feature=ID: reason".
    """

    id: str
    mode: Literal["open", "guided", "regression"]
    layers: tuple[str, ...]
    starts: str = ""
    ends: str = ""
    goal: str = ""
    members: tuple[str, ...] = ()
    rotate: bool = False
    ramp_up_hours: float = 0.0
    min_per_cell: int = 0
    priority: Literal["severity*likelihood", "severity", "likelihood"] = "severity*likelihood"
    not_applicable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        at_least(0, self, "ramp_up_hours", "min_per_cell")
        for name in ("starts", "ends"):
            if text := getattr(self, name):
                day(name, text)
        if self.starts and self.ends and self.ends < self.starts:
            raise SpecError(
                f"it ends on {self.ends}, before it starts on {self.starts}", hint="change one of the dates"
            )


@dataclass(frozen=True, slots=True)
class Recording:
    """[record]. required: beside input, output, layer and verdict.   shared: whether members see others' attempts."""

    required: tuple[str, ...] = ALWAYS_RECORDED
    optional: tuple[str, ...] = ("harm", "severity", "notes", "screenshot", "persona", "language")
    shared: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan as its file says it. path: the file."""

    path: str
    purpose: Purpose
    layers: tuple[Layer, ...]
    harms: tuple[Harm, ...]
    features: tuple[Feature, ...]
    personas: tuple[Persona, ...]
    members: tuple[Member, ...]
    rounds: tuple[Round, ...]
    recording: Recording

    @property
    def id(self) -> str:
        """What names the plan in a store."""
        return self.purpose.id or slug(self.purpose.name)

    @property
    def active(self) -> tuple[Harm, ...]:
        """The harms that are neither merged nor retired."""
        return tuple(harm for harm in self.harms if harm.status == "active")

    @property
    def in_order(self) -> tuple[Round, ...]:
        """The rounds by their dates; as the file has them where one has none."""
        dated = all(one_round.starts for one_round in self.rounds)
        return tuple(sorted(self.rounds, key=lambda one_round: one_round.starts)) if dated else self.rounds

    def layer(self, layer_id: str) -> Layer:
        return named(self.layers, layer_id, "layer", "the plan")

    def harm(self, harm_id: str) -> Harm:
        return named(self.harms, harm_id, "harm", "the plan")

    def member(self, member_id: str) -> Member:
        return named(self.members, member_id, "member", "the plan")

    def members_of(self, one_round: Round) -> tuple[Member, ...]:
        """Who takes part in a round."""
        return tuple(member for member in self.members if not one_round.members or member.id in one_round.members)

    def check_part(self, member: Member, one_round: Round) -> None:
        """Raise `SpecError` for a member who takes no part in a round."""
        if member not in self.members_of(one_round):
            raise SpecError(
                f"{member.id} takes no part in the round {one_round.id}",
                hint=f"members: {', '.join(one_round.members)}",
            )

    def round(self, round_id: str) -> Round:
        return named(self.rounds, round_id, "round", "the plan")


def slug(text: str) -> str:
    """An id made of a name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "plan"


def read_plan(path: str | Path) -> Plan:
    """The plan in a file. Raises `SpecError` with every error of form: unknown keys, wrong types, ids that repeat.

    What a plan should have, and references between its tables, are `plan_check`'s.
    """
    return plan_of(path, read_tables(path, SCHEMA))


def plan_of(path: str | Path, content: Mapping[str, Json]) -> Plan:
    """The plan that these tables of a file make; see `read_plan`."""
    problems = Problems(str(path))
    check_names(problems, content, ("plan", "layer", "harm", "feature", "persona", "member", "round", "record"))
    if "plan" not in content:
        problems.add("[plan]", "it is missing", 'add a table [plan] with a name: name = "..."')
    purpose = record_of(problems, Purpose, content.get("plan", {"name": ""}), "plan")
    recording = record_of(problems, Recording, content.get("record", {}), "record")
    layers, harms = records_of(problems, Layer, content, "layer"), records_of(problems, Harm, content, "harm")
    features = records_of(problems, Feature, content, "feature")
    personas = records_of(problems, Persona, content, "persona")
    members = records_of(problems, Member, content, "member")
    rounds = records_of(problems, Round, content, "round")
    problems.check()
    assert purpose is not None
    assert recording is not None
    return Plan(str(path), purpose, layers, harms, features, personas, members, rounds, recording)
