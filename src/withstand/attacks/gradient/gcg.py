"""GCG, greedy coordinate gradient: swap the suffix tokens that the gradient says lower the target string's loss.
Zou et al. 2023, arXiv:2307.15043, Algorithm 1; HarmBench, arXiv:2402.04249, section B.1.

Where we leave the paper and HarmBench's code: the suffix that is best ever is returned, not the last; the suffix at
hand competes with its candidates unless `buffer` is 0; candidates must survive as text in the whole rendered prompt; no
candidate is scored twice in a step; the returned loss is that of the text, read and scored anew.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from withstand.attacks.gradient._candidates import draw_candidates, top_tokens
from withstand.attacks.gradient._fields import check_search
from withstand.attacks.gradient._reinforce import reinforced
from withstand.attacks.gradient._screen import scored
from withstand.attacks.gradient._search import Search
from withstand.core import Behavior, Flow, Json, Judge, Model, Target, UpperBounds, WhiteBox
from withstand.engine.pieces import work_in_pieces


@dataclass(frozen=True, slots=True)
class GCG:
    """One optimized suffix per behavior; a test case after every `every` steps, of which the best is kept.

    steps: 1 or more, default 500 (paper and HarmBench). width: candidates a step, default 512 (both).
    topk: tokens per place to draw from, default 256 (both). n_replace: places changed per candidate, default 1.
    positions: of the swaps: random (paper, default), even (HarmBench: spread evenly), one (AutoPrompt: the same random
        place for all candidates of a step).
    buffer: slots remembered, of which the best is changed next (nanogcg's buffer_size), 0 or more; default 1: the best
        so far. 0 is the paper's walk, which may rise.
    momentum: share of the last gradients that is kept, in [0, 1), default 0 (Zhang and Wei 2024, arXiv:2405.01229).
    loss: ce (default), ce_first (its first token counts by itself too), mellowmax or cw; entropy: make the first token
        of the answer uncertain, for many sampled draws, without a target string (Beyer et al. 2025, arXiv:2507.04446);
        reinforce: make answers likelier that `judge` rewards (Geisler et al. 2025, arXiv:2502.17254).
    judge: of reinforce; its first success ends the search. answers: drawn before each piece of work, one of them
        greedy, the others at temperature 0.7, default 2 (paper).
    stop_loss: stop below this loss, in nats; default 0: never.
    init: first suffix, default 20 exclamation marks. placement: suffix (default) or prefix of the behavior's text.
    ascii_only: swap in printable ASCII alone, default true.
    screen: rank cheaply first: "none" (default) or "bfloat16"; the best `verify` (default 8) are then scored exactly.
    screen_tokens: rank by so many first tokens of the target string; default 0: all. draft: rank by a smaller model of
        the same tokenizer. probe: candidates ranked both ways, whose agreement decides in place of `verify` how many
        are scored exactly: at most a share of 1/`reduction` (probe sampling, Zhao et al. 2024, arXiv:2403.01251: a
        sixteenth of width, and 8); default 0: none.
    race: score all by the first target token, then by the rest while one may still win, `verify` at a time; with ce,
        ce_first or cw. The same suffixes as without it; saves most with ce_first.
    dtype: of the exact losses and the gradient, "" (default): the target's own. memory: most GiB for one forward pass,
        default 0: half of what is free.
    every: steps in one piece of work, default 10; a killed run resumes at the last piece. together: most behaviors in
        one forward pass, default 4. seed: any whole number, default 0; split by behavior and step.
    """

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"weights", "gradients"})
    steps: int = 500
    width: int = 512
    topk: int = 256
    n_replace: int = 1
    positions: Literal["random", "even", "one"] = "random"
    buffer: int = 1
    momentum: float = 0.0
    loss: Literal["ce", "ce_first", "mellowmax", "cw", "entropy", "reinforce"] = "ce"
    stop_loss: float = 0.0
    init: str = " ".join("!" * 20)
    placement: Literal["suffix", "prefix"] = "suffix"
    ascii_only: bool = True
    screen: Literal["none", "bfloat16"] = "none"
    verify: int = 8
    screen_tokens: int = 0
    draft: Model | None = None
    dtype: Literal["", "float32", "bfloat16"] = ""
    every: int = 10
    together: int = 4
    memory: float = field(default=0.0, metadata={"key": False})
    seed: int = 0
    judge: Judge | None = field(default=None, metadata={"added": "0.2"})
    answers: int = field(default=2, metadata={"added": "0.2"})
    probe: int = field(default=0, metadata={"added": "0.2"})
    reduction: int = field(default=8, metadata={"added": "0.2"})
    race: bool = field(default=False, metadata={"added": "0.2"})

    def __post_init__(self) -> None:
        check_search(self)

    def most(self) -> UpperBounds:
        if self.judge is None:
            return UpperBounds(cases=1)
        drawn = (1 - self.steps // -self.every) * self.answers
        return UpperBounds(cases=1, asks={"target": drawn, "judge": (drawn + 1) * self.judge.asks})

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        if self.loss == "reinforce":
            yield from reinforced(self, behavior, target)
        else:
            yield from work_in_pieces(target.weights(self), self.advance, behavior)

    def begun_at(self, slot: Sequence[int]) -> Json:
        """The state of a search that begins at these token ids: nothing of an earlier search counts."""
        return {"step": 0, "slot": [*slot], "best": [], "lowest": math.inf, "kept": [], "gradient": "", "done": False}

    @property
    def parts(self) -> int:
        return self.together

    def advance(self, model: WhiteBox, parts: Sequence[Json]) -> list[Json]:
        """`every` steps for each part, `together` of them at once."""
        done: list[Json] = []
        for i in range(0, len(parts), self.together):
            pack = [Search.start(self, model, part) for part in parts[i : i + self.together]]
            for _ in range(self.every):
                self.step([search for search in pack if not search.done])
            done += [search.json() for search in pack]
        return done

    def step(self, pack: Sequence[Search]) -> None:
        work = [(search.prompt, search.slot) for search in pack]
        gradients = pack[0].objective.gradients(work, self.loss) if pack else []
        for search, (gradient, loss) in zip(pack, gradients, strict=True):
            tokens = top_tokens(search.turned(gradient, loss), search.allowed, self.topk)
            seed = (self.seed, search.prompt.behavior.id, search.step)
            search.candidates = draw_candidates(
                search.tokenizer, [search.prompt], search.slot, tokens, self.width, self.n_replace, self.positions, seed
            )
        for search, losses in zip(pack, scored(self, pack), strict=True):
            search.take(losses)
