"""What a report is made from: the plan, what was recorded of it, and how much of it a level of detail may say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

from withstand.core.text import count, series
from withstand.redteam.coverage.cells import Coverage, coverage
from withstand.redteam.findings.triage import CLOSED, is_apart, is_confirmed, lacks_rater, people
from withstand.redteam.plan import hours
from withstand.redteam.plan.records import Layer, Member, Plan, Round
from withstand.redteam.policy.records import Policy, read_policy
from withstand.redteam.replay.figures import ReplayResult, backed_results
from withstand.store.attempts import NEW_HARM, Attempt, attempts
from withstand.store.store import Store

Level: TypeAlias = Literal["limited", "moderate", "full"]
LEVELS: tuple[Level, ...] = ("limited", "moderate", "full")
"""limited: for outside readers, without texts, ids, names of targets and members.   moderate: redacted examples, ids
and layers.   full: all but texts, which `reveal` adds where they are not restricted."""


@dataclass(frozen=True)
class Facts:
    """All that the sections read. of: the round, None for all of the plan.   recorded: attempts in it, newest first."""

    plan: Plan
    store: Store
    of: Round | None
    level: Level
    reveal: bool
    recorded: Sequence[Attempt]

    @property
    def limited(self) -> bool:
        return self.level == "limited"

    @property
    def full(self) -> bool:
        return self.level == "full"

    @cached_property
    def findings(self) -> list[Attempt]:
        return [attempt for attempt in self.recorded if attempt.is_finding]

    @cached_property
    def issues(self) -> list[Attempt]:
        """Open findings: the severest and most reproducible first. What nobody repeated may always happen."""
        opened = [finding for finding in self.findings if finding.status not in CLOSED]
        return sorted(opened, key=lambda finding: (-self._rank(finding), finding.surfaced, finding.id))

    def _rank(self, finding: Attempt) -> float:
        planned = next((harm.severity for harm in self.plan.harms if harm.id == finding.harm), 2)
        again, tries = finding.reproduced or (1, 1)
        return (finding.rated or planned) * (again / tries if tries else 1.0)

    @cached_property
    def coverage(self) -> Coverage:
        return coverage(self.store, self.plan, self.of.id if self.of else None)

    @cached_property
    def whole(self) -> Coverage:
        """The coverage of all rounds."""
        return coverage(self.store, self.plan) if self.of else self.coverage

    @cached_property
    def rounds(self) -> tuple[Round, ...]:
        return (self.of,) if self.of else self.plan.in_order

    @cached_property
    def layers(self) -> list[Layer]:
        """The layers of the rounds, and those where something was recorded."""
        named = {name for one_round in self.rounds for name in one_round.layers}
        named |= {attempt.layer for attempt in self.recorded}
        return [layer for layer in self.plan.layers if layer.id in named]

    @cached_property
    def members(self) -> list[Member]:
        """Who takes part in the rounds."""
        ids = {member.id for one_round in self.rounds for member in self.plan.members_of(one_round)}
        return [member for member in self.plan.members if member.id in ids]

    @cached_property
    def minutes(self) -> float:
        """Of work in these rounds, as the sessions say."""
        rounds = {one_round.id for one_round in self.rounds}
        spent = hours.active(self.store, self.plan.id)
        return sum(seconds for (of, _), seconds in spent.items() if of in rounds) / 60

    @cached_property
    def replays(self) -> tuple[list[ReplayResult], int]:
        """The replays, and how many are of people whom the user does not trust."""
        return backed_results(self.store, self.plan.id)

    @property
    def replay(self) -> ReplayResult | None:
        """The last replay with a finding of these rounds."""
        ids = {finding.id for finding in self.findings}
        kept = [result for result in self.replays[0] if ids & {row.finding for row in result.rows}]
        return kept[-1] if kept else None

    @cached_property
    def policy(self) -> Policy | None:
        """The plan's policy; None where it names none. Raises `SpecError` with its errors."""
        name = self.plan.purpose.policy
        return read_policy(Path(self.plan.path).parent / name) if name else None

    # --- words of a level ---

    def layer(self, layer_id: str) -> str:
        """A layer's name: its id, or what kind of layer it is."""
        if not self.limited:
            return layer_id or "no layer"
        ids = [layer.id for layer in self.plan.layers]
        if layer_id not in ids:
            return "a layer of before"
        layer = self.plan.layer(layer_id)
        over = {"ui": "its user interface", "api": "an API", "cli": "a command line", "batch": "batches"}
        return f"layer {ids.index(layer_id) + 1} ({layer.kind} over {over[layer.endpoint]})"

    def harm(self, harm_id: str) -> str:
        """A harm as readers of this level may know it."""
        if harm_id.startswith(NEW_HARM):
            return harm_id.removeprefix(NEW_HARM) if self.full else "a harm that is not on the list"
        title = next((harm.title for harm in self.plan.harms if harm.id == harm_id), harm_id)
        return title or "no harm named"


def facts_of(
    plan: Plan, store: Store, round_id: str | None, level: Level, reveal: bool = False,
    recorded: Sequence[Attempt] | None = None,
) -> Facts:  # fmt: skip
    """What a report of a round, or of all of a plan, is made from. recorded: its attempts, if they were read already.

    Raises `SpecError` for a round that is not there.
    """
    of = plan.round(round_id) if round_id else None
    listed = attempts(store, plan.id) if recorded is None else recorded
    own = [attempt for attempt in listed if of is None or attempt.round == of.id]
    return Facts(plan, store, of, level, reveal, own)


def severity(finding: Attempt) -> str:
    """The severity that counts; none before two people rated what one found severe."""
    if lacks_rater(finding):
        return "not settled"
    return f"{finding.word}{', raters differ' if is_apart(finding) else ''}" if finding.word else "not rated"


def status(finding: Attempt) -> str:
    """The status in words. Confirmed is what was rated, by two people where it is severe."""
    if finding.status == "confirmed" and not is_confirmed(finding):
        return "to be rated"
    return finding.status.replace("_", " ")


def raters(finding: Attempt) -> int:
    return len(people(finding))


def repeated(finding: Attempt) -> str:
    """How many repetitions gave it again."""
    return "not repeated yet" if finding.reproduced is None else "{} of {}".format(*finding.reproduced)


def example(finding: Attempt) -> str:
    """A finding's texts without a word of them."""
    if finding.purged:
        return "[redacted] erased"
    if finding.sensitivity == "not_stored":
        return "[redacted] not stored"
    sent = [turn for turn in finding.turns if turn.role == "user"]
    converters = sorted({turn.converter for turn in sent if turn.converter})
    by = f" by {series(converters)}" if converters else ""
    shown = f"[redacted] {count(len(sent), 'turn')}{by}, {count(sum(len(t.text) for t in sent), 'character')}"
    return f"{shown}; answer {count(len(finding.output), 'character')}"


def quoted(text: str) -> str:
    """A text between quotes that it cannot end: it is the target's or the tester's word, not the report's."""
    inner = " / ".join(filter(None, (part.strip() for part in text.splitlines())))
    return "\u201c" + inner.replace("\u201c", "'").replace("\u201d", "'").replace('"', "'").replace("`", "'") + "\u201d"


def renamed(result: ReplayResult, facts: Facts) -> ReplayResult:
    """A replay with its layers by the names of this level, and without what names a finding or a target in a limited
    report."""
    if not facts.limited:
        return result
    rows = tuple(replace(row, layer=facts.layer(row.layer), version="") for row in result.rows)
    layers = tuple(replace(layer, id=facts.layer(layer.id), version="", target="") for layer in result.layers)
    measured = tuple(replace(rate, layer=facts.layer(rate.layer), version="") for rate in result.measured)
    return replace(result, rows=rows, layers=layers, measured=measured, notes=())  # which name layers and findings
