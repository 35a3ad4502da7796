"""Constrained SFT: the first answer tokens may not move far from the aligned model. Qi et al. 2024, arXiv:2406.05946.

Section 4: the loss of a token is weighed by w = 2 sigmoid(-beta_t (log pi - log pi_aligned)), without a gradient of its
own and at least 1e-3, as in the released trainer.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from withstand.core import at_least
from withstand.core.stage import How, Rows
from withstand.training._around import Around

LEAST = 1e-3


@dataclass(frozen=True, slots=True)
class ConstrainedSFT(Around):
    """Trains by an SFT stage with the constrained loss; the aligned model is the base before the first step.

    stage: the stage whose loss is changed: sft.
    first, early, late: beta of the first answer token, of the second to the fifth, and of all others, each 0 or more;
        defaults 0.5, 2 and 0.1. A larger beta keeps the model nearer to the aligned one. The answer begins after what
        the template writes before it, such as an empty block of thinking, and after the thinking.
    warmup_steps: steps in which the learning rate rises, 1 or more, default 10. At the start both models are equal, so
        the loss constrains nothing and the first steps must be small.
    """

    version: ClassVar[int] = 2
    first: float = 0.5
    early: float = 2.0
    late: float = 0.1
    warmup_steps: int = 10

    def __post_init__(self) -> None:
        at_least(0, self, "first", "early", "late")
        at_least(1, self, "warmup_steps")

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """See `withstand.core.stage.Stage`; the logged loss is the weighed one."""
        return self.stage.train(base, rows, folder, how.inside(self, self.change))

    def beta(self, place: int) -> float:
        """Of an answer token, counted from 0; below 0 of a token before the answer."""
        return self.first if place == 0 else self.early if 0 < place < 5 else self.late

    def change(self, kind: Any) -> type:
        """The trainer with the constrained loss."""
        import torch

        stage = self

        def label_logprobs(model: Any, inputs: Any) -> Any:
            """Log-probability of each token to be learned, in order, of shape (tokens,)."""
            plain = {name: value for name, value in inputs.items() if name != "labels"}
            logits = model(**plain, use_cache=False).logits[0, :-1]
            labels = inputs["labels"][0, 1:]
            learned = labels != -100
            scores = torch.log_softmax(logits[learned].float(), dim=-1)
            return scores.gather(1, labels[learned][:, None])[:, 0]

        class Constrained(kind):
            def __init__(self, *given: Any, **named: Any) -> None:
                super().__init__(*given, **named)
                self.args.warmup_steps = stage.warmup_steps
                self.aligned: dict[bytes, Any] = {}  # log-probabilities by the row's own tokens: equal rows share them
                self.leads: dict[bytes, int] = {}
                self.model.eval()
                with torch.no_grad():
                    for row in self.train_dataset:
                        inputs = self._prepare_inputs(self.data_collator([row]))
                        name = _name(inputs["input_ids"][0])
                        self.aligned.setdefault(name, label_logprobs(self.model, inputs))
                        self.leads[name] = row["lead"]

            def compute_loss(
                self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
            ) -> Any:
                ids, places = inputs["input_ids"][0], inputs["position_ids"][0]
                starts = [*(places == 0).nonzero()[:, 0].tolist(), len(ids)]
                rows = [_name(ids[start:end]) for start, end in pairwise(starts)]
                aligned = torch.cat([self.aligned[row] for row in rows])
                betas = [stage.beta(place - self.leads[row]) for row in rows for place in range(len(self.aligned[row]))]
                ours = label_logprobs(model, inputs)
                moved = torch.tensor(betas, device=ours.device) * (ours.detach() - aligned)
                weight = (2 * torch.sigmoid(-moved)).clamp(min=LEAST)
                count = len(ours) if num_items_in_batch is None else num_items_in_batch
                return -(weight * ours).sum() / count

        return Constrained


def _name(ids: Any) -> bytes:
    named: bytes = ids.cpu().numpy().tobytes()
    return named
