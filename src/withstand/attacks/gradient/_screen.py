"""Which candidates of a step are scored exactly: all, those that a cheap ranking prefers, or those that may win."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from withstand.attacks.gradient._agreement import rank_correlation
from withstand.attacks.gradient._search import Search
from withstand.core import rng
from withstand.engine.engine import Loss, engine_of
from withstand.engine.objective import draws

INF = math.inf


def scored(attack: Any, pack: Sequence[Search]) -> list[Tensor]:
    """What each search's candidates cost, exactly; inf for those that were ruled out before."""
    if not pack:
        return []
    if any(search.prompt.drawn for search in pack):
        losses = [row for search in pack for row in _drawn(attack, search)]
    elif attack.race:
        losses = _raced(attack, pack)
    elif attack.screen != "none" or attack.screen_tokens or attack.draft is not None:
        losses = _screened(attack, pack)
    else:
        losses = _exact(attack, pack, [range(len(search.candidates)) for search in pack])
    for search, row in zip(pack, losses, strict=True):
        search.scored += int(row.isfinite().sum())
        search.seen += len(row)
    return losses if attack.race else [_settled(search, row) for search, row in zip(pack, losses, strict=True)]


def _exact(
    attack: Any, pack: Sequence[Search], chosen: Sequence[Sequence[int]], drawn: Sequence[int] = draws(0)[0]
) -> list[Tensor]:
    """The losses of the chosen candidates of each search, inf for the others; without what guards add."""
    work = [(s.prompt, s.slot, [s.candidates[i] for i in places]) for s, places in zip(pack, chosen, strict=True)]
    rows = [torch.full((len(search.candidates),), INF) for search in pack]
    losses = pack[0].objective.losses(work, attack.loss, drawn=drawn)
    for row, places, values in zip(rows, chosen, losses, strict=True):
        row[list(places)] = values
    return rows


def _settled(search: Search, losses: Tensor, count: int = 1, below: float | None = None) -> Tensor:
    """With what guards add, where that may make one of the `count` best; see `Objective.settled`."""
    bar = search.to_beat if below is None else below
    return search.objective.settled([search.prompt], search.candidates, losses, count, bar)


def _best(search: Search, losses: Tensor, count: int) -> list[int]:
    """The places of the `count` lowest losses, with what guards add."""
    row = _settled(search, losses, min(count, len(losses)), INF)
    return row.topk(min(count, len(row)), largest=False).indices.tolist()


def _cheap(attack: Any, pack: Sequence[Search]) -> list[Tensor]:
    """A cheap ranking of all candidates."""
    screen = attack.dtype if attack.screen == "none" else attack.screen
    cheap = engine_of(attack.draft or pack[0].model, screen, attack.memory)
    work = [(search.prompt, search.slot, search.candidates) for search in pack]
    return cheap.losses(work, attack.loss, attack.screen_tokens or None)


def _screened(attack: Any, pack: Sequence[Search]) -> list[Tensor]:
    """All by a cheap ranking, the best `verify` exactly; or, with `probe`, as many as the agreement of both says.

    Probe sampling (Zhao et al. 2024, arXiv:2403.01251, Algorithm 1): `probe` random candidates are ranked both ways.
    The lower the rank correlation of the two, the more of the best by the cheap ranking are scored: of all the share
    (1 - agreement) / `reduction`, where agreement is the correlation mapped from [-1, 1] to [0, 1]. The probes compete.
    """
    ranks = _cheap(attack, pack)
    if not attack.probe:
        return _exact(attack, pack, [_best(s, row, attack.verify) for s, row in zip(pack, ranks, strict=True)])
    probes = [_probes(attack, search) for search in pack]
    losses = _exact(attack, pack, probes)
    chosen = []
    for search, places, rank, exact in zip(pack, probes, ranks, losses, strict=True):
        search.agreement = (1 + rank_correlation(rank[places].numpy(), exact[places].numpy())) / 2
        kept = max(1, int((1 - search.agreement) * len(rank) / attack.reduction))
        rank[places] = INF  # scored already
        chosen.append(_best(search, rank, min(kept, len(rank) - len(places))))
    return [torch.minimum(a, b) for a, b in zip(losses, _exact(attack, pack, chosen), strict=True)]


def _drawn(attack: Any, search: Search) -> list[Tensor]:
    """Behind a randomized defense: all in a few draws, then the best `verify` and the slots remembered in more.

    The best of many by few draws was lucky in these, so the later ones are others. With `screen`, `screen_tokens` or
    `draft` all are ranked by the prompt as it was written instead. No loss by the draws of an earlier step counts.
    """
    few, many = draws(search.step)
    ranked = attack.screen != "none" or attack.screen_tokens or attack.draft is not None
    count, pack = len(search.candidates), [search]
    [ranks] = _cheap(attack, pack) if ranked else _exact(attack, pack, [range(count)], few)
    chosen = [*_best(search, ranks, attack.verify), *range(count, count + len(search.kept))]
    search.candidates += [slot for _, slot in search.kept]
    if search.kept:
        search.forget()
    return _exact(attack, pack, [chosen], many)


def _probes(attack: Any, search: Search) -> list[int]:
    count = len(search.candidates)
    draw = rng(attack.seed, search.prompt.behavior.id, search.step, "probe")
    return sorted(draw.sample(range(count), min(attack.probe, count)))


def _raced(attack: Any, pack: Sequence[Search]) -> list[Tensor]:
    """All by the first target token, then `verify` at a time by the whole string, the most promising first, until no
    candidate left can win: the tokens after the first cannot lower the loss. The best candidate is that of full scores.
    """
    engine = pack[0].objective.engine
    slack = math.sqrt(torch.finfo(engine.model.dtype).eps)  # two passes of one number differ by rounding
    alone: Loss = "cw" if attack.loss == "cw" else "ce"
    first = engine.losses([(search.prompt, search.slot, search.candidates) for search in pack], alone, 1)
    bounds = [
        row * (1 / len(search.prompt.target) + (attack.loss == "ce_first")) - slack
        for search, row in zip(pack, first, strict=True)
    ]
    order = [bound.argsort().tolist() for bound in bounds]
    losses = [torch.full_like(bound, INF) for bound in bounds]  # with what guards add, once they are scored
    while True:
        chosen: list[list[int]] = []
        for search, bound, row, left in zip(pack, bounds, losses, order, strict=True):
            lowest = min(search.to_beat, float(row.min()) if len(row) else INF)
            batch = [place for place in left[: attack.verify] if bound[place] < lowest]
            del left[: len(batch)]
            chosen.append(batch)
        if not any(chosen):
            return losses
        new = [_settled(s, row) for s, row in zip(pack, _exact(attack, pack, chosen), strict=True)]
        losses = [torch.minimum(a, b) for a, b in zip(losses, new, strict=True)]
