"""Lisa: lazy safety alignment, two alternating states held together. Huang et al. 2024, arXiv:2405.18641, Algorithm 2.

Some steps on safe rows, then some on the user's; each is pulled towards the weights that the other state ended with.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from withstand.core import SpecError, at_least, within
from withstand.core import rng as random_of
from withstand.core.stage import How, Rows, as_rows
from withstand.training._around import Around


@dataclass(frozen=True, slots=True)
class Lisa(Around):
    """Trains by an SFT stage whose steps alternate between the rows marked `safe` and the user's rows.

    The loss gets a pull: rho / 2 times the squared distance between the trained weights and those at the end of the
    previous turn on the other kind of rows. AdamW rescales the gradient, so the right rho depends on the model.

    stage: the stage whose steps are changed: sft. Its `steps`, or its `epochs` over the user's rows, count both kinds.
    safe_steps, user_steps: steps per turn on safe rows (the paper's K1) and on the user's rows (K2), each 1 or more;
        defaults 100 and 900.
    rho: strength of the pull, 0 or more, default 1.
    start: share of all steps before the pull begins, in [0, 1), default 0.1, as in the released code.
    """

    version: ClassVar[int] = 1
    safe_steps: int = 100
    user_steps: int = 900
    rho: float = 1.0
    start: float = 0.1

    def __post_init__(self) -> None:
        at_least(1, self, "safe_steps", "user_steps")
        at_least(0, self, "rho")
        within(0, 0.999999, self, "start")

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """See `withstand.core.stage.Stage`. Raises `SpecError` where either kind of row is missing."""
        inner: Any = self.stage
        safe = [number for number, row in enumerate(as_rows(rows)) if row.safe]
        users = [number for number, row in enumerate(as_rows(rows)) if not row.safe]
        if not safe or not users:
            kind = "safe rows" if users else "rows of the user"
            raise SpecError(f"lisa was given no {kind}", hint="it needs rows of both kinds: safe ones are marked so")
        steps = inner.steps or math.ceil(inner.epochs * math.ceil(len(users) / inner.batch))

        def change(kind: Any) -> type:
            return self.change(kind, self.order(safe, users, steps, inner.batch), steps)

        return self.stage.train(base, rows, folder, how.inside(self, change))

    def is_safe(self, step: int) -> bool:
        """Whether a step, counted from 0, is on safe rows."""
        return step % (self.safe_steps + self.user_steps) < self.safe_steps

    def order(self, safe: Sequence[int], users: Sequence[int], steps: int, batch: int) -> list[int]:
        """The rows of all steps, `batch` each; both kinds are shuffled anew when they are used up."""
        source = random_of(self.seed, "lisa")
        left: dict[bool, list[int]] = {True: [], False: []}
        order: list[int] = []
        for step in range(steps):
            kind = self.is_safe(step)
            for _ in range(batch):
                if not left[kind]:
                    left[kind] = source.sample(safe if kind else users, len(safe if kind else users))
                order.append(left[kind].pop())
        return order

    def change(self, kind: Any, order: Sequence[int], steps: int) -> type:
        """The trainer with this order of rows and the pull."""
        import torch

        stage = self

        class Proximal(kind):
            anchors: dict[bool, dict[str, Any]] = {}  # by the state that left them

            def __init__(self, *given: Any, **named: Any) -> None:
                super().__init__(*given, **named)
                self.args.max_steps = steps
                self.anchors = {}

            def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
                return order

            def trained(self) -> dict[str, Any]:
                return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}

            def training_step(self, *given: Any, **named: Any) -> Any:
                step = self.state.global_step
                if step and stage.is_safe(step) != stage.is_safe(step - 1):
                    left = {name: weight.detach().clone() for name, weight in self.trained().items()}
                    self.anchors[stage.is_safe(step - 1)] = left
                return super().training_step(*given, **named)

            def compute_loss(self, model: Any, inputs: Any, *given: Any, **named: Any) -> Any:
                loss = super().compute_loss(model, inputs, *given, **named)
                step = self.state.global_step
                anchor = self.anchors.get(not stage.is_safe(step))
                if anchor is None or step < stage.start * steps:
                    return loss
                gap = sum((weight - anchor[name]).square().sum() for name, weight in self.trained().items())
                return loss + stage.rho / 2 * gap

            def _save_checkpoint(self, *given: Any, **named: Any) -> Any:
                saved = super()._save_checkpoint(*given, **named)
                folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
                torch.save(self.anchors, folder / "anchors.pt")
                return saved

            def _load_from_checkpoint(self, checkpoint: Any, *given: Any, **named: Any) -> Any:
                loaded = super()._load_from_checkpoint(checkpoint, *given, **named)
                anchors = torch.load(Path(checkpoint) / "anchors.pt", weights_only=True)
                self.anchors = {
                    kind: {name: weight.to(self.args.device) for name, weight in left.items()}
                    for kind, left in anchors.items()
                }
                return loaded

        return Proximal
