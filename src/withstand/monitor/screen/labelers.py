"""The screeners of a monitor made ready: a judge, what it is asked about, and the version its labels carry."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from withstand.core import Behavior, Completion, Judge, SpecError, Verdict, digest, user
from withstand.core.describe import describe, models, name_of, version_of
from withstand.core.optional import optional
from withstand.monitor.settings import Screener
from withstand.redteam.policy.records import Category, Policy
from withstand.redteam.tables import Problems
from withstand.registry import find
from withstand.registry.grammar import parse

Side: TypeAlias = Literal["prompt", "completion"]


@dataclass(frozen=True, slots=True)
class Labeler:
    """A screener with its judge.

    behavior: what the judge looks for; its text is the category's definition.   version: of judge, definition,
    threshold and policy: a label of another one starts a new series.   stage: place in the cascade, from 0.
    """

    screener: Screener
    judge: Judge
    behavior: Behavior
    version: str
    stage: int

    @property
    def is_rule(self) -> bool:
        """Whether it asks no model."""
        return self.judge.asks == 0 and self.judge.method != "model" and not any(models(self.judge))

    @property
    def at_intake(self) -> bool:
        """Whether it labels every exchange while logs are read: a rule without a stage before it or a budget."""
        return self.is_rule and not self.screener.after and not self.screener.budget

    def completion(self, prompt: str, completion: str) -> Completion:
        """What the judge is shown: of a prompt screener the prompt, as if it were an answer about the definition."""
        if self.screener.reads == "prompt":
            return Completion(user(self.behavior.text), prompt)
        return Completion(user(prompt), completion)

    def flags(self, score: float | None) -> bool | None:
        """Whether a score is flagged; None for none."""
        return None if score is None else score >= self.screener.threshold


def score_of(verdict: Verdict) -> float | None:
    """A verdict as a score in [0, 1]: the judge's own, else 1 for a success and 0 for another; None if unscored."""
    return verdict.strength if verdict.outcome in ("success", "failure", "refused") else None


def labelers_of(screeners: Sequence[Screener], policy: Policy, file: str = "monitor.toml") -> tuple[Labeler, ...]:
    """The screeners with their judges, in their order. Raises `SpecError` with all that is wrong with them."""
    problems, labelers, stages = Problems(file), list[Labeler](), dict[str, int]()
    for screener in screeners:
        stages[screener.id] = max((stages[before] + 1 for before in screener.after), default=0)
        try:
            judge: Judge = find.build("judge", parse(screener.judge))
            for model in models(judge):
                model.check()
        except SpecError as error:
            problems.add(f"screener ({screener.id}), judge", str(error), error.hint)
            continue
        if optional(judge, "waits"):
            hint = "people label what `withstand monitor audit` draws"
            problems.add(f"screener ({screener.id}), judge", f"{screener.judge} waits for people", hint)
            continue
        category = policy.categories[screener.category]
        behavior = Behavior(category.id, category.definition, category=category.id)
        version = _version(screener, judge, category, policy)
        labelers.append(Labeler(screener, judge, behavior, version, stages[screener.id]))
    problems.check()
    return tuple(labelers)


def _version(screener: Screener, judge: Judge, category: Category, policy: Policy) -> str:
    """As in `contains/1 3f9a04c2, policy 2026.1`. The digest is of all that decides a label and a flag."""
    decides = [describe(judge), screener.reads, screener.threshold, category.definition]
    declared = str(version_of(type(judge)))[:12]
    return f"{name_of(type(judge))}/{declared} {digest(decides)[:8]}, policy {policy.header.version}"
