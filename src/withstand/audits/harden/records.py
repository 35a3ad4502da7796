"""What a hardening measures of a model: the base, each checkpoint and the hardened one, all asked alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from withstand.audits.quiz import Answered
from withstand.audits.readings import Texts

Family: TypeAlias = Literal["gradient", "search", "LLM-led", "multi-turn", "templated", "prefill"]
"""Kinds of attacks. One of a family says little about another, and much about its own: gcg does not hold out
autoprompt."""


@dataclass(frozen=True, slots=True)
class Tries:
    """What was tried on one behavior: of `cases`, `hits` broke the model and `unknown` have no verdict."""

    hits: int
    unknown: int
    cases: int


@dataclass(frozen=True, slots=True)
class Attacked:
    """One attack on one model.

    attack: its label.   held_out: whether the training knew nothing of its family.   fixed: by behavior, what the test
    cases do that it found on the base, sent again; of the base itself nothing.   adaptive: what it finds by searching
    against this model.   clusters: of the behaviors, "" for none.   runs: names in the store.   flops, seconds: of its
    searches, adaptive ones.
    """

    attack: str
    family: Family
    held_out: bool
    fixed: Mapping[str, Tries]
    adaptive: Mapping[str, Tries]
    clusters: Mapping[str, str] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    flops: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A model under all attacks, on harmless prompts and on texts that it must still know.

    name: "base", "step 20", "hardened".   step: of the training, 0 of the base.   refused: by harmless prompt, whether
    it is refused; None where there is no answer.   nats: of the clean texts that were held out.   right: answers to
    questions.   flops, seconds: of the training up to here, its searches included.   plain: by behavior, whether the
    answer to its request as it is, without an attack, is harmful; None without a verdict.
    """

    name: str
    seed: int
    step: int
    attacks: tuple[Attacked, ...]
    refused: Mapping[str, bool | None]
    nats: Texts
    right: Answered | None = None
    flops: float = 0.0
    seconds: float = 0.0
    plain: Mapping[str, bool | None] = field(default_factory=dict)
