"""Which candidates of a step are scored exactly: all, those that a cheap ranking prefers, or those that may win."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from withstand.attacks.gradient._search import Search
from withstand.core import rng
from withstand.engine.engine import Loss, engine_of

INF = math.inf


def scored(attack: Any, pack: Sequence[Search]) -> list[Tensor]:
    """The exact losses of each search's candidates, inf for those that were ruled out before."""
    if not pack:
        return []
    if attack.race:
        losses = _raced(attack, pack)
    elif attack.screen == "none" and not attack.screen_tokens and attack.draft is None:
        return _exact(attack, pack, [range(len(search.candidates)) for search in pack])
    else:
        losses = _screened(attack, pack)
    for search, row in zip(pack, losses, strict=True):
        search.scored += int(row.isfinite().sum())
        search.seen += len(row)
    return losses


def _exact(attack: Any, pack: Sequence[Search], chosen: Sequence[Sequence[int]]) -> list[Tensor]:
    """The losses of the chosen candidates of each search, inf for the others."""
    work = [(s.prompt, s.slot, [s.candidates[i] for i in places]) for s, places in zip(pack, chosen, strict=True)]
    rows = [torch.full((len(search.candidates),), INF) for search in pack]
    for row, places, losses in zip(rows, chosen, pack[0].engine.losses(work, attack.loss), strict=True):
        row[list(places)] = losses
    return rows


def _screened(attack: Any, pack: Sequence[Search]) -> list[Tensor]:
    """All by a cheap ranking, the best `verify` exactly; or, with `probe`, as many as the agreement of both says.

    Probe sampling (Zhao et al. 2024, arXiv:2403.01251, Algorithm 1): `probe` random candidates are ranked both ways.
    The lower the rank correlation of the two, the more of the best by the cheap ranking are scored: of all the share
    (1 - agreement) / `reduction`, where agreement is the correlation mapped from [-1, 1] to [0, 1]. The probes compete.
    """
    screen = attack.dtype if attack.screen == "none" else attack.screen
    cheap = engine_of(attack.draft or pack[0].model, screen, attack.memory)
    work = [(search.prompt, search.slot, search.candidates) for search in pack]
    ranks = cheap.losses(work, attack.loss, attack.screen_tokens or None)
    if not attack.probe:
        best = [row.topk(min(attack.verify, len(row)), largest=False).indices.tolist() for row in ranks]
        return _exact(attack, pack, best)
    probes = [_probes(attack, search) for search in pack]
    losses = _exact(attack, pack, probes)
    chosen = []
    for search, places, rank, exact in zip(pack, probes, ranks, losses, strict=True):
        search.agreement = (1 + rank_correlation(rank[places].numpy(), exact[places].numpy())) / 2
        kept = max(1, int((1 - search.agreement) * len(rank) / attack.reduction))
        rank[places] = INF  # scored already
        chosen.append(rank.topk(min(kept, len(rank) - len(places)), largest=False).indices.tolist())
    return [torch.minimum(a, b) for a, b in zip(losses, _exact(attack, pack, chosen), strict=True)]


def _probes(attack: Any, search: Search) -> list[int]:
    count = len(search.candidates)
    draw = rng(attack.seed, search.prompt.behavior.id, search.step, "probe")
    return sorted(draw.sample(range(count), min(attack.probe, count)))


def rank_correlation(a: Any, b: Any) -> float:
    """Spearman's, ties at their mean rank; -1, the least agreement, where one side ranks nothing."""
    x, y = (_mean_ranks(np.asarray(values, dtype=float)) for values in (a, b))
    x, y = x - x.mean(), y - y.mean()
    size = math.sqrt(float((x @ x) * (y @ y)))
    return float(x @ y) / size if size else -1.0


def _mean_ranks(values: Any) -> Any:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return (ends - (counts - 1) / 2)[group]


def _raced(attack: Any, pack: Sequence[Search]) -> list[Tensor]:
    """All by the first target token, then `verify` at a time by the whole string, the most promising first, until no
    candidate left can win: the tokens after the first cannot lower the loss. The best candidate is that of full scores.
    """
    engine = pack[0].engine
    slack = math.sqrt(torch.finfo(engine.model.dtype).eps)  # two passes of one number differ by rounding
    alone: Loss = "cw" if attack.loss == "cw" else "ce"
    first = engine.losses([(search.prompt, search.slot, search.candidates) for search in pack], alone, 1)
    bounds = [
        row * (1 / len(search.prompt.target) + (attack.loss == "ce_first")) - slack
        for search, row in zip(pack, first, strict=True)
    ]
    order = [bound.argsort().tolist() for bound in bounds]
    losses = [torch.full_like(bound, INF) for bound in bounds]
    while True:
        chosen: list[list[int]] = []
        for search, bound, row, left in zip(pack, bounds, losses, order, strict=True):
            lowest = min(search.to_beat, float(row.min()) if len(row) else INF)
            batch = [place for place in left[: attack.verify] if bound[place] < lowest]
            del left[: len(batch)]
            chosen.append(batch)
        if not any(chosen):
            return losses
        losses = [torch.minimum(a, b) for a, b in zip(losses, _exact(attack, pack, chosen), strict=True)]
