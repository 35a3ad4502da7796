"""What of a run people are asked to label, and what they said: `withstand label`.

For calibration: a random sample, stratified by what the judge said, target and attack, so that rare outcomes are in it;
how much each stratum stands for is kept with every label. For review: what the judge could not say, or its members
disagreed on. Labels of a review are no random sample and never enter sensitivity or specificity.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any, Literal, TypeVar

from withstand.core import Behavior, Completion, Json, digest, rng, user
from withstand.formats.labels import Labeled
from withstand.results.cases import WAITING, CaseResult, cases
from withstand.store.store import RunRow, Store

Purpose = Literal["calibration", "review"]
Vote = Literal["success", "failure", "unsure"]
SCORED = {"success": "success", "failure": "failure", "refused": "failure"}


@dataclass(frozen=True, slots=True)
class Item:
    """A case to label. `place` names it in its run; `stratum` has `size` cases."""

    place: str
    stratum: str
    size: int
    target: str
    attack: str
    case: CaseResult


def queue(store: Store, run: RunRow, purpose: Purpose, n: int = 60, seed: int = 0) -> list[Item]:
    """The cases to label, in the order to label them in; those of benign cells are left out.

    For calibration about `n`, as many of each stratum, drawn and ordered at random and taken in turns: wherever a
    person stops, what is labeled of a stratum is a random sample of it. For review all there are. Where the judge is
    people, all cases have to be labeled, whatever `n`: those of one attack on one target are a stratum.
    """
    strata: dict[str, list[Item]] = defaultdict(list)
    for case in cases(store, run):
        cell = run.plan["cells"][case.cell]
        waits, waiting = "waits" in cell, case.why == WAITING
        answered = waiting or (case.finish != "filtered" and bool((case.completion or "").strip()))
        split = case.vote == "split"
        if stratum := stratum_of(cell, case.outcome, split, purpose, waiting, answered=waits and answered):
            strata[stratum].append(Item(place_of(case), stratum, 0, cell["target"], cell["attack"], case))
    return [Item(i.place, i.stratum, size, i.target, i.attack, i.case) for i, _, size in drawn(run, strata, n, seed)]


def place_of(case: CaseResult) -> str:
    """How labels name a case in its run."""
    return place_named(case.cell, case.behavior, case.case, case.sample)


def place_named(cell: int, behavior: str, case: int, sample: int) -> str:
    """The name of a case by its cell, its behavior's id, and the numbers of test case and sample."""
    return f"{cell}:{behavior}:{case}:{sample}"


def stratum_of(
    cell: Mapping[str, Any], outcome: str, split: bool, purpose: Purpose, waiting: bool = False, answered: bool = False
) -> str:
    """The stratum of a case of a cell of the plan; "" where people are not asked.

    split: members disagreed on it. waiting: for people, who are the judge; answered: they are, and it has an answer.
    """
    if cell["benign"]:
        return ""
    if purpose == "review":
        return "review" if split or (outcome == "unscored" and not waiting) else ""
    of, scored = f"{cell['attack']} on {cell['target']}", SCORED.get(outcome)
    if "waits" in cell:
        return of if answered else ""
    return f"{scored}, {of}" if scored else ""


T = TypeVar("T")


def drawn(run: RunRow, strata: Mapping[str, Sequence[T]], n: int, seed: int) -> list[tuple[T, str, int]]:
    """The entries in the order to label them in, each with its stratum and that stratum's size.

    strata: entries in the plan's order. Strata by a judge's word are sampled; the others are labeled whole.
    """
    size = -(-n // max(1, len(strata)))
    sampled: list[list[tuple[T, str, int]]] = []
    for name, entries in sorted(strata.items()):
        shuffled = list(entries)
        rng(seed, run.key, name).shuffle(shuffled)
        kept = shuffled[:size] if name.partition(", ")[0] in SCORED.values() else shuffled
        sampled.append([(entry, name, len(shuffled)) for entry in kept])
    return [entry for entry in chain.from_iterable(zip_longest(*sampled)) if entry is not None]


def add(store: Store, run: RunRow, item: Item, vote: Vote, labeler: str, purpose: Purpose) -> None:
    """Keep what a person said. A second label of one person on one case does not count: the first stands."""
    case = item.case
    asked = next((turn.text for turn in reversed(case.chat) if turn.role == "user"), "")
    value = {
        "run": run.key, "place": item.place, "stratum": item.stratum, "size": item.size, "purpose": purpose,
        "labeler": labeler, "vote": vote, "target": item.target, "attack": item.attack, "created": time.time(),
        "behavior": {name: getattr(case, name) for name in ("behavior", "text", "context", "category")},
        "prompt": asked, "completion": case.completion, "finish": case.finish,
    }  # fmt: skip
    store.add_label(digest([run.key, item.place, labeler, purpose]), run.key, value)


def labeled_by(store: Store, run: RunRow, labeler: str, purpose: Purpose) -> set[str]:
    """The places that this person has labeled already."""
    return {
        label["place"] for label in store.labels(run.key) if label["labeler"] == labeler and label["purpose"] == purpose
    }


def labels_of(store: Store, run: RunRow) -> list[Labeled]:
    """The calibration labels of a run, as `labels_by_place`."""
    return list(labels_by_place(store, run).values())


def labels_by_place(store: Store, run: RunRow) -> dict[str, Labeled]:
    """The calibration labels of a run, one entry a case with the votes of all people; "unsure" is no vote.

    The weight of a case is how many of its stratum it stands for: the stratum's size over its labeled cases.
    """
    votes: dict[str, list[Json]] = defaultdict(list)
    for label in store.labels(run.key):
        if label["purpose"] == "calibration" and label["vote"] != "unsure":
            votes[label["place"]].append(label)
    counted = Counter(labels[0]["stratum"] for labels in votes.values())
    return {place: _labeled(labels, counted) for place, labels in sorted(votes.items())}


def _labeled(labels: Sequence[Json], counted: Mapping[str, int]) -> Labeled:
    first = labels[0]
    texts = first["behavior"]
    behavior = Behavior(texts["behavior"], texts["text"], texts["context"], category=texts["category"])
    votes = tuple(label["vote"] == "success" for label in sorted(labels, key=lambda label: label["labeler"]))
    completion = Completion(user(first["prompt"]), first["completion"], first["finish"])
    weight = first["size"] / counted[first["stratum"]]
    return Labeled(behavior, completion, votes, first["target"], first["attack"], weight=weight)
