"""Slices of texts, and the texts that each is compared with.

A group, and a term of it, is compared with the texts that mention none: where a filter drops all groups alike, the rest
of the texts would hide it. A dialect is compared with texts without a mark of any. Language and length are of every
text, so that a slice of these is compared with the largest, and so is one by a column of the user's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from withstand.audits.filter.texts import Text
from withstand.core.identities import Identities, slices_of

Axis: TypeAlias = Literal["group", "term", "dialect", "language", "length", "column"]
"""column: of the user's file, as COLUMN=VALUE."""
Mask: TypeAlias = npt.NDArray[np.bool_]

NONE = "none"
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
    of = [slices_of(text.text, identities) for text in texts]
    listed, few = list[Slice](), 0
    masks = {axis: _masks(of, axis) for axis in get_args(Axis)}
    nobody = masks["group"].get(NONE, np.zeros(len(texts), bool))
    for column in dict.fromkeys(name for text in texts for name, _ in text.cells):
        values = [[f"column:{name}={value}" for name, value in text.cells if name == column] for text in texts]
        listed += _of_axis("column", _masks(values, "column"), nobody)
    for axis, by_name in masks.items():
        if axis == "term":
            few = sum(int(mask.sum()) < LEAST for mask in by_name.values())
            whole = {mask.tobytes() for mask in masks["group"].values()}  # a group's only term says no more than it
            by_name = {
                name: mask for name, mask in by_name.items() if mask.sum() >= LEAST and mask.tobytes() not in whole
            }
        listed += _of_axis(axis, by_name, nobody)
    absent = tuple(name for name in identities.groups if name not in masks["group"])
    return Slices(tuple(listed), few, absent)


def _masks(of: Sequence[Sequence[str]], axis: Axis) -> dict[str, Mask]:
    """The texts of each value of an axis, the most frequent first."""
    places: dict[str, list[int]] = {}
    for place, names in enumerate(of):
        for head, _, name in (slice_.partition(":") for slice_ in names):
            if head == axis:
                places.setdefault(name, []).append(place)
    masks = {}
    for name in sorted(places, key=lambda name: (-len(places[name]), name)):
        masks[name] = np.zeros(len(of), bool)
        masks[name][places[name]] = True
    return masks


def _of_axis(axis: Axis, masks: dict[str, Mask], nobody: Mask) -> Iterator[Slice]:
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
