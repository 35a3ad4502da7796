"""A model in training as an attack by weights sees it: with the weights of now, in eval mode. Ours."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from withstand.core import AskError, Chat, Completion, Json, Message, Sampling, SpecError
from withstand.core.device import computed, taken
from withstand.core.records import as_dicts
from withstand.engine.flops import watch
from withstand.training._model import CLOSE, OPEN


@dataclass(eq=False)
class Loaded:
    """What `View.load` gives; an engine keeps itself here too. `window`: its longest sequence in tokens, 0 unknown."""

    model: Any
    tokenizer: Any
    window: int
    ends: frozenset[int] = frozenset()


@dataclass(eq=False)
class View:
    """A `WhiteBox` around the model of a trainer, behind an adapter or not; it answers nothing.

    Use it within `searching`, and call `changed` after each change of the weights: what an engine keeps of a prompt's
    head is of the weights that it was computed with. flops: operations of all searches so far.

    trained: the model that the trainer trains. tokenizer: with the chat template that training renders by. system: the
    system message before every chat, "" for none.
    """

    gives: ClassVar[frozenset[str]] = frozenset({"weights", "gradients"})
    hosts: ClassVar[tuple[str, ...]] = ()
    lanes: ClassVar[int] = 1
    width: ClassVar[int] = 1
    trained: Any
    tokenizer: Any
    system: str = ""
    flops: float = 0.0
    loaded: dict[str, Loaded] = field(default_factory=dict)

    def __post_init__(self) -> None:
        inner = self.trained.get_base_model() if hasattr(self.trained, "peft_config") else self.trained
        window = getattr(inner.config.get_text_config(), "max_position_embeddings", 0) or 0
        self.own = Loaded(inner, self.tokenizer, window)

    @property
    def place(self) -> str:
        return str(self.own.model.device)

    def identity(self) -> Json:
        return {}

    def check(self) -> None:
        """There is nothing to check: it is in memory."""

    def generate(
        self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]
    ) -> Sequence[Completion | AskError]:
        raise AskError("a model in training answers nothing", hint="use an attack that reads its weights alone")

    def read(self, chat: Chat, ids: Sequence[int], stop: Sequence[str] = (), rendered: str = "") -> Completion:
        raise AskError("a model in training answers nothing", hint="use an attack that reads its weights alone")

    def render(self, chat: Chat) -> str:
        turns = [Message("system", self.system), *chat] if self.system else list(chat)
        rendered: str = self.tokenizer.apply_chat_template(
            as_dicts(tuple(turns)), tokenize=False, add_generation_prompt=True
        )
        return rendered

    def closing(self, rendered: str) -> str:
        if CLOSE not in str(self.tokenizer.chat_template) or rendered.rstrip().endswith(CLOSE):
            return ""
        return ("" if rendered.rstrip().endswith(OPEN) else f"{OPEN}\n") + f"\n{CLOSE}\n\n"

    def load(self, dtype: str = "") -> Loaded:
        """The model itself, or for another dtype than its own a copy, the adapter merged into it."""
        import torch

        if not dtype or getattr(torch, dtype) == self.own.model.dtype:
            return self.own
        if dtype not in self.loaded:
            copy = _empty_copy(self.own.model, getattr(torch, dtype))
            self.loaded[dtype] = Loaded(copy, self.tokenizer, self.own.window)
            _fill(copy, self.own.model)
            watch(copy)
        return self.loaded[dtype]

    def changed(self) -> None:
        """The weights changed: renew the copies and drop what was computed with the old ones."""
        for loaded in self.loaded.values():
            _fill(loaded.model, self.own.model)
        for loaded in (self.own, *self.loaded.values()):
            if engine := getattr(loaded, "engine", None):
                engine.trunks.clear()

    def counts(self, ids: Sequence[int]) -> bool:
        """Whether what the model makes of these tokens are numbers."""
        import torch

        with torch.no_grad():
            logits = self.own.model(input_ids=torch.tensor([list(ids)], device=self.place), use_cache=False).logits
        return bool(torch.isfinite(logits.float().logsumexp(-1)).all())

    @contextmanager
    def searching(self) -> Iterator[None]:
        """In eval mode, no weight trained and no automatic precision; afterwards as before."""
        model = self.own.model
        modes = [(module, module.training) for module in self.trained.modules()]
        learned = [weight for weight in self.trained.parameters() if weight.requires_grad]
        automatic = vars(model).get("forward") if hasattr(model, "_original_forward") else None
        if automatic:
            model.forward = model._original_forward  # accelerate's wrapper would compute it in bfloat16
        self.trained.eval()
        self.trained.requires_grad_(False)
        before, counted = taken() or 0.0, watch(model)
        try:
            yield
        finally:
            counted.remove()
            self.flops += taken() or 0.0
            computed(before)
            for weight in learned:
                weight.requires_grad_(True)
            for module, mode in modes:
                module.training = mode
            if automatic:
                model.forward = automatic


def _empty_copy(model: Any, dtype: Any) -> Any:
    """A model of the same class and size with weights of no meaning; the global random state stays as it is."""
    import torch

    if getattr(model, "is_quantized", False):
        raise SpecError("a quantized base has no copy in another precision", hint="an attack with screen=none")
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.device(model.device):
        copy = type(model)._from_config(model.config, dtype=dtype)
    return copy.eval().requires_grad_(False)


def _fill(copy: Any, model: Any) -> None:
    """Put the weights of `model` into its copy, an adapter's added to those that it changes."""
    import torch

    weights = {
        name.replace(".base_layer.", "."): weight for name, weight in model.state_dict().items() if "lora_" not in name
    }
    with torch.no_grad():
        for name, layer in model.named_modules():
            if hasattr(layer, "get_delta_weight"):
                moved = sum(layer.get_delta_weight(adapter) for adapter in layer.active_adapters)
                weights[f"{name}.weight"] = layer.base_layer.weight + moved
        copy.load_state_dict(weights)
