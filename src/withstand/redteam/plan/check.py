"""What a plan should have, and what its tables say of each other: `plan check`.

A rule is a recommendation of Microsoft's "Planning red teaming for large language models", as W2; each has an id in
docs/red-team-plans.md. Findings of form (unknown keys, wrong types) are `read_plan`'s.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from pathlib import Path

from withstand.core import SpecError, WithstandError, did_you_mean
from withstand.core.frameworks import full
from withstand.core.text import count
from withstand.redteam.dates import moment
from withstand.redteam.plan.advice import Categories, Checked, advice, warning
from withstand.redteam.plan.records import ALWAYS_RECORDED, MINDSETS, Plan
from withstand.redteam.policy.records import read_policy
from withstand.redteam.tables import Problem

MOST_REQUIRED = 5
"""Fields beside input, output, layer and verdict that testers must fill in, at most (D2)."""
RECORDED = (
    *ALWAYS_RECORDED, "harm", "severity", "notes", "screenshot", "output_description", "persona", "mindset",
    "language", "feature", "technique",
)  # fmt: skip
"""What [record] may name: the fields of an attempt that a tester fills in."""


def check(plan: Plan, categories: Categories | None, targets: bool = True) -> tuple[Problem, ...]:
    """All problems of a plan, errors first.

    categories: of its policy, by id; None: the plan names no policy. targets: whether to build the layers' targets and
    defenses too, without asking them; it imports the code of the user that they name.
    """
    checked = Checked(plan, categories)
    rules: list[Callable[[Checked], Iterator[Problem]]] = [
        _there, _layers, _harms, _maps, _features, _members, _rounds, _overlaps, _orphans, _recording, advice
    ]  # fmt: skip
    listed = [problem for rule in rules for problem in rule(checked)]
    listed += _built(checked) if targets else ()
    return tuple(sorted(listed, key=lambda problem: problem.level))


def _error(place: str, message: str, hint: str = "", rule: str = "") -> Problem:
    return Problem(place, message, hint, "error", rule)


def _unknown(place: str, kind: str, names: Iterable[str], ids: Iterable[str]) -> Iterator[Problem]:
    """An error for each name that the plan, or the policy, does not have."""
    there = list(ids)
    for name in names:
        if name not in there:
            listed = f"{kind} ids: {', '.join(there)}" if there else "the plan has none; leave it out, or add one"
            yield _error(place, f"there is no {kind} {name!r}", did_you_mean(name, there, listed))


# --- errors ------------------------------------------------------------------------------------------------------


def _there(checked: Checked) -> Iterator[Problem]:
    plan = checked.plan
    for kind, records in (("member", plan.members), ("layer", plan.layers), ("round", plan.rounds)):
        if not records:
            yield _error(kind, f"the plan has no {kind}", f"add a table [[{kind}]]", "F7")
    guided = [place for place, one_round in enumerate(plan.in_order) if one_round.mode == "guided"]
    first_open = next((place for place, one_round in enumerate(plan.in_order) if one_round.mode == "open"), None)
    if guided and (first_open is None or first_open > guided[0]):
        first = plan.in_order[guided[0]]
        yield _error(
            checked.place("round", first.id),
            "no open round comes before the first guided one",
            'plan a round with mode = "open" first: it finds the harms that nobody listed',
            "H1, F5",
        )
    if guided and not plan.active:
        first = plan.in_order[guided[0]]
        yield _error(
            checked.place("round", first.id), "a guided round has no active harm to look for", "add [[harm]]", "H3"
        )


def _layers(checked: Checked) -> Iterator[Problem]:
    for layer in checked.plan.layers:
        place = checked.place("layer", layer.id)
        if layer.target.startswith("url:") and layer.endpoint != "ui":
            yield _error(
                f"{place}, target",
                f"{layer.target!r} is a page that people use by hand, and the endpoint is {layer.endpoint}",
                'write endpoint = "ui", or a target that can be asked',
                "T4",
            )
        if layer.changed and not _is_date(layer.changed):
            yield _error(f"{place}, changed", f"{layer.changed!r} is no date", "write a date such as 2026-02-16")
        users = [one_round.id for one_round in checked.plan.rounds if layer.id in one_round.layers]
        if layer.blocked:
            where = f"of {', '.join(users)} " if users else ""
            yield warning(
                "R1", place, f"it is blocked: {layer.blocked}", f"cells {where}on it stay blocked, not covered"
            )


def _is_date(text: str) -> bool:
    try:
        moment("changed", text, utc=True)
    except SpecError:
        return False
    return True


def _built(checked: Checked) -> Iterator[Problem]:
    """What the plan names of this package and cannot be: targets, defenses, suites. Nothing is asked or loaded."""
    from withstand.registry import find

    named: list[tuple[str, str, str, Callable[[str, str], object]]] = [
        (f"{checked.place('layer', layer.id)}, {kind}", kind, spec, find.build)
        for layer in checked.plan.layers
        for kind, spec in (("target", layer.target), ("defense", layer.defense))
        if not spec.startswith("url:")
    ]
    named += [
        (f"{checked.place('harm', harm.id)}, measured_by", "suite", harm.measured_by, find.resolve)
        for harm in checked.plan.active
    ]
    for place, kind, spec, make in named:
        try:
            if spec:
                make(kind, spec)
        except WithstandError as error:
            yield _error(place, str(error), error.hint)


def _maps(checked: Checked) -> Iterator[Problem]:
    """Entries of frameworks that no table of these has."""
    for harm in checked.plan.harms:
        for key, ids in harm.map.items():
            for text in ids:
                try:
                    full(key, text)
                except WithstandError as error:
                    yield _error(f"{checked.place('harm', harm.id)}, map, {key}", str(error), error.hint)


def _harms(checked: Checked) -> Iterator[Problem]:
    plan, categories = checked.plan, checked.categories
    harms = {harm.id: harm for harm in plan.harms}
    if categories is None and plan.harms and not plan.purpose.policy:
        yield warning(
            "F7", "[plan], policy", "it names no policy, so no category of a harm was checked", 'policy = "policy.toml"'
        )
    for harm in plan.harms:
        place = checked.place("harm", harm.id)
        if not harm.category:
            yield _error(f"{place}, category", "it has none", "name a category of the policy, or uncovered")
        elif categories is not None:
            yield from _unknown(f"{place}, category", "category", [harm.category], categories)
        into = harms.get(harm.merged_into)
        if harm.merged_into:
            yield from _unknown(f"{place}, merged_into", "harm", [harm.merged_into], harms)
        if (harm.status == "merged") != bool(harm.merged_into):
            yield _error(
                f"{place}, merged_into",
                f"its status is {harm.status}, and merged_into is {harm.merged_into!r}",
                "a merged harm names the harm that it is part of now, and no other one does",
            )
        elif into is not None and into.status != "active":
            yield _error(f"{place}, merged_into", f"{into.id} is {into.status} itself", "name an active harm", "H2")


def _features(checked: Checked) -> Iterator[Problem]:
    layers = [layer.id for layer in checked.plan.layers]
    for feature in checked.plan.features:
        yield from _unknown(f"{checked.place('feature', feature.id)}, layers", "layer", feature.layers, layers)


def _members(checked: Checked) -> Iterator[Problem]:
    plan = checked.plan
    harms = {harm.id: harm for harm in plan.harms}
    named = list(checked.categories) if checked.categories is not None else [harm.category for harm in plan.harms]
    above = {name[:at] for name in named for at in range(len(name)) if name[at] == "."}
    for member in plan.members:
        place = checked.place("member", member.id)
        if not member.hours_per_round:
            message = "it is 0" if member.hours_per_round == 0 else "it is missing"
            yield _error(
                f"{place}, hours_per_round", message, "say how many hours they have: hours_per_round = 2", "W6"
            )
        if not member.mindset:
            yield _error(f"{place}, mindset", "it is empty", 'write ["benign"], ["adversarial"] or both', "W2")
        yield from _unknown(f"{place}, expertise", "harm", member.expertise, harms)
        known_names = [*dict.fromkeys([*named, *above, *harms])]
        yield from _unknown(f"{place}, opt_out", "category or harm", member.opt_out, filter(None, known_names))
        for name in member.expertise:
            if name in harms and member.opts_out(harms[name]):
                yield _error(
                    f"{place}, opt_out", f"they opt out of {name}, and are named as its expert", "drop one", "W3"
                )


def _rounds(checked: Checked) -> Iterator[Problem]:
    plan = checked.plan
    layers = {layer.id: layer for layer in plan.layers}
    axes = {
        "harm": [harm.id for harm in plan.harms],
        "feature": [feature.id for feature in plan.features],
        "persona": [persona.id for persona in plan.personas],
        "layer": [layer.id for layer in plan.layers],
    }
    for one_round in plan.rounds:
        place = checked.place("round", one_round.id)
        if not one_round.layers:
            yield _error(f"{place}, layers", "it is empty", "name the layers that are tested", "T1")
        yield from _unknown(f"{place}, layers", "layer", one_round.layers, layers)
        yield from _unknown(f"{place}, members", "member", one_round.members, [member.id for member in plan.members])
        for text in one_round.not_applicable:
            cell, separator, reason = text.partition(":")
            for part in cell.split(","):
                axis, _, name = part.strip().partition("=")
                if axis not in axes or not name or not separator or not reason.strip():
                    yield _error(
                        f"{place}, not_applicable",
                        f"{text!r} is no cell with a reason",
                        'write "harm=ID,feature=ID: reason"; axes: harm, feature, persona, layer',
                    )
                    break
                yield from _unknown(f"{place}, not_applicable", axis, [name], axes[axis])
        if one_round.mode == "guided" and not one_round.min_per_cell:
            yield warning(
                "H4", f"{place}, min_per_cell", "it is 0 in a guided round", "say how many inputs cover a cell, as 5"
            )


def _overlaps(checked: Checked) -> Iterator[Problem]:
    dated = [one_round for one_round in checked.plan.rounds if one_round.starts and one_round.ends]
    for first, second in combinations(sorted(dated, key=lambda one_round: one_round.starts), 2):
        both = [m.id for m in checked.plan.members_of(first) if m in checked.plan.members_of(second)]
        if second.starts <= first.ends and both:
            yield _error(
                checked.place("round", second.id),
                f"it starts on {second.starts}, and {first.id} ends on {first.ends}; both need {', '.join(both)}",
                "change a date, or give each round its own members",
                "W6",
            )


def _orphans(checked: Checked) -> Iterator[Problem]:
    """Harms that nobody tests, because all who could opted out."""
    plan = checked.plan
    guided = [one_round for one_round in plan.rounds if one_round.mode == "guided"]
    taking = {member.id: member for one_round in guided for member in plan.members_of(one_round)}
    members = list(taking.values()) or list(plan.members)
    for harm in plan.active:
        if members and all(member.opts_out(harm) for member in members):
            yield _error(
                checked.place("harm", harm.id),
                f"nobody is left for it: {', '.join(member.id for member in members)} opted out",
                "ask for another member; nobody is to be talked out of an opt-out",
                "W6",
            )
            continue
        for mindset in MINDSETS:
            having = [member for member in members if mindset in member.mindset]
            if having and all(member.opts_out(harm) for member in having):
                yield warning(
                    "W2",
                    checked.place("harm", harm.id),
                    f"no {mindset} tester is left for it: {', '.join(member.id for member in having)} opted out",
                    f"ask for another {mindset} member",
                )


def _recording(checked: Checked) -> Iterator[Problem]:
    record = checked.plan.recording
    for name in ("required", "optional"):
        yield from _unknown(f"[record], {name}", "field", getattr(record, name), RECORDED)
    beyond = [name for name in record.required if name not in ALWAYS_RECORDED]
    if len(beyond) > MOST_REQUIRED:
        yield _error(
            "[record], required",
            f"{count(len(beyond), 'field')} beyond {', '.join(ALWAYS_RECORDED)} must be filled in",
            f"require {MOST_REQUIRED} at most, and leave the others optional",
            "D2",
        )
    for name in record.required:
        if name in record.optional and name not in ALWAYS_RECORDED and record.optional != type(record)().optional:
            yield _error("[record], optional", f"{name} is required too", "name it once", "D1")


def policy_categories(plan: Plan) -> tuple[Categories | None, tuple[Problem, ...]]:
    """The categories of the plan's policy by id, and an error where it cannot be read; None for no policy."""
    if not plan.purpose.policy:
        return None, ()
    try:
        return read_policy(Path(plan.path).parent / plan.purpose.policy).categories, ()
    except WithstandError as error:
        return None, (_error("[plan], policy", str(error), error.hint),)
