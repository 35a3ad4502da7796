"""CROW: removal of a backdoor by consistent layers. Min et al. 2024, arXiv:2411.12768 (ICML 2025).

Clean rows alone: the trigger need not be known. The input embeddings are moved a small step that makes consecutive
layers differ more, and the model learns to keep them alike nevertheless, beside the ordinary loss.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from withstand.core import SpecError
from withstand.core.stage import How, Rows
from withstand.training._around import Around


@dataclass(frozen=True, slots=True)
class CROW(Around):
    """L = L_LM(x) + alpha * mean over pairs of layers of (1 - cos(h_l(x~), h_{l+1}(x~))), x~ = e(x) + eps * sign(grad).

    The released code takes the pairs of hidden states (1, 2) ... (L-2, L-1): neither the embeddings nor the last state.

    stage: the stage whose loss is changed, such as { use = "sft", lr = 1e-3, epochs = 5, batch = 8 }; no default.
    alpha: weight of the consistency term, 0 or more; default 5.5, the paper's for 7B models. The layers of small models
        differ more, so try 0.5, 2 and 5.5.
    eps: size of the step of the embeddings, 0 or more, default 0.1.

    Raises `SpecError` for a model of fewer than 4 layers, which has no pair of inner layers.
    """

    version: ClassVar[int] = 1
    alpha: float = 5.5
    eps: float = 0.1

    def __post_init__(self) -> None:
        for name in ("alpha", "eps"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SpecError(f"{name} is {getattr(self, name)}; it must be 0 or more")

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """The inner stage's `train`, with its loss changed."""
        return self.stage.train(base, rows, folder, how.inside(self, self.changed))

    def changed(self, trainer: type) -> type:
        """TRL's trainer with CROW's loss."""
        crow = self

        class Consistent(trainer):  # type: ignore[misc, valid-type, unused-ignore]
            def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **more: Any) -> Any:
                loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **more)
                if crow.alpha:
                    loss = loss + crow.alpha * crow.inconsistency(model, inputs)
                return (loss, outputs) if return_outputs else loss

        return Consistent

    def inconsistency(self, model: Any, inputs: Any) -> Any:
        """Mean over the pairs of 1 - cos, at the embeddings moved by `eps` along the sign of its own gradient."""
        import torch

        more = {name: inputs[name] for name in ("attention_mask", "position_ids") if inputs.get(name) is not None}
        embedded = model.get_input_embeddings()(inputs["input_ids"]).detach().requires_grad_(True)
        [slope] = torch.autograd.grad(_apart(model, embedded, more), embedded)
        return _apart(model, (embedded + self.eps * slope.sign()).detach(), more)


def _apart(model: Any, embedded: Any, more: Mapping[str, Any]) -> Any:
    import torch

    states = model(inputs_embeds=embedded, output_hidden_states=True, use_cache=False, **more).hidden_states
    pairs = range(1, len(states) - 2)
    if not pairs:
        raise SpecError(f"a model of {len(states) - 1} layers has no pair of inner layers", hint="CROW needs 4 or more")
    alike = [torch.nn.functional.cosine_similarity(states[i], states[i + 1], dim=-1).mean() for i in pairs]
    return 1 - torch.stack(alike).mean()
