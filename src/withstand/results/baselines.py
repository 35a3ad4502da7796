"""The baseline of a gate: the cells of a run frozen into a file, read again, and paired with those of a later run."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from withstand.core import Json, SpecError
from withstand.core.text import count
from withstand.results import compare
from withstand.results.compare import Pair, Side
from withstand.results.graded import DIMENSIONS, BehaviorResult, Graded, graded
from withstand.results.summary import find_run
from withstand.runner import baseline
from withstand.store.store import RunRow, Store


def name_of(cell: Graded, dimensions: Iterable[str]) -> str:
    """A cell by these of its labels; a benign one by its suite, and by its attack where that is not `direct`."""
    left_out = ("suite", *["attack"] * (cell.attack == "direct")) if cell.benign else ()
    names = [cell.value(name) for name in dimensions if name not in left_out]
    return ", ".join([*([cell.suite] if cell.benign else []), *(name for name in names if name != "none")])


def check_pinned(cells: Sequence[Graded]) -> None:
    """Refuse answers of an earlier time, of a target that may have changed since without a trace."""
    for cell in cells:
        identity: Any = cell.identity
        if isinstance(identity, dict) and identity.get("identity") == {"revision": ""} and cell.reused:
            raise SpecError(
                f"{cell.target} has no revision, and {count(cell.reused, 'row')} of {cell.run} "
                f"{'is' if cell.reused == 1 else 'are'} from before the run: their version is unknown",
                hint='run it with --revision "$GIT_SHA" (or what names the version), or with --fresh',
            )


def baseline_of(store: Store, row: RunRow, created: str) -> str:
    """The baseline file of a run, as text."""
    cells = graded(store, row)
    digests = baseline.sent(store, [behavior.frozen for cell in cells for behavior in cell.behaviors.values()])
    return baseline.text(row.name, created, [_written(cell, digests) for cell in cells])


_LEFT_OUT = ("run", "behaviors", "reused", "identity", "labeled", "watch", "cut", "knows")


def _written(cell: Graded, digests: Mapping[str, str]) -> dict[str, Any]:
    left_out = _LEFT_OUT if cell.utility else (*_LEFT_OUT, "utility")
    facts = {name: getattr(cell, name) for name in Graded.__slots__ if name not in left_out}
    if cell.draws_at is None:
        del facts["draws_at"]
    behaviors = sorted(cell.behaviors.items(), key=lambda item: item[1].id)
    return {
        **facts,
        "identity": _short(cell.identity),
        "behaviors": {
            key: {
                "id": behavior.id,
                "category": behavior.category,
                "cases": behavior.frozen,
                "sent": digests.get(behavior.frozen, ""),
                "outcomes": " ".join(f"{n}.{s}={outcome}" for (n, s), outcome in behavior.outcomes.items()),
                **({"cluster": behavior.cluster} if behavior.cluster else {}),
            }
            for key, behavior in behaviors
        },
    }


def _short(identity: Json) -> Json:
    """What comparing needs of a target's identity; its fields may hold texts."""
    if not isinstance(identity, dict):
        return None
    return {name: identity[name] for name in ("use", "template", "identity") if name in identity}


def runs_of(store: Store, name: str | None) -> list[RunRow]:
    """The run that a baseline names; none for a file, and where there is no baseline."""
    if not name or baseline.is_baseline(name):
        return []
    if name.endswith(".json") and not any(run.name == name for run in store.runs()):
        baseline.read(name)  # which says what is wrong with it
    return [find_run(store, name)]


def side_of(store: Store, name: str) -> Side:
    """The cells of a baseline file, or of a run in the store."""
    if runs := runs_of(store, name):
        return Side(f"run {runs[0].name}", tuple(graded(store, runs[0])))
    content = baseline.read(name)
    try:
        cells = tuple(_read(content["run"], cell) for cell in content["cells"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SpecError(
            f"{name} is a damaged baseline: {type(error).__name__} {error}",
            hint="take it from version control again, or write it anew with --write-baseline",
        ) from error
    return Side(f"{name} (run {content['run']})", cells)


def _read(run: str, cell: Mapping[str, Any]) -> Graded:
    behaviors = {}
    for key, behavior in cell["behaviors"].items():
        outcomes = {}
        for part in behavior["outcomes"].split():
            at, _, outcome = part.partition("=")
            number, _, sample = at.partition(".")
            outcomes[int(number), int(sample)] = outcome
        behaviors[key] = BehaviorResult(
            behavior["id"], behavior["category"], behavior["cases"], outcomes, behavior["sent"],
            behavior.get("cluster", ""),
        )  # fmt: skip
    return Graded(run=run, **{**cell, "behaviors": behaviors})


def paired_with(
    baseline: Side, cells: Sequence[Graded], allow: Sequence[str]
) -> tuple[list[Pair], list[Graded], list[str]]:
    """Pairs of baseline and run, the harmful cells of the baseline that the run lacks, and notes."""
    pairs, _ = compare.matched(baseline.cells, cells)
    notes = compare.check(pairs, allow)
    met = {id(pair.a) for pair in pairs}
    lost = [cell for cell in baseline.cells if not cell.benign and id(cell) not in met]
    fresh = {id(pair.b) for pair in pairs}
    notes += [f"not in the baseline: {name_of(c, DIMENSIONS)}" for c in cells if not c.benign and id(c) not in fresh]
    return pairs, lost, notes


def same_cases(store: Store, pairs: Sequence[Pair]) -> Iterator[str]:
    """Notes on cells whose test cases are not those of the baseline."""
    for pair in (pair for pair in pairs if not pair.a.benign):
        both = [(pair.a.behaviors[key], pair.b.behaviors[key]) for key in pair.keys]
        digests = baseline.sent(store, [behavior.frozen for sides in both for behavior in sides if not behavior.sent])
        others = sum((a.sent or digests.get(a.frozen)) != (b.sent or digests.get(b.frozen)) for a, b in both)
        if others:
            yield (
                f"{pair.label}: {others} of {count(len(both), 'behavior')} met other test cases than in the baseline "
                "(the attack searched anew); --cases-from BASELINE sends the same"
            )
