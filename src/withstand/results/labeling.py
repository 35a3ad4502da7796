"""What of a run annotators are asked to label, and what they said: `withstand label`.

For calibration: a random sample within what the judge called alike in each cell, with its chance kept beside every
label. For review: what the judge could not say, or its members disagreed on; for disagreement: what annotators disagree
on; for breaks: what the judge calls broken. The last three are chosen cases, and never enter a rate. What is said of a
disagreement rules the case; in a gate what people say of a case stands in place of the judge's verdict.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from withstand.core import Behavior, Completion, Json, SpecError, digest, user
from withstand.core.records import last_asked
from withstand.formats.labels import Annotator, Labeled, newest, revision
from withstand.results.by_hand import check_rates
from withstand.results.cases import WAITING, CaseResult, cases
from withstand.stats import labeled
from withstand.store.draws import add_draws, read_draws
from withstand.store.store import RunRow, Store

Purpose = Literal["calibration", "review", "disagreement", "breaks"]
Vote = Literal["success", "failure", "unsure"]
SCORED = {"success": "success", "failure": "failure", "refused": "failure"}
WHOLE = "all"
"""The stratum of a cell that is labeled whole."""

StratumKey: TypeAlias = tuple[int, str]
"""A cell of the plan, and "success" or "failure" (what its judge said), "review", or `WHOLE`."""

TextKey: TypeAlias = tuple[str | None, ...]
"""What an annotator reads of a case: behavior, context, question and answer."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Draw(Generic[T]):
    """A case that was drawn from `size` of its stratum, with this chance in (0, 1]."""

    entry: T
    stratum: str
    size: int
    chance: float


@dataclass(frozen=True, slots=True)
class Item:
    """A case to label. `place` names it in its run; `stratum` has `size` cases, each drawn with this chance.

    looks: at how many numbers of labels labeling might have stopped for its width; 1 where the number was set before.
    seed: of the sample.
    """

    place: str
    stratum: str
    size: int
    target: str
    attack: str
    case: CaseResult
    chance: float = 1.0
    looks: int = 1
    seed: int = 0


def queue(
    store: Store,
    run: RunRow,
    purpose: Purpose,
    n: int = 60,
    seed: int | None = None,
    wanted: Mapping[int, tuple[int, int]] | None = None,
) -> list[Item]:
    """The cases to label, in the order to label them in; those of benign cells are left out.

    For calibration `n` in all, or as many of each cell as `wanted` says (of what its judge called success and failure),
    and whatever comes before a case that was shown. Wherever an annotator stops, what is labeled of a stratum is a
    random sample of it. Else all there are. Where the judge is people, all cases have to be labeled, whatever `n`.
    seed: see `seed_of`.
    """
    check_rates(run)
    if purpose == "disagreement":
        split = disagreements(store, run)
        chosen = [case for case in cases(store, run) if place_of(case) in split] if split else []
        return [_item(run, case, Draw(case, purpose, len(chosen), 1.0)) for case in chosen]
    strata: dict[StratumKey, list[CaseResult]] = defaultdict(list)
    for case in cases(store, run):
        cell = run.plan["cells"][case.cell]
        waits, waiting = "waits" in cell, case.why == WAITING
        answered = waiting or (case.finish != "filtered" and bool((case.completion or "").strip()))
        word = stratum_of(cell, case.outcome, case.vote == "split", purpose, waiting, answered=waits and answered)
        if word:
            strata[case.cell, word].append(case)
    looks = {cell: len(labeled.looks(size)) for cell, size in cell_sizes(strata).items()} if wanted is not None else {}
    draws = read_draws(store, run.key)
    order = Order(run, seed_of(run, draws, seed))
    shown = [draw["place"] for draw in draws] if purpose == "calibration" else []
    cases_drawn = drawn(run, ranked(order, strata, place_of), shown, n, wanted)
    return [_item(run, draw.entry, draw, looks.get(draw.entry.cell, 1), order.seed) for draw in cases_drawn]


def _item(run: RunRow, case: CaseResult, draw: Draw[CaseResult], looks: int = 1, seed: int = 0) -> Item:
    cell = run.plan["cells"][case.cell]
    place = place_of(case)
    return Item(place, draw.stratum, draw.size, cell["target"], cell["attack"], case, draw.chance, looks, seed)


def seed_of(run: RunRow, draws: Sequence[Json], seed: int | None = None) -> int:
    """The seed of a run's sample: that by which its first case was shown, so that nobody draws until a sample pleases.

    draws: as `store.draws` gives them.   seed: what is asked for, 0 where nothing is. Raises `SpecError` for another
    one than stands.
    """
    first = int(draws[0]["seed"]) if draws else None
    if first is not None and seed not in (None, first):
        raise SpecError(
            f"the sample of {run.name} was drawn with seed {first}, not {seed}",
            hint=f"leave --seed out, or write --seed {first}; a larger -n draws more cases of the same sample",
        )
    return first if first is not None else seed or 0


@dataclass(frozen=True, slots=True)
class Order:
    """The order in which the cases of a run are drawn. Each has a random number of its own, so that a case which comes
    later, as in a run that goes on, takes its place among those before (permanent random numbers; Ohlsson 1995)."""

    run: RunRow
    seed: int

    def number(self, place: str) -> int:
        """The random number of a case, below 2^64; a sample has those with the lowest."""
        text = f"{self.seed}\0{self.run.key}\0{place}".encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(text, digest_size=8).digest())


def place_of(case: CaseResult) -> str:
    """How labels name a case in its run."""
    return place_named(case.cell, case.behavior, case.case, case.sample)


def place_named(cell: int, behavior: str, case: int, sample: int) -> str:
    """The name of a case by its cell, its behavior's id, and the numbers of test case and sample."""
    return f"{cell}:{behavior}:{case}:{sample}"


def stratum_of(
    cell: Mapping[str, Any], outcome: str, split: bool, purpose: Purpose, waiting: bool = False, answered: bool = False
) -> str:
    """What of a `StratumKey` names the stratum of a case in its cell; "" where nobody is asked.

    split: members disagreed on it. waiting: for people, who are the judge; answered: they are, and it has an answer.
    """
    if cell["benign"]:
        return ""
    if purpose == "breaks":
        return "breaks" if outcome == "success" else ""
    if purpose == "review":
        return "review" if split or (outcome == "unscored" and not waiting) else ""
    if "waits" in cell:
        return WHOLE if answered else ""
    return SCORED.get(outcome, "")


def cell_sizes(strata: Mapping[StratumKey, Sequence[Any]]) -> dict[int, int]:
    """How many cases of each cell may be drawn for calibration."""
    sizes: Counter[int] = Counter()
    for (cell, word), entries in strata.items():
        sizes[cell] += len(entries) * (word in SCORED.values())
    return dict(sizes)


@dataclass(frozen=True, slots=True)
class Ranked(Generic[T]):
    """The entries of each stratum in the order of the sample; `at`: stratum and rank, from 1, by name."""

    strata: Mapping[StratumKey, Sequence[T]]
    at: Mapping[str, tuple[StratumKey, int]]


def ranked(order: Order, strata: Mapping[StratumKey, Sequence[T]], place_of: Callable[[T], str]) -> Ranked[T]:
    """The entries in their order. place_of: the name of an entry."""
    sorted_strata: dict[StratumKey, list[T]] = {}
    at: dict[str, tuple[StratumKey, int]] = {}
    for key, entries in strata.items():
        named = sorted((order.number(name := place_of(entry)), name, entry) for entry in entries)
        sorted_strata[key] = [entry for *_, entry in named]
        at |= {name: (key, rank) for rank, (_, name, _) in enumerate(named, 1)}
    return Ranked(sorted_strata, at)


def drawn(
    run: RunRow, order: Ranked[T], shown: Iterable[str], n: int, wanted: Mapping[int, tuple[int, int]] | None = None
) -> list[Draw[T]]:
    """The entries in the order to label them in.

    shown: the names of those that were shown before; all before them are drawn too. Of what a judge called, each cell
    gets an equal part of `n`, divided by `stats.labeled.allocation`, or what `wanted` says of both; other strata are
    labeled whole. Strata take turns in proportion to what is drawn of them.
    """
    sizes = {key: len(entries) for key, entries in order.strata.items() if entries}
    sampled = sorted({cell for cell, word in sizes if word in SCORED.values()})
    number = dict(sizes)
    for cell in sampled:
        successes, failures = sizes.get((cell, "success"), 0), sizes.get((cell, "failure"), 0)
        parts = labeled.allocation(successes, failures, -(-n // len(sampled)))
        parts = parts if wanted is None else wanted.get(cell, (0, 0))
        number |= dict(zip(((cell, "success"), (cell, "failure")), parts, strict=True))
    for key, rank in (order.at[name] for name in shown if name in order.at):
        number[key] = max(number[key], rank)
    draws: list[tuple[float, str, Draw[T]]] = []
    for key, size in sizes.items():
        name = _name(run, key)
        for position, entry in enumerate(order.strata[key][: number[key]]):
            draws.append((position / number[key], name, Draw(entry, name, size, number[key] / size)))
    return [draw for *_, draw in sorted(draws, key=lambda ordered: ordered[:2])]


def _name(run: RunRow, key: StratumKey) -> str:
    cell = run.plan["cells"][key[0]]
    return f"{key[1]}, cell {key[0]}: {cell['attack']} on {cell['target']}"


def show(store: Store, run: RunRow, items: Sequence[Item], purpose: Purpose, kind: str = "person") -> None:
    """Keep that cases of the random sample were shown to an annotator of this kind: without a label they count both
    ways from now on, or who labels could choose."""
    for seed in {item.seed for item in items} if purpose == "calibration" else ():
        add_draws(store, run.key, [item.place for item in items if item.seed == seed], seed, kind)


# --- what was said -----------------------------------------------------------------------------------------------


def add(
    store: Store, run: RunRow, item: Item, vote: Vote, labeler: str, purpose: Purpose, kind: str = "person"
) -> None:
    """Keep what an annotator said. A later label of the same annotator on the same case supersedes the earlier one,
    which is kept; the same label again changes nothing. kind: "person" or "model".

    Raises `SpecError` for a run of what people tried by hand, which no label may give a rate.
    """
    check_rates(run)
    case = item.case
    earlier = [
        label
        for label in store.labels(run.key)
        if (label["place"], label["labeler"], label["purpose"]) == (item.place, labeler, purpose)
    ]
    if earlier and max(earlier, key=revision)["vote"] == vote:
        return
    value = {
        "run": run.key, "place": item.place, "stratum": item.stratum, "size": item.size, "purpose": purpose,
        "labeler": labeler, "vote": vote, "target": item.target, "attack": item.attack, "created": time.time(),
        "behavior": {name: getattr(case, name) for name in ("behavior", "text", "context", "category")},
        "prompt": asked_of(case), "completion": case.completion, "finish": case.finish,
        "chance": item.chance, "looks": item.looks, "seed": item.seed, "revision": len(earlier),
    }  # fmt: skip
    show(store, run, [item], purpose, kind)
    parts = [run.key, item.place, labeler, purpose, *([len(earlier)] if earlier else [])]
    store.add_label(digest(parts), run.key, value, kind)


def asked_of(case: CaseResult) -> str:
    """What was asked last before the answer."""
    return last_asked(case.chat)


def text_of(case: CaseResult) -> TextKey:
    """What an annotator reads of a case. What reads alike is asked once."""
    return (case.text, case.context, asked_of(case), case.completion)


def said_of_texts(store: Store, run: RunRow, labeler: str, purpose: Purpose) -> dict[TextKey, tuple[Vote, list[str]]]:
    """What this annotator last said of each text, and the places of its labeled cases.

    Another case with the text has this label only once it is its turn: the labeled cases of a stratum would else be
    those that are there often, such as equal refusals, and no sample.
    """
    votes: dict[TextKey, tuple[Vote, list[str]]] = {}
    for label in sorted(newest(store.labels(run.key)), key=lambda label: label["created"]):
        if (label["labeler"], label["purpose"]) == (labeler, purpose):
            texts = label["behavior"]
            key = (texts["text"], texts["context"], label["prompt"], label["completion"])
            votes[key] = label["vote"], [*votes.get(key, ("", []))[1], label["place"]]
    return votes


def annotator_of(label: Json) -> Annotator:
    """Who gave a label of the store."""
    return Annotator(label["annotator"], label["labeler"])


def labeled_by(store: Store, run: RunRow, labeler: str, purpose: Purpose) -> dict[str, str]:
    """What this annotator last said, by place."""
    return {
        label["place"]: label["vote"]
        for label in newest(store.labels(run.key))
        if label["labeler"] == labeler and label["purpose"] == purpose
    }


def labels_at(store: Store, run: RunRow, place: str) -> list[Json]:
    """The last label of each annotator and purpose on one case."""
    return newest(label for label in store.labels(run.key) if label["place"] == place)


def calibration_labels(store: Store, run: RunRow) -> list[Json]:
    """The last calibration label of each annotator and case."""
    return [label for label in newest(store.labels(run.key)) if label["purpose"] == "calibration"]


def labels_of(store: Store, run: RunRow) -> list[Labeled]:
    """The calibration labels of a run that say yes or no, as `labels_by_place`, to count. Raises `ForeignRowsError`."""
    return [entry for entry in _by_place(store.votes(run.key)).values() if entry.votes]


def labels_by_place(store: Store, run: RunRow, people: bool = False) -> dict[str, Labeled]:
    """The calibration labels of a run, one entry a case with the votes of all annotators; "unsure" is no vote.

    The weight of a case is how many of its stratum it stands for: the stratum's size over its labeled cases.
    people: what models said is left out.
    """
    return _by_place([label for label in store.labels(run.key) if not people or label["annotator"] == "person"])


def _by_place(listed: Sequence[Json]) -> dict[str, Labeled]:
    votes: dict[str, list[Json]] = defaultdict(list)
    rulings: dict[str, Json] = {}
    for label in sorted(newest(listed), key=lambda label: label["created"]):
        if label["purpose"] == "calibration":
            votes[label["place"]].append(label)
        elif label["purpose"] == "disagreement" and label["vote"] != "unsure":
            rulings[label["place"]] = label
    decided = [labels[0] for labels in votes.values() if any(label["vote"] != "unsure" for label in labels)]
    counted = Counter(label["stratum"] for label in decided)
    return {place: _labeled(labels, rulings.get(place), counted) for place, labels in sorted(votes.items())}


def disagreements(store: Store, run: RunRow) -> set[str]:
    """The places of cases that one annotator called success and another failure, and that nobody has ruled."""
    return {place for place, entry in labels_by_place(store, run).items() if entry.ruled is None and entry.split}


def _labeled(labels: Sequence[Json], ruling: Json, counted: Mapping[str, int]) -> Labeled:
    first = labels[0]
    texts = first["behavior"]
    behavior = Behavior(texts["behavior"], texts["text"], texts["context"], category=texts["category"])
    decided = [label for label in sorted(labels, key=lambda label: label["labeler"]) if label["vote"] != "unsure"]
    return Labeled(
        behavior,
        Completion(user(first["prompt"]), first["completion"], first["finish"]),
        tuple(label["vote"] == "success" for label in decided),
        first["target"],
        first["attack"],
        weight=first["size"] / max(1, counted[first["stratum"]]),
        annotators=tuple(annotator_of(label) for label in [*decided, *([ruling] if ruling else [])]),
        ruled=ruling["vote"] == "success" if ruling else None,
    )
