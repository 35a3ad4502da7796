"""`withstand guard`: guards tried on the same texts, and the threshold that benign prompts support."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from withstand.core import Json, SpecError, digest
from withstand.core.guarding import written_text
from withstand.core.text import count
from withstand.registry import find
from withstand.results.cells import finite, plain
from withstand.results.guard_figures import (
    GuardResult,
    Operating,
    Scored,
    chosen_threshold,
    operating,
    result_of,
    unset,
)
from withstand.results.guard_pairs import GuardDifference, difference_of
from withstand.results.guard_scores import GuardScore, scores_of
from withstand.results.guard_texts import GuardTexts
from withstand.results.guards import Guard, Reads
from withstand.results.labels import fitted_texts
from withstand.runner.asking import Asking
from withstand.stats import roc

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class GuardEval:
    """Guards on the same texts. budget: share of benign texts that may be blocked, in (0, 1).

    harmful, benign: how many texts, and of how many behaviors.   differences: each further guard with the first.
    needed: benign behaviors that the budget needs at least.   plain: benign prompts came as they are alone.
    """

    source: str
    reads: Reads
    budget: float
    harmful: tuple[int, int]
    benign: tuple[int, int]
    needed: int
    guards: tuple[GuardResult, ...]
    differences: tuple[GuardDifference, ...]
    notes: tuple[str, ...]
    plain: bool = False

    def to_json(self) -> Json:
        """As `withstand guard eval --json` prints it and `guard.json` has it: without a guard's own words, which may
        quote a text."""
        unquoted = replace(self, guards=tuple(replace(guard, why="") for guard in self.guards))
        return {"schema": SCHEMA, **finite(plain(unquoted))}


@dataclass(frozen=True, slots=True)
class GuardThreshold:
    """A threshold that benign prompts support. line: the defense with it, on the command line.   prompts, behaviors:
    how many it was chosen on.   unscored: of these, without a score, and counted as false alarms."""

    guard: str
    source: str
    budget: float
    threshold: float
    line: str
    prompts: int
    behaviors: int
    unscored: int
    at: Operating
    notes: tuple[str, ...]

    def to_json(self) -> Json:
        """As `withstand guard threshold --json` prints it."""
        return {"schema": SCHEMA, **finite(plain(self))}


def evaluate(
    guards: Sequence[Guard], texts: GuardTexts, budget: float, reads: Reads, asking: Asking
) -> GuardEval | None:
    """Ask the guards about the texts, and count. None where a cap or Ctrl-C left texts without a word of theirs."""
    asked = []
    for guard in guards:
        scores = scores_of(guard, texts.texts, asking)
        if (whole := _whole(scores)) is None:
            return None
        asked.append(Scored.of(guard, texts.texts, whole))
    results = [result_of(scored, budget) for scored in asked]
    first = asked[0]
    return GuardEval(
        source=texts.source,
        reads=reads,
        budget=budget,
        harmful=(len(first.harmful), len({*first.of_high})),
        benign=(len(first.benign), len({*first.of_low})),
        needed=roc.needed(budget),
        guards=tuple(results),
        differences=tuple(
            difference_of(first, scored, (results[0], result), len(asked) - 1)
            for scored, result in zip(asked[1:], results[1:], strict=True)
        ),
        notes=(*texts.notes, *_circular(guards, texts), *_fitted(guards, texts)),
        plain=texts.plain,
    )


def _fitted(guards: Sequence[Guard], texts: GuardTexts) -> Iterator[str]:
    """Guards that were fitted to some of these texts."""
    read = [written_text(text.chat) if text.answer is None else text.answer for text in texts.texts]
    for guard in guards:
        if own := fitted_texts(guard.component, read):
            yield f"{guard.label} was fitted to {own:,} of these {count(len(read), 'text')}: its figures flatter it"


def _circular(guards: Sequence[Guard], texts: GuardTexts) -> Iterator[str]:
    """Guards that said themselves what they should block."""
    for guard in guards:
        if guard.is_judge and digest(find.describe(guard.component)) in texts.judges:
            yield f"{guard.label} itself said which answers are harmful: its figures here say nothing of it"


def _whole(scores: Sequence[GuardScore | None]) -> list[GuardScore] | None:
    kept = [score for score in scores if score is not None]
    return kept if len(kept) == len(scores) else None


def threshold(guard: Guard, texts: GuardTexts, budget: float, asking: Asking) -> GuardThreshold | None:
    """The threshold of a guard for a budget of false alarms, from benign prompts alone; None as of `evaluate`.

    Raises `SpecError` where they do not support one.
    """
    whole = _whole(scores_of(guard, texts.texts, asking))
    if whole is None:
        return None
    scored = Scored.of(guard, texts.texts, whole)
    chosen = chosen_threshold(scored, budget)
    behaviors = len({*scored.of_low})
    if chosen.threshold is None or chosen.cut is None:
        message, hint = unset(chosen.status, guard.label, budget, behaviors, roc.supported(scored.of_low))
        raise SpecError(message, hint=hint)
    return GuardThreshold(
        guard=guard.label,
        source=texts.source,
        budget=budget,
        threshold=chosen.threshold,
        line=guard.line(chosen.threshold),
        prompts=len(scored.benign),
        behaviors=behaviors,
        unscored=sum(math.isinf(score) for score in scored.low),
        at=operating(scored, chosen.threshold, chosen.cut),
        notes=(*texts.notes, *_fitted([guard], texts)),
    )
