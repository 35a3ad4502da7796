"""BEAST, a beam search over suffixes that the target itself would write, kept by the target string's loss.
Sadasivan et al. 2024, arXiv:2402.15570, Algorithm 1.

Where we leave the paper: candidates must survive as text in the whole rendered prompt, so a token that does not is
never drawn; the first tokens are scored too, so that a suffix of one token may win.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from withstand.core import Behavior, Flow, Json, SpecError, Target, UpperBounds, WhiteBox, at_least, from_json, rng
from withstand.engine.engine import Engine
from withstand.engine.objective import Objective
from withstand.engine.packed import Row
from withstand.engine.pieces import work_in_pieces
from withstand.engine.text import Prompt, allowed, make_prompt, survives

HIGH = 1e9  # JSON knows no infinity
RANKED = 8
"""Times as many tokens are drawn as are wanted, in order, to find as many that survive as text."""


@dataclass(frozen=True, slots=True)
class BEAST:
    """One suffix per behavior; a test case after every `every` tokens, the best so far.

    beams: suffixes kept (the paper's k1), 1 or more, default 15 (paper). expansions: next tokens drawn for each (k2),
        1 or more, default 15 (paper). length: tokens of the suffix, 1 or more, default 40 (paper).
    temperature: of the draw from the target's own distribution, in (0, 10], default 1 (paper).
    ascii_only: draw printable ASCII alone, default true. dtype: "" (default) is the target's own.
    every: tokens in one piece of work, 1 or more, default 10; a killed run resumes at the last piece.
    seed: any whole number, default 0; split by behavior, length and beam.
    """

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"weights"})
    beams: int = 15
    expansions: int = 15
    length: int = 40
    temperature: float = 1.0
    ascii_only: bool = True
    dtype: Literal["", "float32", "bfloat16"] = ""
    every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(1, self, "beams", "expansions", "length", "every")
        if not 0 < self.temperature <= 10:
            raise SpecError(f"temperature is {self.temperature}", hint="it must lie in (0, 10]; the paper's is 1")

    def most(self) -> UpperBounds:
        return UpperBounds(cases=1)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        yield from work_in_pieces(target.weights(self), self.advance, behavior)

    def advance(self, model: WhiteBox, parts: Sequence[Json]) -> list[Json]:
        """`every` more tokens for each part."""
        return [self._advance(model, from_json(Behavior, part["behavior"]), part) for part in parts]

    def _advance(self, model: WhiteBox, behavior: Behavior, part: Any) -> Json:
        objective, loaded = Objective.of(model, self.dtype, asked=part.get("asked")), model.load(self.dtype)
        prompt, _ = make_prompt(model, behavior, "!")  # a slot of any length may stand where this mark stands
        whole = len(prompt.head) + self.length + len(prompt.tail) + len(prompt.target)
        if loaded.window and whole > loaded.window:
            raise SpecError(
                f"behavior {behavior.id} with suffix and target string has {whole} tokens, the window {loaded.window}",
                hint="use a shorter length, or a model with a longer window",
            )
        state = dict(part["state"] or {"step": 0, "beams": [[]], "best": [], "lowest": HIGH, "done": False})
        if state["best"] and objective.asked:  # the guard may block it
            [again] = objective.losses([(prompt, state["best"], [state["best"]])])
            state["lowest"] = float(again + objective.penalties(prompt, [state["best"]]))
        for _ in range(min(self.every, self.length - state["step"])):
            grown = self.grown(objective.engine, loaded.tokenizer, prompt, state["beams"], state["step"])
            candidates = [candidate for siblings in grown for candidate in siblings]
            if not candidates:
                state["done"] = True
                break
            # siblings differ in their last token alone: what comes before it is computed once
            bare = objective.losses([(prompt, siblings[0], siblings) for siblings in grown if siblings])
            losses = objective.settled([prompt], candidates, torch.cat(bare), min(self.beams, len(candidates)))
            kept = losses.argsort(stable=True)[: self.beams].tolist()
            state |= {"step": state["step"] + 1, "beams": [candidates[i] for i in kept]}
            if float(losses[kept[0]]) < state["lowest"]:
                state |= {"best": candidates[kept[0]], "lowest": float(losses[kept[0]])}
        if not state["best"]:
            raise SpecError(
                f"behavior {behavior.id}: no suffix survives as text, or its loss is no number",
                hint="try ascii_only=false, more expansions or dtype=float32",
            )
        text, loss = objective.read(prompt, state["best"])
        done = state["done"] or state["step"] >= self.length
        return state | {"done": done, "text": text, "loss": loss}

    def grown(
        self, engine: Engine, tokenizer: Any, prompt: Prompt, beams: Sequence[list[int]], step: int
    ) -> list[list[list[int]]]:
        """Each beam with next tokens drawn without replacement from the model's own distribution after it."""
        head = prompt.head
        rows = [Row(engine.trunk(prompt), len(head) - 1, [head[-1], *beam], read=1) for beam in beams]
        with torch.no_grad():
            logits = engine.path.forward(engine.model, rows).float().cpu().numpy()  # Float["beams vocabulary"]
        usable = allowed(tokenizer, logits.shape[1], self.ascii_only)
        wanted = self.expansions if step else self.beams  # the paper's first step draws the beams themselves
        grown = []
        for i, beam in enumerate(beams):
            draw = np.random.default_rng(rng(self.seed, prompt.behavior.id, step, i).getrandbits(64))
            # the highest sums with Gumbel noise, in order, are draws without replacement from the softmax
            noisy = np.where(usable, logits[i] / self.temperature + draw.gumbel(size=len(usable)), -np.inf)
            tokens = (-noisy).argsort(kind="stable")[: min(RANKED * wanted, int(usable.sum()))]
            drawn = [[*beam, token] for token in tokens.tolist()]
            well = survives(tokenizer, prompt, drawn)
            grown.append([slot for slot, survived in zip(drawn, well, strict=True) if survived][:wanted])
        return grown
