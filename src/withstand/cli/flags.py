"""The flags of `withstand run` as a spec."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from withstand.cli import console, copies
from withstand.core import SpecError, bounded
from withstand.core.optional import optional
from withstand.registry import find, sets
from withstand.registry.grammar import parse, spec_of
from withstand.runner import foreign
from withstand.runner.attack_sets import plain
from withstand.runner.spec import RunSpec, read_spec, run_spec

if TYPE_CHECKING:
    from withstand.api import Run

SPEC_FLAGS = (
    "spec_file", "suite", "data", "split", "limit", "where", "ids", "target", "attack", "defense", "judge", "benign",
    "utility", "samples", "temperature", "max_tokens", "until_success", "draws", "stop_when_decided", "budget", "seed",
    "revision", "cases_from", "skip_missing",
)  # fmt: skip

MEASURE_FLAGS = (
    "suite", "data", "split", "limit", "where", "ids", "judge", "benign", "samples", "temperature", "max_tokens",
    "until_success", "draws", "stop_when_decided", "budget", "skip_missing",
)  # fmt: skip
"""Flags that may make a run easier to pass than its spec file. The attacks are pinned by their names; what is tested
(target, defense, revision) is the user's to choose."""


def spec_from(given: Mapping[str, Any]) -> RunSpec:
    """The spec file, or the stored spec of a run that is named alone, overridden by the flags."""
    typed = [name for name in SPEC_FLAGS if given[name] is not None and given[name] is not False and given[name] != ()]
    if given["name"] and not given["fresh"] and not typed:
        return _stored(given)
    file = given["spec_file"]
    if file is None and not given["suite"] and not given["target"]:
        file = "withstand.toml"
    named = file if file in copies.NAMED and not Path(file).exists() else ""
    spec: dict[str, Any] = read_spec(str(copies.NAMED[named]) if named else file, typed) if file else {}
    as_written = run_spec(spec) if isinstance(spec.get("gate"), dict) else None
    if given["attack"] and as_written and spec.get("attack"):
        spec["gate"] = {"attacks": spec["attack"], **spec["gate"]}  # a flag changes what is run, not what is gated
    for name in ("suite", "target", "attack", "defense"):
        if given[name]:
            spec[name] = [_named(name, text) for text in given[name]]
    for name in ("judge", "benign", "utility", "samples", "limit", "seed", "cases_from", "stop_when_decided"):
        if given[name] is not None:
            spec[name] = given[name]
    if given["until_success"]:
        spec["until_success"] = True
    if given["draws"]:
        spec["draws"] = int(given["draws"]) if given["draws"].isdigit() else given["draws"]
    sampling = {"temperature": given["temperature"], "max_tokens": given["max_tokens"]}
    if any(value is not None for value in sampling.values()):
        spec["sampling"] = {**spec.get("sampling", {}), **{k: v for k, v in sampling.items() if v is not None}}
    if given["budget"]:
        spec["budget"] = {**spec.get("budget", {}), **_pairs("--budget", given["budget"])}
    if given["where"]:
        spec["where"] = _pairs("--where", given["where"])
    if given["ids"]:
        spec["ids"] = _lines(given["ids"])
    checked = run_spec(spec)
    own = {"path": given["data"], "split": given["split"]}
    over = {name for name in ("limit", "where", "ids") if given[name] is not None}  # override the fields of a suite
    checked = checked.model_copy(
        update={
            "suite": [
                {key: value for key, value in suite.items() if key not in over} | _given(own, suite)
                for suite in checked.suite
            ],
            "target": _revised(checked.target, given["revision"]),
        }
    )
    checked, lacking = copies.completed(checked, named, given["skip_missing"])
    for text in lacking:
        console.say(text)
    return _marked(checked, as_written, [name for name in MEASURE_FLAGS if name in typed])


def _marked(checked: RunSpec, as_written: RunSpec | None, typed: Sequence[str]) -> RunSpec:
    """The spec, its gate naming the flags that made the run another measurement than the spec file's."""
    if as_written is None or checked.gate is None or not typed:
        return checked
    pinned = set(RunSpec.model_fields) - {"target", "defense", "attack", "gate", "utility", "seed", "cases_from"}
    if checked.model_dump(include=pinned) == as_written.model_dump(include=pinned):
        return checked
    changed = [f"--{name.replace('_', '-')}" for name in typed]
    return checked.model_copy(update={"gate": checked.gate.model_copy(update={"changed": changed})})


def _named(flag: str, text: str) -> dict[str, Any]:
    """The component that a flag names. Raises `SpecError` with the fix for several names in one flag."""
    try:
        return parse(text)
    except SpecError as error:
        names = [part.strip() for part in text.split(",")]
        components = {*find.entries(flag), "none", *(sets.names() if flag == "attack" else ())}
        if len(names) > 1 and all(name.partition(":")[0] in components for name in names):
            again = " ".join(f"--{flag} {shlex.quote(name)}" for name in names)
            raise SpecError(str(error), hint=f"repeat --{flag}: {again}") from error
        raise


def _revised(targets: Sequence[dict[str, Any]], revision: str | None) -> list[dict[str, Any]]:
    """The targets, with the revision where they have one."""
    if revision is None:
        return list(targets)
    have = ["revision" in {f.name for f in fields(find.resolve("target", target)[0])} for target in targets]
    if not any(have):
        named = ", ".join(target["use"] for target in targets)
        raise SpecError(
            f"--revision, but {named} has no field 'revision'",
            hint="leave it out: such a target is identified by its content",
        )
    return [{**target, "revision": revision} if has else target for target, has in zip(targets, have, strict=True)]


def exists(store: str) -> bool:
    """Whether the store exists; True for a database server, which only the server could answer."""
    return "://" in store or Path(store).expanduser().exists()


def _given(flags: Mapping[str, Any], component: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were given; FIRST is dropped where a flag gives that field."""
    given = {key: value for key, value in flags.items() if value is not None}
    if "path" in given and "" in component:
        raise SpecError(f"both --data and {component['use']}:{component['']} name the data", hint="keep one of them")
    return given


def _stored(given: Mapping[str, Any]) -> RunSpec:
    from withstand.api import load, open_store

    with open_store(given["store"], create=False) as store:
        return spec_of_run(load(given["name"], store), given["store"])


def spec_of_run(run: "Run", store: str) -> RunSpec:
    """The spec that a run was recorded with. Raises `SpecError` where somebody else recorded it."""
    if run.row.is_own:
        return run_spec(run.row.spec)
    if not run.row.is_trusted:
        raise SpecError(
            f"somebody else recorded {run.name} in {store}, so its spec is not run",
            hint="write the spec yourself, or, if you trust who wrote to the store: `withstand store trust STORE`",
        )
    if "imported" not in run.row.spec:
        foreign.check(run.row.spec, runs=[row.name for row in run.store.runs()])
    return run_spec(run.row.spec)


def _pairs(flag: str, text: str) -> dict[str, str]:
    pairs = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            raise SpecError(f"{flag}: {part!r} is not name=value", hint=f"{flag} name=value,name=value")
        pairs[name.strip()] = value.strip()
    return pairs


def _lines(path: str) -> list[str]:
    try:
        lines = bounded.read_text(path).splitlines()
    except OSError as error:
        raise SpecError(
            f"cannot read {path}: {error}", hint="--ids takes a file of behavior ids, one a line"
        ) from error
    ids = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not ids:
        raise SpecError(f"{path} names no behavior", hint="--ids takes a file of behavior ids, one a line")
    return ids


def shard(text: str | None) -> tuple[int, int]:
    """I/N as (I, N), counted from 1."""
    if text is None:
        return 1, 1
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise SpecError(f"--shard {text} is not I/N with 1 <= I <= N", hint="--shard 1/4 to --shard 4/4")
    return int(match[1]), int(match[2])


def seconds(text: str | None) -> float | None:
    """Seconds, or minutes (30m) or hours (2h)."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not match:
        raise SpecError(f"--max-time {text} is not a time", hint="seconds, or 30m, or 2h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def check_prices(given: Mapping[str, Any], spec: RunSpec) -> None:
    """A cap in dollars needs prices: without them nothing would ever be counted."""
    if given["max_cost"] is None:
        return
    targets = [{key: value for key, value in target.items() if key != "defense"} for target in spec.target]
    defenses = [*spec.defense, *(spec_of(target["defense"]) for target in spec.target if "defense" in target)]
    judges = [spec.judge] if spec.judge else []
    judges += [spec.until_success] if isinstance(spec.until_success, dict) else []
    asked = {"target": targets, "attack": plain(spec.attack), "defense": defenses, "judge": judges}
    for kind, specs in asked.items():
        for own in specs:
            built = () if kind == "defense" and own["use"] == "none" else find.build(kind, own)
            check_priced(built, find.label(kind, own))


def check_priced(component: Any, label: str) -> None:
    """Raise `SpecError` where no price is known for a model of a component that is elsewhere."""
    for model in find.parts(component):
        priced = [getattr(model, name, None) is not None for name in ("price", "price_in")]
        if optional(model, "hosts") and not any([*priced, getattr(model, "price_ask", 0.0)]):
            raise SpecError(
                f"--max-cost, but no price is known for {label}",
                hint="give price_in=...,price_out=... (US dollars per million tokens) in the model's spec, "
                "or a file of prices with WITHSTAND_PRICES",
            )
