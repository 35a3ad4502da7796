"""Which suites and behaviors a run uses, and test cases that come from elsewhere."""

import ipaddress
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, cast
from urllib.parse import urlsplit

from withstand.core import (
    Behavior,
    Json,
    SpecError,
    Suite,
    did_you_mean,
    digest,
    draw,
    to_json,
)
from withstand.core.optional import optional
from withstand.registry import find
from withstand.registry.grammar import spec_of
from withstand.runner.spec import RunSpec, choice_of


@dataclass(frozen=True, slots=True)
class Chosen:
    """The behaviors of one suite that a run uses. `checksum` is of the whole split, before any choice."""

    label: str
    suite: Suite
    behaviors: tuple[Behavior, ...]
    checksum: str
    notes: tuple[str, ...] = ()

    @property
    def benign(self) -> bool:
        return all(behavior.benign for behavior in self.behaviors)

    def json(self) -> Json:
        suite = self.suite
        return {
            "name": self.label,
            "version": suite.version,
            "checksum": self.checksum,
            "split": suite.split,
            "license": suite.license,
            "citation": suite.citation,
            "behaviors": [digest(to_json(behavior)) for behavior in self.behaviors],
            **({"notes": list(self.notes)} if self.notes else {}),
        }


# --- behaviors ---------------------------------------------------------------------------------------------------


def choose(suite_spec: Mapping[str, Any], spec: RunSpec, offline: bool, twin_of: Suite | None = None) -> Chosen:
    """Load a suite and choose among its behaviors; a suite's own limit, where and ids stand instead of the run's.

    A benign twin, as the questions of utility, follows the split of its suite and the run's limit; where and ids speak
    of the suite alone.
    """
    own = dict(suite_spec)
    choice = choice_of({name: own.pop(name) for name in ("limit", "where", "ids") if name in own})
    given = choice.model_fields_set
    limit = choice.limit if "limit" in given else spec.limit
    where = choice.where if "where" in given else {} if twin_of else spec.where
    ids = choice.ids if "ids" in given else None if twin_of else spec.ids
    suite: Suite = twin_suite(own, twin_of) if twin_of else find.build("suite", own)
    if offline and "://" in (url := str(getattr(suite, "path", ""))):
        check_offline([urlsplit(url).hostname or ""])
    label = find.label("suite", {"use": own["use"]})
    behaviors = suite.load()
    checksum = digest([to_json(behavior) for behavior in behaviors])
    behaviors = _where(_only(behaviors, ids, label), where, label)
    if not behaviors:
        raise SpecError(f"{label}: no behavior is left", hint="loosen --where, --ids or the split")
    return Chosen(label, suite, tuple(stratified(behaviors, spec.seed)[:limit]), checksum, optional(suite, "notes"))


def twin_suite(own: Mapping[str, Any], twin_of: Suite) -> Suite:
    """A suite beside another one: of the same split, and in the same file or folder where both are of one source."""
    suite: Suite = find.build("suite", own)
    if "split" not in own and has_splits(suite) and has_splits(twin_of):
        suite = find.build("suite", own, split=twin_of.split)
    if optional(suite, "source") and optional(suite, "source") == optional(twin_of, "source"):
        suite = find.build("suite", own, path=optional(twin_of, "near"))
    return suite


def add_twins(suites: list[Chosen], spec: RunSpec, offline: bool) -> dict[int, int]:
    """Append the benign twins that are not there yet; the place of each harmful suite's twin, by its own place."""
    twins = {}
    for place, chosen in enumerate(tuple(suites)):
        twin = spec.benign or (spec_of(chosen.suite.benign) if chosen.suite.benign else None)
        if chosen.benign or twin is None or twin["use"] == "none":
            continue
        beside = choose(twin, spec, offline, twin_of=chosen.suite)
        if not beside.benign:
            raise SpecError(
                f"{find.label('suite', twin)} holds behaviors that are not benign",
                hint=(f"its benign half is {half}; " if (half := beside.suite.benign) else "")
                + "--benign none leaves it out; a file of your own says harmless=true",
            )
        twins[place] = _place_of(beside, suites)
    return twins


def add_questions(suites: list[Chosen], spec: RunSpec, offline: bool) -> int | None:
    """Append the suite that utility is measured with, if it is not there yet; its place."""
    if spec.utility is None or spec.utility["use"] == "none":
        return None
    chosen = choose(spec.utility, spec, offline, twin_of=suites[0].suite)
    name = find.label("suite", spec.utility)
    if not chosen.benign:
        raise SpecError(
            f"{name} holds behaviors that are not benign: utility is measured with what should be answered",
            hint="--utility everyday, or a file of your own with harmless=true and judge=multiple_choice",
        )
    if not _tells_right(chosen):
        raise SpecError(
            f"the judge of {name}, {chosen.suite.judge}, does not tell right answers from wrong",
            hint="give it one that does: csv:FILE,target_string=COLUMN,harmless=true,judge=multiple_choice",
        )
    if lacking := [behavior.id for behavior in chosen.behaviors if not behavior.target_string.strip()]:
        raise SpecError(
            f"{name}: {len(lacking)} of {len(chosen.behaviors)} questions have no right answer, such as {lacking[0]!r}",
            hint="target_string=COLUMN names the column that holds it",
        )
    return _place_of(chosen, suites)


def _place_of(chosen: Chosen, suites: list[Chosen]) -> int:
    """Its place among the suites of a run, to which it is added if it is new."""
    if chosen not in suites:
        suites.append(chosen)
    return suites.index(chosen)


def uncounted(suites: Sequence[Chosen], questions: int | None) -> Iterator[str]:
    """Suites of the grid whose right answers nobody will count; `questions` is the place of those that are."""
    for place, chosen in enumerate(suites):
        if place != questions and chosen.benign and _tells_right(chosen):
            yield f"{chosen.label} measures over-refusal only: --utility {chosen.label} also counts right answers"


def _tells_right(chosen: Chosen) -> bool:
    return bool(optional(find.build("judge", chosen.suite.judge), "utility"))


def numbered(suites: Sequence[Chosen]) -> list[Chosen]:
    """Two suites of one name and split (two CSV files) get a number, so that a report can tell them apart."""
    seen: Counter[tuple[str, str]] = Counter()
    labeled = []
    for chosen in suites:
        name = (chosen.label, chosen.suite.split)
        seen[name] += 1
        labeled.append(chosen if seen[name] == 1 else replace(chosen, label=f"{chosen.label} ({seen[name]})"))
    return labeled


def has_splits(suite: Suite) -> bool:
    """Whether its splits have names of their own (val, test), which a file with any columns does not know."""
    return any(f.name == "split" and f.default not in ("", MISSING) for f in fields(cast(Any, suite)))


def stratified(behaviors: Sequence[Behavior], seed: int) -> list[Behavior]:
    """A seeded order in which every head is spread over the categories as the whole is: 20 is a subset of 40.

    Within a category the order is random; a behavior's place is its rank's share of its category.
    """
    groups: dict[str, list[Behavior]] = defaultdict(list)
    for behavior in behaviors:
        groups[behavior.category].append(behavior)
    places = {}
    for group in groups.values():
        ordered = sorted(group, key=lambda b: draw("limit", seed, b.id))
        for rank, behavior in enumerate(ordered):
            places[behavior.id] = ((rank + draw("tie", seed, behavior.category)) / len(group), behavior.id)
    return sorted(behaviors, key=lambda b: places[b.id])


def _only(behaviors: list[Behavior], ids: Sequence[str] | None, label: str) -> list[Behavior]:
    if ids is None:
        return behaviors
    ids_here = {behavior.id for behavior in behaviors}
    for wanted in ids:
        if wanted not in ids_here:
            hint = did_you_mean(wanted, sorted(ids_here), "check the split and the ids file")
            raise SpecError(f"{label} has no behavior {wanted!r}", hint=hint)
    return [behavior for behavior in behaviors if behavior.id in set(ids)]


def _where(behaviors: list[Behavior], where: Mapping[str, str], label: str) -> list[Behavior]:
    for name, wanted in where.items():
        if name not in ("functional", "category", "tags"):
            raise SpecError(f"--where filters by functional, category or tags, not by {name!r}")
        values = set(str(wanted).split("|"))
        counts: Counter[str] = Counter(v for b in behaviors for v in _values(b, name))
        for value in values - set(counts):
            raise SpecError(f"{label} has no {name} {value!r}", hint=f"it has {', '.join(sorted(counts)) or 'none'}")
        behaviors = [behavior for behavior in behaviors if values & set(_values(behavior, name))]
    return behaviors


def _values(behavior: Behavior, name: str) -> tuple[str, ...]:
    value = getattr(behavior, name)
    return value if isinstance(value, tuple) else (value,)


# --- hosts -------------------------------------------------------------------------------------------------------


def check_offline(hosts: Iterable[str]) -> None:
    """Raise `SpecError` for a host that is not this machine."""
    for host in hosts:
        if not loopback(host):
            raise SpecError(
                f"--offline, but prompts would be sent to {host}", hint="use a local target, or drop --offline"
            )


def check_judge(judge: Any, offline: bool) -> None:
    """Check a judge and its models; with `offline`, raise `SpecError` for a model that is not on this machine."""
    for part in find.parts(judge):
        optional(part, "check")()
        if offline:
            check_offline(optional(part, "hosts"))


def loopback(host: str) -> bool:
    """Whether text sent to `host` stays on this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def own_hosts(host: str) -> frozenset[str] | None:
    """The names under which browsers reach a server that listens on this address; None for any, where others can."""
    return frozenset({host, "127.0.0.1", "localhost", "[::1]", "::1"}) if loopback(host) else None


def is_own(host: str, hosts: frozenset[str] | None) -> bool:
    """Whether a request's Host is one of these. A page of elsewhere whose name was made to point here has another one
    (DNS rebinding)."""
    return hosts is None or re.sub(r":[0-9]+$", "", host).lower() in hosts
