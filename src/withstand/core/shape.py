"""Whether JSON of elsewhere has the shape of a record: checked once, where it is read. Standard library only."""

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from math import isfinite
from typing import Any

from withstand.core.content import Json

NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def misfit(kind: Any, value: Json) -> str:
    """Where and how `value` differs from what `from_json(kind, value)` needs; "" where it fits.

    kind: a dataclass, or a type of its fields: str, int, float, bool, Literal, tuple, list, Mapping, a union, Any.
    Fields that the dataclass lacks are a misfit, and so is a whole number beyond 64 bits.
    """
    return _checker(kind)(value)


@cache
def _checker(kind: Any) -> Callable[[Json], str]:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        return _record(kind)
    if origin is typing.Literal:
        options = f"one of {', '.join(map(repr, args))}"
        return lambda value: "" if value in args else _expected(options, value)
    if origin in (types.UnionType, typing.Union):
        checkers = [_checker(arg) for arg in args]
        return lambda value: "" if any(not check(value) for check in checkers) else checkers[0](value)
    if origin is tuple and args[-1] is not Ellipsis:
        parts = [_checker(arg) for arg in args]
        return lambda value: _wrong_list(value, parts)
    if origin in (list, tuple):
        item = _checker(args[0])
        return lambda value: (
            _first(enumerate(value, 1), item) if isinstance(value, list) else _expected("a list", value)
        )
    if origin is not None and issubclass(origin, Mapping):
        inner = _checker(args[1])
        return lambda value: _first(value.items(), inner) if isinstance(value, dict) else _expected("an object", value)
    if kind is type(None):
        return lambda value: "" if value is None else _expected("nothing", value)
    if kind in NAMES:
        return lambda value: "" if _is_scalar(kind, value) else _expected(NAMES[kind], value)
    return lambda _: ""


def _record(kind: Any) -> Callable[[Json], str]:
    hints = typing.get_type_hints(kind)
    checkers = {f.name: _checker(hints[f.name]) for f in fields(kind)}
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}

    def check(value: Json) -> str:
        if not isinstance(value, dict):
            return _expected("an object", value)
        if lacking := sorted(needed - value.keys()):
            return f"it lacks {lacking[0]}"
        if strange := sorted(value.keys() - checkers.keys()):
            return f"it has the unknown field {strange[0]!r}"
        return next((f"{name}: {text}" for name, inner in value.items() if (text := checkers[name](inner))), "")

    return check


def _first(items: Any, check: Callable[[Json], str]) -> str:
    return next((f"{place}: {text}" for place, inner in items if (text := check(inner))), "")


def _wrong_list(value: Json, parts: list[Callable[[Json], str]]) -> str:
    if not isinstance(value, list) or len(value) != len(parts):
        return _expected(f"a list of {len(parts)}", value)
    return next((text for check, inner in zip(parts, value, strict=True) if (text := check(inner))), "")


def _is_scalar(kind: type, value: Json) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is float:
        return isinstance(value, (int, float)) and abs(value) < 1e300 and isfinite(value)
    if kind is int:
        return isinstance(value, int) and -(2**63) <= value < 2**63
    return isinstance(value, kind)


def _expected(what: str, value: Json) -> str:
    return f"expected {what}, {_kind(value)}"


def _kind(value: Json) -> str:
    return "there is " + ("none" if value is None else type(value).__name__)
