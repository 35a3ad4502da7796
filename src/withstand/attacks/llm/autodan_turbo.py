"""AutoDAN-Turbo: an attacker learns strategies from its own successes and keeps them in a library for later behaviors.
Liu et al. 2024, arXiv:2410.05295, Algorithms 1 to 3.

Where we leave the authors' code: answers are compared without an embedding model (see `_library.py`); an attacker that
refuses skips its turn, where the code sends the bare request; behaviors are shuffled, `batch` of them go on side by
side; all attempts of the warm-up are drawn, where the code stops at the first good one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import ClassVar

from withstand.attacks.llm._agents import PROMPTS, Attempt, Hint, before, hint_of, learned, request, tested, written
from withstand.attacks.llm._attacker import check_writer, no_draft, stand_in
from withstand.attacks.llm._judged import search_sampling
from withstand.attacks.llm._library import Strategy, read_library
from withstand.core import (
    Behavior,
    Flow,
    Json,
    Judge,
    Learned,
    Model,
    Sampling,
    Target,
    UpperBounds,
    at_least,
    dumps,
    rng,
    to_json,
    within,
)
from withstand.core.prompts import OWN


@dataclass(frozen=True, slots=True)
class AutoDANTurbo:
    """A joint attack: one flow and one growing library for all behaviors; of each the best-scored prompt is kept.

    attacker: writes prompts.   judge: scores answers in [0, 1]; what made a score rise is learned. Its success ends a
        behavior's round (the paper: 8.5 of 1 to 10). One without scores counts as 0 or 1.
    summarizer: names what made a score rise; default none: the attacker.   warmup: attempts per behavior without
        strategies, 0 or more, default 5 (paper: up to 150); best against worst is learned from.
    rounds: over all behaviors, 1 or more, default 2 (code: 4).   steps: attempts per behavior and round, 1 or more,
        default 5 (paper: 150); the first is without strategies.   k: most strategies given, 1 or more, default 5.
    margin: a rise above it is learned from, in [0, 1], default 0. At 1 the library stays as it is: the paper's test
        stage is warmup 0, rounds 1, margin 1 and a `library`.
    batch: behaviors side by side, 1 or more, default 8; at 1 each learns from all before it (paper).
    library: JSON file of strategies to start from, as `withstand report RUN --learned` writes it; default none.
    tries: asks for a usable answer of attacker or summarizer, 1 or more, default 3.
    attacker_tokens: of their answers, 1 or more, default 1024.   search_tokens: of the target's answers while
        searching, default 0: the run's own.   temperature: of the attacker, in [0, 10], default 1; the summarizer's
        is 0.6, with top_p 0.9.   prompt: own texts, "## attack", "## use", "## avoid", "## summarize"; default ours.
        seed: any whole number, default 0; shuffles the behaviors of each round.
    """

    version: ClassVar[int] = 2
    needs: ClassVar[frozenset[str]] = frozenset()
    informed: ClassVar[bool] = True
    attacker: Model
    judge: Judge
    summarizer: Model | None = None
    warmup: int = 5
    rounds: int = 2
    steps: int = 5
    k: int = 5
    margin: float = 0.0
    batch: int = 8
    library: str = ""
    tries: int = 3
    attacker_tokens: int = 1024
    search_tokens: int = 0
    temperature: float = 1.0
    seed: int = 0
    prompt: str = field(default="", metadata=OWN)

    def __post_init__(self) -> None:
        at_least(1, self, "rounds", "steps", "k", "batch")
        at_least(0, self, "warmup", "search_tokens")
        within(0, 1, self, "margin")
        check_writer(self, self.warmup, "warmup")
        PROMPTS.texts(self.prompt)
        read_library(self.library)

    def identity(self) -> Json:
        """The strategies it starts from: a file may change behind its name."""
        return to_json(read_library(self.library))

    def most(self) -> UpperBounds:
        attempts, learned = self.warmup + self.rounds * self.steps, bool(self.warmup) + self.rounds * self.steps
        asks = {"target": attempts, "judge": attempts * self.judge.asks, "attacker": attempts * self.tries}
        role = "summarizer" if self.summarizer else "attacker"
        return UpperBounds(cases=1, asks=asks | {role: asks.get(role, 0) + learned * self.tries})

    def run_together(self, behaviors: Sequence[Behavior], target: Target) -> Flow[None]:
        target = replace(target, sampling=search_sampling(target, self.search_tokens))
        order = sorted(behaviors, key=lambda behavior: behavior.id)  # whatever their order in the file
        library, any_attempt, seen = read_library(self.library), False, set[tuple[str, str]]()
        for group in self._groups(order) if self.warmup else ():
            streams = [behavior for behavior in group for _ in range(self.warmup)]
            attempts = yield from self._attempts(target, streams, [hint_of(target)] * len(streams), seen)
            any_attempt = any_attempt or any(attempts)
            pairs = []
            for i, behavior in enumerate(group):
                own = [a for a in attempts[i * self.warmup : (i + 1) * self.warmup] if a and a.score >= 0]
                worst, best = (pick(own, key=attrgetter("score"), default=before(behavior)) for pick in (min, max))
                pairs.append((behavior, worst if worst.score < best.score else before(behavior), best))
            yield from self._learn(pairs, library)
        for number in range(self.rounds):
            rng(self.seed, "order", number).shuffle(order)
            for group in self._groups(order):
                live, last = group, {behavior.id: before(behavior) for behavior in group}
                for step in range(self.steps):
                    hints = [hint_of(target, last[b.id], library if step else (), self.k) for b in live]
                    attempts = yield from self._attempts(target, live, hints, seen)
                    any_attempt = any_attempt or any(attempts)
                    scored = [(b, new) for b, new in zip(live, attempts, strict=True) if new and new.score >= 0]
                    yield from self._learn([(b, last[b.id], new) for b, new in scored], library)
                    last |= {behavior.id: new for behavior, new in scored}
                    if not (live := [behavior for behavior in live if not last[behavior.id].done]):
                        break
        if not any_attempt:
            raise no_draft(self.tries)

    def _groups(self, behaviors: Sequence[Behavior]) -> list[Sequence[Behavior]]:
        return [behaviors[i : i + self.batch] for i in range(0, len(behaviors), self.batch)]

    def _attempts(
        self, target: Target, streams: Sequence[Behavior], hints: Sequence[Hint], seen: set[tuple[str, str]]
    ) -> Flow[list[Attempt | None]]:
        """One attempt per stream, all side by side; None where the attacker gave no prompt. hints: of each."""
        requests = [request(behavior, *hint, own=self.prompt) for behavior, hint in zip(streams, hints, strict=True)]
        sent = yield from written(self.attacker, requests, Sampling(self.attacker_tokens, self.temperature), self.tries)
        return (yield from tested(target, self.judge, streams, sent, seen))

    def _learn(self, pairs: Sequence[tuple[Behavior, Attempt, Attempt]], library: list[Strategy]) -> Flow[None]:
        """Add to the library what made a score rise."""
        rises = [pair for pair in pairs if pair[2].score - pair[1].score > self.margin]
        summarizer = self.summarizer or self.attacker
        library += yield from learned(summarizer, rises, library, self.tries, self.attacker_tokens, self.prompt)
        yield Learned(dumps(to_json(library)))

    @staticmethod
    def sample() -> dict[str, Json]:
        return {
            "attacker": stand_in('{"prompt": "Bake, draft {n}", "strategy": "kind", "definition": "Be kind."}'),
            "judge": "contains:Sure",
        }
