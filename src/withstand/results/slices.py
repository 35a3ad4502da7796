"""Which texts are in which slice, for figures by identity group, dialect, language, length or a category."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

Mask: TypeAlias = npt.NDArray[np.bool_]
Axis = TypeVar("Axis", bound=str)


def masks_of(slices: Sequence[Iterable[tuple[Axis, str]]]) -> dict[Axis, dict[str, Mask]]:
    """Of each axis, the texts under each name, the most frequent first. slices: of each text, see `slices_of`."""
    places: dict[Axis, dict[str, list[int]]] = {}
    for place, pairs in enumerate(slices):
        for axis, name in pairs:
            places.setdefault(axis, {}).setdefault(name, []).append(place)
    masks: dict[Axis, dict[str, Mask]] = {}
    for axis, named in places.items():
        for name in sorted(named, key=lambda name: (-len(named[name]), name)):
            mask = masks.setdefault(axis, {})[name] = np.zeros(len(slices), bool)
            mask[named[name]] = True
    return masks


def repeats(terms: Mapping[str, Mask], groups: Mapping[str, Mask]) -> set[str]:
    """The terms whose texts are those of a group, which says no less than they do."""
    whole = {mask.tobytes() for mask in groups.values()}
    return {name for name, mask in terms.items() if mask.tobytes() in whole}
