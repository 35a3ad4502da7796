"""Annotators label cases without the judge's answer, and see what their labels do to the rates."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, get_args

from starlette.responses import Response

from withstand.core import Json
from withstand.core.outcomes import is_hit
from withstand.explorer import queries, team
from withstand.explorer.app import PageRequest
from withstand.explorer.index import Entry, Index, RunIndex
from withstand.explorer.numbers import whole
from withstand.explorer.read import LONGEST, place_of, view
from withstand.explorer.security import Refused
from withstand.results import labeling
from withstand.results.by_hand import check_rates
from withstand.results.calibrate import Pair, calibration_of
from withstand.results.cases import picked
from withstand.results.cells import CellResult
from withstand.results.exposure import HARM, Reader, Topic, exposed, item_id, place_of_run, topic_of_case
from withstand.results.judge_error import corrected
from withstand.results.label_plan import CellPlan, label_plan
from withstand.results.labeling import Draw, Item, Purpose, Ranked, Vote
from withstand.results.labels import missing_in
from withstand.results.own_labels import PLACE, OwnLabel, own_labels
from withstand.store.draws import add_draws, read_draws

NUMBER = 60
"""Cases of a sample, as `withstand label` takes them."""
LARGEST = 100_000
"""Cases of a sample."""
ANSWERED = ("success", "failure", "unscored")
"""Where people are the judge: the outcomes of what they have judged or can judge."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a page asks to be labeled: `n` cases, or as many as make the interval of each cell at most `width` wide, in
    (0, 1). skipped: with the cases that this person skipped."""

    purpose: Purpose = "calibration"
    n: int = NUMBER
    width: float | None = None
    skipped: bool = False

    @property
    def query(self) -> dict[str, Any]:
        size = {"n": self.n} if self.width is None else {"width": f"{100 * self.width:g}"}
        return {"for": self.purpose, **size, **({"skipped": 1} if self.skipped else {})}


@dataclass(frozen=True, slots=True)
class Drawn:
    """The cases of a sample in their order; the seed they were drawn with; and where a width is wanted, how far each
    cell is."""

    draws: Sequence[Draw[int]]
    seed: int = 0
    plans: Sequence[CellPlan] = ()

    def looks(self, cell: int) -> int:
        return next((plan.looks for plan in self.plans if plan.index == cell), 1)


def queue(index: Index, indexed: RunIndex, sample: Sample) -> Drawn:
    """The sample that `withstand label` draws, from the index."""
    run, purpose = indexed.run, sample.purpose
    check_rates(run)
    if purpose == "disagreement":  # which changes with every label
        places = sorted(labeling.disagreements(index.store, run))
        entries = [entry.id for place in places if (entry := entry_named(index, indexed, place))]
        return Drawn([Draw(entry, purpose, len(entries), 1.0) for entry in entries])
    shown = read_draws(index.store, run.key)
    seed = labeling.seed_of(run, shown)
    order = indexed.once(("order", purpose, seed), lambda: _ranked(index, indexed, purpose, seed))
    plans = [] if sample.width is None else label_plan(index.store, run, sample.width, indexed.behaviors)
    wanted = None if sample.width is None else {plan.index: plan.wanted for plan in plans}
    places = [draw["place"] for draw in shown] if purpose == "calibration" else []
    return Drawn(labeling.drawn(run, order, places, sample.n, wanted), seed, plans)


def _ranked(index: Index, indexed: RunIndex, purpose: Purpose, seed: int) -> Ranked[int]:
    cells = indexed.run.plan["cells"]
    strata: dict[labeling.StratumKey, list[int]] = defaultdict(list)
    names: dict[int, str] = {}
    for cell, outcome, split, entries in queries.strata(index, indexed):
        waiting, asked = "waits" in cells[cell] and outcome == "unscored", outcome in ANSWERED
        if word := labeling.stratum_of(cells[cell], outcome, split, purpose, waiting, answered=asked):
            ids = indexed.ids[cells[cell]["suite"]]
            for entry, (_, place, number, part) in entries:
                strata[cell, word].append(entry)
                names[entry] = labeling.place_named(cell, ids[place], number, part)
    return labeling.ranked(labeling.Order(indexed.run, seed), strata, names.__getitem__)


def ready(index: Index, indexed: RunIndex) -> None:
    """Draw the usual samples before anybody asks, which of many cases takes a while."""
    for purpose in ("calibration", "review"):
        queue(index, indexed, Sample(purpose))


def entry_named(index: Index, indexed: RunIndex, name: str) -> Entry | None:
    """The entry of a case that labels name so; None where the run has none."""
    match = PLACE.fullmatch(name)
    if not match or int(match[1]) >= len(indexed.run.plan["cells"]):
        return None
    suite = indexed.run.plan["cells"][int(match[1])]["suite"]
    ids = indexed.ids[suite]
    places = indexed.once(("places", suite), lambda: {behavior: place for place, behavior in enumerate(ids)})
    if match[2] not in places:
        return None
    return queries.entry_of(index, indexed, (int(match[1]), places[match[2]], int(match[3]), int(match[4])))


def _wanted(asked: PageRequest) -> Sample:
    given = asked.form if asked.request.method == "POST" else asked.query
    purpose = str(given.get("for", "calibration"))
    if purpose not in get_args(Purpose):
        raise Refused(400, f"a label is for calibration, review, breaks or disagreement, not for {purpose!r}")
    n, points = whole(str(given.get("n", NUMBER))), str(given.get("width", "")).strip()
    if n is None or not 1 <= n <= LARGEST:
        raise Refused(400, "the size of the sample is a whole number", f"1 to {LARGEST:,}")
    skipped = bool(given.get("skipped"))
    if not points:
        return Sample(purpose, n, skipped=skipped)  # type: ignore[arg-type] # checked above
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,3})?", points) or not float(points) or purpose != "calibration":
        raise Refused(400, "the width is that of the sample's intervals", "write points above 0 and below 100, as 10")
    return Sample(purpose, n, float(points) / 100, skipped)  # type: ignore[arg-type] # checked above


def page(asked: PageRequest) -> Response:
    """The next case that this person has not labeled, and may be shown."""
    asked.need("labeler")
    indexed, sample = asked.indexed(), _wanted(asked)
    index, purpose = asked.explorer.index, sample.purpose
    drawn = queue(index, indexed, sample)
    votes = labeling.labeled_by(asked.explorer.store, indexed.run, asked.who, purpose)
    done = {entry.id for name in votes if (entry := entry_named(index, indexed, name))}
    left = [draw.entry for draw in drawn.draws if draw.entry not in done]
    reader = team.reader_at(asked, place_of_run(indexed.run.key))
    skipped = _skipped(index, indexed, reader, left)
    again = str(asked.query.get("again", ""))
    shown_entry = entry_named(index, indexed, again) if again in votes else None
    if shown_entry is None or shown_entry.id not in {draw.entry for draw in drawn.draws}:
        again = ""
        open_ = [entry for entry in left if sample.skipped or entry not in skipped]
        at = partial(queries.entry_at, index, indexed)
        number = reader.next(open_, lambda entry: _topic(indexed, at(entry)), lambda entry: _name(indexed, at(entry)))
        shown_entry = None if number is None else queries.entry_at(index, indexed, number)
    shown = None
    if shown_entry and _may_read(asked, indexed, reader, shown_entry, drawn, votes, purpose):
        shown = view(asked, indexed, shown_entry.spot, asked.case(indexed.run, shown_entry.spot), LONGEST)
    last = str(asked.query.get("last", ""))
    return asked.run_page(
        "label", indexed, view=shown, place=_name(indexed, shown_entry) if shown_entry else "",
        done=len(drawn.draws) - len(left), total=len(drawn.draws), purpose=purpose,
        sample=sample, again=votes.get(again, ""), last=last if last in votes else "", reader=reader,
        skipped=len(skipped), left=len(left), lacks=[] if shown else _lacks(index, indexed, reader, left),
        plans=[(plan.name, plan.in_words(sample.width or 0.0)) for plan in drawn.plans],
    )  # fmt: skip


def _may_read(
    asked: PageRequest, indexed: RunIndex, reader: Reader, entry: Entry, drawn: Drawn, votes: Mapping[str, str],
    purpose: Purpose,
) -> bool:  # fmt: skip
    """Keep that a case is shown, where its texts are; False where this person has met enough today."""
    if asked.explorer.read_only or not asked.shows(place_of(indexed.run.key, entry.spot)):
        return True
    name = _name(indexed, entry)
    if not reader.read(name, _topic(indexed, entry), HARM.get(votes.get(name, ""))):
        return False
    if purpose == "calibration":  # without a label it counts both ways
        add_draws(asked.explorer.store, indexed.run.key, [name], drawn.seed)
    return True


def _name(indexed: RunIndex, entry: Entry) -> str:
    """How labels name the case of an entry."""
    behavior = indexed.ids[indexed.run.plan["cells"][entry.cell]["suite"]][entry.place]
    return labeling.place_named(entry.cell, behavior, entry.number, entry.sample)


def _topic(indexed: RunIndex, entry: Entry) -> Topic:
    return topic_of_case(indexed.run.plan, entry.cell, entry.category)


def _skipped(index: Index, indexed: RunIndex, reader: Reader, left: Sequence[int]) -> set[int]:
    """Of these entries, those that this person left to others."""
    ids = reader.skipped
    return {entry for entry in left if ids and item_id(_name(indexed, queries.entry_at(index, indexed, entry))) in ids}


def _lacks(index: Index, indexed: RunIndex, reader: Reader, left: Sequence[int]) -> list[str]:
    """The categories that this person would have to choose for what is left."""
    if not reader.settings.opt_in:
        return []
    topics = {_topic(indexed, queries.entry_at(index, indexed, entry)) for entry in left}
    return sorted({name for topic in topics for name in reader.lacks(topic)})


def save(asked: PageRequest) -> Response:
    """Keep what an annotator said, or that they leave the case to others; and show the next one."""
    asked.need("labeler")
    indexed, sample = asked.indexed(), _wanted(asked)
    purpose = sample.purpose
    vote, named = str(asked.form.get("vote", "")), str(asked.form.get("place", ""))
    if vote not in (*get_args(Vote), "skip"):
        raise Refused(400, f"{vote!r} is not a vote", "success, failure, unsure or skip")
    drawn = queue(asked.explorer.index, indexed, sample)
    entry = entry_named(asked.explorer.index, indexed, named)
    if entry is None or entry.id not in {draw.entry for draw in drawn.draws}:
        raise Refused(400, "this case is not in the sample", "reload the page")
    reader, topic = team.reader_at(asked, place_of_run(indexed.run.key)), _topic(indexed, entry)
    if vote == "skip":
        if purpose == "calibration":  # the sample stays random: without a label the case counts both ways
            add_draws(asked.explorer.store, indexed.run.key, [named], drawn.seed)
        reader.skip(named, topic)
        return asked.to(asked.request.url.path, **replace(sample, skipped=False).query)
    if not asked.shows(place_of(indexed.run.key, entry.spot)):
        raise Refused(400, "nobody labels what they have not read", "show the text first")
    _keep(asked, indexed, purpose, drawn, named)
    reader.judge(named, topic, HARM[vote])
    return asked.to(asked.request.url.path, **sample.query, last=named)


def _keep(asked: PageRequest, indexed: RunIndex, purpose: Purpose, drawn: Drawn, named: str) -> None:
    """Keep the vote on the named case of the sample, and on those labeled before that read alike. Then next ones that
    read like a labeled one have its label."""
    index, store, run = asked.explorer.index, asked.explorer.store, indexed.run
    by_entry = {draw.entry: draw for draw in drawn.draws}
    entry = entry_named(index, indexed, named)
    assert entry is not None, "who calls has looked"
    vote: Vote = str(asked.form.get("vote"))  # type: ignore[assignment] # checked before
    case = _item(asked, indexed, by_entry[entry.id], drawn).case
    places = labeling.said_of_texts(store, run, asked.who, purpose).get(labeling.text_of(case), ("", []))[1]
    again = [part.id for place in {named, *places} if (part := entry_named(index, indexed, place))]
    for draw in (by_entry[number] for number in again if number in by_entry):
        labeling.add(store, run, _item(asked, indexed, draw, drawn), vote, asked.who, purpose)
    texts = labeling.said_of_texts(store, run, asked.who, purpose)
    labeled = {place for _, places in texts.values() for place in places}
    done = {part.id for place in labeled if (part := entry_named(index, indexed, place))}
    for draw in (draw for draw in drawn.draws if draw.entry not in done):
        item = _item(asked, indexed, draw, drawn)
        if (alike := texts.get(labeling.text_of(item.case))) is None:
            break
        labeling.add(store, run, item, alike[0], asked.who, purpose)


def _item(asked: PageRequest, indexed: RunIndex, draw: Draw[int], drawn: Drawn) -> Item:
    """A drawn case, with its texts."""
    entry = queries.entry_at(asked.explorer.index, indexed, draw.entry)
    (case,) = picked(asked.explorer.store, indexed.run, [entry.spot])
    cell = indexed.run.plan["cells"][entry.cell]
    place, looks = labeling.place_of(case), drawn.looks(entry.cell)
    return Item(place, draw.stratum, draw.size, cell["target"], cell["attack"], case, draw.chance, looks, drawn.seed)


# --- calibration -------------------------------------------------------------------------------------------------


def calibration(asked: PageRequest) -> Response:
    """What the labels so far say of the run's judges, and the rates without their error."""
    indexed = asked.indexed()
    store, run = asked.explorer.store, indexed.run
    labels = labeling.calibration_labels(store, run)  # first: no count may hold a label that the rates do not
    judges = [_judge(asked, indexed, key, label) for key, label in _judges(indexed)]
    return asked.run_page(
        "calibration", indexed, judges=judges, labels=len(labels),
        labelers=sorted(Counter((label["labeler"], label["annotator"]) for label in labels).items()),
        missing=missing_in(store, run), exposed=exposed(store, place_of_run(run.key)),
        unsure=sum(label["vote"] == "unsure" for label in labels), split=len(labeling.disagreements(store, run)),
    )  # fmt: skip


def keep(asked: PageRequest) -> Response:
    """Store the calibration of a judge, so that reports of this store correct by it."""
    asked.need("admin")
    indexed = asked.indexed()
    key = str(asked.form.get("judge", ""))
    label = dict(_judges(indexed)).get(key)
    calibration = _judge(asked, indexed, key, label)["calibration"] if label else None
    if calibration is None:
        raise Refused(400, "there is nothing to keep", "label some cases first")
    asked.explorer.store.add_calibration(key, calibration)
    asked.explorer.store.add_audit(asked.who, "calibrate", f"{indexed.run.name}: {label}, {calibration['n']} labels")
    return asked.to(asked.request.url.path)


def _judges(indexed: RunIndex) -> list[tuple[str, str]]:
    """The judges of the harmful cells, by key."""
    cells = [cell for cell in indexed.run.plan["cells"] if not cell["benign"]]
    return list({cell["keys"]["judge"]: cell["judge"] for cell in cells}.items())


def _judge(asked: PageRequest, indexed: RunIndex, key: str, label: str) -> dict[str, Any]:
    """One judge beside the annotators of its cases, as `withstand calibrate` would store it, and its cells."""
    planned = indexed.run.plan["cells"]
    cases = [
        (labeled, place)
        for place, labeled in labeling.labels_by_place(asked.explorer.store, indexed.run).items()
        if planned[int(place.partition(":")[0])]["keys"]["judge"] == key
    ]
    cases = [(labeled, place) for labeled, place in cases if labeled.votes]
    outcomes = _outcomes(asked, indexed, [place for _, place in cases])
    own = own_labels(asked.explorer.store, indexed.run) if cases else {}
    pairs: list[Pair] = [(labeled, is_hit(outcomes[place])) for labeled, place in cases if labeled.majority is not None]
    calibration: Json = None
    if pairs:
        people = [labeled for labeled, _ in cases]
        missing = sum(entry.missing for cell in _cells(indexed, key) for entry in own.get(cell.index, []))
        calibration = calibration_of(label, key, f"run:{indexed.run.name}", people, pairs, missing).to_json()
    return {
        "key": key,
        "label": label,
        "calibration": calibration,
        "rows": [_row(indexed, cell, own.get(cell.index, [])) for cell in _cells(indexed, key)],
    }


def _cells(indexed: RunIndex, key: str) -> list[CellResult]:
    planned = indexed.run.plan["cells"]
    return [c for c in indexed.summary.cells if not c.benign and planned[c.index]["keys"]["judge"] == key]


def _row(indexed: RunIndex, cell: CellResult, labels: Sequence[OwnLabel]) -> dict[str, Any]:
    rate, note = corrected(indexed.run.name, cell, indexed.behaviors[cell.index], labels, [])
    return {"cell": cell, "corrected": rate, "note": note}


def _outcomes(asked: PageRequest, indexed: RunIndex, places: Sequence[str]) -> dict[str, str]:
    """What the judge said of labeled cases."""
    entries = {place: entry_named(asked.explorer.index, indexed, place) for place in places}
    return {place: entry.outcome if entry else "error" for place, entry in entries.items()}


ROUTES = (
    ("/runs/{run}/label", page, ["GET"]),
    ("/runs/{run}/label", save, ["POST"]),
    ("/runs/{run}/calibration", calibration, ["GET"]),
    ("/runs/{run}/calibration", keep, ["POST"]),
)
