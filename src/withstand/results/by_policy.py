"""Which categories of a policy the behaviors of a run are of, and what a reader of rates by them must know."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from withstand.core import dumps
from withstand.core.taxonomy import OWN_TAG, UNCOVERED, Grouping
from withstand.core.text import count, head_of, series
from withstand.results.compare import Pair
from withstand.results.graded import BehaviorResult, Graded, suite_of
from withstand.results.warnings import TOOL
from withstand.store.store import RunRow, Store

LISTED = 6
"""Categories of a suite that a note names."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """The categories of the harmful behaviors of a run: by the place of their suite in the plan, and their key.

    suites: as people read them.   names: what cells call a suite -> its place, and what a policy may call it.
    categories: what the suites themselves call them, by place and key.   called: categories with a behavior whose
    success is a call of a tool.   strange: tags `policy:ID` that name no category.
    """

    grouping: Grouping
    suites: tuple[str, ...]
    ids: Mapping[tuple[int, str], tuple[str, ...]]
    categories: Mapping[tuple[int, str], str]
    called: frozenset[str] = frozenset()
    names: Mapping[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    strange: tuple[str, ...] = ()

    def of(self, cell: Graded, key: str) -> tuple[str, ...]:
        """The categories of a behavior of a cell, which may be one of a baseline whose behaviors the run lacks."""
        place, names = self.names.get(cell.suite, (-1, (cell.suite, head_of(cell.suite))))
        return self.ids.get((place, key)) or self.grouping.ids(names, cell.behaviors[key].category)

    def parts(self, cell: Graded) -> dict[str, Graded]:
        """Category -> the cell with its behaviors alone, for those that it has."""
        own: dict[str, dict[str, BehaviorResult]] = defaultdict(dict)
        for key, behavior in cell.behaviors.items():
            for name in self.of(cell, key):
                own[name][key] = behavior
        return {name: replace(cell, behaviors=behaviors) for name, behaviors in own.items()}

    @property
    def tested(self) -> tuple[str, ...]:
        """The categories that a behavior is of, in the policy's order."""
        some = {name for ids in self.ids.values() for name in ids}
        return tuple(name for name in self.grouping.names if name in some)

    def notes(self) -> Iterator[str]:
        """What is in no category, and which categories have no behavior."""
        for place, suite in enumerate(self.suites):
            keys = [key for key, ids in self.ids.items() if key[0] == place and UNCOVERED in ids]
            if keys:
                named = sorted({self.categories[key] for key in keys} - {""})
                more = [f"{len(named) - LISTED} more"] if len(named) > LISTED else []
                of = f" ({series([*named[:LISTED], *more])})" if named else ""
                verb = "is" if len(keys) == 1 else "are"
                yield (
                    f"{count(len(keys), 'behavior')} of {suite}{of} {verb} `{UNCOVERED}`: {self.grouping.label} maps "
                    f"them to no category. To map them, add a table [[suite]] with `use = {dumps(suite)}`."
                )
        if self.strange:
            yield f"{self.grouping.label} has no category of the tags {series(list(self.strange))}."
        absent = [name for name in self.grouping.names if name not in self.tested and name != UNCOVERED]
        if absent:
            yield f"Not tested: no behavior of the run is of {series(absent)}."


def by_category(pairs: Sequence[Pair], policy: Assigned) -> list[Pair]:
    """The harmful pairs, each with the behaviors of one category alone; those of A that B lacks stay A's."""
    split = []
    for pair in pairs:
        a, b = ({} if side.benign else policy.parts(side) for side in (pair.a, pair.b))
        for name in filter(a.__contains__, policy.grouping.names):
            now = b.get(name) or replace(pair.b, behaviors={})
            split.append(replace(pair, a=a[name], b=now, category=name, label=f"{name}: {pair.label}"))
    return split


def assigned(store: Store, run: RunRow, grouping: Grouping) -> Assigned:
    """The categories of a run's behaviors by a policy. Works from the store alone."""
    suites = run.plan["suites"]
    texts = store.behaviors({key for suite in suites for key in suite["behaviors"]})
    maps = run.plan.get("taxonomy") or [{}] * len(suites)
    harmful = {cell["suite"] for cell in run.plan["cells"] if not cell["benign"]}
    ids: dict[tuple[int, str], tuple[str, ...]] = {}
    categories: dict[tuple[int, str], str] = {}
    called: set[str] = set()
    strange: set[str] = set()
    for place in sorted(harmful):
        called_names = _names(run, place)
        for key in suites[place]["behaviors"]:
            category, tags = texts[key].get("category", ""), texts[key].get("tags", ())
            ids[place, key] = own = grouping.ids(called_names, category, tags, maps[place].get(category, ()))
            categories[place, key] = category
            called |= {*own} if any(tag.startswith(TOOL) for tag in tags) else set()
            strange |= {tag for tag in tags if tag.startswith(OWN_TAG) and tag[len(OWN_TAG) :] not in grouping.names}
    names = {suite_of(suite): (place, _names(run, place)) for place, suite in enumerate(suites)}
    shown = tuple(_names(run, place)[0] for place in range(len(suites)))
    return Assigned(grouping, shown, ids, categories, frozenset(called), names, tuple(sorted(strange)))


def _names(run: RunRow, place: int) -> tuple[str, ...]:
    """What a suite of a run may be called in a policy: its alias, its file as in `csv:rows.csv`, its name."""
    name = run.plan["suites"][place]["name"]
    alias = run.plan.get("aliases", {}).get("suite", {}).get(name, "")
    given = run.spec.get("suite")
    entry = given[place] if isinstance(given, list) and place < len(given) else None
    file = (entry.get("path") or entry.get("")) if isinstance(entry, Mapping) else None
    whole = f"{entry['use']}:{file}" if isinstance(entry, Mapping) and isinstance(file, str) else ""
    return tuple(dict.fromkeys(filter(None, (alias, whole, name, head_of(name).partition(" (")[0]))))
