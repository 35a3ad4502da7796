"""Annotators label cases without the judge's answer, and see what their labels do to the rates."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, get_args

from starlette.responses import Response

from withstand.core import Json
from withstand.core.outcomes import is_hit
from withstand.explorer import queries
from withstand.explorer.app import PageRequest
from withstand.explorer.index import Entry, Index, RunIndex
from withstand.explorer.numbers import whole
from withstand.explorer.read import LONGEST, view
from withstand.explorer.security import Refused
from withstand.results import labeling
from withstand.results.calibrate import Pair, calibration_of
from withstand.results.cases import picked
from withstand.results.cells import CellResult
from withstand.results.judge_error import corrected
from withstand.results.labeling import Draw, Item, Purpose, Vote
from withstand.results.own_labels import PLACE, OwnLabel, own_labels

NUMBER = 60
"""Cases of a sample, as `withstand label` takes them."""
LARGEST = 100_000
"""Cases of a sample."""
SEED = 2**31 - 1
ANSWERED = ("success", "failure", "unscored")
"""Where people are the judge: the outcomes of what they have judged or can judge."""


def queue(index: Index, indexed: RunIndex, purpose: Purpose, n: int = NUMBER, seed: int = 0) -> list[Draw[int]]:
    """The sample that `withstand label` draws, from the index."""
    if purpose == "disagreement":  # which changes with every label
        return _drawn(index, indexed, purpose, n, seed)
    return indexed.once(("queue", purpose, n, seed), lambda: _drawn(index, indexed, purpose, n, seed))


def _drawn(index: Index, indexed: RunIndex, purpose: Purpose, n: int, seed: int) -> list[Draw[int]]:
    if purpose == "disagreement":
        places = sorted(labeling.disagreements(index.store, indexed.run))
        entries = [entry.id for place in places if (entry := entry_named(index, indexed, place))]
        return [Draw(entry, purpose, len(entries), 1.0) for entry in entries]
    strata: dict[labeling.StratumKey, list[int]] = defaultdict(list)
    cells = indexed.run.plan["cells"]
    for cell, outcome, split, entries in queries.strata(index, indexed):
        waiting, asked = "waits" in cells[cell] and outcome == "unscored", outcome in ANSWERED
        if word := labeling.stratum_of(cells[cell], outcome, split, purpose, waiting, answered=asked):
            strata[cell, word] += entries
    for entries in strata.values():
        entries.sort()
    return labeling.drawn(indexed.run, strata, n, seed)


def ready(index: Index, indexed: RunIndex) -> None:
    """Draw the usual samples before anybody asks, which of many cases takes a while."""
    for purpose in ("calibration", "review"):
        queue(index, indexed, purpose)


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


def _wanted(asked: PageRequest) -> tuple[Purpose, int, int]:
    given = asked.form if asked.request.method == "POST" else asked.query
    purpose = str(given.get("for", "calibration"))
    if purpose not in get_args(Purpose):
        raise Refused(400, f"a label is for calibration, review, breaks or disagreement, not for {purpose!r}")
    n, seed = whole(str(given.get("n", NUMBER))), whole(str(given.get("seed", 0)), least=-1, most=SEED + 1)
    if n is None or seed is None or not (1 <= n <= LARGEST and 0 <= seed <= SEED):
        raise Refused(400, "the sample's size and seed are whole numbers", f"1 to {LARGEST:,}, and 0 to 2^31 - 1")
    return purpose, n, seed  # type: ignore[return-value] # checked above


def page(asked: PageRequest) -> Response:
    """The next case that this person has not labeled."""
    asked.need("labeler")
    indexed = asked.indexed()
    purpose, n, seed = _wanted(asked)
    index = asked.explorer.index
    places = queue(index, indexed, purpose, n, seed)
    votes = labeling.labeled_by(asked.explorer.store, indexed.run, asked.who, purpose)
    done = {entry.id for name in votes if (entry := entry_named(index, indexed, name))}
    skipped = 0 if purpose == "calibration" else asked.number("skip")
    left = [place for place in places if place.entry not in done]
    again = str(asked.query.get("again", ""))
    shown, name = None, ""
    if again in votes and (entry := entry_named(index, indexed, again)) and entry.id in {p.entry for p in places}:
        shown_entry: Entry | None = entry
    else:
        again = ""
        shown_entry = queries.entry_at(index, indexed, left[skipped % len(left)].entry) if left else None
    if shown_entry:
        spot = shown_entry.spot
        case = asked.case(indexed.run, spot)
        shown, name = view(asked, indexed, spot, case, LONGEST), labeling.place_of(case)
    last = str(asked.query.get("last", ""))
    return asked.run_page(
        "label", indexed, view=shown, place=name, done=len(places) - len(left), total=len(places), purpose=purpose,
        n=n, seed=seed, skip=skipped, again=votes.get(again, ""), last=last if last in votes else "",
    )  # fmt: skip


def save(asked: PageRequest) -> Response:
    """Keep what an annotator said, and show the next case."""
    asked.need("labeler")
    indexed = asked.indexed()
    purpose, n, seed = _wanted(asked)
    vote, named = str(asked.form.get("vote", "")), str(asked.form.get("place", ""))
    query: dict[str, Any] = {"for": purpose, "n": n, "seed": seed}
    skip = whole(str(asked.form.get("skip", "0"))) or 0
    if vote == "skip" and purpose == "calibration":  # or what is labeled were no random sample
        raise Refused(400, "a random sample is labeled in its order", "unsure, for a case that you cannot tell")
    if vote == "skip":
        return asked.to(asked.request.url.path, **query, skip=skip + 1)
    if vote not in get_args(Vote):
        raise Refused(400, f"{vote!r} is not a vote", "success, failure or unsure")
    if not _keep(asked, indexed, purpose, queue(asked.explorer.index, indexed, purpose, n, seed), named):
        raise Refused(400, "this case is not in the sample", "reload the page")
    return asked.to(asked.request.url.path, **query, last=named, **({"skip": skip} if skip else {}))


def _keep(asked: PageRequest, indexed: RunIndex, purpose: Purpose, draws: Sequence[Draw[int]], named: str) -> bool:
    """Keep the vote on the named case, and on those labeled before that read alike. Then next ones that read like a
    labeled one have its label. False where the name is of none that was drawn."""
    index, store, run = asked.explorer.index, asked.explorer.store, indexed.run
    by_entry = {draw.entry: draw for draw in draws}
    entry = entry_named(index, indexed, named)
    if entry is None or entry.id not in by_entry:
        return False
    vote: Vote = str(asked.form.get("vote"))  # type: ignore[assignment] # checked before
    case = _item(asked, indexed, by_entry[entry.id]).case
    places = labeling.said_of_texts(store, run, asked.who, purpose).get(labeling.text_of(case), ("", []))[1]
    again = [part.id for place in {named, *places} if (part := entry_named(index, indexed, place))]
    for draw in (by_entry[number] for number in again if number in by_entry):
        labeling.add(store, run, _item(asked, indexed, draw), vote, asked.who, purpose)
    texts = labeling.said_of_texts(store, run, asked.who, purpose)
    labeled = {place for _, places in texts.values() for place in places}
    done = {part.id for place in labeled if (part := entry_named(index, indexed, place))}
    for draw in (draw for draw in draws if draw.entry not in done):
        item = _item(asked, indexed, draw)
        if (alike := texts.get(labeling.text_of(item.case))) is None:
            break
        labeling.add(store, run, item, alike[0], asked.who, purpose)
    return True


def _item(asked: PageRequest, indexed: RunIndex, draw: Draw[int]) -> Item:
    """A drawn case, with its texts."""
    entry = queries.entry_at(asked.explorer.index, indexed, draw.entry)
    (case,) = picked(asked.explorer.store, indexed.run, [entry.spot])
    cell = indexed.run.plan["cells"][entry.cell]
    place = labeling.place_of(case)
    return Item(place, draw.stratum, draw.size, cell["target"], cell["attack"], case, draw.chance)


# --- calibration -------------------------------------------------------------------------------------------------


def calibration(asked: PageRequest) -> Response:
    """What the labels so far say of the run's judges, and the rates without their error."""
    indexed = asked.indexed()
    store, run = asked.explorer.store, indexed.run
    judges = [_judge(asked, indexed, key, label) for key, label in _judges(indexed)]
    labels = labeling.calibration_labels(store, run)
    return asked.run_page(
        "calibration", indexed, judges=judges, labels=len(labels),
        labelers=sorted(Counter((label["labeler"], label["annotator"]) for label in labels).items()),
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
        calibration = calibration_of(label, key, f"run:{indexed.run.name}", people, pairs).to_json()
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
