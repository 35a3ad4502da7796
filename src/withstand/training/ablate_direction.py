"""Refusal's direction taken out of the weights. Arditi et al. 2024, arXiv:2406.11717.

One direction of the residual stream stands for refusal: the mean state on harmful requests less that on harmless ones.
A model that cannot write it hardly refuses, and loses little else.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

from withstand.core import Json, SpecError, at_least, rng
from withstand.core.errors import positive
from withstand.core.stage import How, Rows, as_rows
from withstand.engine.activations import changed, layers_in, padded
from withstand.engine.likelihood import alike
from withstand.training._edit import Edited, edit, ids_of

BATCH = 16
"""Prompts in one forward pass."""
SCREENED, KEPT = 4, 12
"""Prompts of each kind that all candidates are read on, and how many candidates are then read on all prompts."""
NOTHING = 1e-6
"""Length of a direction that is none, as before the first layer, where a token of the template is always the same."""
DEEPEST = 0.8
"""Directions are taken from the layers before this share of the depth, as in the paper."""
SURELY = 0.05
"""A first token that is likelier after harmful prompts by this mean probability begins a refusal."""
NOTHING_LEFT = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 4e-3}
"""Share of a state that may still point along the direction, by precision."""

AFTER = (("post_attention_layernorm", "post_feedforward_layernorm"), ("post_self_attn_layernorm", "post_mlp_layernorm"))
"""Names of the norms behind attention and MLP, in layers that have both: those of Gemma 2 and 3 and OLMo 2, and of
GLM-4. In others the first name is that of the norm before the MLP."""

Prompts = Sequence[Sequence[int]]
"""Token ids of prompts, each up to where the answer begins."""


@dataclass(frozen=True, slots=True)
class AblateDirection:
    """Takes one direction r out of all that writes into the residual stream: W <- W - r r^T W, for the embedding and
    the output of each attention and each MLP. An output layer that shares the embedding's weights gets its own. Where a
    norm scales what is added by g, as in Gemma 2 and 3, r in W is the unit vector of g * r: ours.

    Candidates: r = mean state on harmful prompts - mean on harmless ones, before each layer of the first 80%, at each
    token of the template after the request. Chosen on prompts that made none: the least refusal of harmful prompts
    without r, of those that move the first token of harmless prompts by at most `most_kl` (KL) and make the model
    refuse them when added; of those that move it little, where none refuses; of all the one that moves it least, where
    none moves it little. Refusal: log p(T) - log(1 - p(T)) of the first token. Two things are ours: T, by hand in the
    paper, holds what is likelier after harmful prompts by 5 points, or by most; and only the twelve best of all on four
    prompts of each kind are read on the others.

    Rows with `safe=True` are harmful requests, the others harmless ones; answers are not read.

    validation: share of each kind that chooses, above 0 and below 1, default 0.25.
    most_kl: nats that the first token of harmless prompts may move, above 0, default 0.1 as in the paper.
    positions: last tokens of the template that give candidates; default 0: all after the request.
    seed: of the split, a whole number, 0 or more, default 0.
    """

    version: ClassVar[int] = 1
    validation: float = 0.25
    most_kl: float = 0.1
    positions: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(0, self, "seed", "positions")
        positive(self, "most_kl")
        if not 0 < self.validation < 1:
            raise SpecError(f"validation is {self.validation:g}", hint="above 0 and below 1, such as 0.25")

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """See `withstand.core.stage.Stage`. Raises `SpecError` below two prompts of a kind, and where the model writes
        into the residual stream by other ways than these."""
        given = as_rows(rows)
        kinds = [[row.chat for row in given if row.safe is safe] for safe in (True, False)]
        for name, chats in zip(("harmful requests (safe rows)", "harmless requests"), kinds, strict=True):
            if len(chats) < 2:
                raise SpecError(f"{len(chats)} {name} give no direction", hint="two or more of each kind")

        def change(model: Any, tokenizer: Any) -> Edited:
            return self.change(model, *([ids_of(tokenizer, chat) for chat in chats] for chats in kinds))

        return edit(self, base, rows, folder, how, change)

    def change(self, model: Any, harmful: Prompts, harmless: Prompts) -> Edited:
        """Take the direction out of a model in memory. Record: where it is from, and what it does on the prompts that
        chose it."""
        read = _Reader(model)
        (harmful, bad), (harmless, good) = self.split(harmful), self.split(harmless)
        positions = self.positions or max(1, alike([list(reversed(ids)) for ids in (*harmful, *harmless)]))
        positions = min(positions, *(len(ids) for ids in (*harmful, *harmless)))
        directions = read.means(harmful, positions) - read.means(harmless, positions)
        tokens = refusals(read.first(harmful), read.first(harmless))
        direction, record = self.chosen(read, directions, bad, good, tokens)
        weights = orthogonalize(model, direction)
        check(model, direction, harmful[0])
        refused = {"refusal_tokens": tokens, "refusal_after": read.refusal(bad, tokens)}
        return Edited(read.tokens, weights, {"direction": {**record, **refused}})

    def split(self, prompts: Prompts) -> tuple[Prompts, Prompts]:
        """Prompts that give the direction, and those that choose it: at least one of each."""
        order = list(prompts)
        rng(self.seed, "ablate_direction").shuffle(order)
        number = min(len(order) - 1, max(1, round(len(order) * self.validation)))
        return order[number:], order[:number]

    def chosen(
        self, read: "_Reader", directions: Any, bad: Prompts, good: Prompts, tokens: Sequence[int]
    ) -> tuple[Any, Json]:
        """The unit direction that the prompts choose, of (layers, positions, width), and its record."""
        layers, positions, _ = directions.shape
        before, own, few = read.refusal(bad, tokens), read.first(good), read.first(good[:SCREENED])

        def without(layer: int, position: int, most: int, unchanged: Any) -> tuple[float, float, float, int, int]:
            with ablated(read.model, unit(directions[layer, position])):
                refusal, moved = read.refusal(bad[:most], tokens), kl(unchanged, read.first(good[:most]))
            return max(moved, self.most_kl), refusal, moved, layer, position

        places = [at for at in product(range(layers), range(positions)) if float(directions[at].norm()) > NOTHING]
        screened = sorted(without(*at, SCREENED, few) for at in places)
        best = sorted(without(*row[3:], len(bad) + len(good), own) for row in screened[:KEPT])
        if not best:
            raise SpecError("harmful and harmless prompts have the same states", hint="prompts of two kinds")
        records = []
        for _, refusal, moved, layer, position in best:
            with added(read.model, layer, directions[layer, position]):
                induced = read.refusal(good, tokens)
            within = moved <= self.most_kl and induced > 0
            records.append({
                "layer": layer, "position": position - positions, "kl": moved, "induced": induced,
                "refusal_before": before, "refusal_ablated": refusal, "within_limits": within,
            })  # fmt: skip
            if within:
                break
        record = records[-1] if records[-1]["within_limits"] else records[0]
        return unit(directions[record["layer"], record["position"]]), record


@dataclass
class _Reader:
    """Reads a model on prompts. tokens: that passed through it so far."""

    model: Any
    tokens: int = 0

    def outputs(self, prompts: Prompts, **more: Any) -> Iterator[tuple[Any, Any]]:
        """What the model puts out for batches of prompts, and the place of the last token of each."""
        import torch

        order = sorted(prompts, key=len)
        for start in range(0, len(order), BATCH):
            inputs, mask = padded(order[start : start + BATCH], self.model.device)
            self.tokens += int(mask.sum())
            with torch.no_grad():
                yield self.model(input_ids=inputs, attention_mask=mask, use_cache=False, **more), mask.sum(1) - 1

    def first(self, prompts: Prompts) -> Any:
        """Log probabilities of the first token of each answer, (prompts, vocabulary), the shortest prompt first."""
        import torch

        parts = [out.logits[torch.arange(len(last)), last] for out, last in self.outputs(prompts)]
        return torch.cat(parts).double().log_softmax(-1)

    def refusal(self, prompts: Prompts, tokens: Sequence[int]) -> float:
        """Mean over prompts of log p(T) - log(1 - p(T)), in nats."""
        chance = self.first(prompts)[:, list(tokens)].exp().sum(1).clamp(1e-12, 1 - 1e-12)
        return float((chance.log() - (1 - chance).log()).mean())

    def means(self, prompts: Prompts, positions: int) -> Any:
        """The mean state before each layer that gives candidates, at the last tokens: (layers, positions, width)."""
        import torch

        depth = len(layers_in(self.model))
        deepest = max(1, min(depth, int(DEEPEST * depth)))
        total: Any = 0
        for out, last in self.outputs(prompts, output_hidden_states=True):
            rows = torch.arange(len(last))[:, None]
            places = last[:, None] - torch.arange(positions - 1, -1, -1, device=last.device)
            total = total + torch.stack([h[rows, places].double().sum(0) for h in out.hidden_states[:deepest]])
        return total / len(prompts)


def refusals(harmful: Any, harmless: Any) -> list[int]:
    """The first tokens that are likelier after harmful prompts by `SURELY`, or the one that is by most."""
    more = harmful.exp().mean(0) - harmless.exp().mean(0)
    surely = (more >= SURELY).nonzero().flatten().tolist()
    return [int(token) for token in surely] or [int(more.argmax())]


def kl(before: Any, after: Any) -> float:
    """Mean KL(before || after) over prompts, in nats, of log probabilities."""
    return float((before.exp() * (before - after)).sum(-1).mean())


def unit(vector: Any) -> Any:
    return vector / vector.norm().clamp(min=1e-12)


def writers(model: Any) -> list[tuple[Any, Any]]:
    """The modules whose outputs are added to the residual stream: the embedding, and in each layer the linear layers
    that end attention and MLP; each with the norm that its output passes before it is added, or None. They are told by
    name; `check` then looks at what they write.

    Raises `SpecError` where a layer has none.
    """
    import torch

    width, modules = model.get_input_embeddings().weight.shape[1], [(model.get_input_embeddings(), None)]
    for number, layer in enumerate(layers_in(model)):
        ends = [
            (name, module)
            for name, module in layer.named_modules()
            if isinstance(module, torch.nn.Linear)
            and module.out_features == width
            and name.rpartition(".")[2] in ("o_proj", "down_proj", "out_proj", "dense", "fc2", "w2", "dense_4h_to_h")
        ]
        if len(ends) < 2:
            raise SpecError(
                f"layer {number + 1} of {type(model).__name__} does not show what ends its attention and its MLP",
                hint="a model whose layers end in o_proj and down_proj, as Llama's and Qwen's do",
            )
        names = next((names for names in AFTER if all(hasattr(layer, name) for name in names)), None)
        modules += [(module, getattr(layer, names["attn" not in name]) if names else None) for name, module in ends]
    return modules


@contextmanager
def ablated(model: Any, direction: Any) -> Iterator[None]:
    """The direction is taken out of whatever is written into the residual stream, while the context lasts."""

    def without(states: Any) -> Any:
        towards = direction.to(states)
        return states - (states @ towards).unsqueeze(-1) * towards

    with ExitStack() as stack:
        for module, norm in writers(model):
            stack.enter_context(changed(norm or module, without))
        yield


@contextmanager
def added(model: Any, layer: int, vector: Any) -> Iterator[None]:
    """The vector is added to the states before a layer, from 0, at every token."""
    before = layers_in(model)[layer - 1] if layer else model.get_input_embeddings()
    with changed(before, lambda states: states + vector.to(states)):
        yield


def orthogonalize(model: Any, direction: Any) -> int:
    """Take the direction out of the weights; returns how many were changed. An output layer of the same weights as the
    embedding is given a copy of the old ones: it reads the stream and does not write into it."""
    import torch

    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head is not None and head.weight is embedding.weight:
        head.weight = torch.nn.Parameter(embedding.weight.detach().clone(), requires_grad=False)
        model.config.get_text_config().tie_word_embeddings = model.config.tie_word_embeddings = False
    count = 0
    for module, norm in writers(model):
        weight = module.weight.data
        towards = direction.to(weight.device).double()
        if norm is not None:
            with torch.no_grad():
                towards = unit(towards * norm(torch.ones_like(weight[:, 0])).double())
        if module is embedding:
            weight -= ((weight.double() @ towards)[:, None] * towards).to(weight)
        else:
            weight -= (towards[:, None] * (towards @ weight.double())).to(weight)
            if module.bias is not None:
                module.bias.data -= ((module.bias.double() @ towards) * towards).to(weight)
        count += weight.numel()
    return count


def check(model: Any, direction: Any, prompt: Sequence[int]) -> None:
    """Raise `SpecError` where a state before a layer still points along the direction: something else wrote it."""
    import torch

    inputs, mask = padded([prompt], model.device)
    with torch.no_grad():
        states = model(input_ids=inputs, attention_mask=mask, output_hidden_states=True, use_cache=False).hidden_states
    for layer, state in enumerate(states[:-1], start=1):  # the last is behind the norm
        state = state[0].double()
        share = float(((state @ direction.to(state)).abs() / state.norm(dim=-1).clamp(min=1e-12)).max())
        if share > NOTHING_LEFT[str(model.dtype).removeprefix("torch.")]:
            raise SpecError(
                f"layer {layer} of {type(model).__name__} still reads the direction ({share:.1%} of a state): "
                "something else writes it, such as an embedding of positions",
                hint="a model whose layers add what o_proj and down_proj write, as Llama's and Qwen's do",
            )
