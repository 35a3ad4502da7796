"""The state of one search for a slot: what GCG and its kin carry from step to step, as JSON between pieces of work."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from withstand.attacks.gradient._soft import finite, packed, unpacked
from withstand.core import Behavior, Json, SpecError, WhiteBox, WithstandError, at_least, from_json
from withstand.core.notice import tell_step
from withstand.engine.engine import Engine, engine_of
from withstand.engine.text import Prompt, allowed, as_sent, make_prompt


def check_search(attack: Any) -> None:
    """Raise `SpecError` for a field out of its range."""
    at_least(1, attack, "steps", "width", "topk", "n_replace", "verify", "every", "together")
    if attack.draft is not None and "weights" not in attack.draft.gives:
        raise SpecError(f"the draft {attack.draft.place} is text only", hint="a draft is a local model: hf:...")
    at_least(0, attack, "buffer", "screen_tokens", "stop_loss", "memory")
    if not 0 <= attack.momentum < 1:
        raise SpecError(f"momentum is {attack.momentum}; it must lie in [0, 1)")


@dataclass
class Search:
    """One slot under way; `attack` has the fields of `GCG`. `kept`: the best (loss, slot) so far, best first."""

    attack: Any
    model: WhiteBox
    prompt: Prompt
    slot: list[int]
    step: int = 0
    best: list[int] = field(default_factory=list)
    loss: float = math.inf
    kept: list[tuple[float, list[int]]] = field(default_factory=list)
    gradient: Tensor | None = None
    candidates: list[list[int]] = field(default_factory=list)

    @classmethod
    def start(cls, attack: Any, model: WhiteBox, part: Json) -> "Search":
        """From a part of work: a behavior, and the state after the last piece or None."""
        prompt, slot = make_prompt(model, from_json(Behavior, part["behavior"]), attack.init, attack.placement)
        search = cls(attack, model, prompt, list(slot))
        if attack.draft and attack.draft.load().tokenizer.get_vocab() != search.tokenizer.get_vocab():
            raise SpecError("the draft's tokenizer is not the target's", hint="use a smaller model of the same family")
        if state := part["state"]:
            search.step, search.slot, search.best, search.loss = (state[n] for n in ("step", "slot", "best", "lowest"))
            search.kept = [(loss, slot) for loss, slot in state["kept"]]
            if state["gradient"]:
                search.gradient = unpacked(state["gradient"], len(search.slot), -1).to(search.engine.device)
        return search

    @property
    def engine(self) -> Engine:
        return engine_of(self.model, self.attack.dtype, self.attack.memory)

    @property
    def tokenizer(self) -> Any:
        return self.model.load(self.attack.dtype).tokenizer

    @property
    def allowed(self) -> Any:
        size = self.engine.model.get_input_embeddings().weight.shape[0]
        return allowed(self.tokenizer, size, self.attack.ascii_only)

    @property
    def done(self) -> bool:
        return bool(self.step >= self.attack.steps or self.loss < self.attack.stop_loss)

    def turned(self, gradient: Tensor, loss: float) -> Tensor:
        """The gradient by tokens, Float["slot vocabulary"], with momentum; `loss` is that of the slot at hand."""
        finite(loss, f" at step {self.step}")
        if not self.best:
            self.remember(loss, self.slot)
        if self.attack.momentum and self.gradient is not None:
            gradient = gradient + self.attack.momentum * self.gradient
        self.gradient = gradient
        return self.engine.by_token(gradient)

    def remember(self, loss: float, slot: list[int]) -> None:
        if loss < self.loss:
            self.loss, self.best = loss, slot
        self.kept = sorted([*self.kept, (loss, slot)])[: self.attack.buffer]

    def take(self, losses: Tensor) -> None:
        """Go on from the best candidate, or from the best slot remembered. `losses` are inf where not scored."""
        self.step += 1
        if self.candidates:
            place = int(losses.argmin())
            loss, slot = float(losses[place]), self.candidates[place]
            if math.isnan(loss):
                raise WithstandError(f"the loss is not a number at step {self.step}", hint="try dtype=float32")
            self.remember(loss, slot)
            self.slot = self.kept[0][1] if self.kept else slot
        self.candidates = []
        tell_step(self.prompt.behavior.id, self.step, self.attack.steps, self.loss)

    def json(self) -> Json:
        """The state, with the best text: read again by the model's own template and tokenizer, and scored anew."""
        best = self.best or self.slot
        text, ids = as_sent(self.model, self.tokenizer, self.prompt, best)
        state: dict[str, Json] = {
            "step": self.step, "slot": self.slot, "best": best, "lowest": self.loss, "kept": self.kept,
            "gradient": "", "done": self.done, "text": text,
            "loss": self.engine.loss_of(ids, self.prompt, self.attack.loss),
        }  # fmt: skip
        if self.attack.momentum and self.gradient is not None and not self.done:
            state["gradient"] = packed(self.gradient)
        return state


def scored(attack: Any, pack: Sequence[Search]) -> list[Tensor]:
    """The losses of each search's candidates: exact, and where screened inf for all but the best by a cheap ranking."""
    if not pack:
        return []
    work = [(search.prompt, search.slot, search.candidates) for search in pack]
    if attack.screen == "none" and not attack.screen_tokens and attack.draft is None:
        return pack[0].engine.losses(work, attack.loss)
    screen = attack.dtype if attack.screen == "none" else attack.screen
    cheap = engine_of(attack.draft or pack[0].model, screen, attack.memory)
    ranked = [
        losses.topk(min(attack.verify, len(losses)), largest=False).indices.tolist()
        for losses in cheap.losses(work, attack.loss, attack.screen_tokens or None)
    ]
    few = [(prompt, slot, [all_[i] for i in chosen]) for (prompt, slot, all_), chosen in zip(work, ranked, strict=True)]
    losses_of = [torch.full((len(search.candidates),), math.inf) for search in pack]
    for losses, chosen, exact in zip(losses_of, ranked, pack[0].engine.losses(few, attack.loss), strict=True):
        losses[chosen] = exact
    return losses_of
