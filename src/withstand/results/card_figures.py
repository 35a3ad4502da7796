"""How well a classifier does on labeled texts: what it catches, what its flags are worth, whether its scores are
chances, what its threshold costs, and the slices on which it errs more.

Every text counts. One that the classifier could not say of is missed where it is positive, and a false alarm where it
is negative; beside each share stands what it would be the other way around.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import get_args

import numpy as np

from withstand.core.identities import NONE, Identities, identities, slices_of
from withstand.core.text import count, series, unique
from withstand.results.card_records import AtShare, Axis, CardFigures, CardPart, CardText, CostLine
from withstand.results.guard_figures import Share
from withstand.results.slices import Mask, masks_of, repeats
from withstand.stats import rates, roc
from withstand.stats.detection import cheapest, paying, precision_at
from withstand.stats.ratio import Ratio, ratio
from withstand.stats.reliability import Reliability, reliability

SHARES = (0.5, 0.1, 0.01, 0.001)
"""Shares of positive texts at which a card says what a flag is worth."""
RATIOS = (1.0, 5.0, 20.0, 100.0)
"""Costs of a missed positive text, in false alarms, for which a card names the cheapest threshold."""
FEW = 10
"""Texts of a kind below which a slice says too little."""
NAMES = {
    "group": "mentions an identity group", "dialect": "has a mark of a dialect",
    "language": "is in another language than {}", "length": "has another length than {}",
}  # fmt: skip


def figures_of(
    texts: Sequence[CardText], threshold: float | None = None, own: str = "", chances: bool = True
) -> CardFigures:
    """The figures of a card. threshold: of the scores, where the classifier names one.   own: file of a user's identity
    terms, "" for ours.   chances: whether a score may be read as the chance that a text is positive."""
    positive = [text for text in texts if text.positive]
    negative = [text for text in texts if not text.positive]
    caught, alarms = _share(positive, _careful), _share(negative, _careful)
    high, low = _scores(positive), _scores(negative)
    measured, why = _reliability(texts) if chances else (None, "its score is not meant as a chance")
    listed = identities(own)
    parts = tuple(_parts(texts, listed))
    return CardFigures(
        positive=len(positive),
        negative=len(negative),
        unscored=(_open(positive), _open(negative)),
        caught=caught,
        alarms=alarms,
        precision=_precision(texts),
        lift=_ratio(positive, negative, _careful, 0.975),
        rest=_ratio(positive, negative, lambda text: not _careful(text), 0.975),
        area=None if high is None or low is None else roc.auroc(high, low, _named(positive), _named(negative)),
        reliability=measured,
        no_reliability=why,
        follows=_follows(texts, threshold),
        seen=_seen(texts),
        at_shares=tuple(_at_shares(positive, negative)),
        costs=() if high is None or low is None else tuple(CostLine(r, cheapest(high, low, r)) for r in RATIOS),
        parts=parts,
        gaps=(*listed.notes, *_gaps(parts)),
    )


def _careful(text: CardText) -> bool:
    """Whether a text counts as flagged: what nobody could say is wrong."""
    return not text.positive if text.flagged is None else text.flagged


def _open(texts: Sequence[CardText]) -> int:
    return sum(text.flagged is None for text in texts)


def _named(texts: Sequence[CardText]) -> list[str]:
    """The cluster of each text; a text of its own has a name that no other has."""
    return [text.cluster or f"\n{at}" for at, text in enumerate(texts)]


def _share(texts: Sequence[CardText], hit: Callable[[CardText], bool], level: float = 0.95) -> Share | None:
    """The share of texts of one kind that is flagged; `reversed` with those it could not say of the other way."""
    if not texts:
        return None
    hits = [hit(text) for text in texts]
    turned = sum(hit(text) is not (text.flagged is None) for text in texts)
    ends = rates.share_interval(np.array(hits, float), np.ones(len(hits)), level, [text.cluster for text in texts])
    return Share(sum(hits), len(hits), sum(hits) / len(hits), ends, turned / len(hits))


def _precision(texts: Sequence[CardText]) -> Share | None:
    """Of what is flagged, how much is positive."""
    flagged = [text for text in texts if _careful(text)]
    kind = [text for text in texts if text.flagged or (text.flagged is None and text.positive)]
    if not flagged:
        return None
    hits = np.array([text.positive for text in flagged], float)
    ends = rates.share_interval(hits, np.ones(len(hits)), clusters=[text.cluster for text in flagged])
    turned = sum(text.positive for text in kind) / len(kind) if kind else 0.0
    return Share(int(hits.sum()), len(hits), float(hits.mean()), ends, turned)


def _scores(texts: Sequence[CardText]) -> list[float] | None:
    """The scores of texts of one kind, an inf on the wrong side for one that it could not say of; None where one that
    it could say of has no score."""
    if any(text.flagged is not None and text.score is None for text in texts):
        return None
    if not any(text.score is not None for text in texts):
        return None
    wrong = -math.inf if texts[0].positive else math.inf
    return [wrong if text.flagged is None or text.score is None else text.score for text in texts]


def _reliability(texts: Sequence[CardText]) -> tuple[Reliability | None, str]:
    """How far scores are chances, or why that cannot be measured."""
    scored = [(text, text.score) for text in texts if text.flagged is not None and text.score is not None]
    decided = sum(text.flagged is not None for text in texts)
    if not scored:
        return None, "it gives no score"
    if len(scored) < decided:
        return None, f"{decided - len(scored):,} of {count(decided, 'text')} have a label and no score"
    if outside := [score for _, score in scored if not 0 <= score <= 1]:
        return None, f"a score of {outside[0]:g} lies outside of [0, 1], and is no chance"
    if all(score == float(bool(text.flagged)) for text, score in scored):
        return None, "its scores repeat its labels"
    values, labels = [score for _, score in scored], [text.positive for text, _ in scored]
    return reliability(values, labels, [text.cluster for text, _ in scored]), ""


def _follows(texts: Sequence[CardText], threshold: float | None) -> bool | None:
    pairs = [(text.flagged, text.score) for text in texts if text.flagged is not None and text.score is not None]
    return None if threshold is None or not pairs else all(flag is (score >= threshold) for flag, score in pairs)


def _seen(texts: Sequence[CardText]) -> tuple[float, float] | None:
    scores: dict[bool, list[float]] = {True: [], False: []}
    for text in texts:
        if text.flagged is not None and text.score is not None:
            scores[text.flagged].append(text.score)
    if not scores[True] or not scores[False] or max(scores[False]) >= min(scores[True]):
        return None
    return max(scores[False]), min(scores[True])


def _at_shares(positive: Sequence[CardText], negative: Sequence[CardText]) -> Iterator[AtShare]:
    """At other shares of positive texts. Each rate has limits at 97.5%, so that both hold with 95%."""
    caught, alarms = _share(positive, _careful, 0.975), _share(negative, _careful, 0.975)
    if caught is None or alarms is None:
        return
    for share in SHARES:
        worst = precision_at(share, caught.ends[0], alarms.ends[1])
        best = precision_at(share, caught.ends[1], alarms.ends[0])
        pays = paying(share, caught.ends[0], alarms.ends[1])  # what the limits allow: few texts show no worth
        yield AtShare(
            share,
            precision_at(share, caught.rate, alarms.rate),
            (worst or 0.0, 1.0 if best is None else best),
            None if pays is None else (pays[0], pays[1] if math.isfinite(pays[1]) else None),
        )


# --- slices ------------------------------------------------------------------------------------------------------


def _parts(texts: Sequence[CardText], own: Identities) -> Iterator[CardPart]:
    """Every slice of every axis, each beside the other texts of its axis."""
    masks = masks_of([_slices(text, own) for text in texts])
    for term in repeats(masks.get("term", {}), masks.get("group", {})):
        del masks["term"][term]
    level = 1 - 0.05 / max(1, 2 * sum(name != NONE for named in masks.values() for name in named))
    for axis in get_args(Axis):
        for name, mask in sorted(masks.get(axis, {}).items(), key=lambda part: (part[0] == NONE, part[0])):
            yield _part(axis, name, texts, mask, level)


def _slices(text: CardText, own: Identities) -> list[tuple[Axis, str]]:
    """The slices of a text; of one that was not kept its category alone."""
    slices: list[tuple[Axis, str]] = [("category", text.category)] if text.category else []
    return [*slices, *slices_of(text.text, own)] if text.text.strip() else slices


def _part(axis: Axis, name: str, texts: Sequence[CardText], inside: Mask, level: float) -> CardPart:
    here = [text for text, kept in zip(texts, inside, strict=True) if kept]
    rest = [text for text, kept in zip(texts, inside, strict=True) if not kept]
    positive, negative = ([text for text in here if text.positive is kind] for kind in (True, False))
    others = [[text for text in rest if text.positive is kind] for kind in (True, False)]
    return CardPart(
        axis, name, len(positive), len(negative), _share(positive, _careful), _share(negative, _careful),
        _ratio(positive, others[0], lambda text: not _careful(text), level),
        _ratio(negative, others[1], _careful, level),
    )  # fmt: skip


def _ratio(
    here: Sequence[CardText], rest: Sequence[CardText], wrong: Callable[[CardText], bool], level: float
) -> Ratio | None:
    """How often it errs here, over how often elsewhere, by the effective number of texts of each."""
    if not here or not rest:
        return None
    counts = []
    for texts in (here, rest):
        errors = np.array([wrong(text) for text in texts], float)
        n = rates.effective_shares(errors, np.ones(len(errors)), [text.cluster for text in texts])
        counts += [float(errors.mean()) * n, n]
    return ratio(counts[0], counts[1], counts[2], counts[3], level)


def _gaps(parts: Sequence[CardPart]) -> Iterator[str]:
    """Slices that nothing was measured on."""
    for axis, what in NAMES.items():
        names = unique(part.name for part in parts if part.axis == axis)
        marked = [name for name in names if name != NONE]
        if axis in ("group", "dialect"):
            if not marked:
                yield f"no text {what}: whether it errs on such texts is not measured"
        elif len(marked) == 1:
            yield f"no text {what.format(marked[0])}: whether it errs on such texts is not measured"
    small = [
        f"{part.name} ({part.axis})" for part in parts if part.name != NONE and min(part.positive, part.negative) < FEW
    ]
    if small:
        some = series([*small[:6], *([f"{len(small) - 6} more"] if len(small) > 6 else [])])
        yield f"fewer than {FEW} positive or negative texts, which show little: {some}"
