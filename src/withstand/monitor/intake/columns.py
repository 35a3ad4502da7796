"""A batch of a log as columns: hashed, redacted, with features and the labels of rules. Runs in worker processes."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from withstand.core.refusal import opening_refusal
from withstand.core.text import storable
from withstand.formats.traffic.exchange import Exchange
from withstand.formats.traffic.log import Batch
from withstand.formats.traffic.position import Position
from withstand.monitor.intake.redaction import redact, redact_name
from withstand.monitor.intake.salt import Hasher
from withstand.monitor.intake.skeleton import skeleton, skeleton_hash
from withstand.monitor.screen.hidden import both_ways, highest
from withstand.monitor.screen.labelers import Labeler, labelers_of
from withstand.monitor.screen.rules import scores
from withstand.monitor.settings import Settings
from withstand.redteam.policy.records import Policy

KEPT = 20_000
"""Characters of a text that are kept. Lengths, hashes, refusals and rules are of the whole text."""
LISTED = 1_000
"""Lines of a kind in a source that are listed; all are counted."""
FLAGS = 0.5
"""Score from which a label that came with the log flags."""
HASHED = ("account", "conversation", "key", "end_user")
AS_IS = ("app", "use_case", "model", "locale", "finish_reason")
LOG = "log"
"""The labeler of labels that came with a log that names none."""

Effect = Literal["kept", "lost", "passed over"]
"""What became of what a line holds: kept, though something was odd; lost; or rightly passed over, as a blank line."""
LabelRow = tuple[Any, ...]
"""Row of its exchange in the batch, then the columns of `label` from `category` on."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How exchanges become columns. salt: of hashed names.   text: whether redacted texts are kept."""

    salt: bytes
    settings: Settings
    policy: Policy
    text: bool = True


@dataclass(slots=True)
class Columns:
    """A batch as columns of `exchange`, by name, and what goes with them.

    content, ident: 64 bits by which a copy, and an id that stands twice, are recognized; ident 0: no id.
    sure: whether two equal exchanges are one (they have an id, a part of a second or a latency in common).
    problems: (line, kind, why), the first of each kind.   tally: of all of them, by kind and effect.
    """

    end: Position
    lines: int = 0
    values: dict[str, list[Any]] = field(default_factory=dict)
    content: list[int] = field(default_factory=list)
    ident: list[int] = field(default_factory=list)
    sure: list[bool] = field(default_factory=list)
    skeletons: dict[int, str] = field(default_factory=dict)
    labels: list[LabelRow] = field(default_factory=list)
    problems: list[tuple[int, str, str]] = field(default_factory=list)
    tally: Counter[tuple[str, Effect]] = field(default_factory=Counter)

    def problem(self, line: int, kind: str, why: str = "", effect: Effect = "kept") -> None:
        """Count a problem, and list it while there are few of its kind."""
        self.tally[kind, effect] += 1
        if self.tally[kind, effect] <= LISTED:
            self.problems.append((line, kind, why))


class Maker:
    """Makes columns of batches. One lives in each worker."""

    def __init__(self, recipe: Recipe) -> None:
        self.text, self.hasher = recipe.text, Hasher(recipe.salt)
        labelers = labelers_of(recipe.settings.screeners, recipe.policy, recipe.settings.file)
        self.labelers: Sequence[Labeler] = [labeler for labeler in labelers if labeler.at_intake]
        self.categories = categories_by_name(recipe.policy)

    def columns(self, batch: Batch) -> Columns:
        """The columns of a batch. Whatever stands in it is a row, a label or a problem."""
        result = Columns(batch.end, batch.end.line - batch.line)
        result.values = {name: [] for name in (*NAMES, *HASHED, *AS_IS)}
        texts: list[tuple[str, str]] = []
        for item in batch.read():
            if isinstance(item, Exchange):
                self._add(result, item, texts)
            else:
                effect: Effect = "passed over" if item.harmless else "lost"
                result.problem(item.line, item.kind, redact(item.why[:300]), effect)
        shown, owners = both_ways(texts) if self.labelers else (texts, [])
        for labeler in self.labelers:
            self._label(result, labeler, texts, highest(scores(labeler, shown), owners))
        return result

    def _add(self, result: Columns, item: Exchange, texts: list[tuple[str, str]]) -> None:
        values, row = result.values, len(texts)
        for kind in item.odd:
            result.problem(item.line, kind)
        prompt, completion = _storable(item.prompt), _storable(item.completion)
        texts.append((prompt, completion))
        content, ident = self._identity(item, prompt, completion)
        result.content.append(content)
        result.ident.append(ident)
        result.sure.append(bool(item.id or item.latency_ms is not None or item.ts % 1))
        shown = redact(prompt[:KEPT]), redact(completion[:KEPT])
        bones = skeleton(shown[0]) if prompt else ""
        code = skeleton_hash(bones)
        if self.text:
            result.skeletons[code] = bones
        if self.text and max(len(prompt), len(completion)) > KEPT:
            result.problem(item.line, "text cut", f"only its first {KEPT:,} characters are kept")
        row_values = (
            item.line, redact_name(_storable(item.id[:200])), item.ts, len(prompt), len(completion),
            bool(opening_refusal(completion)) if completion.strip() else None,
            code, self.hasher.number("audit", content.to_bytes(8, "little")) / 2.0**64,
            shown[0] if self.text else None, shown[1] if self.text else None,
            _figure(item.prompt_tokens), _figure(item.completion_tokens), _figure(item.latency_ms), item.blocked,
        )  # fmt: skip
        for name, value in zip(NAMES, row_values, strict=True):
            values[name].append(value)
        for name in HASHED:
            values[name].append(self.hasher.name(name, getattr(item, name)))
        for name in AS_IS:
            values[name].append(_shown_name(getattr(item, name)))
        if item.labels:
            self._own_labels(result, row, item)

    def _identity(self, item: Exchange, prompt: str, completion: str) -> tuple[int, int]:
        """By what a copy of the exchange is recognized, and its id. Turns of one record differ in what came before."""
        turns = len(item.turns)
        facts: tuple[object, ...] = (item.id, item.account, round(item.ts, 3), turns, len(prompt))
        if not item.id:
            facts += (
                item.conversation, item.key, item.app, item.end_user, item.model, item.prompt_tokens,
                item.completion_tokens, item.finish_reason, item.latency_ms,
            )  # fmt: skip
        data = f"{facts!r}\n{prompt}{completion}".encode("utf-8", "surrogatepass")
        ident = self.hasher.number("ident", f"{turns} {item.id}".encode("utf-8", "surrogatepass")) if item.id else 0
        return self.hasher.number("content", data), ident

    def _own_labels(self, result: Columns, row: int, item: Exchange) -> None:
        """The labels that came with the log, in the policy's categories where it maps to them."""
        labeler = _shown_name(item.labeler) or LOG
        version = ", ".join(
            filter(None, (item.labeler_version, f"policy {item.policy_version}" if item.policy_version else ""))
        )
        version = _shown_name(version)
        highest: dict[str, float] = {}
        for name, score in item.labels.items():
            category = self.categories.get(plain_name(name))
            if category is None:
                category = _shown_name(name[:100])
                result.problem(item.line, "unknown category", f"the policy has no {category!r}; it is kept as it is")
            if isinstance(score, int | float) and math.isfinite(score) and 0 <= score <= 1:
                highest[category] = max(highest.get(category, 0.0), float(score))
            else:
                result.problem(item.line, "no score", f"the label {category!r} is no number in [0, 1]")
        result.labels += [
            (row, category, "exchange", score, score >= FLAGS, labeler, version, -1, "all")
            for category, score in highest.items()
        ]

    def _label(
        self, result: Columns, labeler: Labeler, texts: Sequence[tuple[str, str]], values: Sequence[float | None]
    ) -> None:
        screener = labeler.screener
        at = 0 if screener.reads == "prompt" else 1
        for row, score in enumerate(values):
            if score is not None:
                flagged = bool(labeler.flags(score))
                result.labels.append(
                    (row, screener.category, screener.reads, score, flagged, screener.id, labeler.version, 0, "all")
                )
            elif texts[row][at].strip():
                kind = f"not scored by {screener.id}"
                result.problem(result.values["line"][row], kind, "the rule could not say")


NAMES = (
    "line", "id", "ts", "prompt_chars", "completion_chars", "refused", "skeleton", "audit", "prompt", "completion",
    "prompt_tokens", "completion_tokens", "latency_ms", "blocked",
)  # fmt: skip
"""Columns of `exchange` that are made here, in the order in which `Maker` makes them."""


def categories_by_name(policy: Policy) -> Mapping[str, str]:
    """What a log may call a category -> its id: the id itself, or what the policy maps it to in a framework.

    A name that several categories map to is the first one's; an id goes before a mapping.
    """
    names: dict[str, str] = {}
    for category in policy.categories.values():
        for mapping in category.mappings:
            names.setdefault(plain_name(mapping), category.id)
            names.setdefault(plain_name(mapping.split(":", 2)[2]), category.id)
    return names | {plain_name(name): name for name in policy.categories}


def plain_name(name: str) -> str:
    """A category's name as its writers agree on it: an SDK writes self_harm_intent for self-harm/intent."""
    return name.lower().replace("/", "_").replace("-", "_")


@lru_cache(10_000)
def _shown_name(name: str) -> str:
    """A name of an application, a model or the like: few of them, on millions of lines."""
    return redact_name(_storable(name[:200]))


def _figure(value: float | None) -> float | None:
    """A count or a time that can be one."""
    return value if value is not None and 0 <= value < 2**31 else None


def _storable(text: str) -> str:
    return text if text.isascii() and "\0" not in text else storable(text)
