"""A spec made ready: suites loaded, behaviors chosen, components built, the grid of cells laid out and checked."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypeAlias

from withstand.core import (
    Attack,
    Defense,
    JointAttack,
    Json,
    Judge,
    Model,
    Sampling,
    SpecError,
    Suite,
    Target,
    digest,
    to_json,
)
from withstand.core.optional import optional
from withstand.core.prompts import prompts_of
from withstand.registry import find
from withstand.runner.adaptive import described_attack, knowledge
from withstand.runner.attack_sets import Expansion, attacks_of
from withstand.runner.budget import Budget
from withstand.runner.clusters import clusters_of
from withstand.runner.draws import STOPPED, Draws, check_draws, note_of
from withstand.runner.needs import GUARDED, check_needs, check_suite, guards_answers
from withstand.runner.spec import RunSpec
from withstand.runner.suites import (
    Chosen,
    add_questions,
    add_twins,
    check_offline,
    choose,
    numbered,
    uncounted,
)
from withstand.runner.transfer import TransferredCases, cases_file, check_transferred, uncovered

AnyAttack: TypeAlias = Attack | JointAttack | TransferredCases
"""What may stand in the place of an attack in a cell."""


@dataclass(frozen=True)
class Cell:
    """One square of the grid: suite x target x defense x attack, with its judge. `suite` is a place in the plan.

    `benign`: its prompts must not be refused; `utility`: besides, they have a right answer, which is what is counted.
    """

    index: int
    suite: int
    target: Target
    attack: AnyAttack
    judge: Judge
    until: Judge | None
    samples: int
    benign: bool
    labels: Mapping[str, str]  # of target, defense, attack and judge
    utility: bool = False
    draws: Draws = 1
    expansion: Expansion | None = None  # of the set that names the attack

    @cached_property
    def keys(self) -> dict[str, str]:
        """What decides its rows: digests of its target, attack, judge and until, and what counts as spent."""
        target, attack = self.target, self.attack
        described = {
            "target": [*map(find.describe, (target.model, target.defense)), to_json(target.sampling), target.fresh],
            "attack": described_attack(attack, target.defense),
            "judge": find.describe(self.judge),
            "until": find.describe(self.until),
            # in 0.1 those that grade a search were not counted
            **({"draws": "count" if self.draws == 1 else ["count", self.draws]} if self.until else {}),
        }
        return {name: digest(part) for name, part in described.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of its rates must know."""
        return tuple(_notes(self))

    def json(self) -> Json:
        attack = self.attack
        cases = {"cases": digest(to_json(attack.cases))} if isinstance(attack, TransferredCases) else {}
        return {
            **self.labels,
            "suite": self.suite,
            "benign": self.benign,
            **({"measures": "utility"} if self.utility else {}),
            "samples": self.samples,
            "sampling": to_json(self.target.sampling)
            | {name: getattr(self.target.sampling, name) for name in ("max_tokens", "temperature", "top_p")}
            | ({} if self.draws == 1 else {"draws": self.draws}),
            "judge_method": self.judge.method,
            **({"waits": waits} if (waits := optional(self.judge, "waits")) else {}),
            "until_success": self.until is not None,
            **({"upper_bound": True} if optional(attack, "upper_bound") else {}),
            **({"variants": variants * self.samples} if (variants := optional(attack, "variants")) else {}),
            **({"set": self.expansion.label} if self.expansion else {}),
            "keys": {**self.keys, **cases},
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a run will do. Its JSON, stored with the run, is what status and report need later."""

    suites: tuple[Chosen, ...]
    cells: tuple[Cell, ...]
    budget: Budget
    seed: int
    warnings: tuple[str, ...] = ()
    models: tuple[Model, ...] = field(default=(), compare=False)
    twins: Mapping[int, int] = field(default_factory=dict)  # place of a suite -> place of its benign twin

    def json(self) -> Json:
        return {
            "suites": [chosen.json() | {"twin": self.twins.get(i)} for i, chosen in enumerate(self.suites)],
            "cells": [cell.json() for cell in self.cells],
            "targets": {
                cell.labels["target"]: find.describe(cell.target.model) for cell in self.cells
            },  # with identities: what the rows' keys were made of
            "components": sorted({(find.name_of(cls), str(find.version_of(cls))) for cls in self.classes()}),
            "budget": to_json(self.budget),
            "seed": self.seed,
        }

    def sets(self) -> list[Json]:
        """What its sets of attacks were made into, of each suite, target and defense."""
        sets: list[Json] = []
        for cell in self.cells:
            if cell.expansion is not None:
                before = {"suite": cell.suite, **{name: cell.labels[name] for name in ("target", "defense")}}
                sets += [entry for entry in [cell.expansion.json() | before] if entry not in sets]
        return sets

    def knows(self) -> dict[str, str]:
        """Index of each defended harmful cell -> what its attack knows of the defense, "static" or "adaptive"."""
        cells = [cell for cell in self.cells if not cell.benign]
        return {str(c.index): knows for c in cells if (knows := knowledge(c.attack, c.target.defense))}

    def prompts(self) -> dict[str, str]:
        """Whose prompts each component sends."""
        return prompts_of(part for cell in self.cells for part in find.parts(components(cell)))

    def clusters(self) -> dict[str, str]:
        """Key of a behavior -> its cluster; raises `SpecError` where a behavior has two."""
        return clusters_of((chosen.label, chosen.behaviors) for chosen in self.suites)

    def classes(self) -> set[Any]:
        """Of every component that takes part."""
        return {type(part) for cell in self.cells for part in find.parts(components(cell))}

    @property
    def hosts(self) -> tuple[str, ...]:
        """Where text leaves for."""
        return tuple(sorted({host for model in self.models for host in model.hosts}))

    @property
    def roles(self) -> dict[Model, str]:
        """What each model is in the run: "target", "judge", "defense", or as an attack's field calls it."""
        roles: dict[Model, dict[str, None]] = {model: {} for model in self.models}
        for cell in self.cells:
            target, judges = cell.target, (cell.judge, cell.until)
            parts: list[tuple[str, Any]] = [("target", target.model), ("defense", target.defense), ("judge", judges)]
            parts += [(f.name, getattr(cell.attack, f.name)) for f in fields(cell.attack)]  # type: ignore[arg-type]
            for role, component in parts:
                for model in find.models(component):
                    roles[model][role] = None
        return {model: " and ".join(names) for model, names in roles.items()}

    def name(self, key: str) -> str:
        """A name for a run nobody named: its first suite and the head of its key."""
        return f"{self.suites[0].label.partition(',')[0].replace(':', '-')}-{key[:6]}"


def make_plan(spec: RunSpec, transfers: Sequence[TransferredCases] = (), offline: bool = False) -> Plan:
    """Build everything `spec` names. `offline` allows hosts of this machine only.

    Raises `SpecError` before anything is asked.
    """
    if spec.cases_from and not transfers:
        transfers = (cases_file(spec.cases_from),)
    suites = numbered([choose(suite_spec, spec, offline) for suite_spec in spec.suite])
    check_transferred(transfers, suites)
    twins = add_twins(suites, spec, offline)
    questions = add_questions(suites, spec, offline)
    targets = [DefendedTarget.of(target, defense) for target, defense in spec.defended_targets()]
    _check_apart(targets)
    cells: list[Cell] = []
    for place in range(len(spec.suite)):
        for aim in targets:
            _add_cells(cells, place, suites[place], aim, spec, transfers)
            if place in twins:
                _add_twin_cells(cells, place, twins[place], suites[twins[place]], aim, spec)
    if questions is not None:
        for aim in targets:
            cells.append(_asked_directly(len(cells), questions, suites[questions], aim, spec, utility=True))
    parts = dict.fromkeys(part for cell in cells for part in find.parts(components(cell)))
    models = tuple(part for part in parts if hasattr(part, "generate"))
    check_offline([host for part in parts for host in optional(part, "hosts")] if offline else ())
    for check in filter(callable, (optional(part, "check") for part in parts)):  # no field, as that of `gbda`
        check()
    budget = Budget(**spec.budget.model_dump())
    warnings = (
        *_warnings(cells, spec),
        *(note for chosen in suites for note in chosen.notes),
        *dict.fromkeys(text for cell in cells if cell.expansion for text in cell.expansion.left_out),
        *uncovered(transfers, suites),
        *uncounted(suites[: len(spec.suite)], questions),
    )
    return Plan(tuple(suites), tuple(cells), budget, spec.seed, warnings, models, twins)


def _add_cells(
    cells: list[Cell],
    place: int,
    chosen: Chosen,
    aim: "DefendedTarget",
    spec: RunSpec,
    transfers: Sequence[TransferredCases],
) -> None:
    """The cells of one suite and one defended target: an attack each."""
    judge_spec = chosen.suite.refusal_judge if chosen.benign else spec.judge or chosen.suite.judge
    target = aim.target(chosen.suite, spec)
    check_suite(chosen.label, chosen.suite, judge_spec, aim.label, target)
    judge: Judge = find.build("judge", judge_spec)
    until: Judge | None = None
    if spec.until_success:
        until = judge if spec.until_success is True else find.build("judge", spec.until_success)
    _check_waits([*list(find.parts(judge))[1:], *find.parts(until)])
    labels = {"target": aim.label, "defense": aim.defense_label, "judge": find.label("judge", judge_spec)}
    attacks: list[tuple[str, AnyAttack, Draws, Expansion | None]] = [
        (find.label("attack", a.spec), find.build("attack", a.spec, seed=spec.seed), a.draws, a.expansion)
        for a in attacks_of(spec, chosen.suite, judge_spec, aim.label, aim.model, target.sampling.temperature)
    ]
    given = [(transfer.label, transfer, spec.draws, None) for transfer in transfers]
    for label, attack, draws, expansion in [*attacks, *given]:
        check_draws(draws, bool(spec.until_success), aim.label, target)
        check_needs(label, attack, aim.label, target)
        _check_waits(find.parts(attack))
        _check_matchers(label, attack, (judge, until))
        if until is not None and is_joint(attack):
            raise SpecError(
                f"{label} searches for all behaviors together and cannot stop at the success of one",
                hint="leave until_success out, or run this attack in a spec of its own",
            )
        labels = {**labels, "attack": label}
        cell = Cell(len(cells), place, target, attack, judge, until, spec.samples, chosen.benign, labels)
        cells.append(replace(cell, draws=draws, expansion=expansion))


def _add_twin_cells(
    cells: list[Cell], suite: int, place: int, chosen: Chosen, aim: "DefendedTarget", spec: RunSpec
) -> None:
    """The benign twin, once per defended target, judged for refusal: asked as it is, and in the variants that the
    suite's behaviors have, without which a target that refuses everything would look consistent and safe."""
    in_grid = place < len(spec.suite)
    twin = _asked_directly(len(cells), place, chosen, aim, spec)
    here = [(cell.target, cell.attack) for cell in cells if cell.suite == place]
    if not (in_grid and any(a["use"] == "direct" for a in spec.attack)) and (twin.target, twin.attack) not in here:
        cells.append(twin)
    for cell in [] if in_grid else [cell for cell in cells if cell.suite == suite]:
        if cell.labels["target"] != aim.label or cell.labels["defense"] != aim.defense_label:
            continue
        if optional(cell.attack, "variants") and (twin.target, cell.attack) not in here:
            here.append((twin.target, cell.attack))
            labels = {**twin.labels, "attack": cell.labels["attack"]}
            cells.append(replace(twin, index=len(cells), attack=cell.attack, labels=labels, expansion=cell.expansion))


def _asked_directly(
    index: int, place: int, chosen: Chosen, aim: "DefendedTarget", spec: RunSpec, utility: bool = False
) -> Cell:
    """A cell of benign prompts, sent as they are; judged for refusal, or for the right answer."""
    judge_spec = chosen.suite.judge if utility else chosen.suite.refusal_judge
    direct, judge = find.build("attack", "direct", seed=spec.seed), find.build("judge", judge_spec)
    labels = {"target": aim.label, "defense": aim.defense_label, "attack": "direct"}
    labels["judge"] = find.label("judge", judge_spec)
    target = aim.target(chosen.suite, spec)
    return Cell(index, place, target, direct, judge, None, spec.samples, True, labels, utility)


# --- targets -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DefendedTarget:
    """A target and the defense before it, with their labels."""

    label: str
    defense_label: str
    model: Model
    defense: Defense | None

    @staticmethod
    def of(target: Mapping[str, Any], defense: Mapping[str, Any]) -> "DefendedTarget":
        none = defense["use"] == "none"
        return DefendedTarget(
            find.label("target", target),
            "none" if none else find.label("defense", defense),
            find.build("target", target),
            None if none else find.build("defense", defense),
        )

    def target(self, suite: Suite, spec: RunSpec) -> Target:
        overrides = {key: value for key, value in spec.sampling.model_dump().items() if value is not None}
        sampling = replace(Sampling(max_tokens=suite.max_tokens), **overrides)
        return Target(self.model, self.defense, sampling, spec.fresh)


def _check_apart(aims: Sequence[DefendedTarget]) -> None:
    """Two targets whose rows have one key would be given each other's answers: so would two guards on two servers."""
    seen: dict[str, DefendedTarget] = {}
    for aim in aims:
        first = seen.setdefault(digest([find.describe(aim.model), find.describe(aim.defense)]), aim)
        if (first.model, first.defense) != (aim.model, aim.defense):
            what = f"targets called {aim.label}" if first.model != aim.model else f"defenses called {aim.defense_label}"
            raise SpecError(
                f"two {what} would share their rows: only fields outside the key tell them apart",
                hint="give one a field that is in the key, such as revision or served_as (`withstand show` marks them)",
            )


def components(cell: Cell) -> tuple[Any, ...]:
    """The components of a cell, outermost only."""
    attack = () if isinstance(cell.attack, TransferredCases) else (cell.attack,)
    return (cell.target.model, cell.target.defense, *attack, cell.judge, cell.until)


def is_joint(attack: AnyAttack) -> bool:
    """Whether it attacks all behaviors of its suite in one flow."""
    return hasattr(attack, "run_together")


def has_conversations(attack: AnyAttack) -> bool:
    """Whether the target takes part in its test cases, so that their completions hold several answers."""
    parts = [attack] if isinstance(attack, TransferredCases) else find.parts(attack)
    return any(optional(part, "conversations") for part in parts)


def _check_matchers(label: str, attack: AnyAttack, judges: tuple[Judge | None, ...]) -> None:
    """A judge that matches strings says how one answer opens, so that the first one would decide a conversation."""
    if not has_conversations(attack):
        return
    own = () if isinstance(attack, TransferredCases) else (attack,)
    graders = [part for part in find.parts((*judges, *own)) if hasattr(part, "grade")]
    names = [find.name_of(type(part)) for part in graders if part.method == "string matching"]
    if names:
        raise SpecError(
            f"{label} leads conversations, and the judge {names[-1]} matches strings of one answer: the first harmless "
            "answer would be a success, and an early refusal the end",
            hint="name a judge that reads all answers: --judge llm:MODEL (or rating, rubric, harmbench_cls, guard), or "
            "a rule such as kitchen or canary",
        )


def _check_waits(parts: Iterable[Any]) -> None:
    """A judge that waits for people cannot be asked in the middle of a run."""
    if any(optional(part, "waits") for part in parts):
        raise SpecError(
            "the judge human waits for people, so it can neither steer an attack nor be part of another judge",
            hint="give it labels that people have already written: human:FILE",
        )


def _notes(cell: Cell) -> Iterator[str]:
    """Keys of runs hold these sentences, so that their wording must never change."""
    attack, until = cell.attack, cell.until
    judges = [part for part in find.parts(cell.judge) if hasattr(part, "grade")]  # a router or an ensemble has members
    steering = list(find.parts((attack, until)))
    if any(type(part) is type(grader) and part == grader for part in steering for grader in judges):
        yield "the final judge also steered the attack"
    if guards_answers(cell.target.defense, judges):
        yield GUARDED
    if isinstance(attack, TransferredCases):
        yield from attack.notes(cell.target.sampling)
    if surrogates := optional(attack, "surrogates"):
        yield "not transfer: the target is one of the surrogates" if cell.target.model in surrogates else "transferred"
    if optional(attack, "upper_bound"):
        yield "an upper bound: what it sends is no text, so that nobody can send it"
    if optional(attack, "together") > 1:
        yield "behaviors share forward passes: losses equal those of one at a time within rounding"
    if until is not None:
        yield STOPPED
    if cell.draws != 1:
        yield note_of(cell.draws)


def _warnings(cells: Sequence[Cell], spec: RunSpec) -> Iterator[str]:
    if spec.samples > 1 and all(cell.target.sampling.temperature == 0 for cell in cells):
        yield f"{spec.samples} samples at temperature 0 are {spec.samples} times the same draw: set a temperature"
    if unpinned := {c.labels["target"] for c in cells if c.target.model.identity() == {"revision": ""}}:
        names = ", ".join(sorted(unpinned))
        yield f"{names} has no revision: rows of an earlier version are reused as they are (--revision, --fresh)"
