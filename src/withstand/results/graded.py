"""What became of each behavior of each cell, without a text: what comparisons, gates and bundles are made of."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import sqlalchemy as sql

from withstand.core import Json
from withstand.core.outcomes import HITS, SCORED
from withstand.results.by_hand import check_rates
from withstand.results.names import shown_names
from withstand.runner.adaptive import static_alone
from withstand.runner.transfer import drawn_at
from withstand.stats.clusters import Groups
from withstand.stats.group_sequential import Watch
from withstand.store.store import RunRow, Store
from withstand.store.tables import CASES, COMPLETIONS, VERDICTS, row, want

Where: TypeAlias = tuple[int, int]
"""Number of the test case, and of the sample."""

DIMENSIONS = ("suite", "target", "defense", "attack")
"""What tells the cells of one run apart, besides what they measure."""


@dataclass(frozen=True, slots=True)
class BehaviorResult:
    """One behavior of a cell: the outcome of each case that was wanted.

    frozen: the key of its test cases' row.   sent: digest of what they say, where a baseline has it.
    cluster: what it stands or falls with, "" for nothing.
    """

    id: str
    category: str = ""
    frozen: str = ""
    outcomes: Mapping[Where, str] = field(default_factory=dict)
    sent: str = ""
    cluster: str = ""

    @property
    def cases(self) -> int:
        return len(self.outcomes)

    def count(self, *names: str) -> int:
        return sum(outcome in names for outcome in self.outcomes.values())

    def hit(self, hits: Collection[str], unknown: bool | None = None) -> dict[Where, bool]:
        """Of each case whether it is counted. unknown: of those without a verdict, which None leaves out."""
        scored = {at: outcome in hits for at, outcome in self.outcomes.items() if outcome in SCORED}
        return scored if unknown is None else {at: scored.get(at, unknown) for at in self.outcomes}

    def where(self, outcome: str) -> list[Where]:
        """The cases with this outcome."""
        return [at for at, value in self.outcomes.items() if value == outcome]

    @property
    def scored(self) -> int:
        return self.count(*SCORED)

    @property
    def unknown(self) -> int:
        return self.count("unscored", "error")


@dataclass(frozen=True, slots=True)
class Graded:
    """A cell with all that decides whether another may be set beside it. `behaviors` by their content's digest.

    reused: rows that a model had been asked for before the run began.   cases: digest of test cases that were given.
    watched: the run was stopped by what it found.   watch: how, of a harmful cell of a run in the store.
    labeled: cases, with the key of their behavior, whose outcome is what people say.   cut: searches a budget ended.
    knows: of a defended harmful cell, whether its attack is "adaptive" or "static"; "" without a defense.
    draws_at: temperature of an attack that draws its own answers.
    """

    run: str
    suite: str
    target: str
    defense: str
    attack: str
    judge: str
    benign: bool
    suite_version: str
    checksum: str
    judge_key: str
    judge_method: str
    sampling: Json
    samples: int
    until_success: bool
    budget: Json
    identity: Json
    behaviors: Mapping[str, BehaviorResult]
    reused: int = 0
    cases: str = ""
    watched: bool = False
    utility: bool = False
    shown: Mapping[str, str] = field(default_factory=dict, compare=False)
    watch: Watch | None = None
    labeled: frozenset[tuple[str, Where]] = field(default=frozenset(), compare=False)
    cut: int = field(default=0, compare=False)
    knows: str = ""
    draws_at: float | None = None

    def value(self, dimension: str) -> str:
        label: str = getattr(self, dimension)
        return label

    @property
    def state(self) -> list[Any]:
        """What tells its target from one of the same name in another state: other weights, or another template."""
        facts = self.identity if isinstance(self.identity, dict) else {"identity": self.identity}
        return [facts.get(name) for name in ("use", "identity", "template")]

    def shares(self, cell: "Graded", *more: str) -> bool:
        """Whether another cell was asked and judged alike on the same target: all but its defense and its attack, which
        `more` may name."""
        same = ("suite", "suite_version", "checksum", "target", "state", "judge_key", "sampling", *more)
        return all(getattr(self, name) == getattr(cell, name) for name in same)

    @property
    def measures(self) -> str:
        """ "harm"; of benign cells "over-refusal", or "utility" where right answers are counted."""
        return "utility" if self.utility else "over-refusal" if self.benign else "harm"

    @property
    def hits(self) -> tuple[str, ...]:
        """What is counted: success on harmful prompts and right answers; else refused and filtered on benign ones."""
        return HITS[self.measures]

    def columns(self, keys: Iterable[str] | None = None) -> tuple[list[int], list[int], list[int], list[int]]:
        """What is counted, scored, unknown and wanted, one number per behavior, in the order of `keys`."""
        behaviors = [self.behaviors[key] for key in (self.behaviors if keys is None else keys)]
        return (
            [behavior.count(*self.hits) for behavior in behaviors],
            [behavior.scored for behavior in behaviors],
            [behavior.unknown for behavior in behaviors],
            [behavior.cases for behavior in behaviors],
        )


def clusters_of(cells: Iterable[Graded], keys: Iterable[str]) -> list[str]:
    """The cluster of each of these behaviors, by whichever of the cells knows it."""
    clusters = {key: behavior.cluster for cell in cells for key, behavior in cell.behaviors.items() if behavior.cluster}
    return [clusters.get(key, "") for key in keys]


def in_clusters(cell: Graded) -> bool:
    """Whether two of its behaviors share a cluster."""
    return Groups.of(clusters_of([cell], cell.behaviors)) is not None


def stopped_early(baseline: Graded, now: Graded) -> bool:
    """Whether a baseline stopped by what it found before all behaviors were asked: the earlier the more breaks it had
    by chance, beside which a worse build looks equal."""
    if not baseline.watched:
        return False
    asked = len(baseline.behaviors)
    if watch := baseline.watch or now.watch:
        return asked < watch.behaviors
    return now.watched or asked < len(now.behaviors)


def by_target(cells: Iterable[Graded]) -> list[list[Graded]]:
    """The harmful cells by what was attacked (suite, target, defense and judge), in the order of the cells."""
    groups: dict[tuple[str, ...], list[Graded]] = {}
    for cell in cells:
        if not cell.benign:
            groups.setdefault((cell.suite, cell.target, cell.defense, cell.judge_key), []).append(cell)
    return list(groups.values())


def static_only(cells: Iterable[Graded]) -> bool:
    """Whether a defended target met attacks that do not know the defense, and has no verdict on one that does."""
    harmful = [cell for cell in cells if not cell.benign and cell.defense != "none"]
    return static_alone((cell.knows, any(seen.scored for seen in cell.behaviors.values())) for cell in harmful)


def several_ways(cell: Graded) -> bool:
    """Whether an attack that knows the defense sent several test cases for a behavior, as in the words of bypasses: a
    mean over them lies below what any of them broke, the further the more of them fail."""
    cases = ({case for case, _ in seen.outcomes} for seen in cell.behaviors.values())
    return cell.knows == "adaptive" and any(len(numbers) > 1 for numbers in cases)


def flattered(cells: Iterable[Graded]) -> dict[tuple[str, str], str]:
    """(target, defense) of those that static attacks alone met on a suite -> why that passes no gate."""
    reasons = {}
    for group in filter(static_only, by_target(cells)):
        defense = group[0].defense
        who = f"no attack of the run knows {defense}"
        do = "Run one that does, or --allow-static"
        if any(cell.knows == "adaptive" for cell in group):
            who, do = f"no attack that knows {defense} has a verdict", "See why, or --allow-static"
        reasons[group[0].target, defense] = f"static only: {who}, so that its rate flatters the defense. {do}"
    return reasons


def graded(store: Store, run: RunRow) -> list[Graded]:
    """The cells of a run, in the plan's order. What is wanted and has no row is an error, as in `summarize`.

    Raises `SpecError` for a run of what people tried by hand, which has no rate.
    """
    check_rates(run)
    plan = run.plan
    texts = store.behaviors({key for suite in plan["suites"] for key in suite["behaviors"]})
    places, reused, cut = _read(store, run)
    names, clusters = shown_names(plan), plan.get("clusters", {})
    cells = []
    for index, cell in enumerate(plan["cells"]):
        keys = plan["suites"][cell["suite"]]["behaviors"]
        behaviors = {}
        for place, outcomes, frozen in places[index]:
            text = texts[keys[place]]
            behaviors[keys[place]] = BehaviorResult(
                text["id"], text.get("category", ""), frozen, outcomes, cluster=clusters.get(keys[place], "")
            )
        cells.append(replace(cell_of(run, index, behaviors, reused[index]), shown=names[index], cut=cut[index]))
    return cells


def suite_of(suite: Json) -> str:
    """What cells call a suite of a plan: its name, with its split where it has one."""
    return f"{suite['name']} ({suite['split']})" if suite["split"] else str(suite["name"])


def knowledge_of(plan: Json, index: int) -> str:
    """What the attack of a cell knows of its defense: "adaptive", "static", as of runs before this was kept, or ""."""
    cell = plan["cells"][index]
    if cell["benign"] or cell["defense"] == "none":
        return ""
    return str(plan.get("knows", {}).get(str(index), "static"))


def cell_of(run: RunRow, index: int, behaviors: Mapping[str, BehaviorResult], reused: int = 0) -> Graded:
    """A cell of a run by what the plan says of it, with these behaviors."""
    plan = run.plan
    cell = plan["cells"][index]
    suite, stop = plan["suites"][cell["suite"]], plan.get("stop_when_decided")
    return Graded(
        run.name, suite_of(suite),
        cell["target"], cell["defense"], cell["attack"], cell["judge"], cell["benign"],
        str(suite["version"]), suite.get("checksum", ""), cell["keys"]["judge"], cell["judge_method"],
        cell["sampling"], cell["samples"], cell["until_success"], plan["budget"],
        plan["targets"].get(cell["target"]), behaviors, reused, cell["keys"].get("cases", ""),
        stop is not None, cell.get("measures") == "utility",
        watch=None if stop is None or cell["benign"] else Watch(stop, len(suite["behaviors"])),
        knows=knowledge_of(plan, index),
        draws_at=drawn_at(plan, index),
    )  # fmt: skip


Place: TypeAlias = tuple[int, dict[Where, str], str]
"""A behavior's place in its suite, its outcomes, and the key of its test cases."""


def _read(store: Store, run: RunRow) -> tuple[list[list[Place]], Counter[int], Counter[int]]:
    """The places of each cell, and by cell the rows from before the run and the searches that a budget ended."""
    w, r = want.c, row.c
    rows = store.select(
        sql.select(
            w.stage, w.cell, w.behavior, w.number, w.sample, w.key, r.label, r.test_cases, r.asks, r.created, r.cut
        )
        .select_from(want.outerjoin(row, r.key == w.key))
        .where(w.run == run.key)
    )
    test_cases: dict[tuple[int, int], int] = {}
    frozen: dict[tuple[int, int], str] = {}
    drawn: dict[tuple[int, int], set[Where]] = defaultdict(set)
    verdicts: dict[tuple[int, int], dict[Where, str]] = defaultdict(dict)
    reused: Counter[int] = Counter()
    ended: Counter[int] = Counter()
    for stage, cell, behavior, number, sample, key, label, cases, asks, created, cut in rows:
        place = (cell, behavior)
        if label is not None and stage != VERDICTS and asks and created < run.created:
            reused[cell] += 1
        if stage == CASES:
            frozen[place] = key
            ended[cell] += cut not in (None, "", "success")
            if label is not None:
                test_cases[place] = cases
        elif stage == COMPLETIONS:
            drawn[place].add((number, sample))
        elif label is not None:
            verdicts[place][number, sample] = label
    cells: list[list[Place]] = [[] for _ in run.plan["cells"]]
    for place in sorted(frozen):
        wanted = drawn[place] | {(number, 0) for number in range(test_cases.get(place, 1))}
        outcomes = {at: verdicts[place].get(at, "error") for at in sorted(wanted)}
        cells[place[0]].append((place[1], outcomes, frozen[place]))
    return cells, reused, ended


def rows_of(cells: Iterable[Graded]) -> Iterator[dict[str, Any]]:
    """Every case as a flat row without a text: labels of its cell, behavior, case, sample, outcome."""
    for cell in cells:
        labels = {name: cell.value(name) for name in (*DIMENSIONS, "judge")}
        benign = {"benign": cell.benign} | ({"measures": cell.measures} if cell.utility else {})
        for key, behavior in cell.behaviors.items():
            for (number, sample), outcome in behavior.outcomes.items():
                at = {
                    "key": key,
                    "behavior": behavior.id,
                    "category": behavior.category,
                    "case": number,
                    "sample": sample,
                } | ({"cluster": behavior.cluster} if behavior.cluster else {})
                yield {**labels, **benign, **at, "outcome": outcome}
