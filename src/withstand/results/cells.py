"""The result of one cell of a run: what it measures, its rate with the interval, its counts and costs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeAlias

from withstand.core import Json, from_json
from withstand.core.outcomes import HITS
from withstand.core.text import head_of
from withstand.stats.variance import VarianceParts

Record: TypeAlias = Mapping[str, Any]
"""A JSON object."""

Interval: TypeAlias = tuple[float, float]
"""Both ends, the lower one first."""

KINDS = ("suite", "target", "defense", "attack", "judge")
"""The components of a cell that have a label."""

COUNTED = {"harm": "broken", "over-refusal": "refused", "utility": "right"}
"""What a cell measures -> the word for what is counted of it."""

OUTCOME_WORDS = {
    "success": "broken",
    "failure": "held",
    "refused": "refused",
    "filtered": "filtered",
    "unscored": "unscored",
    "error": "error",
}
"""Outcome -> the word that people read, where harm is measured."""

WORDS = {
    "harm": OUTCOME_WORDS,
    "over-refusal": {**OUTCOME_WORDS, "success": "answered", "failure": "answered"},
    "utility": {**OUTCOME_WORDS, "success": "right", "failure": "wrong"},
}
"""What a cell measures -> outcome -> the word that people read."""


def defended(target: str, defense: str) -> str:
    """A target as people read it, with its defense ("" for none)."""
    return f"{target} behind {defense}" if defense else target


def plain(value: Any) -> Json:
    """A result as JSON: every field of a record in its order, tuples as lists, keys as strings."""
    if is_dataclass(value):
        return {entry.name: plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value


def finite(value: Json) -> Any:
    """JSON with None in place of what it knows no number for, such as a threshold of inf that blocks nothing."""
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True, slots=True)
class CorrectedRate:
    """An ASR without the judge's error.

    rate: in [0, 1], None where the labels do not tell the judge from chance (`identified` False).
    interval: 95%, in [0, 1].   clipped: the judge errs more often than this rate.
    transported: no label is of this target and attack.   labels: how many; source: where they came from.
    own: they are of the cell's own cases, drawn at random.   annotators: who labeled, as in "by 2 people".
    misfit: with its errors among the labels the judge would hardly say what it says here.
    missing: cases of the sample that were drawn and have no label; in the interval, as held and as broken.
    """

    rate: float | None
    interval: Interval
    identified: bool
    clipped: bool
    transported: bool
    labels: int
    source: str
    own: bool = False
    annotators: str = ""
    misfit: bool = False
    missing: int = 0


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How many of the judge's probes passed, `of` how many, and the names of those that failed."""

    passed: int
    of: int
    failed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Utility:
    """The share of right answers among `n` scored ones; `rate`, `low` and `high` (95%) in [0, 1] or None."""

    n: int
    rate: float | None
    low: float | None
    high: float | None

    @property
    def interval(self) -> Interval | None:
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True, slots=True)
class CategoryResult:
    """The harmful behaviors of one category in a cell: counts, and the ASR in [0, 1] with its 95% interval."""

    category: str
    behaviors: int
    cases: int
    success: int
    scored: int
    asr: float | None
    asr_interval: Interval | None


@dataclass(frozen=True, slots=True)
class CellResult:
    """One suite, target, defense and attack: what became of its cases.

    measures: "harm", "over-refusal" or "utility".   behaviors, cases: how many were wanted.
    success ... error: cases by outcome, which add up to `cases`.
    Rates, intervals (95%) and bounds lie in [0, 1]; None where they cannot be computed, and `notes` say why.
    asr: mean over behaviors; asr_micro: over cases; asr_at_k: number of draws -> rate that any of them succeeds, with
    asr_at_k_interval, number of draws -> interval.
    asr_interval_all: holds for all attacks on this suite, target and defense at once, and so for the highest of them.
    asr_bounds: unscored cases and errors counted as failures, then as successes of the attack.
    over_refusal, utility: of a harmful cell, what the same target and defense showed on benign requests.
    asks: chats sent to the target.   tokens: of all roles.   seconds: of models.   cost: US dollars.
    used: stage ("search", "answers", "verdicts") -> tokens, seconds and cost there.
    clusters: of the behaviors with a scored case, 0 where no two share one; the intervals take each together.
    variants: of each behavior, how many the attack was asked for that say the same, see `families`; 0: it makes none.
    variance: where the uncertainty of the rate comes from; None where draws or seeds cannot be told apart.
    shown: "suite", "target", "defense", "attack" or "judge" -> the name that people read where it is not the label.
    knows: of a defended harmful cell, whether its attack is "adaptive" or "static"; "" without a defense.
    """

    index: int
    suite: str
    suite_version: str
    split: str
    judge: str
    judge_method: str
    judge_probes: ProbeResult | None
    sampling: Mapping[str, Any]
    samples: int
    target: str
    defense: str
    attack: str
    benign: bool
    measures: str
    behaviors: int
    cases: int
    success: int
    failure: int
    refused: int
    filtered: int
    unscored: int
    error: int
    asr: float | None
    asr_interval: Interval | None
    asr_bounds: Interval | None
    asr_corrected: CorrectedRate | None
    asr_micro: float | None
    asr_at_k: Mapping[str, float] | None
    over_refusal: float | None
    over_refusal_interval: Interval | None
    utility: Utility | None
    asks: int
    tokens: int
    seconds: float
    cost: float
    used: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]
    by_category: tuple[CategoryResult, ...]
    shown: Mapping[str, str] = field(default_factory=dict)
    asr_at_k_interval: Mapping[str, Interval] | None = None
    asr_interval_all: Interval | None = None
    clusters: int = 0
    variants: int = 0
    variance: VarianceParts | None = None
    knows: str = ""

    @staticmethod
    def from_json(value: Record) -> "CellResult":
        """The cell that `to_json` wrote."""
        cell: CellResult = from_json(CellResult, {"judge_probes": None, **value, "measures": measures(value)})
        return cell

    def labels(self) -> dict[str, str]:
        """Its suite, target, defense, attack and judge by these names."""
        return {kind: getattr(self, kind) for kind in KINDS}

    def printed(self, kind: str) -> str:
        """What people read for its suite, target, defense, attack or judge: the label, or a name in its place."""
        return self.shown.get(kind) or str(getattr(self, kind))

    def count(self, *outcomes: str) -> int:
        """How many cases have one of these outcomes."""
        return sum(getattr(self, outcome) for outcome in outcomes)

    @property
    def scored(self) -> int:
        """Cases with a verdict or filtered by the target: the denominator of the rates over cases."""
        return self.success + self.failure + self.refused + self.filtered

    @property
    def hits(self) -> int:
        """Cases that count toward the rate: broken, refused or right."""
        return self.count(*HITS[self.measures])

    @property
    def rate(self) -> float | None:
        """The rate of what the cell measures."""
        match self.measures:
            case "utility":
                return self.utility.rate if self.utility else None
            case "over-refusal":
                return self.over_refusal
        return self.asr

    @property
    def interval(self) -> Interval | None:
        """The interval of `rate`."""
        match self.measures:
            case "utility":
                return self.utility.interval if self.utility else None
            case "over-refusal":
                return self.over_refusal_interval
        return self.asr_interval

    @property
    def bounds(self) -> Interval | None:
        """The bounds, where they differ from each other."""
        bounds = self.asr_bounds
        return bounds if bounds is not None and not math.isclose(bounds[0], bounds[1], abs_tol=1e-9) else None

    @property
    def behind(self) -> str:
        """The name of the defense, "" for none."""
        return "" if self.defense == "none" else self.defense

    @property
    def defended(self) -> str:
        """The target, with its defense where it has one."""
        return defended(self.target, self.behind)

    @property
    def counted(self) -> str:
        """The word for what is counted in `hits`."""
        return COUNTED[self.measures]

    @property
    def matching(self) -> bool:
        """Whether the judge looks for strings."""
        return self.judge_method == "string matching"

    @property
    def judge_name(self) -> str:
        """The judge without its fields."""
        return head_of(self.judge)

    @property
    def reason(self) -> str:
        """Why a rate is missing."""
        return "; ".join(self.notes) or ("not computed" if self.scored else "no case was scored")

    def word_of(self, outcome: str) -> str:
        """The outcome of a case of this cell as people read it."""
        return WORDS[self.measures][outcome]


def measures(cell: Record) -> str:
    """What the rate of a cell of a plan, or of a summary as JSON, is: "harm", "over-refusal" or "utility"."""
    return str(cell.get("measures") or ("over-refusal" if cell["benign"] else "harm"))
