"""The results of a run, from the store alone: what `--format json` prints and every other report shows."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sql

from withstand.core import Json, SpecError
from withstand.core.text import file_name
from withstand.results.advice import advice, asks_otherwise, attacked
from withstand.results.advice_records import AdviceResult
from withstand.results.by_hand import is_by_hand
from withstand.results.cell_builder import NO_TWIN, CellCounts, cell_result
from withstand.results.cells import KINDS, CellResult, plain
from withstand.results.counts import Counts, Reused, iso, read_counts
from withstand.results.defended import DefenseResult, defenses
from withstand.results.exposure import Exposure, exposed, place_of_run
from withstand.results.families import Families, in_report
from withstand.results.graded import knowledge_of
from withstand.results.guarded import guard_warnings
from withstand.results.judge_error import corrected
from withstand.results.names import aliased, names_of, shown_names, shown_warnings
from withstand.results.others import Others, left_out, others_of
from withstand.results.own_labels import OwnLabel, own_labels, with_own
from withstand.results.probed import probed
from withstand.results.reviewed import said_of
from withstand.results.variance import with_variance
from withstand.results.warnings import warnings_of
from withstand.results.worst_case import WorstCase, from_counts, reviewed_counts, worst_cases
from withstand.store.database import loads
from withstand.store.store import RunRow, Store
from withstand.store.tables import CASES, COMPLETIONS, STAGES, VERDICTS, failure, row, want, writer

SCHEMA = 1


def find_run(store: Store, name: str = "") -> RunRow:
    """A run by name; the newest without one. Raises `SpecError` that lists what there is."""
    runs = store.runs()
    if not runs:
        raise SpecError(f"{store.where} holds no run", hint="`withstand run` makes one")
    if not name:
        return runs[-1]
    for run in runs:
        if run.name == name:
            return run
    raise SpecError(f"{store.where} has no run {name!r}", hint=f"it has {', '.join(run.name for run in runs[-10:])}")


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run is: its name, key, time (ISO 8601, UTC), state in words, spec, command, and seconds of models."""

    name: str
    key: str
    created: str
    state: str
    spec: Json
    command: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made the rows: processes, rows of others, identities of targets, versions of components, suites, the budget
    of a search, the seed, whose prompts were sent, what sets of attacks are. Lists hold JSON as the store does."""

    writers: tuple[Json, ...]
    others: Others
    targets: tuple[Json, ...]
    components: tuple[Json, ...]
    suites: tuple[Json, ...]
    budget: Json
    seed: int
    prompts: Json
    sets: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class RunSummary:
    """All that a report shows of a run. calibrations: of its judges, oldest first. worst: the broken behaviors.
    families: beside `direct`, of attacks that make variants; None where there are none.   defenses: what each is worth.
    exposure: what people met who labeled it; None where nobody did.
    """

    schema: int
    run: RunFacts
    provenance: Provenance
    reused: Reused
    calibrations: tuple[Json, ...]
    cells: tuple[CellResult, ...]
    warnings: tuple[str, ...]
    worst: tuple[WorstCase, ...] = ()
    advice: tuple[AdviceResult, ...] = ()
    families: Families | None = None
    defenses: tuple[DefenseResult, ...] = ()
    exposure: Exposure | None = None

    def to_json(self) -> Json:
        """What `withstand report --format json` prints."""
        return plain(self)

    def shown(self) -> "RunSummary":
        """The summary with the names that people read in its cells, warnings and calibrations."""
        names = {label: name for cell in self.cells for label, name in names_of(cell, KINDS).items()}
        return replace(
            self,
            worst=tuple(case.shown(names) for case in self.worst),
            defenses=tuple(result.shown(names) for result in self.defenses),
            cells=tuple(map(aliased, self.cells)),
            warnings=tuple(shown_warnings(self.cells, self.warnings)),
            calibrations=tuple(
                {**calibration, "judge": names.get(calibration["judge"], calibration["judge"])}
                for calibration in self.calibrations
            ),
        )


def summarize(store: Store, run: RunRow, counts: Counts | None = None) -> RunSummary:
    """Everything a report shows of a run. Rates are in [0, 1], or None with the reason in `notes`.

    counts: what `read_counts` found, for a caller who needs it besides.
    """
    plan = run.plan
    counts = counts or read_counts(store, run)
    calibrations = store.calibrations({cell["keys"]["judge"] for cell in plan["cells"]})
    labels = {} if is_by_hand(run) else own_labels(store, run)
    cells = _cells(store, run, counts, calibrations, labels)
    missing = sum(cell.error for cell in cells)
    waiting = sum(behavior.waiting for behaviors in counts.behaviors for behavior in behaviors.values())
    wanted = sum(cell.cases for cell in cells)
    others, by_hand = others_of(store, run, counts.writers), is_by_hand(run)
    asked = () if by_hand else advice(store, run)
    gained = () if by_hand else tuple(defenses(store, run))
    state = f"waiting for people: {waiting} of {wanted} verdicts" if waiting else "complete"
    return RunSummary(
        schema=SCHEMA,
        run=RunFacts(
            name=run.name,
            key=run.key,
            created=iso(run.created),
            state=f"incomplete: {missing} of {wanted} rows missing" if missing else state,
            spec=run.spec,
            command=f"withstand {made_by(run)}",
            seconds=round(sum(cell.seconds for cell in cells), 3),
        ),
        provenance=Provenance(
            writers=tuple(_writers(store, counts.writers)),
            others=others,
            targets=tuple({"label": name, "identity": value} for name, value in plan["targets"].items()),
            components=tuple(c for c in store.components() if [c["name"], str(c["version"])] in plan["components"]),
            suites=tuple({**suite, "behaviors": len(suite["behaviors"])} for suite in plan["suites"]),
            budget=plan["budget"],
            seed=plan["seed"],
            prompts=plan.get("prompts", {}),
            sets=tuple(plan.get("sets", ())),
        ),
        reused=counts.reused,
        calibrations=tuple(
            calibration
            for key in dict.fromkeys(cell["keys"]["judge"] for cell in plan["cells"] if not cell["benign"])
            for calibration in calibrations.get(key, [])
        ),
        cells=tuple(cells),
        warnings=(
            *filter(None, [others.in_words()]),
            *left_out(store, run),
            *warnings_of(store, run, cells, asked),
            *guard_warnings({(result.target, result.defense): result.guarded for result in gained if result.guarded}),
        ),
        worst=()
        if by_hand
        else attacked(_worst(store, run, counts, with_own(run, labels, counts.behaviors, calibrations)), cells, asked),
        advice=asked,
        families=None if by_hand else in_report(store, run),
        defenses=gained,
        exposure=exposed(store, place_of_run(run.key)),
    )


def _worst(store: Store, run: RunRow, counts: Counts, calibrations: Mapping[str, list[Json]]) -> Iterator[WorstCase]:
    """From the counts, with every case that people labeled as they say."""
    tried, reviews = [*map(from_counts, counts.behaviors)], {}
    if outcomes := said_of(store.labels(run.key)):
        texts = store.behaviors({key for suite in run.plan["suites"] for key in suite["behaviors"]})
        ids = [[texts[key]["id"] for key in suite["behaviors"]] for suite in run.plan["suites"]]
        reviews = reviewed_counts(store, run, tried, outcomes, ids)
    yield from worst_cases(run.plan, tried, reviews, _categories(store, run.plan), calibrations, counts.behaviors)


def _cells(
    store: Store, run: RunRow, counts: Counts, calibrations: Mapping[str, list[Json]],
    labels: Mapping[int, Sequence[OwnLabel]],
) -> list[CellResult]:  # fmt: skip
    """The cells with what the judge's probes and calibration say, and what was measured on benign requests."""
    plan = run.plan
    failed = _failed(store, run, want.c.cell)
    categories = _categories(store, plan)
    probes = store.probes({cell["keys"]["judge"] for cell in plan["cells"]})
    cells = []
    rivals = Counter(_faced(planned) for planned in plan["cells"])
    for index, planned in enumerate(plan["cells"]):
        behaviors, judge = dict(sorted(counts.behaviors[index].items())), planned["keys"]["judge"]
        suite, limit = planned["suite"], plan.get("stop_when_decided")
        sums, tried, others = counts.sums[index], failed.get(index, 0), rivals[_faced(planned)]
        cell = cell_result(
            CellCounts(index, planned, plan["suites"][suite], behaviors, sums, tried, categories[suite], limit, others)
        )
        if not cell.benign:
            cell = replace(cell, knows=knowledge_of(plan, index))
            result, note = probed(cell, probes.get(judge))
            cell = _noted(replace(cell, judge_probes=result), note)
            rate, note = corrected(run.name, cell, behaviors, labels.get(index, []), calibrations.get(judge, []))
            note += WATCHED if rate is not None and limit is not None else ""
            cell = _noted(replace(cell, asr_corrected=rate), note)
        cells.append(cell)
    cells = [*with_variance(plan, [*_beside_benign(plan, cells)], counts.behaviors)]
    return [
        _noted(replace(cell, shown=shown), _waiting_note(run, planned, sum(b.waiting for b in seen.values())))
        for cell, planned, shown, seen in zip(cells, plan["cells"], shown_names(plan), counts.behaviors, strict=True)
    ]


def _faced(planned: Json) -> tuple[Any, ...]:
    """What an attack of a plan is up against: the attacks that share it are compared with each other."""
    return planned["suite"], planned["target"], planned["defense"], planned["keys"]["judge"], planned["benign"]


WATCHED = "; the cell was stopped by what it found, which these limits do not know: they are a little too sure"
"""A note on a corrected rate where `stop_when_decided` chose how many behaviors were asked."""


def _noted(cell: CellResult, note: str) -> CellResult:
    return replace(cell, notes=(*cell.notes, note)) if note else cell


def _waiting_note(run: RunRow, planned: Json, waiting: int) -> str:
    """How many verdicts of a cell wait for people, "" for none."""
    if not waiting:
        return ""
    wait = "case waits" if waiting == 1 else "cases wait"
    people = "a person" if planned["waits"] == 1 else f"{planned['waits']} people each"
    label = f"`withstand label {shlex.quote(run.name)} --by NAME`"
    return f"{waiting} {wait} for {people}, unscored: {label} takes them"


def made_by(run: RunRow) -> str:
    """The command, less the program's name, that makes this run from its spec, or where it was imported."""
    imported = run.spec.get("imported")
    if imported is None:
        return f"run {shlex.quote(file_name(run.name) + '.toml')} --name {shlex.quote(run.name)}"
    if imported["from"] == "run":
        return f"toxicity --rescore {shlex.quote(imported['run'])} --scorer {shlex.quote(run.spec['judge'])}"
    if "judge" in run.spec:
        return f"judge run {shlex.quote(imported['run'])} --judge {shlex.quote(run.spec['judge'])}"
    if imported["from"] == "plan":
        return f"plan findings publish {shlex.join(imported['path'])} --round {shlex.quote(imported['round'])}"
    suite = f" --suite {shlex.quote(imported['suite'])}" if "suite" in imported else ""
    return f"import {imported['from']} {shlex.join(imported['path'])}{suite}"


def goes_on(run: RunRow) -> str:
    """The command, less the program's name, that computes what a run lacks."""
    if "imported" not in run.spec:
        return f"run --name {shlex.quote(run.name)}"
    if is_by_hand(run):
        return made_by(run)
    return made_by(run) if "judge" in run.spec else f"judge run {shlex.quote(run.name)} --judge JUDGE"


def _failed(store: Store, run: RunRow, by: Any) -> dict[int, int]:
    """How many missing rows were tried and failed, by a column of `want`; the rest were not reached."""
    w = want.c
    pairs = store.select(
        sql.select(by, sql.func.count())  # of places: equal answers want one verdict, and lack it each
        .select_from(want.outerjoin(row, row.c.key == w.key))
        .where(w.run == run.key, row.c.key.is_(None), w.key.in_(sql.select(failure.c.key)))
        .group_by(by)
    )
    return dict(pairs)  # type: ignore[arg-type,unused-ignore] # rows of two


def _categories(store: Store, plan: Json) -> list[list[str]]:
    """The category of each behavior of each suite, in the plan's order."""
    texts = store.behaviors({key for suite in plan["suites"] for key in suite["behaviors"]})
    return [[texts[key].get("category", "") for key in suite["behaviors"]] for suite in plan["suites"]]


def _beside_benign(plan: Json, cells: Sequence[CellResult]) -> Iterator[CellResult]:
    """The cells, each attack with what the same defended target refuses of the suite's benign twin, and its utility."""
    twins: dict[tuple[Any, ...], CellResult] = {}
    asked: dict[tuple[Any, ...], CellResult] = {}
    for place, cell in zip(plan["cells"], cells, strict=True):
        if cell.measures == "over-refusal":
            key = (place["suite"], cell.target, cell.defense)  # asked as it is, else the cell that refused most
            asked[*key, cell.attack] = cell
            twins[key] = max(twins.get(key, cell), cell, key=lambda c: (c.attack == "direct", c.over_refusal or 0.0))
    utility = {(cell.target, cell.defense): cell.utility for cell in cells if cell.utility}
    for place, cell in zip(plan["cells"], cells, strict=True):
        key = (plan["suites"][place["suite"]]["twin"], cell.target, cell.defense)
        twin = asked.get((*key, cell.attack)) if asks_otherwise(cell.attack) else twins.get(key)
        if not cell.benign and twin:
            notes = tuple(note for note in cell.notes if note != NO_TWIN)
            rate, ends = twin.over_refusal, twin.over_refusal_interval
            cell = replace(cell, over_refusal=rate, over_refusal_interval=ends, notes=notes)
        yield replace(cell, utility=utility.get((cell.target, cell.defense)))


def _writers(store: Store, rows: Mapping[str, int]) -> list[Json]:
    """The processes that wrote this run's rows, oldest first, with how many each wrote."""
    w = writer.c
    entries = store.select(sql.select(w.key, w.started, w.value).where(w.key.in_(list(rows))).order_by(w.started))
    return [{**(loads(value) or {}), "started": iso(at), "rows": rows[key]} for key, at, value in entries]


def status(store: Store, run: RunRow, counts: Counts | None = None) -> Json:
    """Rows wanted, done and failed by stage, and the failures of missing rows, most frequent first. "waiting": how many
    of the missing verdicts wait for people. "others": as `Others`.

    A test case that no stage has taken up yet wants its completion and its verdict all the same.
    """
    counts = counts or read_counts(store, run)
    by_cell = counts.behaviors
    behaviors = [behavior for by_behavior in by_cell for behavior in by_behavior.values()]
    drawn = sum(behavior.cases for behavior in behaviors if behavior.test_cases >= 0)
    rows = {
        CASES: (len(behaviors), sum(behavior.test_cases >= 0 for behavior in behaviors)),
        COMPLETIONS: (drawn, sum(behavior.done for behavior in behaviors)),
        VERDICTS: (drawn, sum(behavior.decided for behavior in behaviors)),
    }
    failed = _failed(store, run, want.c.stage)
    stages: list[Json] = [
        {"stage": stage, "name": STAGES[stage], "wanted": wanted, "done": done, "failed": failed.get(stage, 0)}
        for stage, (wanted, done) in rows.items()
    ]
    return {
        "run": run.name,
        "created": iso(run.created),
        "stages": stages,
        "missing": sum(stage["wanted"] - stage["done"] for stage in stages),
        "waiting": sum(behavior.waiting for behavior in behaviors),
        "others": plain(others_of(store, run, counts.writers)),
        "failures": failures(store, run),
    }


def failures(store: Store, run: RunRow, limit: int = 20) -> list[Json]:
    """What went wrong with rows that are still missing, most frequent first. "trace": what `trace_of` takes, "" where
    the traceback says no more than the error."""
    w, f = want.c, failure.c
    groups = store.select(
        sql.select(f.error, sql.func.max(f.hint), sql.func.count(sql.distinct(f.key)), sql.func.max(f.id))
        .select_from(want.join(failure, f.key == w.key).outerjoin(row, row.c.key == w.key))
        .where(w.run == run.key, row.c.key.is_(None))
        .group_by(f.error)
        .order_by(sql.func.count(sql.distinct(f.key)).desc(), f.error)
        .limit(limit)
    )
    ids = [id_ for *_, id_ in groups]
    traces = dict(store.select(sql.select(f.id, f.trace).where(f.id.in_(ids))))  # type: ignore[arg-type,unused-ignore]
    return [
        {"error": error, "hint": hint, "rows": rows, "trace": id_[:TRACE] if _UNEXPECTED.search(traces[id_]) else ""}
        for error, hint, rows, id_ in groups
    ]


TRACE = 8
"""Characters of a failure's id that name its traceback."""

_UNEXPECTED = re.compile(r"^(?!withstand\.|openai\.|httpx)[A-Za-z_][\w.]*(: .*)?$", re.MULTILINE)
"""An exception in a traceback that is not a model's refusal to answer."""


def trace_of(store: Store, name: str) -> str:
    """The traceback of a failure, by the first characters of its id. Raises `SpecError` where there is none."""
    f = failure.c
    rows = store.select(sql.select(f.trace).where(f.id.startswith(name, autoescape=True), f.trace != "").limit(1))
    if not rows:
        raise SpecError(
            f"no failure in {store.where} has the trace {name}", hint="`withstand status` names those of missing rows"
        )
    return str(rows[0][0])
