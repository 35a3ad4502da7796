"""What a plan leaves out of the recommendations: the warnings of `plan check`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import combinations
from typing import Literal

from withstand.redteam.plan.records import MINDSETS, Harm, Layer, Member, Plan, Round
from withstand.redteam.policy.records import Category
from withstand.redteam.tables import Problem

FEWEST_DISCIPLINES = 3
HOURS = (1.0, 6.0)
"""Of a member: fewer in a round, or more in a day, draw a warning (W6)."""


Categories = Mapping[str, Category]


@dataclass(frozen=True)
class Checked:
    """A plan, and the categories of its policy: None where it names none, or the file cannot be read."""

    plan: Plan
    categories: Categories | None

    def place(self, kind: Literal["layer", "harm", "feature", "persona", "member", "round"], own: str) -> str:
        """How a table is called, as "harm 3 (wrong-dose)"."""
        records: tuple[Layer | Harm | Member | Round, ...] = getattr(self.plan, f"{kind}s")
        return f"{kind} {[record.id for record in records].index(own) + 1} ({own})"


def advice(checked: Checked) -> Iterator[Problem]:
    """All warnings but those that come with an error's rule."""
    for rule in (_team, _tested, _experts, _purpose, _hours, _measured):
        yield from rule(checked)


def warning(rule: str, place: str, message: str, hint: str) -> Problem:
    """A recommendation of this id that the plan leaves out."""
    return Problem(place, message, hint, "warning", rule)


def _team(checked: Checked) -> Iterator[Problem]:
    members = checked.plan.members
    if not members:
        return
    for mindset in MINDSETS:
        if not any(mindset in member.mindset for member in members):
            yield warning("W2", "member", f"no member has the {mindset} mindset", "ask one who has")
    if all(member.developer for member in members):
        yield warning("W2", "member", "every member is a developer of it", "ask people who did not build it")
    disciplines = {discipline.lower() for member in members for discipline in member.disciplines}
    if len(disciplines) < FEWEST_DISCIPLINES:
        listed = ", ".join(sorted(disciplines)) or "none"
        yield warning("W1", "member", f"under three disciplines: {listed}", "ask people of other fields")
    domain = checked.plan.purpose.domain.lower()
    if domain and not any(domain in discipline or discipline in domain for discipline in disciplines):
        yield warning("W1", "member", f"no discipline is that of the domain, {domain}", "ask an expert of it")
    for mindset in MINDSETS:
        if checked.plan.personas and not any(persona.mindset == mindset for persona in checked.plan.personas):
            yield warning(
                "W2", "persona", f"no persona is {mindset}", f"add one: {mindset} testers have nobody to play"
            )
    for persona in checked.plan.personas:
        if not any(persona.language in member.languages for member in members):
            yield warning(
                "W1",
                f"{checked.place('persona', persona.id)}, language",
                f"no member speaks {persona.language}",
                "ask one who does",
            )


def _tested(checked: Checked) -> Iterator[Problem]:
    plan = checked.plan
    used = {layer_id for one_round in plan.rounds for layer_id in one_round.layers}
    layers = [layer for layer in plan.layers if layer.id in used]
    if not layers:
        return
    if not any(layer.kind == "application" for layer in layers):
        yield warning("T1", "layer", "no round tests an application", "test the application too, not the model alone")
    if not any(layer.endpoint == "ui" for layer in layers):
        yield warning(
            "T4", "layer", "no round tests a user interface", "test the one that users meet, by the last round"
        )
    if not any(_differ_in_mitigations(*pair) for pair in combinations(layers, 2)):
        yield warning(
            "T3", "layer", "no two layers differ in their mitigations alone", "add the same one without mitigations"
        )
    if not any(layer.production for layer in layers):
        yield warning(
            "T5", "layer", "no round tests what is in production", "plan to test there again; the report will say so"
        )


def _differ_in_mitigations(first: Layer, second: Layer) -> bool:
    """Whether a comparison of two layers is one of mitigations: of a model the same, of an application by its word."""
    same = (first.kind, first.endpoint) == (second.kind, second.endpoint)
    same = same and (first.kind == "application" or (first.target, first.system) == (second.target, second.system))
    return same and (first.mitigations, first.defense) != (second.mitigations, second.defense)


def _experts(checked: Checked) -> Iterator[Problem]:
    experts = {name for member in checked.plan.members for name in member.expertise}
    without = [harm.id for harm in checked.plan.active if harm.severity == 4 and harm.id not in experts]
    if without:
        message = f"no member is an expert of what is critical: {', '.join(without)}"
        yield warning("W3", "member", message, "ask people who know the field")


def _purpose(checked: Checked) -> Iterator[Problem]:
    purpose = checked.plan.purpose
    if not purpose.goal:
        yield warning("W7", "[plan], goal", "it is missing", "say what the red team is to find")
    if not purpose.contact:
        yield warning("W7", "[plan], contact", "it is missing", "say whom testers ask")


def _hours(checked: Checked) -> Iterator[Problem]:
    plan, (least, most) = checked.plan, HOURS
    for member in plan.members:
        place, hours = f"{checked.place('member', member.id)}, hours_per_round", member.hours_per_round or 0.0
        if 0 < hours < least:
            yield warning("W6", place, f"{hours:g} hours are under {least:g}", "give them time to think")
        for one_round in plan.rounds:
            if member not in plan.members_of(one_round):
                continue
            days = _days(one_round)
            if hours > most * (days or 1):
                per = f"{hours / days:.1f} hours a day" if days else f"{hours:g} hours, in a round without dates,"
                yield warning(
                    "W6", place, f"{per} in {one_round.id} are over {most:g} a day", "plan fewer, or more days"
                )
            if one_round.mode == "guided" and 0 < hours <= one_round.ramp_up_hours:
                yield warning(
                    "W4", place, f"getting into a harm takes all their hours in {one_round.id}", "plan more hours"
                )


def _days(one_round: Round) -> int | None:
    """The days of a round, weekends among them; None without dates."""
    if not (one_round.starts and one_round.ends):
        return None
    return (date.fromisoformat(one_round.ends) - date.fromisoformat(one_round.starts)).days + 1


def _measured(checked: Checked) -> Iterator[Problem]:
    without = [harm.id for harm in checked.plan.active if not (harm.measured_by or harm.unmeasured_because)]
    if without:
        yield warning(
            "F3",
            "harm",
            f"no step measures {', '.join(without)} after the rounds",
            "name a suite in measured_by, or say why there is none in unmeasured_because",
        )
