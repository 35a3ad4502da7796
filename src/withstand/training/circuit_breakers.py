"""Circuit breakers: representation rerouting by LoRA. Zou et al. 2024, arXiv:2406.04313 (NeurIPS 2024), Algorithm 1.

No attack is searched for. Whatever makes the model write a harmful answer, its states pass through those that such
answers have. So these states are turned away from what they were, and those of good answers are kept where they are.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from withstand.core import Message, SpecError, at_least, rng
from withstand.core.errors import positive
from withstand.core.stage import How, Row, Rows, innermost
from withstand.engine.activations import changed, layers_in, padded
from withstand.training import _pairs
from withstand.training._around import Around

DEPTHS = (10 / 32, 20 / 32)


@dataclass(frozen=True, slots=True)
class CircuitBreakers(Around):
    """L = c_s L_s + c_r keep L_r, with c_s = alpha (1 - t/2T) and c_r = alpha t/2T at step t of T: turn, then keep.

    L_s = mean ReLU(cos(h, h_base)) over the tokens of the harmful answers, at the target layers.
    L_r = mean ||h - h_base||_2 / ||h_base||_2 over all tokens of the retain rows, at each layer up to the last target.
    h_base: the states with the adapter switched off. There is no second copy of the weights, and nothing is learned
    from the text of an answer. Only the layers up to the last target are read and trained.

    Rows with `rejected` give the harmful answers, each after its request (`rejected`: a whole answer). The retain rows
    are the other rows, such as clean ones, and the requests with their right refusals. A step reads as many of the
    first as of the second, the inner stage's `batch`.

    Where we leave the paper: its L_r is not divided, and has no weight beside c_r. L_s has no gradient where h is
    h_base. A training leaves there by chance, and only where L_r is too weak to pull it back: the paper's
    did, in 20 steps of smollm2, whose states are 130 to 200 long at the targets. The authors' code also reroutes the
    request's tokens, which stand before the refusal that is to be kept too, reads half its harmful answers without a
    request, and counts embeddings and padding in the mean L_r, where nothing changes.

    stage: the stage whose loss is changed: sft, with method=lora; no default. The authors train LoRA of rank 16 and
        alpha 16 at a rate of 1e-4 in 150 steps of 16.
    alpha: size of the loss, above 0, default 10: theirs for Llama-3-8B; for Mistral-7B it is 5.
    layers: target layers, 1 is the first. Default: 10 and 20 of 32 (paper), elsewhere by depth.
    keep: weight of L_r, 0 or more, default 3 (ours). 0: the paper's L_r, in the units of the states, with weight 1.
    """

    version: ClassVar[int] = 1
    alpha: float = 10.0
    layers: tuple[int, ...] = ()
    keep: float = 3.0

    def __post_init__(self) -> None:
        positive(self, "alpha")
        at_least(0, self, "keep")
        if getattr(innermost(self.stage), "method", "lora") != "lora":
            raise SpecError(
                "circuit_breakers trains an adapter: without it the model is the base that it is compared with",
                hint="method=lora in its stage",
            )

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """The inner stage's `train` on the retain rows, with its loss replaced.

        It is given the harmful answers too, so that it renders, checks and records them. Raises `SpecError` where
        either kind of row is missing.
        """
        pairs, clean = _pairs.split(rows, "circuit_breakers", "all of the model would be turned away")
        retain = [*clean, *dict.fromkeys(Row(row.chat) for row in pairs)]
        harmful = [Row((*row.chat[:-1], Message("assistant", row.rejected))) for row in pairs]

        def change(trainer: type) -> type:
            return self.changed(trainer, len(retain))

        return self.stage.train(base, [*retain, *harmful], folder, how.inside(self, change))

    def changed(self, trainer: type, retain: int) -> type:
        """TRL's trainer with this loss. The first `retain` of its rows are kept, the others are harmful."""
        stage = self

        class Rerouting(trainer):  # type: ignore[misc, valid-type, unused-ignore]
            def __init__(self, *given: Any, train_dataset: Any, **named: Any) -> None:
                super().__init__(*given, train_dataset=train_dataset.select(range(retain)), **named)
                self.harmful = [dict(row) for row in train_dataset.select(range(retain, len(train_dataset)))]
                self.targets = stage.targets(self.model)
                self.freeze()

            def freeze(self) -> None:
                for layer in layers_in(self.model)[self.targets[-1] :]:
                    layer.requires_grad_(False)

            def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
                draw = rng(stage.seed, "circuit_breakers", self.state.global_step)  # a resumed run draws the same
                size = min(self.args.per_device_train_batch_size, len(self.harmful))
                harmful = draw.sample(self.harmful, size)
                turn, hold = stage.coefficients(self.state.global_step + 1, self.state.max_steps)
                away = rerouting(model, harmful, self.targets)
                far = retaining(model, inputs, self.targets[-1], stage.keep)
                self.freeze()  # PEFT trains all of an adapter that it switches on again
                tokens = sum(len(row["input_ids"]) for row in harmful)
                self.state.num_input_tokens_seen += 2 * tokens + inputs["input_ids"].numel()  # the base's passes too
                loss = turn * away + hold * far
                return (loss, {}) if return_outputs else loss

        return Rerouting

    def coefficients(self, step: int, steps: int) -> tuple[float, float]:
        """c_s and c_r at a step, 1 is the first."""
        done = step / (2 * steps)
        return self.alpha * (1 - done), self.alpha * done

    def targets(self, network: Any) -> tuple[int, ...]:
        """The target layers, in order. Raises `SpecError` for one beyond the model."""
        count = len(layers_in(network))
        if beyond := [layer for layer in self.layers if not 1 <= layer <= count]:
            raise SpecError(f"layer {beyond[0]} is not among the model's 1 to {count}", hint="layers=(10,20)")
        return tuple(sorted(set(self.layers or (max(1, round(depth * count)) for depth in DEPTHS))))


def rerouting(network: Any, rows: Sequence[Mapping[str, Sequence[int]]], targets: Sequence[int]) -> Any:
    """L_s: 1 where the states at the answers' tokens are the base's, 0 at a right angle and beyond."""
    import torch

    ids, mask = padded([row["input_ids"] for row in rows], network.device)
    answers, _ = padded([row["completion_mask"] for row in rows], network.device)
    inputs = {"input_ids": ids, "attention_mask": mask}
    old, new = both_states(network, inputs, targets[-1])
    alike = [
        torch.nn.functional.cosine_similarity(old[layer - 1][answers.bool()], new[layer - 1][answers.bool()], dim=-1)
        for layer in targets
    ]
    return torch.stack(alike).relu().mean()


def retaining(network: Any, inputs: Mapping[str, Any], last: int, keep: float) -> Any:
    """keep L_r: how far the states at all tokens are from the base's, in the L2 norm, at layers 1 to `last`."""
    import torch

    old, new = (torch.stack(seen) for seen in both_states(network, inputs, last))
    far = (new - old).norm(dim=-1)
    return keep * (far / old.norm(dim=-1)).mean() if keep else far.mean()


def both_states(network: Any, inputs: Mapping[str, Any], last: int) -> tuple[list[Any], list[Any]]:
    """The `states` of the base, without a gradient, and those with the adapter."""
    import torch

    with torch.no_grad(), network.disable_adapter():
        old = states(network, inputs, last)
    return old, states(network, inputs, last)


def states(network: Any, inputs: Mapping[str, Any], last: int) -> list[Any]:
    """What layers 1 to `last` put out, each Float["texts tokens width"] in float32. No layer beyond is run."""
    seen: list[Any] = []

    def see(output: Any) -> Any:
        seen.append(output.float())
        return output

    names = ("input_ids", "attention_mask", "position_ids")  # the last keeps packed chats apart
    given = {name: inputs[name] for name in names if inputs.get(name) is not None}
    with ExitStack() as stack:
        decoder = stack.enter_context(_up_to(network, last))
        for layer in decoder.layers:
            stack.enter_context(changed(layer, see))
        decoder(**given, use_cache=False)
    return seen


@contextmanager
def _up_to(network: Any, last: int) -> Any:
    """The decoder with its first layers alone, within the context."""
    decoder = network.get_base_model().get_decoder()
    layers = decoder.layers
    decoder.layers = layers[:last]
    try:
        yield decoder
    finally:
        decoder.layers = layers
