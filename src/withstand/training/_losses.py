"""Losses of a training's tokens that the libraries do not have. Needs torch."""

from typing import Any


def away(logits: Any, labels: Any, cutoff: float = -5.0) -> Any:
    """-log(1 - p) of each token, Float["positions"] in float32: what makes it unlikely (HarmBench, arXiv:2402.04249).

    0 where log p is below `cutoff`, by default that of their code. log(1 - p) is the log of the sum over all other
    tokens less that over all: finite where p rounds to 1.
    """
    import torch

    logits = logits.float()
    whole = logits.logsumexp(-1)
    likely = (logits.gather(-1, labels[:, None])[:, 0] - whole) >= cutoff
    others = logits.scatter(-1, labels[:, None], float("-inf")).logsumexp(-1)
    return torch.where(likely, whole - others, torch.zeros_like(whole))
