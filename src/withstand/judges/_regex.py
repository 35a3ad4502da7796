"""What the judges share that take regular expressions."""

import re

from withstand.core import SpecError


def check_regex(name: str, pattern: str) -> None:
    """Raise `SpecError` for what the field `name` gives as a regular expression and is none."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise SpecError(
            f"{name} is not a regular expression: {error.msg} at position {error.pos} of {pattern!r}",
            hint="put a backslash before each literal . * + ? ( ) [ ] { } | ^ $",
        ) from error
