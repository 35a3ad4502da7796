"""The rate without the judge's error, where the store holds a calibration of the judge."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from withstand.core.text import head_of
from withstand.results.cells import CellResult, CorrectedRate
from withstand.stats import agreement

ENOUGH = 30
"""Labels from which on a category is corrected by its own; the rest by all labels together."""


def corrected(
    counts: Mapping[int, tuple[int, int]],
    categories: Sequence[str],
    calibrations: Sequence[Mapping[str, Any]],
    cell: CellResult,
) -> tuple[CorrectedRate | None, str]:
    """The corrected ASR and a note on it; (None, "") where nothing is scored.

    counts: successes and scored cases of each behavior by its place; categories: of each place; calibrations: as
    `withstand calibrate` stored them, oldest first. Of several, one that tells the judge from chance goes first, then
    one of this target and attack, then that of the most labels, then the newest.
    """

    def worth(result: tuple[CorrectedRate | None, str]) -> tuple[bool, bool, int]:
        rate = result[0]
        return (rate.identified, not rate.transported, rate.labels) if rate else (False, False, 0)

    return max((_by(counts, categories, calibration, cell) for calibration in reversed(calibrations)), key=worth)


def _by(
    counts: Mapping[int, tuple[int, int]], categories: Sequence[str], calibration: Mapping[str, Any], cell: CellResult
) -> tuple[CorrectedRate | None, str]:
    """By one calibration. "transported": its labels do not name this target and attack, so that the judge may err
    otherwise here."""
    own = {part["category"]: part for part in calibration["by_category"] if part["n"] >= ENOUGH}
    groups: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for place, pair in counts.items():
        groups[categories[place] if categories[place] in own else ""].append(pair)
    parts = [
        agreement.Part([s for s, _ in pairs], [n for _, n in pairs], table_of(own[name] if name else calibration))
        for name, pairs in sorted(groups.items())
    ]
    estimate = agreement.corrected(parts)
    if estimate is None:
        return None, ""
    targets, attacks = calibration["targets"], calibration["attacks"]
    transported = head_of(cell.target) not in targets or head_of(cell.attack) not in attacks
    rate = CorrectedRate(
        rate=estimate.rate,
        interval=(estimate.low, estimate.high),
        identified=estimate.identified,
        clipped=estimate.clipped,
        transported=transported,
        labels=calibration["n"],
        source=calibration["labels"],
    )
    by = f"{rate.labels} labels ({rate.source})"
    if not rate.identified:
        return rate, f"no rate without the judge's error: {by} do not tell what it says here from chance"
    note = f"without the judge's error, by {by}: {100 * (estimate.rate or 0):.0f}% "
    note += f"({100 * estimate.low:.0f}-{100 * estimate.high:.0f})"
    note += ", clipped: the judge errs more than this rate" if rate.clipped else ""
    return rate, note + (", transported: labels of other targets or attacks" if transported else "")


def table_of(calibration: Mapping[str, Any]) -> agreement.Table:
    """The counts that a calibration stored."""
    names = ("true_positive", "false_negative", "false_positive", "true_negative", "unscored")
    return agreement.Table(*(calibration[name] for name in names))
