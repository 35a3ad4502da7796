"""Does a filter of training data drop some people's texts more than others'? `withstand audit filter`.

Filters and detoxification take texts about minorities, and in their dialects, more than others (Dodge et al. 2021,
arXiv:2104.08758; Xu et al. 2021, arXiv:2104.06390). Drops by slice come with ratios to the texts that they are compared
with; then models with and without what was dropped read held-out texts of these slices.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from withstand.audits.filter.drops import Drops, measures_of
from withstand.audits.filter.filtered import Filtered
from withstand.audits.filter.held import Held
from withstand.audits.filter.nats import losses, unit_of
from withstand.audits.filter.records import Measure, SliceRate
from withstand.audits.filter.settings import Settings
from withstand.audits.filter.slices import DECIDING, LEAST, Slices, slices
from withstand.audits.filter.swaps import swap_rates
from withstand.audits.filter.verdict import Findings, verdict
from withstand.core import Json
from withstand.core.identities import Identities
from withstand.core.text import count, series
from withstand.results.cells import finite, plain
from withstand.stats.winners import level_of_each

SCHEMA = 1
LEVEL = 0.95
"""Of all intervals together."""
LISTED = 20
"""Rows of a slice that are listed to be read."""


def report(filtered: Filtered, held: Held | None, identities: Identities, settings: Settings) -> Json:
    """All figures, the verdict, and what a reader must know, as JSON; an infinite end of an interval is None."""
    texts = filtered.data.texts
    sliced, read_slices = slices(texts, identities), slices(held.texts if held else (), identities)
    measures = measures_of(texts)
    number = 2 * len(measures) * (1 + len(sliced.slices)) + len(filtered.swaps)
    number += len(held.compared) * len(read_slices.slices) if held else 0
    level = level_of_each(number, LEVEL)
    drops = Drops(texts, filtered.dropped, level, settings.ratio)
    overall = {measure: drops.overall(measure) for measure in measures}
    rates = [rate for measure in measures for rate in drops.of_slices(measure, sliced.slices)]
    swaps = swap_rates(filtered.swaps, texts, filtered.dropped, filtered.forms, level)
    read = list(_read(held, read_slices, level, settings)) if held else []
    deciding = next(iter(read), None)
    lacking = list(_lacking(held, sliced, read_slices, settings)) if held else []
    lacking += ["labeled texts that the filter was not fitted to"] * (filtered.fitted > 0)
    findings = Findings(
        overall, rates, swaps, deciding["rows"] if deciding else (), deciding["unit"] if deciding else "", lacking
    )
    word, reasons = verdict(findings)
    return finite(plain({
        "schema": SCHEMA, "verdict": word, "reasons": reasons,
        "facts": list(_facts(filtered, identities, settings, held)),
        "ratio": settings.ratio, "bound": settings.bound, "intervals": number, "level": level, "overall": overall,
        "slices": rates, "swaps": swaps, "read": read, "look": _look(drops, filtered, sliced, rates),
        "notes": [*filtered.data.notes(), *filtered.notes, *identities.notes, *(held.notes if held else ())],
        "limits": list(_limits(sliced, measures, bool(filtered.swaps), held is not None)),
    }))  # fmt: skip


def _read(held: Held, sliced: Slices, level: float, settings: Settings) -> Iterator[dict[str, Any]]:
    for pair in held.compared:
        yield {
            "first": pair.first, "second": pair.second, "decides": pair.decides, "unit": unit_of(*pair.pairs[0]),
            "rows": list(losses(pair.pairs, held.texts, sliced.slices, level, settings.bound)),
            "cut": max(side.cut for sides in pair.pairs for side in sides),
        }  # fmt: skip


def _lacking(held: Held, sliced: Slices, read_slices: Slices, settings: Settings) -> Iterator[str]:
    """What an even reading lacks: held-out texts of slices of the data, a training that learned, and a second seed."""
    there = {slice_.label for slice_ in read_slices.slices}
    for slice_ in sliced.slices:
        if slice_.axis in DECIDING and slice_.axis != "term" and slice_.label not in there:
            yield f"{slice_.label} (no held-out text)"
    if held.learned is not None and held.learned < settings.bound:
        yield f"a training that learns more than {settings.bound:g} nats a token: who learns nothing loses nothing"
    if held.one_seed:
        yield "trainings by a second seed (--seeds 2)"


def _look(drops: Drops, filtered: Filtered, sliced: Slices, rates: Sequence[SliceRate]) -> dict[str, list[int]]:
    """By slice with more drops than others, rows of the file that were dropped: of those that should stay, if any."""
    flagged = {
        (rate.axis, rate.name) for rate in rates if rate.word in ("far more", "more") and rate.measure != "missed"
    }
    wrongly = drops.dropped & drops.harmless if drops.harmless.any() else drops.dropped
    return {
        slice_.label: [filtered.data.texts[place].number for place in np.flatnonzero(slice_.members & wrongly)[:LISTED]]
        for slice_ in sliced.slices
        if (slice_.axis, slice_.name) in flagged
    }


def _facts(
    filtered: Filtered, identities: Identities, settings: Settings, held: Held | None
) -> Iterator[tuple[str, str]]:
    data = filtered.data
    drawn = ", drawn at random" if settings.limit is not None else ""
    yield "Data", f"{data.name}: {count(len(data.texts), 'different text')}{drawn}, of {count(data.rows, 'row')}"
    yield "Filter", filtered.name
    if settings.label:
        labeled = sum(text.harmful is not None for text in data.texts)
        harmful = sum(text.harmful is True for text in data.texts)
        yield "Labels", f"{settings.label.column}: {labeled:,} texts, of which {harmful:,} should be dropped"
    yield "Identity list", f"version {identities.version}, {count(len(identities.groups), 'group')}"
    yield "Limits", f"two rates are alike within {settings.ratio:g} times, two changes within {settings.bound:g} nats"
    yield "Seed", str(settings.seed)
    yield from held.facts if held else ()


def _limits(sliced: Slices, measures: Sequence[Measure], swapped: bool, read: bool) -> Iterator[str]:
    """What the figures cannot say."""
    if sliced.absent:
        yield f"no text mentions {series(list(sliced.absent))}: nothing is known of these groups"
    if sliced.few:
        yield f"{count(sliced.few, 'term')} in fewer than {LEAST} texts count in their groups alone"
    yield (
        "groups, dialects and languages are marked by lists of words, coarsely: they find texts, not people, and most "
        "texts of a dialect have no mark. A column of your own is better: --slice COLUMN"
    )
    yield "a filter that came before this data is not seen: what it took is not here"
    if len(measures) == 1:
        yield "without labels nobody knows whether a slice holds more that should be dropped: --label COLUMN=VALUE"
    else:
        yield "labels are people's, and may err as the filter does"
    if not swapped:
        yield "no text was tried with another group in its place: that needs the filter itself, --filter JUDGE"
    if read:
        yield (
            "a held-out text that is nearly one of the data is read better than a new one, and hides a loss: --cluster "
            "COLUMN keeps what belongs together on one side"
        )
    else:
        yield "no model read anything: whether one loses by the drops is not known (--train, or --before and --after)"
    yield "a text is in several slices: what one of them shows may be another's doing, such as its length"
