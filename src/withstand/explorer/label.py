"""People label cases without the judge's answer, and see what their labels do to the rates."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from starlette.responses import Response

from withstand.core import Json
from withstand.core.outcomes import is_hit
from withstand.explorer import queries
from withstand.explorer.app import Asked
from withstand.explorer.index import Index, Known
from withstand.explorer.read import LONGEST, view
from withstand.explorer.security import Refused
from withstand.results import labeling
from withstand.results.calibrate import Pair, beside_people, by_category, people
from withstand.results.cases import Spot, picked
from withstand.results.judge_error import corrected
from withstand.results.labeling import Item, Purpose, Vote

NUMBER = 60
"""Cases of a sample, as `withstand label` takes them."""
ANSWERED = ("success", "failure", "unscored")
"""Where people are the judge: the outcomes of what they have judged or can judge."""


@dataclass(frozen=True, slots=True)
class Place:
    """A case of a queue: its entry in the index, its stratum and that stratum's size."""

    entry: int
    stratum: str
    size: int


def queue(index: Index, known: Known, purpose: Purpose, n: int = NUMBER, seed: int = 0) -> list[Place]:
    """The sample that `withstand label` draws, from the index."""
    key = ("queue", purpose, n, seed)
    if key not in known.kept:
        strata: dict[str, list[int]] = defaultdict(list)
        cells = known.run.plan["cells"]
        for cell, outcome, split, entries in queries.strata(index, known):
            waiting, asked = "waits" in cells[cell] and outcome == "unscored", outcome in ANSWERED
            if stratum := labeling.stratum_of(cells[cell], outcome, split, purpose, waiting, answered=asked):
                strata[stratum] += entries
        for entries in strata.values():
            entries.sort()
        known.kept[key] = [Place(*drawn) for drawn in labeling.drawn(known.run, strata, n, seed)]
    places: list[Place] = known.kept[key]
    return places


def ready(index: Index, known: Known) -> None:
    """Draw the usual samples before anybody asks, which of many cases takes a while."""
    for purpose in get_args(Purpose):
        queue(index, known, purpose)


def name_of(known: Known, spot: Spot) -> str:
    """How labels name a case."""
    behavior = known.ids[known.run.plan["cells"][spot[0]]["suite"]][spot[1]]
    return labeling.place_of({"cell": spot[0], "behavior": behavior, "case": spot[2], "sample": spot[3]})


def entry_named(index: Index, known: Known, name: str) -> dict[str, Any] | None:
    """The entry of a case that labels name so; None where the run has none."""
    told = re.fullmatch(r"(\d{1,9}):(.*):(\d{1,9}):(\d{1,9})", name, re.DOTALL)
    if not told or int(told[1]) >= len(known.run.plan["cells"]):
        return None
    suite = known.run.plan["cells"][int(told[1])]["suite"]
    key = ("places", suite)
    if key not in known.kept:
        known.kept[key] = {each: place for place, each in enumerate(known.ids[suite])}
    places = known.kept[key]
    if told[2] not in places:
        return None
    return queries.entry_of(index, known, (int(told[1]), places[told[2]], int(told[3]), int(told[4])))


def _wanted(asked: Asked) -> tuple[Purpose, int, int]:
    given = asked.form if asked.request.method == "POST" else asked.query
    purpose = str(given.get("for", "calibration"))
    if purpose not in get_args(Purpose):
        raise Refused(400, f"nothing is labeled for {purpose!r}", "calibration or review")
    n, seed = str(given.get("n", NUMBER)), str(given.get("seed", 0))
    if not (n.isdigit() and 1 <= int(n) <= 100_000 and seed.isdigit()):
        raise Refused(400, "the sample's size and seed are whole numbers")
    return purpose, int(n), int(seed)  # type: ignore[return-value] # checked above


def page(asked: Asked) -> Response:
    """The next case that this person has not labeled."""
    asked.need("labeler")
    known = asked.known()
    purpose, n, seed = _wanted(asked)
    index = asked.explorer.index
    places = queue(index, known, purpose, n, seed)
    named = labeling.labeled_by(asked.explorer.store, known.run, asked.who, purpose)
    done = {entry["id"] for name in named if (entry := entry_named(index, known, name))}
    skipped = int(asked.query.get("skip", "0")) if asked.query.get("skip", "0").isdigit() else 0
    left = [place for place in places if place.entry not in done]
    case, name = None, ""
    if left:
        [spot] = queries.spots(index, known, [left[skipped % len(left)].entry])
        [found] = picked(asked.explorer.store, known.run, [spot])
        case, name = view(asked, known, spot, found, LONGEST), name_of(known, spot)
    return asked.page(
        "label", known=known, run=known.run, case=case, place=name, done=len(places) - len(left),
        total=len(places), purpose=purpose, n=n, seed=seed, skip=skipped, path=asked.request.url.path,
        query={"for": purpose, "n": n, "seed": seed},
    )  # fmt: skip


def save(asked: Asked) -> Response:
    """Keep what a person said, and show the next case."""
    asked.need("labeler")
    known = asked.known()
    purpose, n, seed = _wanted(asked)
    vote, named = str(asked.form.get("vote", "")), str(asked.form.get("place", ""))
    query: dict[str, Any] = {"for": purpose, "n": n, "seed": seed}
    skip = str(asked.form.get("skip", "0"))
    skip = skip if skip.isdigit() else "0"
    if vote == "skip":
        return asked.to(asked.request.url.path, **query, skip=int(skip) + 1)
    if vote not in get_args(Vote):
        raise Refused(400, f"{vote!r} is no vote", "success, failure or unsure")
    entry = entry_named(asked.explorer.index, known, named)
    places = queue(asked.explorer.index, known, purpose, n, seed)
    place = next((each for each in places if entry and each.entry == entry["id"]), None)
    if place is None:
        raise Refused(400, "this case is not in the sample", "reload the page")
    [spot] = queries.spots(asked.explorer.index, known, [place.entry])
    [case] = picked(asked.explorer.store, known.run, [spot])
    cell = known.run.plan["cells"][spot[0]]
    item = Item(named, place.stratum, place.size, cell["target"], cell["attack"], case)
    labeling.add(asked.explorer.store, known.run, item, vote, asked.who, purpose)  # type: ignore[arg-type] # checked
    return asked.to(asked.request.url.path, **query, **({"skip": skip} if int(skip) else {}))


# --- calibration -------------------------------------------------------------------------------------------------


def calibration(asked: Asked) -> Response:
    """What the labels so far say of the run's judges, and the rates without their error."""
    known = asked.known()
    judges = [_judge(asked, known, key, label) for key, label in _judges(known)]
    labels = [label for label in asked.explorer.store.labels(known.run.key) if label["purpose"] == "calibration"]
    values = {
        "known": known, "run": known.run, "judges": judges, "labels": len(labels),
        "labelers": sorted(Counter(label["labeler"] for label in labels).items()),
        "unsure": sum(label["vote"] == "unsure" for label in labels),
    }  # fmt: skip
    return asked.page("_calibration" if asked.partial else "calibration", **values)


def keep(asked: Asked) -> Response:
    """Store the calibration of a judge, so that reports of this store correct by it."""
    asked.need("admin")
    known = asked.known()
    key = str(asked.form.get("judge", ""))
    label = dict(_judges(known)).get(key)
    found = _judge(asked, known, key, label)["told"] if label else None
    if found is None:
        raise Refused(400, "there is nothing to keep", "label some cases first")
    asked.explorer.store.add_calibration(key, found)
    asked.explorer.store.add_audit(asked.who, "calibrate", f"{known.run.name}: {label}, {found['n']} labels")
    return asked.to(asked.request.url.path)


def _judges(known: Known) -> list[tuple[str, str]]:
    """The judges of the harmful cells, by key."""
    cells = [cell for cell in known.run.plan["cells"] if not cell["benign"]]
    return list({cell["keys"]["judge"]: cell["judge"] for cell in cells}.items())


def _judge(asked: Asked, known: Known, key: str, label: str) -> dict[str, Any]:
    """One judge beside the people who labeled its cases, as `withstand calibrate` would store it, and its cells."""
    planned = known.run.plan["cells"]
    mine = [
        (one, place)
        for place, one in labeling.labels_by_place(asked.explorer.store, known.run).items()
        if planned[int(place.partition(":")[0])]["keys"]["judge"] == key
    ]
    outcomes = _outcomes(asked, known, [place for _, place in mine])
    pairs: list[Pair] = [(one, is_hit(outcomes[place])) for one, place in mine if one.majority is not None]
    told: Json = None
    if pairs:
        told = {
            "judge": label, "judge_key": key, "labels": f"run:{known.run.name}", "ties": len(mine) - len(pairs),
            "missing": 0, **beside_people(pairs), "people": people([one for one, _ in mine]),
            "targets": sorted({one.target for one, _ in mine}), "attacks": sorted({one.attack for one, _ in mine}),
            "by_category": [{"category": name, **beside_people(part)} for name, part in by_category(pairs)],
        }  # fmt: skip
    return {"key": key, "label": label, "told": told, "rows": [_row(known, cell, told) for cell in _cells(known, key)]}


def _cells(known: Known, key: str) -> list[Json]:
    planned = known.run.plan["cells"]
    return [c for c in known.summary["cells"] if not c["benign"] and planned[c["index"]]["keys"]["judge"] == key]


def _row(known: Known, cell: Json, told: Json) -> dict[str, Any]:
    found, note = None, ""
    if told:
        categories = known.categories[known.run.plan["cells"][cell["index"]]["suite"]]
        found, note = corrected(known.counts[cell["index"]], categories, [told], cell)
    return {"cell": cell, "corrected": found, "note": note}


def _outcomes(asked: Asked, known: Known, places: Sequence[str]) -> dict[str, str]:
    """What the judge said of labeled cases."""
    found = {place: entry_named(asked.explorer.index, known, place) for place in places}
    return {place: entry["outcome"] if entry else "error" for place, entry in found.items()}


ROUTES = (
    ("/runs/{run}/label", page, ["GET"]),
    ("/runs/{run}/label", save, ["POST"]),
    ("/runs/{run}/calibration", calibration, ["GET"]),
    ("/runs/{run}/calibration", keep, ["POST"]),
)
