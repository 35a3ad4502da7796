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
from typing import Any, Literal

from withstand.core import Behavior, Completion, Json, digest, rng, user
from withstand.labels import Labeled
from withstand.report.cases import WAITING, cases
from withstand.store import RunRow, Store

Purpose = Literal["calibration", "review"]
Vote = Literal["success", "failure", "unsure"]
SCORED = {"success": "success", "failure": "failure", "refused": "failure"}


@dataclass(frozen=True, slots=True)
class Item:
    """A case to label. `place` names it in its run; `stratum` has `size` cases. `case` is as the report has it."""

    place: str
    stratum: str
    size: int
    target: str
    attack: str
    case: Mapping[str, Any]


def queue(store: Store, run: RunRow, purpose: Purpose, n: int = 60, seed: int = 0) -> list[Item]:
    """The cases to label, in the order to label them in; those of benign cells are left out.

    For calibration about `n`, as many of each stratum, drawn and ordered at random and taken in turns: wherever a
    person stops, what is labeled of a stratum is a random sample of it. For review all there are. Where the judge is
    people, all cases have to be labeled, whatever `n`: those of one attack on one target are a stratum.
    """
    strata: dict[str, list[Item]] = defaultdict(list)
    whole: set[str] = set()
    for case in cases(store, run):
        cell = run.plan["cells"][case["cell"]]
        waits, waiting = "waits" in cell, case["why"] == WAITING
        split = (case["outcome"] == "unscored" and not waiting) or case["why"].startswith("split")
        outcome = SCORED.get(case["outcome"])
        answered = waits and (waiting or (case["finish"] != "filtered" and bool((case["completion"] or "").strip())))
        if cell["benign"] or not (split if purpose == "review" else answered if waits else outcome):
            continue
        place = ":".join(str(case[name]) for name in ("cell", "behavior", "case", "sample"))
        of = f"{cell['attack']} on {cell['target']}"
        stratum = "review" if purpose == "review" else of if waits else f"{outcome}, {of}"
        whole |= {stratum} if waits or purpose == "review" else set()
        strata[stratum].append(Item(place, stratum, 0, cell["target"], cell["attack"], case))
    each = -(-n // max(1, len(strata)))
    drawn: list[list[Item]] = []
    for name, items in sorted(strata.items()):
        rng(seed, run.key, name).shuffle(items)
        kept = items if name in whole else items[:each]
        drawn.append([Item(i.place, i.stratum, len(items), i.target, i.attack, i.case) for i in kept])
    return [item for item in chain.from_iterable(zip_longest(*drawn)) if item is not None]


def add(store: Store, run: RunRow, item: Item, vote: Vote, labeler: str, purpose: Purpose) -> None:
    """Keep what a person said. A second label of one person on one case does not count: the first stands."""
    case = item.case
    asked = next((turn["text"] for turn in reversed(case["chat"]) if turn["role"] == "user"), "")
    value = {
        "run": run.key, "place": item.place, "stratum": item.stratum, "size": item.size, "purpose": purpose,
        "labeler": labeler, "vote": vote, "target": item.target, "attack": item.attack, "created": time.time(),
        "behavior": {name: case[name] for name in ("behavior", "text", "context", "category")},
        "prompt": asked, "completion": case["completion"], "finish": case["finish"],
    }  # fmt: skip
    store.add_label(digest([run.key, item.place, labeler, purpose]), run.key, value)


def labeled_by(store: Store, run: RunRow, labeler: str, purpose: Purpose) -> set[str]:
    """The places that this person has labeled already."""
    return {
        label["place"] for label in store.labels(run.key) if label["labeler"] == labeler and label["purpose"] == purpose
    }


def labels_of(store: Store, run: RunRow) -> list[Labeled]:
    """The calibration labels of a run, one entry a case with the votes of all people; "unsure" is no vote.

    The weight of a case is how many of its stratum it stands for: the stratum's size over its labeled cases.
    """
    votes: dict[str, list[Json]] = defaultdict(list)
    for label in store.labels(run.key):
        if label["purpose"] == "calibration" and label["vote"] != "unsure":
            votes[label["place"]].append(label)
    counted = Counter(labels[0]["stratum"] for labels in votes.values())
    return [_labeled(labels, counted) for _, labels in sorted(votes.items())]


def _labeled(labels: Sequence[Json], counted: Mapping[str, int]) -> Labeled:
    first = labels[0]
    told = first["behavior"]
    behavior = Behavior(told["behavior"], told["text"], told["context"], category=told["category"])
    said = tuple(label["vote"] == "success" for label in sorted(labels, key=lambda label: label["labeler"]))
    completion = Completion(user(first["prompt"]), first["completion"], first["finish"])
    weight = first["size"] / counted[first["stratum"]]
    return Labeled(behavior, completion, said, first["target"], first["attack"], weight=weight)
