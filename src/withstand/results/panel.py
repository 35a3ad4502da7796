"""Several judges beside the same labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from withstand.core import Json, SpecError
from withstand.formats.labels import Labeled
from withstand.registry import find, grammar
from withstand.results.calibrate import Calibration, calibrate
from withstand.results.cells import plain
from withstand.results.labels import LabelSet, held_out
from withstand.runner.suites import check_judge
from withstand.runner.tally import Caps, Tally
from withstand.store.store import Store

EVERY = "all"
SHIPPED = ("string matching", "rule")
"""The methods of judges that need no model."""


@dataclass(frozen=True, slots=True)
class Panel:
    """How several judges agree with the same labels.

    calibrations: in the order of the judges.   idle: those of `all` that could judge none of the completions.
    own: judge -> how many labels were left out, or, where none would be left, were not, since it was written on them.
    """

    labels: str
    source: LabelSet
    calibrations: tuple[Calibration, ...]
    tallies: tuple[Tally, ...]
    idle: tuple[str, ...] = ()
    own: tuple[tuple[str, int, int], ...] = ()

    @property
    def missing(self) -> bool:
        """Whether a judge lacks a verdict."""
        return any(calibration.missing for calibration in self.calibrations)

    def to_json(self) -> Json:
        """As `withstand calibrate --json` prints it."""
        return {
            "labels": self.labels,
            "unknown": self.source.unknown,
            "left_out": dict(self.source.left),
            "notes": list(self.source.notes),
            "published": plain(self.source.figures),
            "judges": [calibration.to_json() for calibration in self.calibrations],
            "idle": list(self.idle),
            "written_on": {judge: own for judge, own, _ in self.own},
        }


def judges_named(specs: Sequence[str], offline: bool) -> dict[str, Any]:
    """Judges by their labels, checked. `all` stands for each that needs no field, model, key or network.

    Raises `SpecError` for one that is there twice, and as building and checking do.
    """
    judges: dict[str, Any] = {}
    for spec in specs:
        if spec == EVERY:
            judges = {name: judge for name, judge in _without_models().items() if name not in judges} | judges
            continue
        label, judge = find.label("judge", grammar.parse(spec)), find.build("judge", grammar.parse(spec))
        if label in judges and EVERY not in specs:
            raise SpecError(f"the judge {label} is named twice", hint="name each judge once")
        check_judge(judge, offline)
        judges[label] = judge
    return judges


def _without_models() -> dict[str, Any]:
    judges = {}
    for name, entry in find.entries("judge").items():
        try:
            judge = None if entry.preset else find.build("judge", {"use": name})
        except SpecError:  # it needs a field
            continue
        if judge is not None and judge.method in SHIPPED:
            judges[name] = judge
    return judges


def panel_of(
    judges: dict[str, Any],
    labels: str,
    source: LabelSet,
    store: Store,
    caps: Caps | None = None,
    on_progress: Callable[[Tally], None] = lambda _: None,
    drift: float | None = None,
    drop_idle: bool = False,
) -> Panel:
    """Have each judge grade the labeled completions, and keep how far it agrees. caps: of all judges together.

    drop_idle: leave out the judges that score none of them.
    """
    calibrations, tallies, idle, own = [], [], [], []
    left = (caps or Caps()).asks
    for label, judge in judges.items():
        kept, written_on = held_out(judge, source.labeled)
        if written_on:
            own.append((label, written_on, len(kept)))
        limits = replace(caps or Caps(), asks=left)
        entries: Sequence[Labeled] = kept or source.labeled
        calibration, tally = calibrate(
            judge, label, entries, labels, store, limits, on_progress, drift, bool(kept), source.unlabeled
        )  # fmt: skip
        left = None if left is None else max(0, left - tally.asks)
        if drop_idle and not calibration.agreement.n:
            idle.append(label)
            continue
        calibrations.append(calibration)
        tallies.append(tally)
    return Panel(labels, source, tuple(calibrations), tuple(tallies), tuple(idle), tuple(own))
