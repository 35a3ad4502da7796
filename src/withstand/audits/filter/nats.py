"""How well models read held-out texts, by slice: whether what a filter dropped is missed where it was dropped.

Two models read the same texts. What counts is the change on a slice less the change on the texts it is compared with:
less data costs a little everywhere.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from withstand.audits.filter.records import SliceLoss, word_of
from withstand.audits.filter.slices import Slice
from withstand.audits.filter.texts import Text
from withstand.core import SpecError
from withstand.core.protocols import WhiteBox
from withstand.engine import likelihood
from withstand.stats import seeds
from withstand.stats.effect import Effect
from withstand.stats.special import Floats

LONGEST = 1024
"""Tokens of a running text that are read, at most."""
FEWEST = 10
"""Texts, or clusters of them, on either side, below which a change is not known: fewer may agree by chance."""
SIDES = 2


@dataclass(frozen=True)
class Reads:
    """What a model reads of each text: nats and tokens, shape (texts,). label: of the model.   cut: texts of which only
    the first tokens were read."""

    label: str
    nats: Floats
    tokens: npt.NDArray[np.int64]
    cut: int = 0


def reads(model: WhiteBox, label: str, texts: Sequence[Text], running: bool) -> Reads:
    """The nats of running texts, but for a first token that nothing stands before; of chats those of the answer.

    Raises `SpecError` where a likelihood is no number.
    """
    pairs = _running(model, texts) if running else likelihood.answer_tokens(
        model, [text.chat[:-1] for text in texts], [text.chat[-1].text for text in texts]
    )  # fmt: skip
    window = min(LONGEST, model.load().window or LONGEST)
    short = [(prompt, answer[: max(0, window - len(prompt))]) for prompt, answer in pairs]
    cut = sum(len(kept) < len(answer) for (_, kept), (_, answer) in zip(short, pairs, strict=True))
    nats = np.array([math.fsum(of) for of in likelihood.token_nats(model, short)])
    if not np.isfinite(nats).all():
        raise SpecError(
            f"{label} gives {int((~np.isfinite(nats)).sum()):,} texts a likelihood that is no number",
            hint="a model that is broken, or trained at too high a rate: name another, or train with a lower lr",
        )
    return Reads(label, nats, np.array([len(answer) for _, answer in short]), cut)


def _running(model: WhiteBox, texts: Sequence[Text]) -> list[likelihood.Pair]:
    """The tokens of running texts, behind what the tokenizer puts before a text, else behind their own first token."""
    loaded = model.load()
    head = likelihood.head_of(loaded)
    pairs: list[likelihood.Pair] = []
    for text in texts:
        ids = likelihood.ids_of(loaded, text.chat[-1].text)
        pairs.append((head, ids) if head else (ids[:1], ids[1:]))
    return pairs


def unit_of(first: Reads, second: Reads) -> str:
    """What nats are divided by: tokens where both models cut texts into as many, else bytes."""
    return "token" if np.array_equal(first.tokens, second.tokens) else "byte"


def losses(
    pairs: Sequence[tuple[Reads, Reads]], texts: Sequence[Text], slices: Sequence[Slice], level: float, bound: float
) -> Iterator[SliceLoss]:
    """How much worse the second model of each pair reads the slices than the first. pairs: one for each seed.

    bound: nats up to which two changes count as alike. A slice with fewer than `FEWEST` texts is not known.
    """
    bytes_ = unit_of(*pairs[0]) == "byte"
    if bytes_ and any(side.cut for pair in pairs for side in pair):
        raise SpecError(
            "the models cut texts into other tokens, and long ones were not read whole",
            hint="compare models of one tokenizer, or hold out shorter texts",
        )
    size = pairs[0][0].tokens
    if bytes_:
        size = np.array([len(text.chat[-1].text.encode()) for text in texts]) * (size > 0)
    first, second = (np.array([pair[side].nats for pair in pairs]) for side in range(SIDES))
    gaps = second - first
    units = _units(texts)
    for slice_ in slices:
        masks = [mask & (size > 0) for mask in (slice_.members, slice_.others)]
        if not masks[0].any():
            continue
        per = [size[mask].sum() for mask in masks]
        of_seeds = [gaps[:, mask].sum(axis=1) / max(1, n) for mask, n in zip(masks, per, strict=True)]
        more = float((of_seeds[0] - of_seeds[1]).mean())
        effect = _effect(gaps.mean(axis=0), size, units, masks)
        low, high = (-math.inf, math.inf) if effect is None else effect.limits(level)
        if effect is not None:
            low, high = seeds.widened(more, (low, high), of_seeds[0] - of_seeds[1], level)
        rates = [float(nats[:, masks[0]].sum(axis=1).mean() / per[0]) for nats in (first, second)]
        yield SliceLoss(
            slice_.axis, slice_.name, slice_.base, int(masks[0].sum()), int(masks[1].sum()), rates[0], rates[1],
            float(of_seeds[0].mean()), float(of_seeds[1].mean()), more, low, high, word_of(low, high, bound),
        )  # fmt: skip


def _units(texts: Sequence[Text]) -> npt.NDArray[np.int64]:
    """The number of what each text stands or falls with."""
    numbers: dict[str, int] = {}
    return np.array(
        [numbers.setdefault(text.cluster or f"\0{place}", len(numbers)) for place, text in enumerate(texts)]
    )


def _effect(
    gaps: Floats, size: npt.NDArray[np.int64], units: npt.NDArray[np.int64], masks: Sequence[npt.NDArray[np.bool_]]
) -> Effect | None:
    """The difference of two ratios of sums, with Welch's degrees of freedom; None with too few units on a side.

    Each error is by the linearized variance between units (Cochran 1977, "Sampling Techniques", section 2.11).
    """
    changes, variances, freedom = [], [], []
    for mask in masks:
        _, places = np.unique(units[mask], return_inverse=True)
        nats, tokens = (np.bincount(places, column[mask].astype(float)) for column in (gaps, size))
        n = len(nats)
        if n < FEWEST:
            return None
        change = nats.sum() / tokens.sum()
        residuals = (nats - change * tokens) / tokens.mean()
        changes.append(float(change))
        variances.append(float(np.square(residuals).sum() / (n - 1) / n))
        freedom.append(n - 1)
    total = sum(variances)
    shares = sum(variance**2 / df for variance, df in zip(variances, freedom, strict=True))
    return Effect(changes[0] - changes[1], math.sqrt(total), total**2 / shares if shares else float(min(freedom)))
