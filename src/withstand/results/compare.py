"""Two sets of cells beside each other: which cells belong together, whether they may be compared, what changed."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from withstand.core import Json, SpecError, digest
from withstand.core.outcomes import HITS
from withstand.core.text import count, head_of, percent, series
from withstand.results.graded import DIMENSIONS, Graded, graded
from withstand.results.summary import find_run
from withstand.runner.baseline import given_label
from withstand.stats import paired, rates
from withstand.store.store import Store

ALLOW = ("judge", "suite", "sampling", "template")
"""What may differ only where `--allow` says so."""

Correct = Literal["holm", "bh"]
CORRECTIONS: dict[Correct, tuple[str, Callable[[Sequence[float | None]], list[float | None]]]] = {
    "holm": ("Holm", paired.holm),
    "bh": ("Benjamini-Hochberg", paired.benjamini_hochberg),
}
ALPHA = 0.05

_CHOICE = re.compile(rf"^(.*?):((?:{'|'.join(DIMENSIONS)})=.*)$", re.DOTALL)
_NEXT = re.compile(rf",(?=(?:{'|'.join(DIMENSIONS)})=)")
_FOUND_ON = re.compile(r" found on .* \([^()]*\)$")


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
    return [(parts[0], other) for other in parts[1:]]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two cells that differ in `varied` and belong together in all else. `label` is what tells pairs apart."""

    label: str
    varied: tuple[str, ...]
    a: Graded
    b: Graded

    @property
    def keys(self) -> list[str]:
        """The behaviors of both."""
        return [key for key in self.a.behaviors if key in self.b.behaviors]


def matched(a: Sequence[Graded], b: Sequence[Graded]) -> tuple[list[Pair], list[str]]:
    """The pairs of harmful cells, then of over-refusal, then of utility, and notes on what has no counterpart.

    Cells belong together where their labels do. Where each side has one value of its own (one target here, another
    there), that is what is compared. Raises `SpecError` where it cannot be told which belongs to which.
    """
    pairs: list[Pair] = []
    notes: list[str] = []
    for what in HITS:
        one, other = ([cell for cell in cells if cell.measures == what] for cells in (a, b))
        if what == "utility" and one and other and {c.suite for c in one}.isdisjoint(c.suite for c in other):
            notes.append("utility was measured with another suite on each side: it is left out")
        elif one and other:
            found, said = _matched(one, other)
            pairs += found
            notes += said
        elif one or other:
            kind = {"harm": "harmful", "over-refusal": "benign", "utility": "utility"}[what]
            notes.append(f"{kind} cells on one side only are left out")
    pairs = [pair for pair in pairs if pair.a != pair.b]
    if not pairs:
        raise SpecError("both sides are the same cells: nothing to compare", hint="name two runs, or --by target")
    if not any(pair.keys for pair in pairs):
        raise SpecError("no behavior is in both", hint="compare runs of one suite, split and version")
    return pairs, notes


def _matched(one: Sequence[Graded], other: Sequence[Graded]) -> tuple[list[Pair], list[str]]:
    names: dict[str, Callable[[Graded], str]] = {}
    varied = []
    for dimension in DIMENSIONS:
        how = _how(one, other, dimension)
        if how is None:
            varied.append(dimension)
        else:
            names[dimension] = how
    sides: list[dict[tuple[str, ...], Graded]] = [
        {tuple(how(cell) for how in names.values()): cell for cell in cells} for cells in (one, other)
    ]
    telling = [at for at, name in enumerate(names) if len({key[at] for key in (*sides[0], *sides[1])}) > 1]
    pairs = []
    for key, cell in sides[0].items():
        if key in sides[1]:
            said = [key[at] for at in telling if key[at] != "none"]
            label = ", ".join(said) or (cell.suite if cell.benign or "attack" in varied else cell.attack)
            pairs.append(Pair(label, tuple(varied), cell, sides[1][key]))
    lonely = [key for key in (*sides[0], *sides[1]) if not (key in sides[0] and key in sides[1])]
    return pairs, [f"on one side only, left out: {', '.join(key)}" for key in lonely]


def _how(one: Sequence[Graded], other: Sequence[Graded], dimension: str) -> Callable[[Graded], str] | None:
    """How cells are named in a dimension so that both sides agree; None where it is what differs."""
    readings: list[Callable[[Graded], str]] = [
        lambda cell: cell.value(dimension),
        lambda cell: _as_given(cell) if dimension == "attack" else cell.value(dimension),
        lambda cell: _FOUND_ON.sub("", cell.attack) if dimension == "attack" else cell.value(dimension),
        lambda cell: head_of(cell.value(dimension)),
    ]
    sides = (one, other)
    for reading in readings:
        mine, theirs = ({reading(cell) for cell in cells} for cells in sides)
        whole = all(len({reading(c) for c in cells}) >= len({c.value(dimension) for c in cells}) for cells in sides)
        if whole and mine & theirs:
            return reading
    mine, theirs = ({cell.value(dimension) for cell in cells} for cells in sides)
    if dimension == "suite":
        raise SpecError(
            f"the sides have different suites: {series(sorted(mine))}, and {series(sorted(theirs))}",
            hint="compare runs of one suite and split",
        )
    if len(mine) == len(theirs) == 1:
        return None
    raise SpecError(
        f"it cannot be told which {dimension} of {', '.join(sorted(mine))} belongs to which of "
        f"{', '.join(sorted(theirs))}",
        hint=f"name one on each side: RUN:{dimension}={min(mine)} RUN:{dimension}={min(theirs)}",
    )


def _as_given(cell: Graded) -> str:
    """What its test cases are called where they are sent again; what they are called, where that is done here."""
    return cell.attack if cell.cases else given_label(cell.attack, cell.target, cell.defense, cell.run)


# --- whether they may be compared --------------------------------------------------------------------------------


def check(pairs: Iterable[Pair], allow: Collection[str] = ()) -> list[str]:
    """Raise `SpecError` where judge, suite version, sampling, or the template of the same weights differ.

    What `allow` lets pass comes back as notes.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        for name, why in _differences(pair.a, pair.b):
            found.setdefault(name, why)
    for name, why in found.items():
        if name not in allow:
            raise SpecError(f"not comparable: {why}", hint=_WAYS[name])
    return [f"allowed all the same: {why}" for why in found.values()]


def _differences(a: Graded, b: Graded) -> Iterator[tuple[str, str]]:
    if a.judge_key != b.judge_key:
        same = " of another version or other fields" if a.judge == b.judge else ""
        yield "judge", f"the judges differ: {a.judge} and {b.judge}{same}"
    if (a.suite_version, a.checksum) != (b.suite_version, b.checksum):
        yield "suite", f"{a.suite} is of another version ({a.suite_version} and {b.suite_version}, or other texts)"
    if a.sampling != b.sampling:
        told = [f"{key} {a.sampling.get(key)} and {b.sampling.get(key)}" for key in {**a.sampling, **b.sampling}
                if a.sampling.get(key) != b.sampling.get(key)]  # fmt: skip
        yield "sampling", f"sampling differs: {'; '.join(told)}"
    if a.until_success != b.until_success:
        yield "sampling", "one side stopped each attack at its first success"
    mine, theirs = _template(a), _template(b)
    if mine and theirs and mine[0] == theirs[0] and mine[1] != theirs[1]:
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
    told: Mapping[str, Any] = cell.identity if isinstance(cell.identity, dict) else {}
    identity = told.get("identity")
    if not isinstance(identity, dict) or not identity.get("weights"):
        return None
    weights = (identity["weights"], identity.get("adapter"))
    return weights, (told.get("template"), identity.get("template"), identity.get("tokenizer"))


# --- what changed ------------------------------------------------------------------------------------------------


def compare(
    pairs: Sequence[Pair], texts: Mapping[str, Json], margin: float, correct: Correct, reveal: bool = False
) -> list[Json]:
    """One row per pair, JSON. `texts`: behaviors by key; `margin`: what counts as unchanged, in (0, 1)."""
    rows = [_row(pair, texts, margin, reveal) for pair in pairs]
    _, corrected = CORRECTIONS[correct]
    for row, p in zip(rows, corrected([row["p"] for row in rows]), strict=True):
        row["p_corrected"] = p
        row["says"] = says(row, margin)
    return rows


def _row(pair: Pair, texts: Mapping[str, Json], margin: float, reveal: bool) -> Json:
    keys = pair.keys
    a, n_a, u_a, all_a = pair.a.columns(keys)
    b, n_b, u_b, all_b = pair.b.columns(keys)
    found = paired.difference(a, n_a, b, n_b)
    notes = []
    only = len(pair.a.behaviors) + len(pair.b.behaviors) - 2 * len(keys)
    if only:
        notes.append(f"{count(only, 'behavior')} on one side only, left out")
    if sum(u_a) + sum(u_b):
        notes.append(f"{sum(u_a)} cases of A and {sum(u_b)} of B are unscored or in error: in the bounds alone")
    if pair.a.watched or pair.b.watched:
        notes.append("a side was stopped by what it found: the interval and p are a little too sure")
    if pair.a.budget != pair.b.budget:
        notes.append("the attacks had different budgets")
    if pair.b.cases and not pair.a.cases:
        notes.append("B was sent test cases that were found before: a transfer where the target has changed")
    limits = found.limits() if found else None
    worse = -1 if pair.a.measures == "utility" else 1  # of right answers fewer are worse
    return {
        "label": pair.label,
        "varied": list(pair.varied),
        "benign": pair.a.benign,
        "measures": pair.a.measures,
        "a": _of(pair.a, keys),
        "b": _of(pair.b, keys),
        "behaviors": found.behaviors if found else 0,
        "difference": found.difference if found else None,
        "interval": list(limits) if limits else None,
        "bounds": _bounds(a, u_a, all_a, b, u_b, all_b) if sum(u_a) + sum(u_b) else None,
        "p": found.p if found else None,
        "method": found.method if found else "",
        "p_unchanged": found.unchanged(margin) if found else None,
        "worse": list(changes(pair, texts, worse, reveal)),
        "better": list(changes(pair, texts, -worse, reveal)),
        "notes": notes,
    }


def _of(cell: Graded, keys: Sequence[str]) -> Json:
    hits, scored, unknown, wanted = cell.columns(keys)
    interval = rates.rate_interval(hits, scored)
    return {
        "run": cell.run,
        **{name: cell.value(name) for name in (*DIMENSIONS, "judge")},
        "judge_method": cell.judge_method,
        "hits": sum(hits),
        "scored": sum(scored),
        "unknown": sum(unknown),
        "cases": sum(wanted),
        "rate": rates.mean_rate(hits, scored),
        "interval": [interval.low, interval.high] if interval else None,
    }


def _bounds(a: Any, u_a: Any, all_a: Any, b: Any, u_b: Any, all_b: Any) -> list[float] | None:
    """The difference if all unknown cases fell against B, and all in its favor."""
    one, other = rates.rate_bounds(a, u_a, all_a), rates.rate_bounds(b, u_b, all_b)
    return [other[0] - one[1], other[1] - one[0]] if one and other else None


def changes(pair: Pair, texts: Mapping[str, Json], direction: int, reveal: bool = False) -> Iterator[Json]:
    """The behaviors with a larger share in B (or smaller), and which of their cases flipped, where B has the same."""
    hits = pair.a.hits
    for key in sorted(pair.keys, key=lambda key: pair.a.behaviors[key].id):
        one, other = pair.a.behaviors[key], pair.b.behaviors[key]
        if not one.scored or not other.scored:
            continue
        before, after = one.count(*hits) / one.scored, other.count(*hits) / other.scored
        if np.sign(after - before) != direction:
            continue
        flipped = [
            list(at) for at, outcome in other.outcomes.items()
            if at in one.outcomes and (outcome in hits) - (one.outcomes[at] in hits) == direction
        ]  # fmt: skip
        text = texts.get(key, {}).get("text", "")
        yield {
            "behavior": one.id,
            "category": one.category,
            "a": f"{one.count(*hits)} of {one.scored}",
            "b": f"{other.count(*hits)} of {other.scored}",
            "cases": flipped,
            "text": text if reveal else f"{count(len(text), 'character')}, hash {digest(text)[:12]}" if text else "",
        }


def says(row: Json, margin: float) -> str:
    """The answer of a row in words, from its corrected p."""
    if row["p_corrected"] is None:
        return "nothing to compare"
    if row["p_corrected"] <= ALPHA:
        return "higher" if row["difference"] > 0 else "lower"
    if row["p_unchanged"] < ALPHA:
        return f"unchanged within {percent(margin).removesuffix(' %')} points"
    return "no difference shown"
