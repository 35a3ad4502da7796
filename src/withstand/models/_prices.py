"""What a million tokens cost, for targets that name no price.

The listed prices are those of api.openai.com as several public lists agreed on in spring 2026, for text, without
discounts: they change, so that a file of the user's goes before them.
"""

import os
import re
from functools import cache

from withstand.core import SpecError, bounded

LISTED = {
    "gpt-5": (1.25, 10.0),
    "gpt-5-mini": (0.25, 2.0),
    "gpt-5-nano": (0.05, 0.4),
    "gpt-4.1": (2.0, 8.0),
    "gpt-4.1-mini": (0.4, 1.6),
    "gpt-4.1-nano": (0.1, 0.4),
    "gpt-4o": (2.5, 10.0),
    "gpt-4o-mini": (0.15, 0.6),
    "gpt-3.5-turbo": (0.5, 1.5),
    "o3": (2.0, 8.0),
    "o4-mini": (1.1, 4.4),
}
"""US dollars for a million tokens of the prompt, and of the answer with its reasoning."""

VARIABLE = "WITHSTAND_PRICES"
"""Names a TOML file of lines such as `"llama-3.1-70b" = [0.6, 0.6]`."""


def price(model: str, listed: bool) -> tuple[float, float] | None:
    """Of a model, by its name or by that without its date; None if nobody has named one.

    listed: whether the server is the one that the list is of. Raises `SpecError` for a file that cannot be used.
    """
    own = _own(os.environ.get(VARIABLE, ""))
    for name in (model, re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model)):
        for table in (own, LISTED if listed else {}):
            if name in table:
                return table[name]
    return None


@cache
def _own(path: str) -> dict[str, tuple[float, float]]:
    if not path:
        return {}
    hint = 'lines such as "llama-3.1-70b" = [0.6, 0.6]: US dollars per million tokens of prompt and answer'
    try:
        table = bounded.read_toml(path)
    except (OSError, SpecError) as error:
        raise SpecError(f"{VARIABLE} is {path}, which cannot be read: {error}", hint=hint) from error
    prices = {}
    for name, pair in table.items():
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, int | float) and p >= 0 for p in pair)):
            raise SpecError(f"{VARIABLE}: {path} gives {name!r} the price {pair!r}", hint=hint)
        prices[name] = (float(pair[0]), float(pair[1]))
    return prices
