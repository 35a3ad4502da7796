"""Fields that hold JSON as text, as a spec and a command line can carry it."""

import json
import re
from collections.abc import Iterator
from typing import Any

from withstand.core import Json, SpecError

SECRET = re.compile(r"api_?key|secret|password|credential|authorization|(access|auth|bearer|hf)_?token", re.IGNORECASE)


def json_object(name: str, text: str) -> dict[str, Any]:
    """The JSON object that the field `name` holds; "" is an empty one. Raises `SpecError` for anything else."""
    hint = f"write an object, as {name}='{{\"top_k\": 1}}'"
    try:
        value = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise SpecError(f"{name} is not JSON: {error}", hint=hint) from error
    if not isinstance(value, dict):
        raise SpecError(f"{name} is {text}, which is no JSON object", hint=hint)
    return value


def keyless_object(name: str, text: str) -> dict[str, Any]:
    """`json_object` of a field that goes into the store: `SpecError` too where it looks as if it held a key."""
    value = json_object(name, text)
    for key in _names(value):
        if SECRET.search(key):
            raise SpecError(f"{name} holds {key}: it would be stored", hint="put the key into the environment")
    return value


def _names(value: Json) -> Iterator[str]:
    """The names of all objects in a JSON value."""
    if isinstance(value, dict):
        yield from value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _names(inner)
