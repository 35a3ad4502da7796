"""Slices of texts, and the texts that each is compared with.

A group, and a term of it, is compared with the texts that mention none: where a filter drops all groups alike, the rest
of the texts would hide it. A dialect is compared with texts without a mark of any. Language and length are of every
text, so that a slice of these is compared with the largest, and so is one by a column of the user's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from withstand.audits.filter.texts import Text
from withstand.core.identities import NONE, Identities, slices_of
from withstand.results.slices import Mask, masks_of, repeats

Axis: TypeAlias = Literal["group", "term", "dialect", "language", "length", "column"]
"""column: of the user's file, as COLUMN=VALUE."""
ANY = "any"
"""All texts that mention a group, or have a mark of a dialect."""
UNKNOWN = "unknown"
"""The language of a text that shows none."""
LEAST = 20
"""Texts that mention a term, from which on it is a slice of its own."""
DECIDING: tuple[Axis, ...] = ("group", "term", "dialect", "language", "column")
"""Axes that a verdict counts. A long text has more in it to be dropped for: length is shown alone."""


@dataclass(frozen=True)
class Slice:
    """Some texts, and others to compare them with. base: the name of the others.   members, others: masks."""

    axis: Axis
    name: str
    base: str
    members: Mask
    others: Mask

    @property
    def label(self) -> str:
        """As in "group religion/muslim"."""
        return f"{self.axis} {self.name}"


@dataclass(frozen=True)
class Slices:
    """All slices of some texts. few: terms in fewer than `LEAST` texts.   absent: groups of the list in no text."""

    slices: tuple[Slice, ...]
    few: int
    absent: tuple[str, ...]


def slices(texts: Sequence[Text], identities: Identities) -> Slices:
    """The slices of texts, by axis, the largest first."""
    listed = list[Slice]()
    masks = masks_of([slices_of(text.text, identities) for text in texts])
    groups, terms = masks.get("group", {}), masks.get("term", {})
    nobody = groups.get(NONE, np.zeros(len(texts), bool))
    for column, values in masks_of([text.cells for text in texts]).items():
        listed += _of_axis("column", {f"{column}={value}": mask for value, mask in values.items()}, nobody)
    few = {name for name, mask in terms.items() if mask.sum() < LEAST}
    for name in few | repeats(terms, groups):
        del terms[name]
    for axis in get_args(Axis):
        listed += _of_axis(axis, masks.get(axis, {}), nobody)
    return Slices(tuple(listed), len(few), tuple(name for name in identities.groups if name not in groups))


def _of_axis(axis: Axis, masks: Mapping[str, Mask], nobody: Mask) -> Iterator[Slice]:
    """The slices of an axis. nobody: texts that mention no group."""
    if axis in ("group", "term", "dialect"):
        others = masks.get(NONE, np.zeros_like(nobody)) if axis == "dialect" else nobody
        base = "no mark of a dialect" if axis == "dialect" else "no group mentioned"
        rest = {name: mask for name, mask in masks.items() if name != NONE}
        if axis != "term" and len(rest) > 1:
            yield Slice(axis, ANY, base, ~others, others)
        for name, mask in rest.items():
            yield Slice(axis, name, base, mask, others)
        return
    base = next((name for name in masks if name != UNKNOWN), "")
    for name, mask in masks.items():
        if base and name != base:
            yield Slice(axis, name, base, mask, masks[base])
