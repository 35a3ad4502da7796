"""AutoDAN: breed prefixes in plain language by crossing their sentences, until one makes the target string likely. Liu
et al. 2023, arXiv:2310.04451; HarmBench, arXiv:2402.04249, section B.1.

Where we leave the paper and HarmBench's code: losses are of the chat rendered as it is sent, without padding; a cut may
lie between any two sentences and line breaks are kept; a rewritten prefix goes back to its own place; the first
population is our seeds, as long as the paper's, and children of them; the mutator names words alike, since no thesaurus
comes with a package that works offline; no refusal check ends the search: a run that stops at the first success does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from withstand.attacks.llm._genetic import chances, check_genetic, enough, first, momentum, offspring, reworded, theirs
from withstand.attacks.llm._mutator import BATCH, PROMPTS, alike_in, rewritten
from withstand.core import (
    Behavior,
    Chat,
    Flow,
    Json,
    Model,
    SpecError,
    Target,
    TestCase,
    UpperBounds,
    WhiteBox,
    WithstandError,
    from_json,
    rng,
    to_json,
    user,
)
from withstand.core.prompts import OWN
from withstand.engine.likelihood import target_losses
from withstand.engine.terms import weighed
from withstand.formats import originals


@dataclass(frozen=True, slots=True)
class AutoDAN:
    """One prefix per behavior, followed by a blank line and the behavior; after every step the best so far.

    mutator: a model that rewrites prefixes and names words alike; default none: prefixes are crossed alone.
    variant: "ga" (default, HarmBench): roulette and crossover of sentences in every step; "hga": in the first of every
        `iterations` steps, and in the others words change for words alike, by a momentum of their scores; it needs a
        mutator.
    population: prefixes, 2 or more, default 64. steps: generations, 1 or more, default 100. elites: share of the best
        that stay as they are, in [0, 1), default 0.1, rounded down.
    crossover: probability that two parents are crossed, or that a word is changed, default 0.5. points: most cuts of a
        crossover, 1 or more, default 5. mutation: probability that a child is rewritten, default 0.01.
    iterations: of "hga", 1 or more, default 5 (the authors' code). words: of "hga", about which the mutator is asked at
        the first such step, 1 or more, default 400; those that most prefixes hold.
    patience: steps without a new lowest loss, after which it stops, 1 or more, default 10. The numbers, but iterations
        and words, are HarmBench's.
    seeds: prefixes to start from; default none: ours, six of 2,500 characters. marker: put before the target string in
        the search, as HarmBench does; default "": nothing.
    tries: answers of the mutator per rewrite, 1 or more, default 2; a prefix without a usable one stays as it is.
    attacker_tokens: of the mutator's answer, default 1400 (HarmBench). temperature: of the mutator, default 1.
    prompt: own texts for the mutator, "## rewrite" with {passage} and "## words" with {words}; default "": ours.
    originals: a checkout of HarmBench or of the authors' code, with whose seeds it starts; default "": none.
        names: what these call the target and its maker, such as Vicuna and LMSYS; default (): none.
    dtype: of the losses, "" (default): the target's own. seed: any whole number, default 0; split by behavior and step.
    """

    version: ClassVar[int] = 2
    needs: ClassVar[frozenset[str]] = frozenset({"weights"})
    mutator: Model | None = None
    variant: Literal["ga", "hga"] = "ga"
    population: int = 64
    steps: int = 100
    elites: float = 0.1
    crossover: float = 0.5
    points: int = 5
    mutation: float = 0.01
    iterations: int = 5
    patience: int = 10
    seeds: tuple[str, ...] = ()
    marker: str = ""
    tries: int = 2
    attacker_tokens: int = 1400
    temperature: float = 1.0
    dtype: Literal["", "float32", "bfloat16"] = ""
    seed: int = 0
    words: int = field(default=400, metadata={"added": "0.2"})
    prompt: str = field(default="", metadata=OWN)
    originals: str = field(default="", metadata=originals.field_of("autodan"))
    names: tuple[str, ...] = field(default=(), metadata={"added": "0.2"})

    def __post_init__(self) -> None:
        check_genetic(self)
        PROMPTS.texts(self.prompt)
        theirs(self.originals, self.names)

    def most(self) -> UpperBounds:
        bred = (self.steps - 1) * (self.population - int(self.elites * self.population))
        lists = -(-self.words // BATCH) if self.variant == "hga" else 0
        asks = (bred if self.mutation else 0) + lists
        return UpperBounds(cases=1, asks={"attacker": asks * self.tries} if self.mutator and asks else {})

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        if not behavior.target_string:
            raise SpecError(
                f"behavior {behavior.id} has no target string whose loss could be read",
                hint="give the suite a target_string column, or use an attack that needs no weights",
            )
        seeds = theirs(self.originals, self.names) or self.seeds or first()
        prefixes = enough(seeds, self.population, self.points, rng(self.seed, behavior.id, "first"))
        losses, words, lowest, stale = dict[str, float](), dict[str, float](), math.inf, 0
        alike: dict[str, list[str]] = {}
        for step in range(self.steps):
            if step:
                draw, kept = rng(self.seed, behavior.id, step), int(self.elites * self.population)
                ranked = sorted(prefixes, key=losses.__getitem__)
                if self.variant == "ga" or (step - 1) % self.iterations == 0:
                    weights = chances([losses[prefix] for prefix in prefixes])
                    parents = draw.choices(prefixes, weights, k=self.population - kept)
                    children = offspring(parents, self.crossover, self.points, draw)
                else:
                    alike = alike or (yield from alike_in(self, prefixes))
                    words = momentum(words, losses, alike)
                    children = [reworded(prefix, words, alike, self.crossover, draw) for prefix in ranked[kept:]]
                prefixes = [*ranked[:kept], *(yield from rewritten(self, children, draw))]
            new = [prefix for prefix in dict.fromkeys(prefixes) if prefix not in losses]
            if new:  # twins and elites are not scored again
                part = {"behavior": to_json(behavior), "prefixes": new}
                chats = [after(prefix, behavior) for prefix in new]
                losses |= zip(new, (yield from weighed(target.weights(self), self.losses, part, chats)), strict=True)
            losses = {prefix: losses[prefix] for prefix in prefixes}
            best = min(losses, key=losses.__getitem__)
            yield TestCase(behavior.id, after(best, behavior), score=-losses[best])
            lowest, stale = (losses[best], 0) if losses[best] < lowest else (lowest, stale + 1)
            if stale >= self.patience:
                return

    def losses(self, model: WhiteBox, parts: Sequence[Json]) -> list[Json]:
        """Mean nats per token of the target string after each prefix with the behavior."""
        return [self._losses(model, from_json(Behavior, part["behavior"]), part["prefixes"]) for part in parts]

    def _losses(self, model: WhiteBox, behavior: Behavior, prefixes: Sequence[str]) -> list[float]:
        target = self.marker + behavior.target_string
        losses = target_losses(model, [after(prefix, behavior) for prefix in prefixes], target, self.dtype)
        if not all(map(math.isfinite, losses)):
            raise WithstandError("a loss is not a number", hint="try dtype=float32")
        return losses


def after(prefix: str, behavior: Behavior) -> Chat:
    return user(behavior.prompt(f"{prefix}\n\n{behavior.text}"))
