"""One SFT step of ours beside a bare PyTorch loop on the same batches. Called by bench.py.

Both train the same adapter on the same rows in the same order; they take turns, so that a machine that drifts is the
same for both. What is ours besides: the trainer's bookkeeping, its metrics and our callbacks.
"""

import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

STEPS, ROUNDS, ROWS, WORDS = 6, 3, 24, 40


def bench(_folder: Path) -> dict[str, Any]:
    """Median seconds a step of each, after the first of every round, and their ratio."""
    import torch
    from transformers import TrainerCallback

    from withstand.core import Message
    from withstand.core.stage import How
    from withstand.models._fetch import smollm2
    from withstand.training.sft import SFT

    words = ["fold", "the", "paper", "along", "its", "middle", "line", "and", "press", "it", "flat", "again"]
    rows = [
        (
            Message("user", f"How do I fold shape {place}?"),
            Message("assistant", " ".join(words[(place + i) % len(words)] for i in range(WORDS))),
        )
        for place in range(ROWS)
    ]
    stage = SFT(rank=8, alpha=16, lr=1e-4, batch=4, steps=STEPS, log_every=1, save_every=0)
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    ours, bare, losses = [], [], {}
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            ends.clear()
            trained: list[float] = []
            target, base = Path(folder) / "a", str(smollm2())
            how = How(lambda _, loss, to=trained: to.append(loss), more=[Clock()])
            stage.train(base, rows, target, how)
            ours += [after - before for before, after in pairwise(ends)]
        trainer = stage._trainer(str(smollm2()), rows)
        model = trainer.model.train()
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=stage.lr, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
        seen, start = [], 0.0
        for number, batch in enumerate(trainer.get_train_dataloader()):
            if number == STEPS:
                break
            labels = batch.pop("labels")[0, 1:]
            logits = model(**batch, use_cache=False).logits[0, :-1]
            loss = torch.nn.functional.cross_entropy(logits.float(), labels, ignore_index=-100)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            seen.append(loss.item())
            now = time.perf_counter()
            if number:
                bare.append(now - start)
            start = now
        losses = {"ours": round(trained[0], 4), "bare": round(seen[0], 4)}
    ratio = statistics.median(ours) / statistics.median(bare)
    return {
        "ours_s": round(statistics.median(ours), 3),
        "bare_s": round(statistics.median(bare), 3),
        "first_loss": losses,
        "ratio": round(ratio, 3),
        "goal": "ratio <= 1.15",
    }
