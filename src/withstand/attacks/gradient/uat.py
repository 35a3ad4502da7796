"""UAT, universal adversarial triggers, one per behavior: place by place, take the token that the gradient ranks best.
Wallace et al. 2019, arXiv:1908.07125; HarmBench, arXiv:2402.04249, section B.1.

Where we leave HarmBench's code: tokens are printable ASCII and survive as text in the whole rendered prompt; the token
at hand takes up no candidate; the returned loss is the best suffix's own, read and scored anew.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from withstand.attacks.gradient._candidates import top_tokens
from withstand.attacks.gradient._soft import finite
from withstand.core import Behavior, Flow, Json, Target, UpperBounds, WhiteBox, at_least, from_json
from withstand.core.notice import tell_step
from withstand.engine.objective import Objective
from withstand.engine.pieces import work_in_pieces
from withstand.engine.text import Prompt, allowed, make_prompt, survives

RANKED = 32
"""Times `candidates` tokens are read back as text, best score first, to find as many that survive."""


@dataclass(frozen=True, slots=True)
class UAT:
    """One trigger per behavior, never worse than before; stops after more than one whole pass without a better token.

    candidates: tokens scored exactly at a place, 1 or more, default 3 (HarmBench). passes: most passes over the
        trigger, 1 or more, default 100 (HarmBench).
    init: first trigger, default 20 exclamation marks. placement: suffix (default) or prefix of the behavior's text.
    ascii_only: printable ASCII alone, default true. dtype: of losses and gradient, "" (default): the target's own.
    every: places in one piece of work, default 20; a killed run resumes at the last piece. together: most behaviors in
        one forward pass, default 4. seed: changes nothing, as no random number is drawn; default 0.
    """

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"weights", "gradients"})
    candidates: int = 3
    passes: int = 100
    init: str = " ".join("!" * 20)
    placement: Literal["suffix", "prefix"] = "suffix"
    ascii_only: bool = True
    dtype: Literal["", "float32", "bfloat16"] = ""
    every: int = 20
    together: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(1, self, "candidates", "passes", "every", "together")

    def most(self) -> UpperBounds:
        return UpperBounds(cases=1)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        yield from work_in_pieces(target.weights(self), self.advance, behavior)

    @property
    def parts(self) -> int:
        return self.together

    def advance(self, model: WhiteBox, parts: Sequence[Json]) -> list[Json]:
        """`every` places for each part, `together` parts at once."""
        done: list[Json] = []
        for i in range(0, len(parts), self.together):
            triggers = [self.start(model, part) for part in parts[i : i + self.together]]
            for _ in range(self.every):
                self.visit([trigger for trigger in triggers if not trigger.done(self.passes)])
            done += [self.json(trigger) for trigger in triggers]
        return done

    def start(self, model: WhiteBox, part: Json) -> "_Trigger":
        prompt, slot = make_prompt(model, from_json(Behavior, part["behavior"]), self.init, self.placement)
        objective = Objective.of(model, self.dtype, asked=part.get("asked"))
        if state := part["state"]:
            # what a guard said of the slot since: its loss is taken anew with its gradient
            lowest = math.inf if objective.asked else state["lowest"]
            return _Trigger(objective, prompt, state["slot"], lowest, state["visited"], state["failures"])
        return _Trigger(objective, prompt, list(slot))

    def visit(self, pack: Sequence["_Trigger"]) -> None:
        """The next place of each trigger."""
        if not pack:
            return
        objective, stale = pack[0].objective, [trigger for trigger in pack if trigger.gradient is None]
        gradients = objective.gradients([(trigger.prompt, trigger.slot) for trigger in stale]) if stale else []
        for trigger, (gradient, loss) in zip(stale, gradients, strict=True):
            trigger.gradient = objective.by_token(trigger.prompt, trigger.slot, gradient)
            added = float(trigger.objective.penalties(trigger.prompt, [trigger.slot]))
            trigger.loss = min(trigger.loss, finite(loss, f" at place {trigger.visited}") + added)
        swaps = [self.swaps(objective.tokenizer, trigger) for trigger in pack]
        scored = objective.losses([(t.prompt, t.slot, slots) for t, slots in zip(pack, swaps, strict=True)])
        for trigger, slots, row in zip(pack, swaps, scored, strict=True):
            losses = trigger.objective.settled([trigger.prompt], slots, row, below=trigger.loss)
            trigger.visited, trigger.failures = trigger.visited + 1, trigger.failures + 1
            if slots and float(losses.min()) < trigger.loss:
                trigger.loss, trigger.slot = float(losses.min()), slots[int(losses.argmin())]
                trigger.failures, trigger.gradient = 0, None
            tell_step(trigger.prompt.behavior.id, trigger.visited, self.passes * len(trigger.slot), trigger.loss)

    def swaps(self, tokenizer: Any, trigger: "_Trigger") -> list[list[int]]:
        """The trigger with each of the tokens of the highest score, -gradient . embedding, at the place in turn."""
        gradient, slot = trigger.gradient, trigger.slot
        assert gradient is not None
        place = trigger.visited % len(slot)
        usable = allowed(tokenizer, gradient.shape[1], self.ascii_only)
        [tokens] = top_tokens(gradient[place : place + 1], usable, RANKED * self.candidates)
        slots = [[*slot[:place], token, *slot[place + 1 :]] for token in tokens.tolist() if token != slot[place]]
        well = survives(tokenizer, trigger.prompt, slots)
        return [swap for swap, survived in zip(slots, well, strict=True) if survived][: self.candidates]

    def json(self, trigger: "_Trigger") -> Json:
        text, loss = trigger.objective.read(trigger.prompt, trigger.slot)
        return {
            "slot": trigger.slot, "lowest": trigger.loss, "visited": trigger.visited, "failures": trigger.failures,
            "done": trigger.done(self.passes), "text": text, "loss": loss,
        }  # fmt: skip


@dataclass
class _Trigger:
    """A slot under way. `visited`: places so far; `failures`: those since the last better token.

    `gradient`: of the slot by tokens, Float["slot vocabulary"]; None where it is not known.
    """

    objective: Objective
    prompt: Prompt
    slot: list[int]
    loss: float = math.inf
    visited: int = 0
    failures: int = 0
    gradient: Tensor | None = None

    def done(self, passes: int) -> bool:
        return self.failures > len(self.slot) or self.visited >= passes * len(self.slot)
