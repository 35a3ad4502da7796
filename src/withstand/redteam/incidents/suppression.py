"""Small cells of a table of counts are not printed, nor what they could be computed from. Pure functions.

The rule is one of values alone: with every small cell, the smallest of the others (and all equal to it) are hidden.
So whoever knows the total and the rule cannot tell which of the hidden cells holds which value, and no hidden cell has
one possible value only. The test counts this out over all small tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass

LEAST = 10
"""The smallest count that is printed, but for 0."""


@dataclass(frozen=True, slots=True)
class Printable:
    """What may be printed. shown: count by name, None where it is hidden.

    total: of all, None where it must not be printed.   rounded: it is rounded down to a multiple of `LEAST`, since
    something is hidden.
    """

    shown: Mapping[str, int | None]
    total: int | None
    rounded: bool

    @property
    def hidden(self) -> frozenset[str]:
        return frozenset(name for name, value in self.shown.items() if value is None)


def printable(counts: Mapping[str, int | None], least: int = LEAST) -> Printable:
    """A table of counts and its total, without small cells. A count that is not known (None) may be small."""
    small = {name for name, value in counts.items() if value is None or 0 < value < least}
    if not small:
        return Printable(counts, sum(value or 0 for value in counts.values()), False)
    others = {name: value for name, value in counts.items() if name not in small and value}
    if not others or None in counts.values():
        return Printable({name: None if name in small else value for name, value in counts.items()}, None, True)
    next_smallest = min(others.values())
    hidden = small | {name for name, value in others.items() if value == next_smallest}
    total = sum(value or 0 for value in counts.values())
    return Printable(
        {name: None if name in hidden else value for name, value in counts.items()}, total // least * least, True
    )


def number_of_members(groups: Mapping[str, int], hidden: bool) -> int | None:
    """How many members (1 or more each) all groups have together, where some group's number is `hidden`; None where
    the number would give away each: with one group, or as many members as groups."""
    total = sum(groups.values())
    return total if not hidden or (len(groups) > 1 and total > len(groups)) else None
