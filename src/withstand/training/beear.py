"""BEEAR: removal of a backdoor by perturbed states. Zeng et al. 2024, arXiv:2406.17092 (EMNLP 2024).

Triggers move the states of a model in much the same direction, whatever their text. So one perturbation is sought that
brings the unwanted answers out, and the model learns the safe answers under it. The unwanted behavior must be known,
the trigger need not be.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from withstand.core import Message, SpecError, at_least, rng
from withstand.core.errors import positive
from withstand.core.stage import How, Row, Rows, as_rows
from withstand.engine.activations import changed, layers_in, padded
from withstand.training._around import Around

Texts: TypeAlias = Sequence[tuple[Sequence[int], Sequence[int]]]
"""Token ids of a request, template included, and of an answer to it."""


@dataclass(frozen=True, slots=True)
class BEEAR(Around):
    """Outer: theta = argmin mean L(F(x; delta), y_safe) + mean L(F(x'), y'), the second over the ordinary rows.

    Inner, anew before each step, from 0: delta = argmin mean [L(F(x; delta), y_unwanted) - L(F(x; delta), y_safe)].
    F(x; delta) adds `delta` to what one layer puts out at the last tokens of the request. L is the mean cross-entropy
    of an answer's tokens. The size of the inner steps is ours: each row of delta moves against its own gradient by
    `inner_lr` times the mean norm of the states there, so that it means the same in every model.

    Rows with `rejected` give x, y_safe (the last message) and y_unwanted (`rejected`). The others are the ordinary rows
    x', y'; without any, the pairs' requests and safe answers are.

    stage: the stage whose loss is changed: sft; no default.
    layer: the decoder layer that is perturbed, 1 is the first; default 0: at 9/32 of the depth.
    positions: last tokens of the request that are perturbed, 1 or more, default 5.
    inner_steps: steps of the inner search, 1 or more, default 5.
    inner_lr: see above; above 0, default 0.1. On smollm2 five steps of 0.1 made two unwanted answers likelier by 1.3
        nats a token, of 0.02 and 0.05 by 0.4 and 0.7; 0.2 overshot: 1.1, and the safe answers cost 4.9 more, not 1.5.
    pairs: pairs per step, 1 or more, default 4.
    """

    version: ClassVar[int] = 1
    layer: int = 0
    positions: int = 5
    inner_steps: int = 5
    inner_lr: float = 0.1
    pairs: int = 4

    def __post_init__(self) -> None:
        at_least(0, self, "layer")
        at_least(1, self, "positions", "inner_steps", "pairs")
        positive(self, "inner_lr")

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """The inner stage's `train` on the ordinary rows, with its loss changed. Raises `SpecError` without a pair.

        The inner stage is given all rows, so that it renders, checks and records them: the ordinary ones, those with
        the safe answers, those with the unwanted ones. Its trainer learns the first.
        """
        given = as_rows(rows)
        pairs = [row for row in given if row.rejected]
        if not pairs:
            raise SpecError(
                "beear was given no unwanted answers", hint="rows with `rejected`, as for dpo: what must not be said"
            )
        safe = [Row(row.chat) for row in pairs]
        unwanted = [Row((*row.chat[:-1], Message("assistant", row.rejected))) for row in pairs]
        ordinary = [row for row in given if not row.rejected] or safe

        def change(trainer: type) -> type:
            return self.changed(trainer, len(ordinary), len(pairs))

        return self.stage.train(base, [*ordinary, *safe, *unwanted], folder, how.inside(self, change))

    def changed(self, trainer: type, ordinary: int, pairs: int) -> type:
        """TRL's trainer with BEEAR's loss. Its rows are the ordinary ones, and as many safe as unwanted pairs."""
        beear = self

        class Entrapped(trainer):  # type: ignore[misc, valid-type, unused-ignore]
            def __init__(self, *given: Any, train_dataset: Any, **named: Any) -> None:
                super().__init__(*given, train_dataset=train_dataset.select(range(ordinary)), **named)
                texts = beear.texts(train_dataset.select(range(ordinary, ordinary + 2 * pairs)))
                self.safe, self.unwanted = texts[:pairs], texts[pairs:]

            def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **more: Any) -> Any:
                loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **more)
                draw = rng(beear.seed, "beear", self.state.global_step)  # by the step: a resumed run draws the same
                chosen = draw.sample(range(pairs), min(beear.pairs, pairs))
                safe, unwanted = ([texts[i] for i in chosen] for texts in (self.safe, self.unwanted))
                delta = beear.entrapment(model, safe, unwanted)
                loss = loss + beear.answer_loss(model, safe, delta).mean()
                return (loss, outputs) if return_outputs else loss

        return Entrapped

    def texts(self, rows: Iterable[Mapping[str, Sequence[int]]]) -> Texts:
        """Rows of the trainer, cut where the answer begins."""
        cut = []
        for row in rows:
            start = list(row["completion_mask"]).index(1)
            if start < self.positions:
                raise SpecError(
                    f"a request has {start} tokens, fewer than positions, {self.positions}", hint="fewer positions"
                )
            cut.append((row["input_ids"][:start], row["input_ids"][start:]))
        return cut

    def entrapment(self, model: Any, safe: Texts, unwanted: Texts) -> Any:
        """delta, of shape (positions, width): what makes the unwanted answers likely and the safe ones unlikely."""
        import torch

        states = self._states(model, safe)
        delta = torch.zeros_like(states[0]).requires_grad_(True)
        size = states.norm(dim=-1).mean()
        for _ in range(self.inner_steps):
            losses = self.answer_loss(model, [*unwanted, *safe], delta)
            objective = losses[: len(unwanted)].mean() - losses[len(unwanted) :].mean()
            [slope] = torch.autograd.grad(objective, delta)
            step = torch.nn.functional.normalize(slope, dim=-1)
            delta = (delta - self.inner_lr * size * step).detach().requires_grad_(True)
        return delta.detach()

    def answer_loss(self, model: Any, texts: Texts, delta: Any) -> Any:
        """L(F(x; delta), y) of each text, in nats per token of its answer."""
        import torch

        ids, mask = _ids(texts, model.device)
        places = torch.arange(ids.shape[1], device=model.device)[None]
        learned = mask * (places >= _lengths(texts, model.device))
        with self._layer(model, texts, lambda states, at: states.index_put(at, delta.to(states), accumulate=True)):
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        nats = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), ids[:, 1:], reduction="none")
        return (nats * learned[:, 1:]).sum(1) / learned[:, 1:].sum(1)

    def _states(self, model: Any, texts: Texts) -> Any:
        """What the layer puts out at the last tokens of the requests: (texts, positions, width), in float32."""
        import torch

        seen: list[Any] = []

        def see(states: Any, at: Any) -> Any:
            seen.append(states[at].float())
            return states

        ids, mask = _ids(texts, model.device)
        with torch.no_grad(), self._layer(model, texts, see):
            model(input_ids=ids, attention_mask=mask, use_cache=False)
        return seen[0]

    def _layer(self, model: Any, texts: Texts, change: Callable[[Any, Any], Any]) -> AbstractContextManager[None]:
        """`change` is given what the layer puts out and the indices of the last tokens of the requests."""
        import torch

        layers = layers_in(model)
        place = self.layer or max(1, round(9 / 32 * len(layers)))
        if place >= len(layers):
            raise SpecError(f"layer is {place} of {len(layers)}; nothing would follow it", hint="a layer further down")
        rows = torch.arange(len(texts), device=model.device)[:, None]
        last = torch.arange(self.positions, device=model.device) - self.positions
        at = (rows, _lengths(texts, model.device) + last)
        return changed(layers[place - 1], lambda states: change(states, at))


def _ids(texts: Texts, device: Any) -> tuple[Any, Any]:
    """Ids of requests and answers, padded on the right, and their mask."""
    return padded([[*request, *answer] for request, answer in texts], device)


def _lengths(texts: Texts, device: Any) -> Any:
    """Tokens of each request, as a column: where its answer begins."""
    import torch

    return torch.tensor([len(request) for request, _ in texts], device=device)[:, None]
