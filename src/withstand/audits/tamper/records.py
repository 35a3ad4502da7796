"""What a tampering leaves of a model: its harm, what it still knows, and what it took."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from withstand.audits.quiz import Answered
from withstand.audits.readings import Texts

Method: TypeAlias = Literal[
    "none", "harmful rows", "benign rows", "jailbreak rows", "direction", "pruning", "quantization", "embedding",
    "latent",
]  # fmt: skip
"""none: the model as it is, which each tampering is measured against."""


@dataclass(frozen=True, slots=True)
class Tampered:
    """One tampering of the model.

    label: for people, such as "harmful rows, lora, rate 1e-4, 25 steps".   fields: what it was given.   training: the
    key of the training that it is a step of, "" for none.   steps, rows: of that training.   flops, seconds: all that
    it took.   harm: by behavior, whether any of its answers is harmful; None without a verdict.   clusters: of the
    behaviors.   garbage: behaviors whose harmful answers all make no sense by `audits.sense`; they count as
    open.   nats: of the texts that must still be known.   shuffled: of the model as it is, the same with the words of
    each answer in random order.   right: answers to questions.   garbled: share of the answers that make no sense.
    why: it could not be measured; "" where it was.
    """

    method: Method
    label: str
    fields: Mapping[str, Any]
    harm: Mapping[str, bool | None]
    nats: Texts
    right: Answered | None = None
    clusters: Mapping[str, str] = field(default_factory=dict)
    training: str = ""
    steps: int = 0
    rows: int = 0
    seed: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    garbled: float | None = None
    garbage: tuple[str, ...] = ()
    shuffled: Texts = field(default_factory=list)
    runs: tuple[str, ...] = ()
    why: str = ""
