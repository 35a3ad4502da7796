"""GCG-Multi and GCG-Transfer: one suffix for all behaviors, found on one model or on several.
Zou et al. 2023, arXiv:2307.15043, Algorithm 2; HarmBench, arXiv:2402.04249, sections B.1 and 2 of its methods.

Where we leave HarmBench's code: behaviors join in an order shuffled by the seed, not in the file's; how many became
active is the whole part of a test case's score; the best suffix at the last number of behaviors is returned, not the
last one; a candidate survives as text on every model; a step without such candidates keeps its suffix.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from withstand.attacks.gradient._candidates import draw_candidates, top_tokens
from withstand.attacks.gradient._soft import finite
from withstand.attacks.gradient._universal import direction, shared, whole
from withstand.core import (
    Behavior,
    Flow,
    Json,
    Model,
    SpecError,
    Target,
    UpperBounds,
    WhiteBox,
    at_least,
    from_json,
    rng,
    to_json,
    work,
)
from withstand.core.notice import tell_step
from withstand.engine.objective import Objective
from withstand.engine.text import allowed, make_prompt, texts

HIGH = 1e9  # JSON knows no infinity


@dataclass(frozen=True, slots=True)
class GCGMulti:
    """One suffix for a whole suite: a joint attack, one flow for all its behaviors; a test case for each of them.

    surrogates: models to search on, whose tokenizers must be equal; default none: the target itself (GCG-Multi). With
        surrogates the target's weights are not needed and the test cases are transferred (GCG-Transfer: four, 1000
        steps); a target that is a surrogate too is no transfer, and its cell says so.
    steps: default 500 (HarmBench). width: candidates a step, default 512. topk: tokens per place, default 256.
    positions: random (default), even (HarmBench), one. add_below: the next behavior joins when the loss of each active
        one is below it, in nats, default 0.2; add_after: or after so many steps, default 100 (both HarmBench).
    init: first suffix, default 20 exclamation marks. ascii_only: default true. dtype: "" (default) is the model's own.
    every: steps in one piece of work, default 10. seed: any whole number, default 0; order of behaviors and draws.
        HarmBench's five test cases per behavior are five runs with five seeds.
    """

    version: ClassVar[int] = 1
    surrogates: tuple[Model, ...] = ()
    steps: int = 500
    width: int = 512
    topk: int = 256
    positions: Literal["random", "even", "one"] = "random"
    add_below: float = 0.2
    add_after: int = 100
    init: str = " ".join("!" * 20)
    ascii_only: bool = True
    dtype: Literal["", "float32", "bfloat16"] = ""
    every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(1, self, "steps", "width", "topk", "add_after", "every")
        lacking = next((model for model in self.surrogates if "weights" not in model.gives), None)
        if lacking is not None:
            raise SpecError(f"the surrogate {lacking.place} is text only", hint="a surrogate is a local model: hf:...")
        if not all("gradients" in model.gives for model in self.surrogates):
            raise SpecError(
                "the quantized weights of a surrogate have no backward pass",
                hint="use the unquantized weights, or ones that bitsandbytes quantizes",
            )

    @property
    def needs(self) -> frozenset[str]:
        return frozenset() if self.surrogates else frozenset({"weights", "gradients"})

    def most(self) -> UpperBounds:
        return UpperBounds(cases=1)

    def run_together(self, behaviors: Sequence[Behavior], target: Target) -> Flow[None]:
        order = sorted(behaviors, key=lambda behavior: behavior.id)  # whatever their order in the file
        rng(self.seed, "order").shuffle(order)
        part: dict[str, Json] = {"behaviors": [to_json(behavior) for behavior in order], "state": None}
        model = self.surrogates[0] if self.surrogates else target.weights(self)
        state: Any = None
        asked: dict[str, float] = {}
        while state is None or state["step"] < self.steps:
            heard = {"asked": dict(asked)} if asked else {}
            state = yield from work(model, self.advance, part | {"state": state} | heard)
            yield from shared(model, order, state, asked)

    def advance(self, model: WhiteBox, parts: Sequence[Json]) -> list[Json]:
        return [self._advance(model, part) for part in parts]

    def _advance(self, model: WhiteBox, part: Any) -> Json:
        models: Any = self.surrogates or (model,)
        objectives = [Objective.of(member, self.dtype, asked=part.get("asked")) for member in models]
        tokenizer = models[0].load(self.dtype).tokenizer
        if any(member.load(self.dtype).tokenizer.get_vocab() != tokenizer.get_vocab() for member in models[1:]):
            raise SpecError("the surrogates' tokenizers differ", hint="GCG-Transfer needs models of one tokenizer")
        behaviors = [from_json(Behavior, behavior) for behavior in part["behaviors"]]
        starts = [[make_prompt(member, behavior, self.init) for behavior in behaviors] for member in models]
        prompts = [[prompt for prompt, _ in row] for row in starts]
        first = list(starts[0][0][1])
        new = {"step": 0, "slot": first, "active": 1, "added": 0, "best": first, "loss": HIGH}
        state = dict(part["state"] or new)
        size = min(objective.engine.vocabulary for objective in objectives)
        free = allowed(tokenizer, size, self.ascii_only)
        if part.get("asked"):  # a guard may block what was the best
            state["loss"] = float(whole(objectives[0], prompts[0][: state["active"]], state["best"]).mean())
        for _ in range(min(self.every, self.steps - state["step"])):
            active, slot = [row[: state["active"]] for row in prompts], state["slot"]
            pairs = list(zip(objectives, active, strict=True))
            total: Any = sum(direction(objective, row, slot, size) for objective, row in pairs)
            tokens, seed = top_tokens(total, free, self.topk), (self.seed, "step", state["step"])
            all_active = [prompt for row in active for prompt in row]
            candidates = draw_candidates(tokenizer, all_active, slot, tokens, self.width, 1, self.positions, seed)
            state["step"] += 1
            if not candidates:
                continue
            losses = torch.stack(
                [torch.stack(own.losses([(prompt, slot, candidates) for prompt in row])) for own, row in pairs]
            ).mean(0)  # Float["behaviors candidates"], the mean over models
            place = int(objectives[0].settled(active[0], candidates, losses.mean(0)).argmin())
            guards = [objectives[0].penalties(prompt, [candidates[place]]) for prompt in active[0]]
            own_losses = losses[:, place] + torch.cat(guards)
            state["slot"], loss = candidates[place], finite(float(own_losses.mean()))
            if loss < state["loss"]:
                state |= {"best": state["slot"], "loss": loss}
            tell_step("", state["step"], self.steps, state["loss"])
            solved = bool((own_losses < self.add_below).all())
            due = solved or state["step"] - state["added"] >= self.add_after
            if due and state["active"] < len(behaviors) and state["step"] < self.steps:
                state |= {"active": state["active"] + 1, "added": state["step"], "loss": HIGH, "best": state["slot"]}
        state["texts"] = [prompt.chat(texts(tokenizer, prompt, [state["best"]])[0])[0].text for prompt in prompts[0]]
        if objectives[0].terms:
            state["blocked"] = [float(objectives[0].penalties(prompt, [state["best"]])) for prompt in prompts[0]]
        return state
