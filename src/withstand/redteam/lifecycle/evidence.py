"""What the evidence of a life cycle is worth: files, URLs, runs and gates of the store, pilots.

A run counts if it is complete, asked a target of the system, and rests on no row of a writer whom the user does not
trust; a gate, if in addition the run passes the limits of its own spec. A doubt counts against it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from withstand.core import SpecError, did_you_mean, digest, from_json, to_json
from withstand.core.errors import StoreError
from withstand.core.shape import misfit
from withstand.core.text import percent, series, unique
from withstand.redteam.dates import day_of
from withstand.redteam.lifecycle.file import Evidence, Intended, Item, Lifecycle, has_file
from withstand.redteam.lifecycle.pilots import judge
from withstand.redteam.policy.records import read_policy
from withstand.results import decide, summary
from withstand.results.limits import Limits, limits_of
from withstand.store.revisions import Record, add_record, revisions
from withstand.store.store import RunRow, Store

KIND = "lifecycle"
"""Of the record in which a store remembers what was intended."""


@dataclass
class Checker:
    """Checks the evidence of a life cycle. store: None where there is none. since: of the last change of the intent."""

    lifecycle: Lifecycle
    store: Store | None
    now: date
    since: str
    _gates: dict[str, str] = field(default_factory=dict)
    _passed: dict[str, str] = field(default_factory=dict)

    def check(self, item: Item, text: str) -> Evidence:
        """What one piece of evidence of an item is worth."""
        if text.startswith(("https://", "http://")):
            return Evidence(text, True, "the address was not opened", unchecked=True)
        head, _, name = text.partition(":")
        match head:
            case "run" | "gate":
                why = self._run(item, name, gate=head == "gate")
            case "pilot":
                why = self._pilot(item, name)
            case "use_case":
                why = self._use_case(name)
            case _:
                why = "" if has_file(self.lifecycle.folder, text) else "there is no such file, or it is empty"
        return Evidence(text, not why, why or (self._passed[name] if head == "gate" else ""))

    def _pilot(self, item: Item, name: str) -> str:
        try:
            pilot = self.lifecycle.pilot(name)
            verdict = judge(pilot, self.now)
        except SpecError as error:
            return f"{error}; {error.hint}"
        if why := self._use_case(pilot.use_case):
            return why
        if item.id == "decision":
            return "" if pilot.decision else "it has no record of a decision"
        if item.id == "violations" and verdict.rate is None:
            return f"its violations are not known: {series(verdict.reasons)}"
        return ""

    def _use_case(self, name: str) -> str:
        """Why the policy's register does not allow a use; "" where it does."""
        system = self.lifecycle.system
        if not system.policy:
            return "[system] names no policy, whose register would have it"
        try:
            cases = {case.id: case for case in read_policy(self.lifecycle.folder / system.policy).use_cases}
        except SpecError as error:
            return f"the policy cannot be read: {error}"
        if name not in cases:
            hint = did_you_mean(name, cases, f"it has: {', '.join(cases) or 'none'}")
            return f"the register of {system.policy} has no use case {name!r}; {hint}"
        return "the policy disallows it" if cases[name].stance == "disallowed" else ""

    def _run(self, item: Item, name: str, gate: bool) -> str:
        """Why a run is no evidence; "" where it is."""
        if self.store is None:
            return "there is no store; name it with --store"
        try:
            run = summary.find_run(self.store, name) if name else None
        except SpecError as error:
            return str(error)
        if run is None:
            return "it names no run"
        begun = day_of(run.created)
        if begun < self.since:
            return f"the run is of {begun}, before the intended status or use changed on {self.since}"
        if begun > item.date:
            return f"the run is of {begun}, after the item was signed on {item.date}"
        return self._other_target(run) or self._incomplete(run) or (self._failed(run, item) if gate else "")

    def _other_target(self, run: RunRow) -> str:
        """Why a run is not about the system's targets. A label that is cut may be that of several: an alias tells."""
        aliases = run.plan.get("aliases", {}).get("target", {})
        asked = unique(str(cell["target"]) for cell in run.plan["cells"])
        names = self.lifecycle.system.targets
        others = [target for target in asked if aliases.get(target, target) not in names and target not in names]
        if others:
            return f"the run asked {series(others)}, which [system] does not name in targets"
        if unsure := [target for target in asked if "..." in target and aliases.get(target) not in names]:
            return f"{series(unsure)} is shortened and may be another target: give yours an alias (alias=NAME)"
        return ""

    def _incomplete(self, run: RunRow) -> str:
        assert self.store is not None
        state = summary.status(self.store, run)
        if state["missing"]:
            return f"{state['missing']:,} of its rows are missing"
        if not any(stage["wanted"] for stage in state["stages"]):
            return "the run has no cases"
        if state["others"]["rows"]:
            return f"{state['others']['rows']:,} of its rows are of writers whom you do not trust"
        return ""

    def _failed(self, run: RunRow, item: Item) -> str:
        """Why the gate of a run is not passed, by the limits of its spec and by no word on what is undecided."""
        limits = limits_of(run.plan.get("gate", {}), {})
        if item.id == "regression" and None in (limits.worse, limits.over_refusal):
            return "a regression is about safety and utility: its [gate] needs max_worse and max_over_refusal"
        if run.key not in self._gates:
            self._gates[run.key] = self._decided(run, limits)
        return self._gates[run.key]

    def _decided(self, run: RunRow, limits: Limits) -> str:
        assert self.store is not None
        baseline = run.plan.get("gate", {}).get("baseline")
        try:
            limits.check(baseline, False, True)
            decided = decide.decide(self.store, run, limits, baseline)
        except (SpecError, StoreError) as error:
            return f"its gate cannot be decided: {error}"
        lines = [f"{line.gate} of {line.cell}" for line in decided.lines if line.verdict != "PASS"]
        self._passed[run.name] = series(unique(f"{line.gate} {percent(line.limit)}" for line in decided.lines) or ["-"])
        return f"{decided.overall} ({series(lines)})" if lines else "" if decided.lines else "its gate has no line"


@dataclass(frozen=True, slots=True)
class Memory:
    """What a store remembers of what a system was meant for. entries: [[intended]] by digest, as it was then.

    heard: the ISO day on which the store heard of an entry, by its digest; "" for those of the first time.
    """

    entries: Mapping[str, Intended]
    heard: Mapping[str, str]


def last_change(lifecycle: Lifecycle, store: Store | None, now: date) -> tuple[str, bool]:
    """The ISO day of the last change of what is intended, as the file and the store say, and whether the store had
    heard of the system before. The store learns what the file says.

    What the store hears of later than its first time is of the day on which it hears, whatever the file says: a change
    that is dated back would leave old signatures standing. Raises `SpecError` where the file no longer has what the
    store has seen.
    """
    intended = {digest(to_json(entry)): entry for entry in lifecycle.intended}
    since = lifecycle.intended[-1].since
    if store is None:
        return since, False
    name = lifecycle.system.name.strip().lower()
    past = revisions(store, KIND, record_id=name)
    memory = _memory(store, past[-1]) if past else Memory({}, {})
    if lost := [entry for key, entry in memory.entries.items() if key not in intended]:
        raise SpecError(
            f"{lifecycle.path} no longer has [[intended]] {lost[0].status} since {lost[0].since} ({lost[0].use}), "
            f"which {store.where} has seen",
            hint="put it back, and add a new [[intended]] behind it: a change of status or use opens every gate again",
        )
    heard = {key: memory.heard.get(key, now.isoformat() if past else "") for key in intended}
    if heard != memory.heard:
        number = past[-1].revision + 1 if past else 1
        value = to_json(Memory(intended, heard))
        if not add_record(store, Record(KIND, name, number, "", datetime.now(UTC).timestamp(), value)):
            return last_change(lifecycle, store, now)  # somebody else was first: read what they wrote
    return max(since, heard[digest(to_json(lifecycle.intended[-1]))]), bool(past)


def _memory(store: Store, record: Record) -> Memory:
    if wrong := misfit(Memory, record.value):
        raise StoreError(
            f"{store.where}: what it remembers of {record.id} is damaged: {wrong}", hint="restore a backup"
        )
    entries = {key: from_json(Intended, entry) for key, entry in record.value["entries"].items()}
    return Memory(entries, record.value["heard"])
