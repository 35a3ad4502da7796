"""The rate of a cell from labels of the run's own cases, which its judge need not be right for."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import sqlalchemy as sql

from withstand.core import Json
from withstand.core.text import count, interval, percent, series
from withstand.formats.labels import Annotator, by_whom
from withstand.results import labeling
from withstand.results.cells import CorrectedRate, Record
from withstand.results.counts import BehaviorCounts
from withstand.results.exposure import item_id, place_of_run, skipped
from withstand.stats import agreement, labeled, rates
from withstand.stats.clusters import Groups
from withstand.stats.labeled import LabeledEstimate, LabeledRate, LabeledSide, stratum
from withstand.store.draws import read_draws
from withstand.store.store import RunRow, Store, chunks
from withstand.store.tables import VERDICTS, row, want

PLACE = re.compile(r"([0-9]{1,9}):(.*):([0-9]{1,9}):([0-9]{1,9})", re.DOTALL)
"""The name of a case in a label: cell, behavior's id, numbers of test case and sample."""

JUDGED = {True: ("success",), False: ("failure", "refused")}
"""What the judge said of a case -> its outcomes."""


Spot: TypeAlias = tuple[int, int, int, int]
"""A case: cell, its behavior's place in the suite, numbers of test case and sample."""


@dataclass(frozen=True, slots=True)
class OwnLabel:
    """A drawn case of a cell that was labeled. behavior: its place in the suite.   outcome: what the judge said.
    broken: what annotators say, None where they are unsure or split.   looks: see `labeling.Item`.

    ruled: by an adjudicator.   seed: of its sample.   missing: nobody labeled it, though it was shown, or comes before
    one that was: a case that somebody left out, or that the run did not have when the sample was drawn.
    skipped: it is missing since somebody left it to others, as who labels may.
    """

    behavior: int
    outcome: str
    broken: bool | None
    annotators: tuple[Annotator, ...]
    looks: int
    ruled: bool = False
    missing: bool = False
    seed: int = 0
    skipped: bool = False


def own_labels(store: Store, run: RunRow, people: bool = False) -> dict[int, list[OwnLabel]]:
    """The calibration labels of a run by cell, and the cases whose label is missing; none of cells whose judge is
    people. What the run has no verdict on is left out. people: as if people alone had labeled."""
    draws = [draw for draw in read_draws(store, run.key) if not people or draw["annotator"] == "person"]
    by_place = labeling.labels_by_place(store, run, people)
    if not by_place and not draws:
        return {}
    facts = _looks_and_seeds(store.labels(run.key))
    plan = run.plan
    texts = store.behaviors({key for suite in plan["suites"] for key in suite["behaviors"]})
    ids = [[texts[key]["id"] for key in suite["behaviors"]] for suite in plan["suites"]]
    labeled_at, shown = _spots(plan, by_place, ids), _spots(plan, (draw["place"] for draw in draws), ids)
    outcomes = _outcomes(store, run, labeled_at, {cell for cell, *_ in shown})
    listed: dict[int, list[OwnLabel]] = defaultdict(list)
    for spot, place in sorted(labeled_at.items()):
        entry = by_place[place]
        if spot in outcomes:
            ruled = entry.split and entry.ruled is not None
            looks, seed = facts[place]
            label = OwnLabel(spot[1], outcomes[spot], entry.majority, entry.annotators, looks, ruled, seed=seed)
            listed[spot[0]].append(label)
    orders = [labeling.Order(run, seed) for seed in sorted({draw["seed"] for draw in draws})]
    left = skipped(store, place_of_run(run.key))
    by_seed = {order.seed: {draw["place"] for draw in draws if draw["seed"] == order.seed} for order in orders}
    for cell in sorted({cell for cell, *_ in shown}):
        names = ids[plan["cells"][cell]["suite"]]
        spots = {labeling.place_named(cell, names[spot[1]], *spot[2:]): spot for spot in outcomes if spot[0] == cell}
        missing: set[str] = set()
        for order in orders:
            for judged in JUDGED.values():
                numbers = {place: order.number(place) for place, spot in spots.items() if outcomes[spot] in judged}
                reach = max((numbers[place] for place in by_seed[order.seed] & numbers.keys()), default=-1)
                missing |= {place for place, number in numbers.items() if number <= reach and place not in by_place}
        listed[cell] += [
            OwnLabel(spot[1], outcomes[spot], None, (), 1, missing=True, skipped=item_id(place) in left)
            for spot, place in sorted((spots[place], place) for place in missing)
        ]
    return {cell: labels for cell, labels in listed.items() if labels}


def _looks_and_seeds(labels: Iterable[Json]) -> dict[str, tuple[int, int]]:
    """Of each labeled place, at how many numbers of labels labeling may have stopped, and the seed of its sample.

    A sample that `-n` extended was looked at once before each extension, as far as anybody can tell: its labels were
    drawn with another chance then.
    """
    facts: dict[str, tuple[int, int]] = {}
    chances: dict[str, dict[str, float]] = defaultdict(dict)
    for label in labels:
        facts[label["place"]] = int(label.get("looks", 1)), int(label.get("seed", 0))
        if label["purpose"] == "calibration" and facts[label["place"]][0] == 1:
            chances[label["stratum"]].setdefault(label["place"], label.get("chance", 1.0))
    sizes = {place: len(set(drawn.values())) for drawn in chances.values() for place in drawn}
    return {place: (max(looks, sizes.get(place, 1)), seed) for place, (looks, seed) in facts.items()}


def _spots(plan: Json, places: Iterable[str], ids: Sequence[Sequence[str]]) -> dict[Spot, str]:
    """The cases that labels or draws name so, but for those of cells whose judge is people. ids: of each suite."""
    at = [{name: place for place, name in enumerate(names)} for names in ids]
    spots: dict[Spot, str] = {}
    for place in places:
        match = PLACE.fullmatch(place)
        if match and int(match[1]) < len(plan["cells"]) and "waits" not in plan["cells"][int(match[1])]:
            cell = int(match[1])
            behavior = at[plan["cells"][cell]["suite"]].get(match[2])
            if behavior is not None:
                spots[cell, behavior, int(match[3]), int(match[4])] = place
    return spots


def _outcomes(store: Store, run: RunRow, spots: Iterable[Spot], whole: Collection[int]) -> dict[Spot, str]:
    """What the judge said of the behaviors of these cases, and of all of the cells in `whole`."""
    w = want.c
    behaviors: dict[int, set[int]] = defaultdict(set)
    for cell, behavior, *_ in spots:
        behaviors[cell].add(behavior)
    parts: list[tuple[int, sql.ColumnElement[bool]]] = [(cell, sql.true()) for cell in whole]
    parts += [
        (cell, w.behavior.in_(part))
        for cell, places in behaviors.items()
        for part in chunks(sorted(places), 500)
        if cell not in whole
    ]
    return {
        (cell, behavior, number, sample): outcome
        for cell, where in parts
        for behavior, number, sample, outcome in store.select(
            sql.select(w.behavior, w.number, w.sample, row.c.label)
            .select_from(want.join(row, row.c.key == w.key))
            .where(w.run == run.key, w.stage == VERDICTS, w.cell == cell, where)
        )
    }


def own_side(
    labels: Sequence[OwnLabel], behaviors: Mapping[int, BehaviorCounts], looks: int | None = None
) -> LabeledSide | None:
    """What the labels of a cell say of its rate; None where none says yes or no, or nothing is scored.

    Cases on which annotators are unsure or split, and those whose label is missing, count as held in the lower limit,
    and as broken in the upper one.
    looks: at how many numbers of labels labeling may stop; default: what the labels say.
    """
    scored = {place: counts for place, counts in behaviors.items() if counts.scored}
    usable = [label for label in labels if label.behavior in scored]
    open_ = any(label.broken is None for label in usable)
    assumed = (None, False, True) if open_ else (None,)
    estimates = [_estimate(usable, scored, assumption) for assumption in assumed]
    if estimates[0] is None:
        return None
    counted = max([looks or 1, *(label.looks for label in usable)])
    return LabeledSide(tuple(part for part in estimates if part is not None), counted)


def own_estimate(
    labels: Sequence[OwnLabel], behaviors: Mapping[int, BehaviorCounts], looks: int | None = None
) -> LabeledRate | None:
    """The rate of a cell over its behaviors with its 95% limits, as `own_side`."""
    side = own_side(labels, behaviors, looks)
    return None if side is None else side.at()


def _estimate(
    labels: Sequence[OwnLabel], scored: Mapping[int, BehaviorCounts], assumed: bool | None
) -> LabeledEstimate | None:
    """With what is undecided assumed so; left out for None."""
    weights = {place: 1 / (len(scored) * counts.scored) for place, counts in scored.items()}
    strata, labeled_cases = [], 0
    for judged, outcomes in JUDGED.items():
        sizes = {place: sum(counts.counts[name] for name in outcomes) for place, counts in scored.items()}
        here = [label for label in labels if label.outcome in outcomes]
        verdicts = [(assumed if label.broken is None else label.broken, weights[label.behavior]) for label in here]
        votes = [(vote, weight) for vote, weight in verdicts if vote is not None]
        labeled_cases += len(votes)
        share = sum(weights[place] * n for place, n in sizes.items())
        strata.append(stratum(judged, share, sum(sizes.values()), [v for v, _ in votes], [w for _, w in votes]))
    if not labeled_cases:
        return None
    silent = {place: counts.counts["filtered"] for place, counts in scored.items() if counts.counts["filtered"]}
    if silent:  # the target's own filter let nothing through: nobody has to look
        share, size = sum(weights[place] * n for place, n in silent.items()), sum(silent.values())
        strata.append(stratum(False, share, size, [False] * size))
    successes, cases = [c.counts["success"] for c in scored.values()], [c.scored for c in scored.values()]
    clusters = [c.cluster for c in scored.values()]
    _, effective = rates.effective_cases(successes, cases, clusters) or (0.0, 1.0)
    independent, groups = len(scored) ** 2 / sum(1 / n for n in cases), Groups.of(clusters)
    units = groups.equivalent if groups else len(scored)
    estimate = labeled.labeled_estimate(strata, units, independent / (effective or 1.0))
    if estimate is None:
        return None
    if groups and groups.number == 1:  # nothing shows how clusters differ
        estimate = replace(estimate, lowest=0.0, highest=1.0)
    return replace(estimate, labeled=labeled_cases)


def left_to_others(skipped: int) -> str:
    """How many of the cases without a label somebody left to others, as who labels may."""
    return f", {skipped} of them left to others by who labels" if skipped else ""


def own_rate(
    run: str, labels: Sequence[OwnLabel], behaviors: Mapping[int, BehaviorCounts]
) -> tuple[CorrectedRate, str] | None:
    """The rate of a cell from its labels with a note on it; None without a label that says yes or no."""
    estimate = own_estimate(labels, behaviors)
    if estimate is None:
        return None
    annotators = by_whom(annotator for label in labels for annotator in label.annotators)
    ends = (estimate.low, estimate.high)
    missing = sum(label.missing for label in labels)
    rate = CorrectedRate(
        estimate.rate, ends, identified=True, clipped=False, transported=False, labels=estimate.labeled,
        source=f"run:{run}", own=True, annotators=annotators, missing=missing,
    )  # fmt: skip
    note = f"by {count(estimate.labeled, 'label')} of this cell's own cases, {annotators}: "
    note += f"{percent(estimate.rate)} ({interval(ends)})"
    open_ = sum(label.broken is None for label in labels) - missing
    if seeds := sorted({label.seed for label in labels} - {0}):
        note += f"; the sample has the seed {series(list(map(str, seeds)))}, which somebody chose"
    if ruled := sum(label.ruled for label in labels):
        note += f"; {count(ruled, 'disagreement')} ruled by an adjudicator"
    if missing:
        skips = sum(label.skipped for label in labels)
        drawn = count(len(labels), "drawn case")
        note += f"; {missing} of {drawn} {'has' if missing == 1 else 'have'} no label{left_to_others(skips)}"
        note += ": in the limits, as held and as "
        note += f"broken (`withstand label {run}` asks for {'it' if missing == 1 else 'them'})"
    if open_:
        left = "is unsure or split: it is" if open_ == 1 else "are unsure or split: they are"
        note += f"; {open_} {left} in the limits, as held and as broken"
    if estimate.unlabeled:
        note += f"; no case that the judge called alike is labeled for {percent(estimate.unlabeled)} of the cases: "
        note += "the limits allow for both"
    looks = max(label.looks for label in labels)
    return rate, note + (f"; the limits hold at each of {looks} looks" if looks > 1 else "")


ENOUGH = 30
"""Labels of a run's own cases from which on they go before labels from elsewhere."""


def with_own(
    run: RunRow,
    own: Mapping[int, Sequence[OwnLabel]],
    behaviors: Sequence[Mapping[int, BehaviorCounts]],
    stored: Mapping[str, list[Record]],
) -> dict[str, list[Record]]:
    """Calibrations by judge's key: where `ENOUGH` of a run's own cases have a label, how often the judge errs on these,
    in place of what is stored. What they do not say, since all labels are equal, the stored ones still may. A drawn
    case without a label, or on which annotators are unsure or split, widens the intervals: who leaves out the breaks
    that the judge missed would else show a judge that misses none.

    Of "n", "labels", "sensitivity" and "specificity" with their "..._interval"; cases weigh as many as they stand for.
    """
    pairs: dict[str, list[tuple[bool, bool | None, float]]] = defaultdict(list)
    decided: dict[str, list[tuple[bool, bool, float]]] = defaultdict(list)
    for cell, labels in own.items():
        for judged, outcomes in JUDGED.items():
            size = sum(counts.counts[name] for counts in behaviors[cell].values() for name in outcomes)
            votes = [label.broken for label in labels if label.outcome in outcomes]
            key = run.plan["cells"][cell]["keys"]["judge"]
            pairs[key] += [(judged, broken, size / len(votes)) for broken in votes]
            agreed = [broken for broken in votes if broken is not None]
            decided[key] += [(judged, broken, size / len(agreed)) for broken in agreed]
    calibrations = dict(stored)
    for key, listed in pairs.items():
        if len(decided[key]) >= ENOUGH:
            part = {"labels": f"run:{run.name}", "n": len(decided[key]), **_errors(decided[key], listed)}
            whole = part["sensitivity"] is not None and part["specificity"] is not None
            calibrations[key] = [*([] if whole else stored.get(key, [])), part]
    return calibrations


def _errors(
    decided: Sequence[tuple[bool, bool, float]], listed: Sequence[tuple[bool, bool | None, float]]
) -> dict[str, Any]:
    """The judge's errors on cases: what it said, what annotators say, and how many cases each stands for. Of those of
    all `listed` that annotators leave open the judge is wrong on all in the lower limits, and right in the upper ones.
    """
    parts: dict[str, Any] = {}
    wrong, right = ([(j, (j is agrees) if b is None else b, w) for j, b, w in listed] for agrees in (False, True))
    sides = [_shares(cases) for cases in ([decided, wrong, right] if len(decided) < len(listed) else [decided])]
    for rate in ("sensitivity", "specificity"):
        shares = [side[rate] for side in sides]
        value = shares[0][0]
        ends = [end for _, end in shares if end is not None]
        parts[rate] = value
        parts[f"{rate}_interval"] = None if value is None else (min(e[0] for e in ends), max(e[1] for e in ends))
    return parts


def _shares(listed: Sequence[tuple[bool, bool, float]]) -> dict[str, tuple[float | None, tuple[float, float] | None]]:
    """Both rates with their 95% intervals, None where nothing tells."""
    judged, broken, weights = zip(*listed, strict=True)
    table = agreement.table(judged, broken, weights)
    return {
        name: (share / n if n else None, rates.wilson(min(share, n), n))
        for name, share, n in (
            ("sensitivity", table.hit, table.hit + table.missed),
            ("specificity", table.clear, table.wrong + table.clear),
        )
    }
