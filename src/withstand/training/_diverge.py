"""Says when a training diverges, and keeps the weights of its best step so far, in case it does."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from withstand.training._model import NotFiniteError

WINDOW = 5
"""Steps whose mean loss stands for a time of the training. One batch tells too little: a refusal costs 0.1 nats a
token, a rare answer 5."""
FACTOR, RISE = 3.0, 5.0
"""A mean above the first one by `RISE` nats a token, and `FACTOR` times it: tokens became 150 times less likely. Chats
cost 1 to 3 nats at first, and 10.8 where a model of 49,152 tokens knows nothing. Losses that begin near 0, as those of
rl, have the same room."""
SNAPSHOTS = 10
"""A training keeps its best weights at most about so often: all weights of a 7B model take 28 GB each time."""
FACTS = "best.json"
"""In a snapshot that is whole: its step and mean loss."""


@dataclass
class Course:
    """The losses of a training so far, and its best snapshot, a folder in `part`.

    A loss is computed before its update. So what is kept are the weights that the loss was computed with, which an
    update that broke the model cannot reach. `save` writes them into a folder.
    """

    part: Path
    save: Callable[[Path], object]
    first: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    why: str = ""

    @property
    def best(self) -> tuple[Path, int, float] | None:
        """Folder, updates and mean loss of the best snapshot."""
        whole = [(path.parent, json.loads(path.read_text())) for path in self.part.glob(f"best-*/{FACTS}")]
        snapshots = [(folder, int(facts["step"]), float(facts["loss"])) for folder, facts in whole]
        return min(snapshots, key=lambda snapshot: (snapshot[2], snapshot[1]), default=None)

    def watch(self, trainer: Any) -> None:
        """Take in the losses of a trainer of transformers, between each step's loss and its update.

        A micro-batch gives its part of the step's loss, and the last one the rest of it.
        """
        real = trainer.training_step
        parts: list[float] = []

        def step(*given: Any, **named: Any) -> Any:
            loss = real(*given, **named)
            parts.append(float(loss))
            if trainer.accelerator.sync_gradients:
                self.add(sum(parts), trainer.state.global_step, trainer.state.max_steps)
                parts.clear()
            return loss

        trainer.training_step = step

    def add(self, loss: float, step: int, most: int) -> None:
        """Take in a step's loss, computed after `step` updates of `most`; judge it, and keep the weights if due."""
        if len(self.first) < WINDOW:
            self.first.append(loss)
        self.last = [*self.last, loss][-WINDOW:]
        start, mean = sum(self.first) / len(self.first), sum(self.last) / len(self.last)
        if not math.isfinite(loss):
            self.why = self.why or f"the loss is {loss} at step {step + 1} of {most}"
        elif mean > max(FACTOR * start, start + RISE):
            self.why = self.why or (
                f"the mean loss of {WINDOW} steps rose from {start:.3g} to {mean:.3g} at step {step + 1} of {most}"
            )
        elif not self.why and step and step % math.ceil(most / SNAPSHOTS) == 0:
            base = start if step >= WINDOW else self.first[0]
            if mean <= base:
                self._keep(step, mean)

    def _keep(self, step: int, mean: float) -> None:
        best = self.best
        if best and best[2] <= mean:
            return
        folder = self.part / f"best-{step}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            self.save(folder)
        except NotFiniteError as error:
            self.why = f"{error} at step {step}"
            return
        facts = folder / f"{FACTS}.new"
        facts.write_text(json.dumps({"step": step, "loss": mean}), encoding="utf-8")
        facts.replace(folder / FACTS)  # half of it would end every later attempt
        for older in self.part.glob("best-*"):
            if older != folder:
                shutil.rmtree(older)

    def state(self) -> dict[str, Any]:
        """What a resumed training needs of it beside the snapshot."""
        return {"first": self.first, "last": self.last}
