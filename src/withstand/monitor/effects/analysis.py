"""The whole answer: the effect, where the misuse went, what it cost those who did nothing, and what may be said."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from withstand.core import Json
from withstand.core.text import percent
from withstand.monitor.effects.designs import Finding, measure, untreated
from withstand.monitor.effects.mitigation import Mitigation, Registered, content
from withstand.monitor.effects.outcomes import LENGTH, benign_refusals, flags, newcomers, outcome_of
from withstand.monitor.traffic import Traffic
from withstand.redteam.dates import DAY
from withstand.stats.multiple import holm

Word: TypeAlias = Literal["worked", "worse", "no effect", "undecided", "unknown"]


@dataclass(frozen=True, slots=True)
class Analysis:
    """What is known of a mitigation. primary: its own outcome.   displaced: where the misuse may have gone.

    cost: to unflagged requests.   moved: p of each of `displaced` after Holm's correction, None where unknown.
    registration: in words, whether the test was written down before the data.   registered: whether it was, in time.
    """

    mitigation: Mitigation
    primary: Finding
    displaced: tuple[Finding, ...]
    moved: tuple[float | None, ...]
    cost: Finding
    registration: str
    registered: bool

    @property
    def word(self) -> Word:
        """What may be said of the primary outcome. "no effect" needs a margin."""
        effect = self.primary.effect
        if effect is None:
            return "unknown"
        conclusion = effect.conclusion(self.mitigation.margin)
        if conclusion in ("lower", "higher"):
            return "worked" if conclusion == self.mitigation.better else "worse"
        return "no effect" if conclusion == "equivalent" else "undecided"

    @property
    def mute(self) -> bool:
        """Whether nothing at all is flagged under the mitigation: a labeler that died looks the same."""
        return self.mitigation.outcome == "flags" and self.primary.effect is not None and self.primary.treated == 0

    @property
    def costs(self) -> bool:
        """Whether unflagged requests are stopped more often."""
        return self.cost.effect is not None and self.cost.effect.limits()[0] > 0

    @property
    def moves(self) -> list[Finding]:
        """Where misuse grew, or answers became shorter."""
        return [
            finding
            for finding, p in zip(self.displaced, self.moved, strict=True)
            if finding.effect is not None
            and p is not None
            and p <= 0.05
            and (finding.effect.difference < 0) == (finding.outcome == LENGTH)
        ]


def analyse(
    traffic: Traffic, mitigation: Mitigation, categories: Sequence[str], registration: Registered | None,
    changed: bool = False,
) -> Analysis:  # fmt: skip
    """Analyse a mitigation. categories: of the policy or the labels.   registration: of the very same test, or none.

    changed: another test was registered under its name.
    """
    primary = measure(traffic, mitigation, outcome_of(mitigation))
    displaced = _displaced(traffic, mitigation, categories)
    ps = [finding.effect.p if finding.effect is not None else None for finding in displaced]
    in_words, in_time = _registration(mitigation, registration, changed)
    cost = measure(traffic, mitigation, benign_refusals())
    return Analysis(mitigation, primary, tuple(displaced), tuple(holm(ps)), cost, in_words, in_time)


def _displaced(traffic: Traffic, mitigation: Mitigation, categories: Sequence[str]) -> list[Finding]:
    """Other categories, answers' lengths, and everybody whom the mitigation is not about."""
    own = flags(mitigation.category, mitigation.labeler)
    listed = [
        measure(traffic, mitigation, flags(category))
        for category in categories
        if mitigation.category and category != mitigation.category
    ]
    if mitigation.outcome != "tokens":
        listed.append(measure(traffic, mitigation, LENGTH))
    if mitigation.population:
        away = measure(traffic, mitigation, own, population=False)
        listed.append(_named(away, f"{own.title}, outside of {mitigation.population}"))
    if mitigation.design == "before-after":
        listed.append(measure(traffic, mitigation, newcomers(mitigation.category)))
    elif any(start is None for start in mitigation.starts.values()) or mitigation.rest:
        listed.append(_named(untreated(traffic, mitigation, own), f"{own.title}, untreated units before and after"))
    return listed


def _named(finding: Finding, title: str) -> Finding:
    return replace(finding, outcome=replace(finding.outcome, title=title))


def _registration(mitigation: Mitigation, registration: Registered | None, changed: bool) -> tuple[str, bool]:
    if registration is None:
        changes = "; another test was registered under this name" if changed else ""
        return f"not registered before the data{changes}: one of many analyses that could have been done", False
    if registration.before_data:
        return "registered before any of its data was read", True
    assert registration.until is not None
    days = (registration.until - mitigation.since) / DAY
    return f"registered when {days:.1f} days of data after the date were read already: not a test set beforehand", False


def amount(finding: Finding, value: float | None) -> str:
    """A mean of an outcome as people read it."""
    if value is None:
        return "n/a"
    return percent(max(0.0, value)) if finding.outcome.binary else f"{value:,.1f}"


def difference(finding: Finding) -> str:
    """An effect with its interval: in percent points for rates."""
    if finding.effect is None:
        return "unknown"
    return written(finding, finding.effect.difference, finding.effect.limits())


def written(finding: Finding, change: float, limits: Sequence[float]) -> str:
    """A change of a finding's outcome, with its limits."""
    scale, unit = (100, " points") if finding.outcome.binary else (1, "")
    low, high = (scale * end for end in limits)
    digits = 2 if max(abs(low), abs(high)) < 10 else 1
    return f"{scale * change:+.{digits}f}{unit} ({low:+.{digits}f} to {high:+.{digits}f})"


def sentence(analysis: Analysis) -> str:
    """What may be said, with the figures."""
    primary, mitigation = analysis.primary, analysis.mitigation
    if primary.effect is None:
        return f"Unknown: {primary.why}."
    figures = f"{primary.outcome.title}: {difference(primary)}"
    lead = {
        "worked": f"It worked: {figures}",
        "worse": f"It became worse: {figures}",
        "no effect": f"No effect of {_margin(analysis)} or more: {figures}",
    }.get(analysis.word, f"Undecided: {figures}; neither an effect nor its absence is shown")
    if analysis.word == "undecided" and mitigation.margin is None:
        lead += " (without --margin no absence can be)"
    moved = f" It may have moved: {'; '.join(f'{at.outcome.title} {difference(at)}' for at in analysis.moves)}."
    cost = f" It costs: {analysis.cost.outcome.title} {difference(analysis.cost)}."
    mute = " Nothing at all is flagged with it: show that the labeler still works before you believe it."
    return f"{lead}.{moved if analysis.moves else ''}{cost if analysis.costs else ''}{mute if analysis.mute else ''}"


def _margin(analysis: Analysis) -> str:
    margin = analysis.mitigation.margin or 0.0
    return f"{100 * margin:g} points" if analysis.primary.outcome.binary else f"{margin:g}"


def plain(analysis: Analysis) -> Json:
    """An analysis for machines."""
    return {
        "mitigation": content(analysis.mitigation), "verdict": analysis.word.replace(" ", "-"),
        "registration": analysis.registration,
        "registered": analysis.registered, "primary": _plain(analysis.primary), "cost": _plain(analysis.cost),
        "displaced": [
            {**_plain(finding), "p_holm": p} for finding, p in zip(analysis.displaced, analysis.moved, strict=True)
        ],
        "answer": sentence(analysis),
    }  # fmt: skip


def _plain(finding: Finding) -> dict[str, Json]:
    effect = finding.effect
    return {
        "outcome": finding.outcome.title, "why_unknown": finding.why, "without": finding.reference,
        "with": finding.treated, "difference": effect.difference if effect else None,
        "interval": list(effect.limits()) if effect else None, "p": effect.p if effect else None,
        "basis": finding.basis, "warnings": list(finding.warnings), "details": finding.details,
    }  # fmt: skip
