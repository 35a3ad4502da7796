"""Fields that hold JSON as text, as a spec and a command line can carry it."""

import json
from typing import Any

from withstand.core import SpecError


def json_object(name: str, text: str) -> dict[str, Any]:
    """The JSON object that the field `name` holds; "" is an empty one. Raises `SpecError` for anything else."""
    hint = f"write an object, as {name}='{{\"top_k\": 1}}'"
    try:
        found = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise SpecError(f"{name} is not JSON: {error}", hint=hint) from error
    if not isinstance(found, dict):
        raise SpecError(f"{name} is {text}, which is no JSON object", hint=hint)
    return found
