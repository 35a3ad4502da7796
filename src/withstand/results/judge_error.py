"""The rate without the judge's error: from labels of the run's own cases, else from a calibration of its judge."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from withstand.core.text import count, interval, percent
from withstand.formats.labels import Annotator, by_whom
from withstand.results.cells import CellResult, CorrectedRate
from withstand.results.counts import BehaviorCounts
from withstand.results.own_labels import ENOUGH, OwnLabel, own_rate
from withstand.stats import agreement

Calibrated = Mapping[str, Any]
"""A calibration as the store has it."""


def corrected(
    run: str,
    cell: CellResult,
    behaviors: Mapping[int, BehaviorCounts],
    labels: Sequence[OwnLabel],
    calibrations: Sequence[Calibrated],
) -> tuple[CorrectedRate | None, str]:
    """The corrected ASR and a note on it; (None, "") where there is nothing to correct by.

    labels: of the cell's own cases; calibrations: as `withstand calibrate` stored them, oldest first. `ENOUGH` labels
    of the cell itself go first, then labels of the same target and attack from elsewhere, if they tell the judge from
    chance, then fewer of the cell itself, then labels of other targets or attacks, where `--transport` asked for them.
    The widths have no say.
    """
    own = own_rate(run, labels, behaviors) if labels else None
    if own and own[0].labels >= ENOUGH:
        return own
    scored = [counts for counts in behaviors.values() if counts.scored]
    columns = (
        [counts.counts["success"] for counts in scored], [counts.scored for counts in scored],
        [counts.cluster for counts in scored],
    )  # fmt: skip
    calibrations = [calibration for calibration in calibrations if calibration["labels"] != f"run:{run}"]
    same = [(calibration, table) for calibration in calibrations if (table := _same(calibration, cell))]
    if same:
        rate, note = _by(*max(reversed(same), key=lambda pair: _worth(pair[1])), cell, columns)
        if own is None or (rate is not None and rate.identified):
            return rate, note
    if own:
        return own
    asked = [calibration for calibration in calibrations if calibration.get("drift") is not None]
    if asked:
        tables = [(calibration, _nearest(calibration, cell)) for calibration in reversed(asked)]
        return _by(*max(tables, key=lambda pair: _worth(pair[1])), cell, columns)
    if calibrations and scored:
        where = calibrations[-1]["labels"]
        return None, (
            f"not corrected: the labels of {where} are of other targets or attacks "
            f"(`withstand label {run}` labels its own cases; `calibrate --transport 0.05` applies them all the same)"
        )
    return None, ""


def _same(calibration: Calibrated, cell: CellResult) -> Calibrated | None:
    """Of a calibration the part of this target and attack, None for none; of before 0.2 the whole, if it has no
    others."""
    parts = calibration.get("by_attack")
    if parts is None:
        alone = calibration["targets"] == [cell.target] and calibration["attacks"] == [cell.attack]
        return calibration if alone else None
    return next((part for part in parts if (part["target"], part["attack"]) == (cell.target, cell.attack)), None)


def _nearest(calibration: Calibrated, cell: CellResult) -> Calibrated:
    """The labels of the same attack on whatever targets, if they say both yes and no; else all labels."""
    parts = [part for part in calibration.get("by_attack") or () if part["attack"] == cell.attack]
    pooled = {name: sum(part[name] for part in parts) for name in ("n", *_COUNTS)}
    return pooled if _worth(pooled) else calibration


def _worth(part: Calibrated) -> float:
    """How many labels say the rarer of yes and no: what sensitivity and specificity both rest on."""
    table = table_of(part)
    return min(table.hit + table.missed, table.wrong + table.clear)


def _by(
    calibration: Calibrated, part: Calibrated, cell: CellResult, columns: tuple[list[int], list[int], list[str]]
) -> tuple[CorrectedRate | None, str]:
    """By one part of a calibration."""
    transported = _same(calibration, cell) is None
    drift = float(calibration.get("drift") or 0.0) if transported else 0.0
    successes, cases, clusters = columns
    unlabeled = int(calibration.get("unlabeled") or 0)
    estimates = [
        agreement.corrected(successes, cases, table, drift, clusters=clusters) for table in _tables(part, unlabeled)
    ]
    if (estimate := estimates[0]) is None:
        return None, ""
    either = [side for side in estimates if side is not None]
    annotators = annotators_of(calibration)
    rate = CorrectedRate(
        rate=estimate.rate,
        interval=(min(side.low for side in either), max(side.high for side in either)),
        identified=all(side.identified for side in either),
        clipped=estimate.clipped,
        transported=transported,
        labels=part["n"],
        source=calibration["labels"],
        annotators=annotators,
        misfit=estimate.misfit,
    )
    by = f"{count(rate.labels, 'label')} {annotators} ({rate.source})"
    if not rate.identified:
        return rate, f"no rate without the judge's error: {by} do not tell what it says here from chance"
    note = f"without the judge's error, by {by}: {percent(rate.rate)} ({interval(rate.interval)})"
    if unlabeled:
        left = count(unlabeled, "drawn case")
        note += f"; {left} without a label {'is' if unlabeled == 1 else 'are'} in the limits as right and as wrong"
    if rate.misfit:
        note += "; misfit: with its errors among the labels the judge would hardly say this, so keep to the raw rate"
    elif rate.clipped:
        note += ", clipped: the judge errs more than this rate"
    if transported:
        note += "; transported: labels of other targets or attacks, with limits for a judge whose sensitivity and "
        note += f"specificity differ here by up to {100 * drift:g} points"
    return rate, note


def annotators_of(calibration: Calibrated) -> str:
    """Who made the labels of a calibration, as in "by 2 people"."""
    return by_whom(Annotator(entry["kind"], entry["name"]) for entry in calibration.get("annotators", ()))


def table_of(calibration: Calibrated) -> agreement.Table:
    """The counts that a calibration stored."""
    return agreement.Table(*(calibration[name] for name in _COUNTS))


def _tables(part: Calibrated, unlabeled: int) -> list[agreement.Table]:
    """The counts of a part; and with all drawn cases that nobody labeled taken for one of what they may be, as many as
    a label stands for: who leaves out the breaks that a judge missed would else show a judge that misses none."""
    table = table_of(part)
    more = unlabeled * table.n / part["n"] if part["n"] else 0.0
    sides = ("hit", "missed", "wrong", "clear") if more else ()
    return [table, *(replace(table, **{side: getattr(table, side) + more}) for side in sides)]


_COUNTS = ("true_positive", "false_negative", "false_positive", "true_negative", "unscored")
