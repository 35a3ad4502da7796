"""Two sets of cells beside each other: which cells belong together, whether they may be compared, what changed."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from withstand.core import SpecError
from withstand.core.outcomes import HITS
from withstand.core.text import head_of, series
from withstand.results.graded import DIMENSIONS, Graded, Where, clusters_of, graded
from withstand.results.summary import find_run
from withstand.runner.transfer import bare_label, given_label
from withstand.stats import paired
from withstand.store.store import Store

ALLOW = ("judge", "suite", "sampling", "template")
"""What may differ only where `--allow` says so."""

_CHOICE = re.compile(rf"^(.*?):((?:{'|'.join(DIMENSIONS)})=.*)$", re.DOTALL)
_NEXT = re.compile(rf",(?=(?:{'|'.join(DIMENSIONS)})=)")


@dataclass(frozen=True, slots=True)
class Side:
    """Some cells of one run, and the words for them."""

    label: str
    cells: tuple[Graded, ...]


# --- which cells -------------------------------------------------------------------------------------------------


def side(store: Store, text: str) -> Side:
    """RUN, or RUN:target=x,attack=y: the cells of a run, or those with these labels."""
    match = None if any(run.name == text for run in store.runs()) else _CHOICE.match(text)
    cells = graded(store, find_run(store, match[1] if match else text))
    for part in _NEXT.split(match[2]) if match else ():
        dimension, _, wanted = part.partition("=")
        cells = _chosen(cells, dimension, wanted)
    return Side(text or cells[0].run, tuple(cells))


def _chosen(cells: Sequence[Graded], dimension: str, wanted: str) -> list[Graded]:
    """The cells with this label, or the one that begins with it. The benign twin has no attack to choose."""
    values = _values(cells, dimension)
    near = [wanted] if wanted in values else [value for value in values if value.startswith(wanted)]
    if len(near) != 1:
        has = f"has {'several' if near else 'no'} {dimension} {wanted!r}"
        raise SpecError(f"{cells[0].run} {has}", hint=f"it has {'; '.join(near or values)}")
    return [c for c in cells if c.value(dimension) == near[0] or (c.benign and dimension == "attack")]


def _values(cells: Iterable[Graded], dimension: str) -> list[str]:
    harmful = [cell for cell in cells if not cell.benign] or list(cells)
    return list(dict.fromkeys(cell.value(dimension) for cell in harmful))


def split_by(store: Store, name: str, by: str) -> list[tuple[Side, Side]]:
    """The cells of one run with its first target (attack, defense), and those with each other one."""
    whole = side(store, name)
    values = _values(whole.cells, by)
    if len(values) < 2:
        raise SpecError(
            f"{whole.label} has one {by}, {values[0]}: nothing to compare", hint="name a second run, or another --by"
        )
    parts = [Side(f"{by} {value}", tuple(_chosen(whole.cells, by, value))) for value in values]
    return [(parts[0], part) for part in parts[1:]]


class BehaviorPair(NamedTuple):
    """A behavior on both sides, see `stats.paired.difference_of_rates`."""

    rate_a: float
    rate_b: float
    differing: float
    share: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two cells that differ in `varied` and belong together in all else. `label` is what tells pairs apart; `category`
    of a policy whose behaviors they have alone, "" for all."""

    label: str
    varied: tuple[str, ...]
    a: Graded
    b: Graded
    category: str = ""

    @property
    def keys(self) -> list[str]:
        """The behaviors of both."""
        return [key for key in self.a.behaviors if key in self.b.behaviors]

    def rates(self, unknown: tuple[bool | None, bool | None] = (None, None)) -> dict[str, BehaviorPair]:
        """The behaviors that have a case on both sides. unknown: what those of A and B without a verdict count as."""
        hits, rates = self.a.hits, {}
        for key in self.keys:
            a, b = (side.behaviors[key].hit(hits, of) for side, of in zip((self.a, self.b), unknown, strict=True))
            if a and b:
                rates[key] = _behavior_pair(a, b)
        return rates

    def difference(self, unknown: tuple[bool | None, bool | None] = (None, None)) -> paired.Difference | None:
        """B's rate minus A's, of these behaviors; None without one."""
        rates = self.rates(unknown)
        return paired.difference_of_rates(*columns(rates.values()), clusters=clusters_of([self.a, self.b], rates))


def columns(rates: Iterable[BehaviorPair]) -> Any:
    """One array for each figure."""
    return np.array(list(rates), float).reshape(-1, len(BehaviorPair._fields)).T


def _behavior_pair(a: Mapping[Where, bool], b: Mapping[Where, bool]) -> BehaviorPair:
    """Cases of the same number belong together; where there is none, all are paired with all."""
    rates = sum(a.values()) / len(a), sum(b.values()) / len(b)
    both = [at for at in a if at in b]
    differing = sum(a[at] != b[at] for at in both) / len(both) if both else float(paired.unpaired(*rates))
    return BehaviorPair(*rates, differing, 1 / min(len(a), len(b)))


def matched(a: Sequence[Graded], b: Sequence[Graded]) -> tuple[list[Pair], list[str]]:
    """The pairs of harmful cells, then of over-refusal, then of utility, and notes on what has no counterpart.

    Cells belong together where their labels do. Where each side has one value of its own (one target here, another
    there), that is what is compared. Raises `SpecError` where they cannot be matched.
    """
    pairs: list[Pair] = []
    notes: list[str] = []
    for what in HITS:
        side_a, side_b = ([cell for cell in cells if cell.measures == what] for cells in (a, b))
        if what == "utility" and side_a and side_b and {c.suite for c in side_a}.isdisjoint(c.suite for c in side_b):
            notes.append("utility was measured with another suite on each side: it is left out")
        elif side_a and side_b:
            matches, unmatched = _matched(side_a, side_b)
            pairs += matches
            notes += unmatched
        elif side_a or side_b:
            kind = {"harm": "harmful", "over-refusal": "benign", "utility": "utility"}[what]
            notes.append(f"{kind} cells on one side only are left out")
    pairs = [pair for pair in pairs if pair.a != pair.b]
    if not pairs:
        raise SpecError("both sides are the same cells: nothing to compare", hint="name two runs, or --by target")
    if not any(pair.keys for pair in pairs):
        raise SpecError("no behavior is in both", hint="compare runs of one suite, split and version")
    return pairs, notes


def _matched(side_a: Sequence[Graded], side_b: Sequence[Graded]) -> tuple[list[Pair], list[str]]:
    names: dict[str, Callable[[Graded], str]] = {}
    varied = []
    for dimension in DIMENSIONS:
        how = _how(side_a, side_b, dimension)
        if how is None:
            varied.append(dimension)
        else:
            names[dimension] = how
    sides: list[dict[tuple[str, ...], Graded]] = [
        {tuple(how(cell) for how in names.values()): cell for cell in cells} for cells in (side_a, side_b)
    ]
    telling = [at for at, name in enumerate(names) if len({key[at] for key in (*sides[0], *sides[1])}) > 1]
    pairs = []
    for key, cell in sides[0].items():
        if key in sides[1]:
            parts = [key[at] for at in telling if key[at] != "none"]
            label = ", ".join(parts) or (cell.suite if cell.benign or "attack" in varied else cell.attack)
            pairs.append(Pair(label, tuple(varied), cell, sides[1][key]))
    lonely = [key for key in (*sides[0], *sides[1]) if not (key in sides[0] and key in sides[1])]
    return pairs, [f"on one side only, left out: {', '.join(key)}" for key in lonely]


def _how(side_a: Sequence[Graded], side_b: Sequence[Graded], dimension: str) -> Callable[[Graded], str] | None:
    """How cells are named in a dimension so that both sides agree; None where it is what differs."""
    readings: list[Callable[[Graded], str]] = [
        lambda cell: cell.value(dimension),
        lambda cell: _as_given(cell) if dimension == "attack" else cell.value(dimension),
        lambda cell: bare_label(cell.attack) if dimension == "attack" else cell.value(dimension),
        lambda cell: head_of(cell.value(dimension)),
    ]
    sides = (side_a, side_b)
    for reading in readings:
        names_a, names_b = ({reading(cell) for cell in cells} for cells in sides)
        whole = all(len({reading(c) for c in cells}) >= len({c.value(dimension) for c in cells}) for cells in sides)
        if whole and names_a & names_b:
            return reading
    names_a, names_b = ({cell.value(dimension) for cell in cells} for cells in sides)
    if dimension == "suite":
        raise SpecError(
            f"the sides have different suites: {series(sorted(names_a))}, and {series(sorted(names_b))}",
            hint="compare runs of one suite and split",
        )
    if len(names_a) == len(names_b) == 1:
        return None
    raise SpecError(
        f"cannot match the {dimension}s of A ({', '.join(sorted(names_a))}) with those of B "
        f"({', '.join(sorted(names_b))})",
        hint=f"name one on each side: RUN:{dimension}={min(names_a)} RUN:{dimension}={min(names_b)}",
    )


def _as_given(cell: Graded) -> str:
    """What its test cases are called where they are sent again; what they are called, where that is done here."""
    return cell.attack if cell.cases else given_label(cell.attack, cell.target, cell.defense, cell.run)


# --- whether they may be compared --------------------------------------------------------------------------------


def check(pairs: Iterable[Pair], allow: Collection[str] = ()) -> list[str]:
    """Raise `SpecError` where judge, suite version, sampling, or the template of the same weights differ.

    What `allow` lets pass comes back as notes.
    """
    reasons: dict[str, str] = {}
    for pair in pairs:
        for name, why in _differences(pair.a, pair.b):
            reasons.setdefault(name, why)
    for name, why in reasons.items():
        if name not in allow:
            raise SpecError(f"not comparable: {why}", hint=_WAYS[name])
    return [f"allowed all the same: {why}" for why in reasons.values()]


def _differences(a: Graded, b: Graded) -> Iterator[tuple[str, str]]:
    if a.judge_key != b.judge_key:
        same = " of another version or other fields" if a.judge == b.judge else ""
        yield "judge", f"the judges differ: {a.judge} and {b.judge}{same}"
    if (a.suite_version, a.checksum) != (b.suite_version, b.checksum):
        yield "suite", f"{a.suite} is of another version ({a.suite_version} and {b.suite_version}, or other texts)"
    if a.sampling != b.sampling:
        values = [f"{key} {a.sampling.get(key)} and {b.sampling.get(key)}" for key in {**a.sampling, **b.sampling}
                if a.sampling.get(key) != b.sampling.get(key)]  # fmt: skip
        yield "sampling", f"sampling differs: {'; '.join(values)}"
    if a.until_success != b.until_success:
        yield "sampling", "one side stopped each attack at its first success"
    template_a, template_b = _template(a), _template(b)
    if template_a and template_b and template_a[0] == template_b[0] and template_a[1] != template_b[1]:
        yield "template", f"{a.target} and {b.target} are the same weights with another chat template or tokenizer"


_WAYS = {
    "judge": "have one judge grade both (rerun one spec with the other's --judge: the target is not asked again), "
    "or --allow judge",
    "suite": "rerun one of them with the other's suite, or --allow suite, which compares the behaviors they share",
    "sampling": "rerun one of them with the other's sampling, or --allow sampling",
    "template": "a template changes ASR by itself: rerun with one template, or --allow template",
}


def _template(cell: Graded) -> tuple[Any, Any] | None:
    """The identity of weights, and of what stands between them and a chat; None for what is no local model."""
    facts: Mapping[str, Any] = cell.identity if isinstance(cell.identity, dict) else {}
    identity = facts.get("identity")
    if not isinstance(identity, dict) or not identity.get("weights"):
        return None
    weights = (identity["weights"], identity.get("adapter"))
    return weights, (facts.get("template"), identity.get("template"), identity.get("tokenizer"))
