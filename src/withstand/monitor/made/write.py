"""Writes a log of a kitchen's assistant, hour by hour, and the truth about it. Equal seeds give equal files."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from withstand.core import Json, SpecError
from withstand.monitor.made.people import HEAVY, daily_swing, draw_people
from withstand.monitor.made.plants import PLANTS, Frame, Plant
from withstand.monitor.made.talks import LABELER, SHARES, VERSIONS, Fact, Recipe, account_name, write_hour

START = 1_772_409_600.0
"""Monday, 2 March 2026, 00:00 UTC."""
SCHEMA = "withstand.truth/1"
KINDS = (*PLANTS, "drift", "jump")
FEW = 150_000
"""Up to so many exchanges one process writes faster than two."""


@dataclass(slots=True)
class Written:
    """How much a log holds. violations: exchanges that violate a category outside of any plant."""

    exchanges: int = 0
    size: int = 0
    violations: Counter[str] = field(default_factory=Counter)
    plants: tuple[Plant, ...] = ()


def frame_of(days: int, per_day: int, seed: int) -> Frame:
    """Raises `SpecError` where a log could not hold its plants."""
    if days < 2 or per_day < 50:
        raise SpecError(f"{days} days with {per_day} exchanges each are too few", hint="at least 2 days, 50 a day")
    return Frame(seed, START, days, per_day, max(150, per_day // 6))


def write_log(path: Path, truth: Path | None, frame: Frame, kinds: Sequence[str], sigmas: float = 1.0) -> Written:
    """Write a log and, on demand, its truth. kinds: what is planted, of `KINDS`; none: an ordinary month.

    sigmas: of the drift, in standard deviations of a day's count.
    """
    plants = [plant(frame) for kind, plant in PLANTS.items() if kind in kinds]
    drift = _drift(frame, sigmas) if "drift" in kinds else None
    jump = _jump(frame) if "jump" in kinds else None
    written = Written(plants=(*plants, *filter(None, (drift, jump))))
    planted = sorted((talk for plant in plants for talk in plant.exchanges), key=lambda talk: talk.ts)
    recipe = Recipe(
        draw_people(frame), planted,
        jump=jump.start if jump else float("inf"),
        drift=drift.start if drift else float("inf"), factor=float(drift.figures["factor"]) if drift else 1.0,
    )  # fmt: skip
    event_of = {talk.conversation: plant.kind for plant in plants for talk in plant.exchanges}
    with path.open("wb") as log, open(truth or os.devnull, "w", encoding="utf-8") as sink:
        sink.write(f'{{"schema": {json.dumps(SCHEMA)}, "exchanges": {{')
        comma = ""
        for exchanges, lines, facts in _hours(recipe):
            log.write(lines)
            for fact in facts:
                event = event_of.get(fact.conversation, "")
                sink.write(f"{comma}\n{json.dumps(fact.id)}: {json.dumps(_fact(fact, event))}")
                comma = ","
                if not event:
                    written.violations.update({*fact.prompt, *fact.completion})
            written.exchanges += exchanges
            written.size += len(lines)
        sink.write("},\n" + json.dumps(_summary(frame, written), indent=1)[1:].lstrip() + "\n")
    return written


def _fact(fact: Fact, event: str) -> Json:
    return {"prompt": fact.prompt, "completion": fact.completion} | ({"event": event} if event else {})


def _summary(frame: Frame, written: Written) -> Json:
    events = [
        {
            "kind": plant.kind, "category": plant.category, "what": plant.what, "expect": plant.expect,
            "start": round(plant.start, 3), "end": round(plant.end, 3), "exchanges": len(plant.exchanges),
            "accounts": [account_name(number) for number in plant.accounts], **plant.figures,
        }
        for plant in written.plants
    ]  # fmt: skip
    return {
        "seed": frame.seed, "start": frame.start, "end": frame.end, "written": written.exchanges, "events": events,
        "ordinary": {category: written.violations[category] for category in SHARES},
        "heavy_user": account_name(HEAVY),
    }  # fmt: skip


def _drift(frame: Frame, sigmas: float) -> Plant:
    """From the middle of the log on, `promise` is so many standard deviations of its daily count more frequent."""
    mean = frame.per_day * SHARES["promise"]
    sigma = (mean + (mean * daily_swing()) ** 2) ** 0.5
    figures = {"factor": 1 + sigmas * sigma / mean, "per_day": mean, "sigma_per_day": sigma, "sigmas": sigmas}
    what = f"answers promise free dishes more often, by {sigmas:g} standard deviations of the daily count"
    return Plant("drift", "promise", frame.at(0.5), frame.end, "alarm", what, figures=figures)


def _jump(frame: Frame) -> Plant:
    """From then on the log's own labels are of a version that flags more, at equal traffic."""
    figures = {"labeler": LABELER, "versions": list(VERSIONS)}
    what = "the log's own labeler has a new version, which flags `secret` more often at equal traffic"
    start = frame.at(0.3)
    return Plant("jump", "secret", start, start, "annotate", what, figures=figures)


def _hours(recipe: Recipe) -> Iterator[tuple[int, bytes, list[Fact]]]:
    frame = recipe.people.frame
    hours = range(frame.days * 24)
    if frame.days * frame.per_day <= FEW:
        for hour in hours:
            yield write_hour(recipe, hour)
        return
    with ProcessPoolExecutor(2, initializer=_begin, initargs=(recipe,)) as pool:
        for first in range(0, len(hours), 24):  # a day at a time, so that memory does not grow with the log
            yield from pool.map(_own_hour, hours[first : first + 24])


_recipes: list[Recipe] = []
"""In a worker process: its recipe, which it gets once."""


def _begin(recipe: Recipe) -> None:
    _recipes[:] = [recipe]


def _own_hour(hour: int) -> tuple[int, bytes, list[Fact]]:
    return write_hour(_recipes[0], hour)
