"""What R2D2 does beside a training: search before each micro-batch, follow the losses, and be saved with it. Ours."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from withstand.core import Json, WithstandError
from withstand.training._pool import Case, Pool
from withstand.training._run import write_json

FILE = "r2d2.json"
"""In the result: the course of the losses and the pool at the end. In a checkpoint: what the next step needs."""
DECAY = 0.99
NAMES = ("clean", "away", "toward")


@dataclass
class Hunt:
    """`cases`: what the next update learns. averages: moving averages of the losses, `DECAY` of them kept each time.

    course: at each step that was logged, the loss since the last one, the averages, and under "attack" the mean loss of
    the pool. step: the last one that it was asked for.
    """

    stage: Any
    pool: Pool
    cases: list[Case] = field(default_factory=list)
    averages: dict[str, float] = field(default_factory=dict)
    course: list[Json] = field(default_factory=list)
    step: int = -1

    def before(self, step: int) -> None:
        """Search, after `step` updates of the weights."""
        view, every = self.pool.view, self.stage.reset_every
        if step != self.step:
            self.step = step
            view.changed()
            if every and step and step % every == 0:
                self.pool.reset()
        with view.searching():
            try:
                self.cases = self.pool.search()
            except WithstandError:
                cases = self.cases or [self.pool.case(entry) for entry in self.pool.entries[: self.stage.updated]]
                if view.counts(cases[0].prompt):
                    raise
                self.cases = cases  # the step's own loss is no number either: the training stops at its best weights

    def follow(self, *losses: Any) -> None:
        """Take in the losses of a micro-batch, in the order of `NAMES`."""
        for name, loss in zip(NAMES, losses, strict=True):
            value = float(loss.detach())
            self.averages[name] = DECAY * self.averages.get(name, value) + (1 - DECAY) * value

    def logged(self, step: int, logs: dict[str, float]) -> dict[str, float]:
        """What a trainer logs, with the averages."""
        if "loss" not in logs:
            return logs
        losses = [entry.loss for entry in self.pool.entries if entry.loss is not None]
        averages = {**self.averages, "attack": sum(losses) / max(1, len(losses))}
        self.course.append({"step": step, "loss": logs["loss"], **averages})
        return {**logs, **averages}

    def save(self, checkpoint: Path) -> None:
        state = {"averages": self.averages, "course": self.course, "flops": self.pool.view.flops}
        write_json(checkpoint / FILE, {"pool": self.pool.json(), **state})

    def go_on(self, checkpoint: Path) -> None:
        state = json.loads((checkpoint / FILE).read_text(encoding="utf-8"))
        self.pool.go_on(state["pool"])
        self.averages, self.course, self.pool.view.flops = (state[name] for name in ("averages", "course", "flops"))

    def finish(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / FILE, {"course": self.course, "pool": self.pool.shown()})
