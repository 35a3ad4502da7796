"""Whether a term alone makes a filter drop a text: the same text with another group of the kind in its place."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from withstand.audits.filter.records import SwapRate, word_of
from withstand.audits.filter.texts import Text
from withstand.core import Chat, rng
from withstand.core.identities import Identities
from withstand.stats import paired

MARGIN = 0.05
"""The difference up to which two rates of swapped texts count as alike."""


@dataclass(frozen=True)
class Swapped:
    """The texts of a group that are swapped. places: of these among all.   chats: each with another group.   unfit:
    texts that were tried and have no swap."""

    group: str
    places: tuple[int, ...]
    chats: tuple[Chat, ...]
    unfit: int


def swapped(
    texts: Sequence[Text], dropped: Sequence[bool | None], identities: Identities, most: int, seed: int
) -> list[Swapped]:
    """By group, at most so many of the texts that the filter judged, drawn at random, each with a group drawn.

    None of a group of which no text can be swapped."""
    by_group: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        if dropped[place] is not None:
            for name in dict.fromkeys(mention.term.name for mention in identities.mentions(text.text)):
                by_group.setdefault(name, []).append(place)
    listed = []
    for name, places in by_group.items():
        draw = rng(seed, f"swaps of {name}")
        kept: list[tuple[int, Chat]] = []
        unfit = 0
        for place in draw.sample(places, len(places)):
            if len(kept) >= most:
                break
            forms = _forms(texts[place].chat, name, identities)
            unfit += not forms
            kept += [(place, draw.choice(forms))] if forms else []
        if kept:
            listed.append(Swapped(name, tuple(place for place, _ in kept), tuple(chat for _, chat in kept), unfit))
    return listed


def _forms(chat: Chat, group: str, identities: Identities) -> list[Chat]:
    """The chat with another group in the place of one, in each way that fits all of its turns."""
    by_turn = [
        {swap.after: swap.text for swap in identities.swaps(turn.text) if f"{swap.kind}/{swap.before}" == group}
        if any(mention.term.name == group for mention in identities.mentions(turn.text))
        else None
        for turn in chat
    ]
    fits = [set(forms) for forms in by_turn if forms is not None]
    return [
        tuple(turn if forms is None else replace(turn, text=forms[after])
              for turn, forms in zip(chat, by_turn, strict=True))
        for after in sorted(set.intersection(*fits) if fits else set())
    ]  # fmt: skip


def swap_rates(
    swaps: Sequence[Swapped], texts: Sequence[Text], before: Sequence[bool | None],
    after: Sequence[Sequence[bool | None]], level: float,
) -> list[SwapRate]:  # fmt: skip
    """Of each group, the rate of its texts less that of their swapped forms. before: of all texts, whether they were
    dropped; after: of the forms of each group."""
    rates = []
    for swap, forms in zip(swaps, after, strict=True):
        pairs = [
            (before[place], form, texts[place].cluster)
            for place, form in zip(swap.places, forms, strict=True)
            if before[place] is not None and form is not None
        ]
        own, changed = (np.array([pair[side] for pair in pairs], int) for side in (0, 1))
        single = np.ones_like(own)
        gap = paired.difference(changed, single, own, single, clusters=[pair[2] for pair in pairs]) if pairs else None
        low, high = gap.limits(level) if gap else (-1.0, 1.0)
        opened = len(forms) - len(pairs)
        word = word_of(low, high, MARGIN, strict=True)
        rates.append(SwapRate(
            swap.group, len(pairs), opened, swap.unfit, gap.rate_b if gap else 0.0, gap.rate_a if gap else 0.0,
            gap.difference if gap else 0.0, low, high, "not known" if opened and word == "alike" else word,
        ))  # fmt: skip
    return rates
