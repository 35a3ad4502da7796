"""Weights set to 0: by Wanda (Sun et al. 2023, arXiv:2306.11695), by magnitude, or at random as a control.

Nothing is trained again. What a smaller model is made of may be what its guard was made of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from withstand.core import SpecError, at_least, rng
from withstand.core.stage import How, Rows, as_rows
from withstand.engine.activations import layers_in, padded
from withstand.training._edit import Edited, edit, ids_of, matrices

BATCH = 8
"""Rows in one forward pass."""


@dataclass(frozen=True, slots=True)
class Prune:
    """Sets the share of the weights to 0 that matter least, in each row of each linear layer of the decoder's layers.

    By Wanda a weight matters as |W_ij| ||X_j||: its size times the norm of its input over all tokens of the rows, read
    with the layers before it already pruned, as the paper does. By magnitude as |W_ij|, within a matrix. At random it
    matters by a draw: the control, for what any loss of weights does.

    share: of the weights that become 0, above 0 and below 1, default 0.5.
    by: "wanda" (default), "magnitude" or "random". Wanda reads the rows, answers included; the others do not.
    seed: of the draw, a whole number, 0 or more, default 0.
    """

    version: ClassVar[int] = 1
    share: float = 0.5
    by: Literal["wanda", "magnitude", "random"] = "wanda"
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(0, self, "seed")
        if not 0 < self.share < 1:
            raise SpecError(f"share is {self.share:g}", hint="above 0 and below 1, such as 0.5")
        if self.by not in ("wanda", "magnitude", "random"):
            raise SpecError(f"by is {self.by!r}", hint='"wanda", "magnitude" or "random"')

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """See `withstand.core.stage.Stage`. Raises `SpecError` for Wanda without a row."""
        chats = [row.chat for row in as_rows(rows)] if self.by == "wanda" else []
        if self.by == "wanda" and not chats:
            raise SpecError("Wanda reads the model on rows, and there is none", hint='give rows, or by = "magnitude"')

        def change(model: Any, tokenizer: Any) -> Edited:
            return self.change(model, [ids_of(tokenizer, chat, answer=True) for chat in chats])

        return edit(self, base, rows, folder, how, change)

    def change(self, model: Any, texts: Sequence[Sequence[int]]) -> Edited:
        """Prune a model in memory. texts: token ids that Wanda reads. Record: weights set to 0, and of how many."""
        import torch

        draws = torch.Generator().manual_seed(rng(self.seed, "prune").getrandbits(63))
        modules: dict[int, list[Any]] = {}
        for number, _, module in matrices(model):
            modules.setdefault(number, []).append(module)
        read = zeros = count = 0
        for number, linears in modules.items():
            norms: list[Any] = [None] * len(linears)
            if self.by == "wanda":
                norms = input_norms(model, number, linears, texts)
                read += sum(map(len, texts)) * (number + 1)
            for module, norm in zip(linears, norms, strict=True):
                weight = module.weight.data
                matter = weight.float().abs() if self.by != "random" else torch.rand(weight.shape, generator=draws)
                matter = matter.to(weight.device) * (1 if norm is None else norm)
                mask = least(matter, self.share, whole=self.by == "magnitude")
                weight[mask] = 0
                zeros, count = zeros + int(mask.sum()), count + weight.numel()
        tokens = read // len(modules)  # a pass ends after the layer that is read
        return Edited(tokens, zeros, {"pruned": {"zeros": zeros, "weights": count}})


def least(matter: Any, share: float, whole: bool) -> Any:
    """A mask of the share of the weights, (out, in), that matter least: of each row, or of the whole matrix."""
    import torch

    rows = matter.reshape(1, -1) if whole else matter
    number = int(rows.shape[1] * share)
    mask = torch.zeros_like(rows, dtype=torch.bool)
    mask.scatter_(1, rows.argsort(dim=1, stable=True)[:, :number], True)
    return mask.reshape(matter.shape)


class _EndError(Exception):
    """The layer that is read is done: the rest of the pass would be for nothing."""


def input_norms(model: Any, number: int, linears: Sequence[Any], texts: Sequence[Sequence[int]]) -> list[Any]:
    """Of each linear layer within decoder layer `number` (from 0): the norm of each input over all tokens, (in,); 1 of
    an expert that no token reached."""
    import torch

    squares: list[Any] = [0.0] * len(linears)
    mask: Any = None

    def read(place: int) -> Any:
        def hook(_module: Any, inputs: Any) -> None:
            states = inputs[0].float()  # of experts some tokens alone, and never a padded row
            kept = states[mask.bool()] if states.shape[:2] == mask.shape else states.reshape(-1, states.shape[-1])
            squares[place] = squares[place] + kept.square().sum(0)

        return hook

    def end(*_: Any) -> None:
        raise _EndError

    handles = [module.register_forward_pre_hook(read(place)) for place, module in enumerate(linears)]
    handles.append(layers_in(model)[number].register_forward_hook(end))
    try:
        order = sorted(texts, key=len)
        for start in range(0, len(order), BATCH):
            inputs, mask = padded(order[start : start + BATCH], model.device)
            try:
                with torch.no_grad():
                    model(input_ids=inputs, attention_mask=mask, use_cache=False)
            except _EndError:
                pass
    finally:
        for handle in handles:
            handle.remove()
    return [square.sqrt() if hasattr(square, "sqrt") else torch.ones(1) for square in squares]
