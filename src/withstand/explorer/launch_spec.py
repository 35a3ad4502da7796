"""What a run may be that a browser asks for: a form or a TOML text, under the allowlist of stored specs.

A browser names components by label, or writes them in a spec that is checked as one of a store is. What the store's
own runs have named is let through as they named it. All else names no key, no file and no code, and only an admin may
name an address or weights that no run of the store has named before: else whoever may start runs could have this
machine ask any server and read what it says.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, TypeAlias

from withstand.core import Json, SpecError, WithstandError, bounded, dumps
from withstand.core.bounded import parse_json
from withstand.registry import find, sets
from withstand.registry.grammar import to_toml
from withstand.registry.stored import long_form, stored
from withstand.runner import foreign
from withstand.runner.spec import run_spec
from withstand.store.store import RunRow

Component: TypeAlias = dict[str, Any]
Offers: TypeAlias = dict[str, dict[str, Component]]
"""Kind -> label -> component in its long form."""

SHIPPED: Mapping[str, Sequence[str]] = {
    "suite": ("kitchen", "kitchen_app", "kitchen-advice"),
    "target": ("scripted-kitchen", "smollm2-kitchen"),
    "attack": ("direct", "prefix_injection", "role_play", "story", "prefill", "best_of_n", "transform"),
    "defense": ("none", "system_prompt", "self_reminder", "in_context_refusal"),
    "judge": ("kitchen", "refusal_words"),
}
"""Components of the package that need no file, no key and no other model."""

MARK = "explorer"
"""What the spec file of such a run says: while it says so, `withstand run` lets it name no file, command or code."""
HEAD = (
    f"# Asked for in a browser. While it says {foreign.FROM_BUNDLE}, it may name no file, command, variable or code.\n"
)
LONGEST = 100_000
"""Characters of a spec."""
ASKS, COST, MINUTES, BEHAVIORS = 2_000, 5.0, 60, 20
"""What the form proposes: chats sent, US dollars, minutes, behaviors of the suite."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What a run stops at: chats that it sends, US dollars (None: no price is known for what it asks), minutes."""

    asks: int = ASKS
    cost: float | None = COST
    minutes: float = MINUTES

    @property
    def flags(self) -> list[str]:
        """As `withstand run` takes them."""
        cost = [] if self.cost is None else ["--max-cost", f"{self.cost:g}"]
        return ["--max-asks", str(self.asks), *cost, "--max-time", f"{60 * self.minutes:g}"]


def caps_of(form: Mapping[str, Any]) -> Caps:
    """The caps of a form. Raises `SpecError` for one that is missing; dollars may be left out, and `withstand run`
    refuses them where no price is known."""
    asks, minutes = _number(form, "max_asks", "asks", 10**7), _number(form, "max_minutes", "minutes", 10**5)
    cost = _number(form, "max_cost", "US dollars", 10**6) if str(form.get("max_cost", "")).strip() else None
    if asks != int(asks):
        raise SpecError("the cap on asks is no whole number", hint="such as 2000")
    return Caps(int(asks), cost, minutes)


def _number(form: Mapping[str, Any], name: str, what: str, most: float) -> float:
    text = str(form.get(name, "")).strip()
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,4})?", text) or not 0 < float(text) <= most:
        raise SpecError(f"the cap in {what} is {text[:20]!r}", hint=f"a number above 0, at most {most:,.0f}")
    return float(text)


# --- what is offered ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Offered:
    """What a form offers. runs: named by runs of the store that are the user's or trusted; names: those of all runs."""

    runs: Offers = field(default_factory=dict)
    names: frozenset[str] = frozenset()

    @cached_property
    def all(self) -> Offers:
        """What runs named first, then what ships."""
        return {kind: {**self.runs.get(kind, {}), **_shipped(kind)} for kind in SHIPPED}

    def has(self, kind: str, component: Component) -> bool:
        """Whether this very component is offered."""
        return component in self.all[kind].values()

    @cached_property
    def reach(self) -> frozenset[str]:
        """The hosts and weights of all that is offered."""
        return frozenset(
            place for kind, listed in self.all.items() for spec in listed.values() for place in _places(kind, spec)
        )


def offered(runs: Iterable[RunRow]) -> Offered:
    """What the runs of a store have named, less what a store may not name and what somebody else recorded."""
    offers: Offers = {kind: {} for kind in SHIPPED}
    names = []
    for run in runs:
        names.append(run.name)
        if "imported" in run.spec or not run.is_trusted:
            continue
        for kind, component in components(run.spec):
            for label, spec in _offer(kind, dumps(component)).items():
                offers[kind].setdefault(label, spec)
    return Offered(offers, frozenset(names))


def components(spec: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The kind of each component that a spec names, and the component as written; a target's defense apart."""
    for name, kind in foreign.KINDS.items():
        for component in foreign.many(spec.get(name)):
            if kind == "target" and isinstance(component, Mapping) and "defense" in component:
                yield "defense", component["defense"]
                component = {key: value for key, value in component.items() if key != "defense"}
            yield kind, component
    gate = spec.get("gate")
    if isinstance(gate, Mapping):
        yield from (("attack", component) for component in foreign.many(gate.get("attacks")))


@cache
def _offer(kind: str, written: str) -> Offers | dict[str, Component]:
    """A component by its label; nothing for one that no store may name."""
    try:
        component = plain(kind, parse_json("a run", written))
        return {"none" if component["use"] == "none" else _label(kind, component): component}
    except (SpecError, ImportError, TypeError):
        return {}


def plain(kind: str, component: Any) -> Component:
    """A component in the long form of `registry.stored`, without what the spec of a suite says of the choice."""
    given = long_form(component)
    if (kind == "attack" and sets.is_set(given)) or given["use"] == "none":
        return given
    if kind == "suite":
        given = {name: value for name, value in given.items() if name not in foreign.CHOICE}
    return stored(kind, given)


def _label(kind: str, component: Component) -> str:
    return component["use"] if kind == "attack" and sets.is_set(component) else find.label(kind, component)


@cache
def _shipped(kind: str) -> dict[str, Component]:
    listed = find.entries(kind)
    return {name: plain(kind, name) for name in SHIPPED[kind] if name == "none" or name in listed}


def places(kind: str, component: Component) -> Iterator[str]:
    """Where a component sends texts, and the weights that it loads. Raises `SpecError` for one that cannot be built.

    A place is an address with its port and path, and of an application also the method: whoever may ask one page of a
    server may not for that reason ask another.
    """
    if component["use"] == "none" or kind == "suite" or (kind == "attack" and sets.is_set(component)):
        return
    for model in find.models(find.build(kind, component)):
        if address := str(getattr(model, "url", "")):
            yield f"{getattr(model, 'method', '')} {address} {getattr(model, 'start', '')}".strip()
        elif address := str(getattr(model, "base_url", "")):
            yield address.rstrip("/")
        elif model.hosts:
            yield from model.hosts
        elif weights := str(getattr(model, "id", "")):
            yield f"the weights {weights}"


def _places(kind: str, component: Component) -> list[str]:
    """The same of what an earlier run has named, which may be gone since."""
    try:
        return list(places(kind, component))
    except (WithstandError, ImportError, OSError, TypeError, ValueError):
        return []


# --- what is asked for -------------------------------------------------------------------------------------------


def of_form(form: Mapping[str, Any], offers: Offered) -> Json:
    """The spec that a form describes. Raises `SpecError` for what it does not offer."""
    spec: dict[str, Any] = {}
    for kind in ("suite", "target", "attack", "defense"):
        labels = [str(label) for label in form.get(f"{kind}[]", [])]
        if not labels and kind in ("suite", "target", "attack"):
            raise SpecError(f"choose {find.a(kind)}", hint="one at least")
        if lacking := [label for label in labels if label not in offers.all[kind]]:
            raise SpecError(f"no {kind} {lacking[0][:100]!r} is offered", hint="choose from the list")
        chosen = [offers.all[kind][label] for label in dict.fromkeys(labels)]
        if chosen and chosen != [{"use": "none"}]:
            spec[kind] = chosen
    if judge := str(form.get("judge", "")):
        if judge not in offers.all["judge"]:
            raise SpecError(f"no judge {judge[:100]!r} is offered", hint="choose from the list")
        spec["judge"] = offers.all["judge"][judge]
    limit = str(form.get("limit", "")).strip()
    if limit:
        if not re.fullmatch(r"[1-9][0-9]{0,6}", limit):
            raise SpecError(f"{limit[:20]!r} is no number of behaviors", hint="1 or more; empty: all of the suite")
        spec["limit"] = int(limit)
    return spec


def of_text(text: str) -> Json:
    """The spec in a TOML text, not yet checked."""
    if len(text) > LONGEST:
        raise SpecError("the spec is too long", hint=f"at most {LONGEST:,} characters")
    spec = bounded.parse_toml("the spec", text.replace("\r\n", "\n"))
    return {name: value for name, value in spec.items() if name != foreign.FROM_BUNDLE}


def checked(spec: Mapping[str, Any], offers: Offered, is_admin: bool) -> Json:
    """The spec as `withstand run` will take it. Raises `SpecError` for what a browser may not ask for.

    is_admin: may name addresses and weights that no run of the store has named.
    """
    foreign.check(spec, runs=offers.names)  # before anything reads it: `@file` is resolved by the grammar
    new: set[str] = set()
    for kind, written in components(spec):
        component = plain(kind, written)
        if offers.has(kind, component):
            continue
        _check_fields(component)
        new |= {place for place in places(kind, component) if place not in offers.reach}
    if new and not is_admin:
        raise SpecError(
            f"no run of this store has named {', '.join(sorted(new))}",
            hint="an admin may name what is new, and so may a run from the command line",
        )
    baseline = spec["gate"].get("baseline") if isinstance(spec.get("gate"), Mapping) else None
    if baseline and baseline not in offers.names:
        raise SpecError("the baseline of the gate is no run of this store", hint="a file is for the command line")
    return run_spec(spec).written()


def _check_fields(value: Any) -> None:
    """Raise `SpecError` where a component says which secret is sent, or reads weights from a folder."""
    if isinstance(value, Mapping):
        if value.get("key_env"):
            raise SpecError("a browser may not set key_env", hint="a command-line run may; the form then offers it")
        if isinstance(path := value.get("id"), str) and re.match(r"[/~.\\]|[A-Za-z]:", path):
            raise SpecError(f"a browser may not name a folder of weights: {path[:60]!r}", hint="use the command line")
        for inner in value.values():
            _check_fields(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check_fields(inner)


def file_of(spec: Json) -> str:
    """The spec file of a run, which marks itself as asked for in a browser. What `cases_from` names is a flag."""
    return HEAD + to_toml({foreign.FROM_BUNDLE: MARK, **{k: v for k, v in spec.items() if k != "cases_from"}})
