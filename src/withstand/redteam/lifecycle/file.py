"""`lifecycle.toml`: what a system must have at each stage of its life, who signed it, by what evidence, until when.

Each item errs to the careful side: it counts while it is done, signed since the last change of the intended status or
use, not expired, and all of its evidence is there.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeAlias

from withstand.core import Json, SpecError, did_you_mean
from withstand.redteam.dates import day
from withstand.redteam.lifecycle.pilots import Pilot
from withstand.redteam.lifecycle.stages import NEEDS, STAGE_IDS, STAGE_OF, STAGES, Need
from withstand.redteam.tables import Problem, Problems, check_names, named, read_tables, record_of, records_of

SCHEMA = "withstand.lifecycle/1"
FROM_STORE = "incidents"
"""The item that the store decides, not a person."""
KINDS = ("run", "gate", "pilot", "https")
"""What may stand before the colon in a piece of evidence that is no file."""


@dataclass(frozen=True, slots=True)
class System:
    """[system]. targets: labels of its targets, as `withstand runs` prints them, whose runs are evidence.

    policy: a file beside this one, "" for none.   use_case: an id of its register.   feared: misuse that is feared;
    unforeseen: what came and was not feared, empty at first; None where the list is missing.
    """

    name: str
    owner: str
    targets: tuple[str, ...] = ()
    policy: str = ""
    use_case: str = ""
    users: str = ""
    feared: tuple[str, ...] = ()
    unforeseen: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("name", "owner"):
            if not getattr(self, name).strip():
                raise SpecError(f"{name} is empty", hint="write it")


@dataclass(frozen=True, slots=True)
class Intended:
    """[[intended]]: what the system is meant for from a day on. A new one, for a new status or a new use, opens all."""

    status: Literal["research", "production"]
    use: str
    since: str

    def __post_init__(self) -> None:
        day("since", self.since)
        if not self.use.strip():
            raise SpecError("use is empty", hint="say in a sentence what the system is used for")


@dataclass(frozen=True, slots=True)
class Item:
    """[[item]]. id: one of `stages`, or with a title your own.   date: on which the owner signed.

    evidence: files beside this one, `https://...`, `run:NAME` of a complete run, `gate:NAME` of one that passes its
    limits, `pilot:ID`.   reason: why it is not applicable.
    """

    id: str
    status: Literal["open", "done", "not-applicable"] = "open"
    owner: str = ""
    date: str = ""
    expires: str = ""
    evidence: tuple[str, ...] = ()
    reason: str = ""
    stage: str = ""
    title: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        for name in ("date", "expires"):
            if getattr(self, name) or self.status != "open":
                day(name, getattr(self, name))
        if self.status != "open":
            if not self.owner.strip():
                raise SpecError("owner is empty", hint="whoever signs an item is its owner")
            if self.expires <= self.date:
                raise SpecError(f"it expires on {self.expires}, signed on {self.date}", hint="change one of the dates")
            longest = self.need.days
            if day("expires", self.expires) - day("date", self.date) > timedelta(longest):
                raise SpecError(
                    f"it is valid from {self.date} to {self.expires}, and at most {longest} days are allowed",
                    hint=f"expires = {day('date', self.date) + timedelta(longest)}",
                )
        if self.status == "not-applicable" and not self.reason.strip():
            raise SpecError("it is not applicable without a reason", hint='reason = "..."')

    @property
    def need(self) -> Need:
        """What it is an item of; of your own items, one like it."""
        return NEEDS.get(self.id) or Need(self.id, self.title)


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The file as it stands. path: of the file."""

    path: str
    system: System
    intended: tuple[Intended, ...]
    items: tuple[Item, ...]
    pilots: tuple[Pilot, ...]

    @property
    def folder(self) -> Path:
        return Path(self.path).parent

    def pilot(self, pilot_id: str) -> Pilot:
        """A pilot by its id. Raises `SpecError` that lists them."""
        return named(self.pilots, pilot_id, "pilot", self.path)


def read_lifecycle(path: str | Path, evidence: bool = False) -> Lifecycle:
    """The file. evidence: also look whether the files and pilots that it names are there.

    Raises `SpecError` with every error at once.
    """
    content, problems = read_tables(path, SCHEMA), Problems(str(path))
    tables = {"intended": Intended, "item": Item, "pilot": Pilot}
    check_names(problems, content, ("system", *tables))
    if "system" not in content:
        problems.add("[system]", "it is missing", "add a table [system] with name and owner")
    system = record_of(problems, System, content["system"], "system") if "system" in content else None
    intended = records_of(problems, Intended, content, "intended")
    items = records_of(problems, Item, content, "item")
    pilots = records_of(problems, Pilot, content, "pilot")
    if not content.get("intended"):
        hint = 'add [[intended]] with status = "research" or "production", use and since'
        problems.add("[[intended]]", "the intended status is not said", hint)
    for before, after in pairwise(intended):
        if after.since < before.since:
            problems.add("intended", f"{after.since} comes after {before.since} in the file", "put the oldest first")
    names = {pilot.get("id") for pilot in content.get("pilot", []) if isinstance(pilot, dict)}
    for item in items:
        _check_item(problems, item)
        if evidence:
            _check_evidence(problems, item, Path(path).parent, names)
    if evidence and system and system.policy and not has_file(Path(path).parent, system.policy):
        problems.add("system, policy", f"there is no file {system.policy}", "name one beside this file")
    problems.check()
    assert system is not None
    return Lifecycle(str(path), system, intended, items, pilots)


def _check_item(problems: Problems, item: Item) -> None:
    place = f"item ({item.id})"
    if item.id == FROM_STORE:
        problems.add(place, "the store decides it", "leave it out; `withstand incident list --due` has what is open")
    elif item.id in NEEDS:
        if item.stage not in ("", STAGE_OF[item.id]):
            problems.add(f"{place}, stage", f"it is of the stage {STAGE_OF[item.id]}", "leave `stage` out")
        if item.status == "not-applicable" and item.need.always:
            problems.add(place, f"{item.need.what} always applies", "do it, or leave it open")
    elif not item.title:
        hint = did_you_mean(item.id, NEEDS, "an item of your own has a title and a stage")
        problems.add(f"{place}, id", "there is no such item", hint)
    elif item.stage not in STAGE_IDS:
        hint = did_you_mean(item.stage, STAGE_IDS, f"stages: {', '.join(STAGE_IDS)}")
        problems.add(f"{place}, stage", f"there is no stage {item.stage!r}", hint)


def has_file(folder: Path, name: str) -> bool:
    """Whether a file is there and holds something."""
    try:
        return (folder / name).is_file() and (folder / name).stat().st_size > 0
    except OSError:  # a name that is too long, a folder that cannot be read
        return False


def _check_evidence(problems: Problems, item: Item, folder: Path, pilots: Collection[Json]) -> None:
    """Add a problem for each file and pilot that is not there. Runs and gates are the store's."""
    for text in item.evidence if item.status == "done" else ():
        place, (head, colon, name) = f"item ({item.id}), evidence", text.partition(":")
        if head in ("run", "gate", "https", "http") and colon:
            continue
        if head == "pilot" and colon:
            if name not in pilots:
                problems.add(place, f"there is no pilot {name!r}", did_you_mean(name, filter(None, pilots), "add it"))
        elif not has_file(folder, text):
            near = did_you_mean(head, KINDS) if colon else ""
            hint = near or "put it back, or open the item: what it proved is gone"
            problems.add(place, f"there is no file {text}, or it is empty", hint)


# --- where it stands ----------------------------------------------------------------------------------------------

State: TypeAlias = Literal["met", "not applicable", "open", "expired", "reopened", "unproved"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one piece of evidence is worth. why: it does not count, or what it shows, as the limits of a gate.

    unchecked: it counts, and nobody looked whether it is there (a URL).
    """

    text: str
    counts: bool
    why: str = ""
    unchecked: bool = False


@dataclass(frozen=True, slots=True)
class ItemState:
    """An item beside today. why: of one that does not count; of one that is not applicable, its reason."""

    id: str
    what: str
    state: State
    why: str = ""
    owner: str = ""
    date: str = ""
    expires: str = ""
    evidence: tuple[Evidence, ...] = ()

    @property
    def met(self) -> bool:
        return self.state in ("met", "not applicable")


@dataclass(frozen=True, slots=True)
class StageState:
    """A stage beside today. behind: the earlier stages whose own items are not all met."""

    id: str
    title: str
    items: tuple[ItemState, ...]
    behind: tuple[str, ...]

    @property
    def done(self) -> bool:
        return all(item.met for item in self.items)

    @property
    def met(self) -> bool:
        """Whether its gate is open: all its items and all of the stages before."""
        return self.done and not self.behind


def stage_states(
    lifecycle: Lifecycle, now: date, since: str, check: Callable[[Item, str], Evidence], due: Sequence[str] | None
) -> tuple[StageState, ...]:
    """Where each stage stands. since: the ISO day of the last change of what is intended; check: an item's evidence.

    due: incidents that lack a retrospective; None where the store could not be asked.
    """
    given: Mapping[str, Item] = {item.id: item for item in lifecycle.items}
    states: list[StageState] = []
    for stage in STAGES:
        own = [item for item in lifecycle.items if item.id not in NEEDS and item.stage == stage.id]
        items = [given.get(need.id, Item(need.id)) for need in stage.needs] + own
        listed = tuple(
            _of_incidents(due) if item.id == FROM_STORE else _state(lifecycle, item, now, since, check)
            for item in items
        )
        behind = tuple(state.id for state in states if not state.done)
        states.append(StageState(stage.id, stage.title, listed, behind))
    return tuple(states)


def _state(
    lifecycle: Lifecycle, item: Item, now: date, since: str, check: Callable[[Item, str], Evidence]
) -> ItemState:
    def state(kind: State, why: str = "", evidence: tuple[Evidence, ...] = ()) -> ItemState:
        what = item.title or item.need.what
        return ItemState(item.id, what, kind, why, item.owner, item.date, item.expires, evidence)

    if item.status == "open":
        return state("open", item.note)
    if item.date > now.isoformat():
        return state("open", f"it is signed on {item.date}, which is in the future")
    if item.expires <= now.isoformat():
        return state("expired", f"it expired on {item.expires}")
    if item.date < since:
        return state("reopened", f"the intended status or use changed on {since}: sign it anew")
    if item.status == "not-applicable":
        return state("not applicable", item.reason)
    if item.need.states:
        lacking = _unsaid(lifecycle, item.need.states)
        if not lacking and item.need.states == "use_case":
            lacking = check(item, f"use_case:{lifecycle.system.use_case}").why
        return state("unproved", lacking) if lacking else state("met")
    if not item.evidence:
        return state("unproved", "it has no evidence")
    checked = tuple(check(item, text) for text in item.evidence)
    wrong = [f"{evidence.text}: {evidence.why}" for evidence in checked if not evidence.counts]
    return state("unproved" if wrong else "met", "; ".join(wrong), checked)


def _unsaid(lifecycle: Lifecycle, name: str) -> str:
    """What [system] does not say; "" where it does."""
    if name == "intended" or (name == "unforeseen" and lifecycle.system.unforeseen is not None):
        return ""
    if name != "unforeseen" and getattr(lifecycle.system, name):
        return ""
    return f"[system] has no {name}" + (" = []" if name == "unforeseen" else "")


def _of_incidents(due: Sequence[str] | None) -> ItemState:
    what = NEEDS[FROM_STORE].what
    if due is None:
        return ItemState(FROM_STORE, what, "unproved", "there is no store that could say so")
    if due:
        return ItemState(FROM_STORE, what, "open", f"missing: {', '.join(due)}")
    return ItemState(FROM_STORE, what, "met")


def warnings(lifecycle: Lifecycle, now: date) -> Iterator[Problem]:
    """What is no error and still deserves a look."""
    ids = {item.id for item in lifecycle.items}
    for stage in STAGES:
        missing = [need.id for need in stage.needs if need.id not in ids and need.id != FROM_STORE]
        if missing:
            yield Problem(stage.id, f"it has no item {', '.join(missing)}", "they count as open", "warning")
    for item in lifecycle.items:
        left = (day("expires", item.expires) - now).days if item.expires else 15
        if 0 < left < 15:
            yield Problem(f"item ({item.id})", f"it expires in {left} days", "renew it", "warning")
    for pilot in lifecycle.pilots:
        if not pilot.count:
            yield Problem(f"pilot ({pilot.id})", "it has no count", "nothing lets it go on", "warning")
