"""Records as JSON, the names of JSON by content, texts with gaps. Standard library only; import these from `core`."""

import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from hashlib import blake2b
from typing import Any, TypeAlias

Json: TypeAlias = Any
"""What `json` reads and writes: None, bool, int, float, str, list, dict with string keys."""


_PLAIN = frozenset({type(None), bool, int, float, str})
"""Classes whose values are JSON as they are, as most in a record: sparing each a call takes a third off the time."""


def to_json(value: Any) -> Json:
    """A record as JSON, without fields that hold their default or are kept beside it (`metadata={"beside": True}`)."""
    kind = value.__class__
    if kind in _PLAIN:
        return value
    if kind is tuple or kind is list:
        return [inner if inner.__class__ in _PLAIN else to_json(inner) for inner in value]
    if isinstance(value, (str, int, float)):
        return value
    if (defaults := _defaults_of(kind)) is not None:
        return {
            name: inner if inner.__class__ in _PLAIN else to_json(inner)
            for name, default in defaults
            if (inner := getattr(value, name)) is not default and (default is MISSING or inner != default)
        }
    if isinstance(value, Mapping):
        return {str(key): to_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [to_json(inner) for inner in value]
        return sorted(items) if isinstance(value, (set, frozenset)) else items
    return value


@cache
def _defaults_of(kind: Any) -> tuple[tuple[str, Any], ...] | None:
    """The fields of a record's class with their defaults; None for any other class."""
    if not is_dataclass(kind):
        return None
    return tuple((f.name, f.default) for f in fields(kind) if not f.metadata.get("beside"))


def from_json(kind: Any, value: Json) -> Any:
    """The record of type `kind` that `to_json` wrote."""
    return _reader(kind)(value)


@cache
def _reader(kind: Any) -> Callable[[Json], Any]:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        readers = {f.name: _reader(hints[f.name]) for f in fields(kind)}
        build = typing.cast(Callable[..., Any], kind)
        return lambda value: build(**{name: readers[name](inner) for name, inner in value.items()})
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        item = _reader(args[0])
        return lambda value: tuple([item(inner) for inner in value])
    if origin is tuple:
        items = [_reader(arg) for arg in args]
        return lambda value: tuple([read(inner) for read, inner in zip(items, value, strict=True)])
    if origin in (types.UnionType, typing.Union):
        rest = [_reader(arg) for arg in args if arg is not type(None)]
        return lambda value: None if value is None else rest[0](value)
    return lambda value: value


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)  # `json.dumps` makes one a call


def dumps(value: Json) -> str:
    """Canonical JSON: sorted keys, ASCII (a lone surrogate stays readable), no spaces, no NaN."""
    return _CANONICAL.encode(value)


def digest(value: Json) -> str:
    """The name of a JSON value: 128 bits of BLAKE2b over its canonical form, as 32 hex digits."""
    return blake2b(dumps(value).encode(), digest_size=16).hexdigest()


def draw(*parts: Json) -> float:
    """A number in [0, 1) that depends on `parts` alone: the split of a seed by behavior, step or place."""
    return int(digest(list(parts))[:13], 16) / 16**13


def rng(*parts: Json) -> "typing.Any":
    """A `random.Random` that depends on `parts` alone, such as (self.seed, behavior.id)."""
    import random

    return random.Random(int(digest(list(parts)), 16))


def filled(template: str, /, **parts: str) -> str:
    """The template with its {gaps} filled in one pass: braces in what is put in are never read as gaps."""
    return re.sub(r"\{(\w+)\}", lambda match: parts[match[1]], template)
