"""What `withstand toxicity` measures, as plain records: the terminal, the page and the JSON are made of them alone.

A draw is one continuation of a prompt. Its score lies in [0, 1], the higher the more toxic. What has no score is never
0: it is counted by why it has none, and `bounds` say what it could change.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from withstand.core import Json
from withstand.core.continuation import Half
from withstand.results.cells import Interval, plain

SCHEMA = 1

GroupKind: TypeAlias = Literal["all", "category", "group", "term", "dialect", "language", "length"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over prompts, in [0, 1]; None where no prompt has enough scored draws.

    interval: for prompts like these.   bounds: over all prompts of the group, with each draw that has no score, or is
    lacking, counted as 0 and as 1.
    """

    value: float | None
    interval: Interval | None
    bounds: Interval | None


@dataclass(frozen=True, slots=True)
class DrawCounts:
    """What became of the draws of some prompts. scored ... failed add up to `wanted`.

    empty: nothing was said, so that there is nothing to score.   filtered: by the target's own filter or its defense.
    unscored: the scorer gave no number in [0, 1].   elsewhere: scored by another version of the scorer.
    failed: no answer or no verdict yet.
    """

    wanted: int
    scored: int
    empty: int
    filtered: int
    unscored: int
    elsewhere: int
    failed: int

    @property
    def open(self) -> int:
        """Draws whose score would count and is not there."""
        return self.filtered + self.unscored + self.failed


@dataclass(frozen=True, slots=True)
class PromptGroup:
    """Prompts of one half that have something in common.

    kind: "all", the whole half; "category" of the prompt; or an axis of `core.identities.slices_of`.   name: "" for
    "all".   prompts: all of them, `full` with at least k scored draws, over which the figures are; `clusters` of these.
    Counterfactuals of a prompt (`SwapPair`) are in no group.
    maximum: expected maximum toxicity of k draws.   probability: that k draws hold one at or over the threshold.
    mean: of a draw.   intervals: 95%; of the groups of one kind and half they hold together (Sidak), so that the
    highest may be named.
    """

    half: Half
    kind: GroupKind
    name: str
    prompts: int
    full: int
    clusters: int
    draws: DrawCounts
    maximum: Figure
    probability: Figure
    mean: Figure


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Expected maximum and probability of `k` draws, over the prompts that are full at the largest k of the curve."""

    half: Half
    k: int
    maximum: Figure
    probability: Figure


@dataclass(frozen=True, slots=True)
class ScorerCategory:
    """One category of a scorer that has several, over the prompts of a half; `prompts` with k draws scored for it."""

    half: Half
    name: str
    prompts: int
    maximum: Figure
    probability: Figure
    mean: Figure


@dataclass(frozen=True, slots=True)
class Change:
    """B's figure less A's over the same prompts: those with k scored draws on both sides, in [-1, 1].

    bounds: over all prompts, with each draw that has no score counted as 0 on one side and as 1 on the other.
    interval: of those bounds, so that it holds whatever these draws would have said; at a level at which all of one
    table hold together with 95% (Bonferroni).
    """

    a: float
    b: float
    difference: float
    interval: Interval
    bounds: Interval

    @property
    def shown(self) -> bool:
        """Whether a difference is shown, whatever the draws without a score would have said."""
        return self.interval[0] > 0 or self.interval[1] < 0


@dataclass(frozen=True, slots=True)
class SwapPair:
    """The same prompts with a term of group `b` in place of one of group `a`, whichever the original has: B less A.

    a, b: KIND/GROUP; a "": any other group of the kind, and then the mean of an original's pairs counts as one.
    pairs: with k scored draws on both sides, of `wanted`.   None where no pair has them.
    """

    a: str
    b: str
    wanted: int
    pairs: int
    maximum: Change | None
    probability: Change | None


@dataclass(frozen=True, slots=True)
class ToxicityMeasure:
    """One target on one suite in one style, by one scorer of one version. Nothing is pooled over any of these.

    style: "continuation", "instruction", or "" where the suite does not say.   scorer_hash: of the scorer's code
    version, fields and weights.   scored_by: the version that a service says it is; "" for a local scorer.
    prompts: of the suite, as chosen.   samples: draws that were wanted of each, with temperature, top_p and max_tokens.
    marked: why its rows are to be taken with care, as a service that changed its version; "" for no reason.
    """

    target: str
    defense: str
    suite: str
    suite_version: str
    style: str
    scorer: str
    scorer_method: str
    scorer_hash: str
    scored_by: str
    prompts: int
    samples: int
    temperature: float
    top_p: float
    max_tokens: int
    groups: tuple[PromptGroup, ...]
    curve: tuple[CurvePoint, ...]
    categories: tuple[ScorerCategory, ...]
    swaps: tuple[SwapPair, ...]
    marked: str
    notes: tuple[str, ...]

    def half(self, half: Half) -> PromptGroup | None:
        """All prompts of a half; None where there is none."""
        return next((group for group in self.groups if (group.half, group.kind) == (half, "all")), None)


@dataclass(frozen=True, slots=True)
class ToxicityDifference:
    """Two targets on the same prompts of a half, by one scorer: B less A. a, b: target, with its defense and, where it
    is of another run, that run.   prompts: with k scored draws on both sides, of `wanted`."""

    a: str
    b: str
    suite: str
    style: str
    half: Half
    wanted: int
    prompts: int
    maximum: Change | None
    probability: Change | None


@dataclass(frozen=True, slots=True)
class Limit:
    """One thing that a toxicity score cannot say: what follows from it, and what to do."""

    name: str
    consequence: str
    do: str


@dataclass(frozen=True, slots=True)
class ToxicityReport:
    """All of `withstand toxicity`. k: draws whose maximum is taken.   threshold: a score in [0, 1] from which on a draw
    counts as toxic.   seed: of draws, choice of prompts and resamples.   limits: to be shown beside any figure.
    command: what makes the run again, less the program's name."""

    run: str
    k: int
    threshold: float
    seed: int
    measures: tuple[ToxicityMeasure, ...]
    differences: tuple[ToxicityDifference, ...]
    limits: tuple[Limit, ...]
    notes: tuple[str, ...]
    command: str

    def to_json(self) -> Json:
        """As `withstand toxicity --json` prints it: no text of a prompt or a continuation."""
        record: Mapping[str, Any] = plain(self)
        return {"schema": SCHEMA, **record}
