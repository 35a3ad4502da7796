"""The one reader of whole numbers that a browser sends."""

import re

MOST = 10**12
"""More than any number of cases, steps or pages."""


def whole(text: str, least: int = 0, most: int = MOST) -> int | None:
    """A whole number in ASCII digits, brought to the nearest of `least` to `most`; None where the text is none."""
    match = re.fullmatch(r"([+-]?)0*([0-9]+)", text)
    if not match:
        return None
    size = int(match[2]) if len(match[2]) <= 18 else 10**18  # int() refuses thousands of digits
    return max(least, min(-size if match[1] == "-" else size, most))
