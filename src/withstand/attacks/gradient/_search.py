"""The state of one search for a slot: what GCG and its kin carry from step to step, as JSON between pieces of work."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from withstand.attacks.gradient._soft import finite, packed, unpacked
from withstand.core import Behavior, Json, SpecError, WhiteBox, WithstandError, from_json
from withstand.core.guards import MOST_ASKED
from withstand.core.notice import tell_step
from withstand.engine.objective import Objective
from withstand.engine.terms import guard_of
from withstand.engine.text import Prompt, allowed, make_prompt, target_ids


@dataclass
class Search:
    """One slot under way; `attack` has the fields of `GCG`. `kept`: the best (loss, slot) so far, best first.

    `scored` of `seen` candidates were scored exactly. `agreement`, in [0, 1], of the last probes. `trail`: the best at
    the start and each better one since.
    """

    attack: Any
    model: WhiteBox
    objective: Objective
    prompt: Prompt
    slot: list[int]
    step: int = 0
    best: list[int] = field(default_factory=list)
    loss: float = math.inf
    kept: list[tuple[float, list[int]]] = field(default_factory=list)
    gradient: Tensor | None = None
    candidates: list[list[int]] = field(default_factory=list)
    scored: int = 0
    seen: int = 0
    agreement: float | None = None
    trail: list[list[int]] = field(default_factory=list)

    @classmethod
    def start(cls, attack: Any, model: WhiteBox, part: Json) -> "Search":
        """From a part of work: a behavior, and the state after the last piece or None."""
        behavior, label_free = from_json(Behavior, part["behavior"]), attack.loss == "entropy"
        prompt, slot = make_prompt(model, behavior, attack.init, attack.placement, label_free)
        objective = Objective.of(model, attack.dtype, attack.memory, part.get("asked"))
        search = cls(attack, model, objective, prompt, list(slot))
        if attack.draft and attack.draft.load().tokenizer.get_vocab() != search.tokenizer.get_vocab():
            raise SpecError("the draft's tokenizer is not the target's", hint="use a smaller model of the same family")
        if state := part["state"]:
            search.step, search.slot, search.best, search.loss = (state[n] for n in ("step", "slot", "best", "lowest"))
            search.kept = [(loss, slot) for loss, slot in state["kept"]]
            if state["gradient"]:
                search.gradient = unpacked(state["gradient"], len(search.slot), -1).to(search.objective.engine.device)
            search.scored, search.seen = state.get("scored", [0, 0])
            if part.get("asked"):
                search.go_on_from([search.best, *state["trail"]])
        if attack.loss == "reinforce":
            search.aim_at(part["answers"])
        return search

    @property
    def tokenizer(self) -> Any:
        return self.objective.tokenizer

    @property
    def allowed(self) -> Any:
        return allowed(self.tokenizer, self.objective.engine.vocabulary, self.attack.ascii_only)

    @property
    def done(self) -> bool:
        stopped = self.attack.loss != "reinforce" and self.loss < self.attack.stop_loss
        return bool(self.step >= self.attack.steps or (stopped and self.objective.may_end(self.prompt, self.best)))

    @property
    def to_beat(self) -> float:
        """The loss from which on a candidate changes nothing: of the last slot remembered, inf while there is room."""
        return self.kept[-1][0] if 0 < self.attack.buffer == len(self.kept) else math.inf

    def aim_at(self, answers: Json) -> None:
        """Go on from the best slot towards other answers, [text, weight] each; earlier losses are of others."""
        text = f"{self.prompt.before}{self.prompt.lead}x{self.prompt.trail}{self.prompt.after}"
        prompt, opening = self.tokenizer(text, add_special_tokens=False)["input_ids"], self.model.closing(text)
        ids = [(target_ids(self.tokenizer, text, prompt, opening + answer), weight) for answer, weight in answers]
        self.prompt = replace(self.prompt, answers=tuple(ids))
        self.slot = self.best or self.slot
        self.forget()

    def go_on_from(self, slots: Sequence[list[int]]) -> None:
        """Go on from the best of slots, now that their guard was asked about them."""
        self.forget()
        [losses] = self.objective.losses([(self.prompt, slots[0], slots)], self.attack.loss)
        for slot, loss in zip(slots, (losses + self.objective.penalties(self.prompt, slots)).tolist(), strict=True):
            self.remember(loss, slot)
        self.slot, self.trail = self.best, [self.best]

    def forget(self) -> None:
        """The losses so far, which say nothing of those to come."""
        self.best, self.loss, self.kept = [], math.inf, []

    def turned(self, gradient: Tensor, loss: float) -> Tensor:
        """The gradient by tokens, Float["slot vocabulary"], with momentum; `loss`: the target's, of this slot."""
        finite(loss, f" at step {self.step}")
        if not self.best:
            self.remember(loss + float(self.objective.penalties(self.prompt, [self.slot])), self.slot)
        if self.attack.momentum and self.gradient is not None:
            gradient = gradient + self.attack.momentum * self.gradient
        self.gradient = gradient
        return self.objective.by_token(self.prompt, self.slot, gradient)

    def remember(self, loss: float, slot: list[int]) -> None:
        if loss < self.loss:
            self.loss, self.best = loss, slot
            self.trail.append(slot)
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
        text, loss = self.objective.read(self.prompt, best, self.attack.loss)
        state: dict[str, Json] = {
            "step": self.step, "slot": self.slot, "best": best, "lowest": self.loss, "kept": self.kept,
            "gradient": "", "done": self.done, "text": text, "loss": loss,
        }  # fmt: skip
        if guard_of(self.model):
            trail = [*self.trail[:1], *self.trail[1:][1 - MOST_ASKED :]]
            read = [self.objective.read(self.prompt, slot, self.attack.loss) for slot in trail]
            state |= {"trail": trail, "tried": [[loss, text] for text, loss in read]}
        if self.attack.momentum and self.gradient is not None and not self.done:
            state["gradient"] = packed(self.gradient)
        if self.attack.race or self.attack.probe:
            state |= {"scored": [self.scored, self.seen], "agreement": self.agreement}
        return state
