"""Any transformers chat model on this machine, white-box: a folder, a hub id or the embedded one. Ours.

The chat template is the tokenizer's own. Answers are drawn by a sampler of ours over the logits, one seed per row; of
the generation settings in the model's folder only the tokens that end an answer apply.
"""

import gc
import threading
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from withstand.cache import cache_dir
from withstand.core import AskError, Chat, Completion, Json, Message, Sampling, SpecError, digest
from withstand.models._folder import TOKENIZER, files_digest, resolve

RAW, MODERATION = "none", "moderation"


@dataclass(frozen=True, slots=True)
class HF:
    """A causal language model with a chat template, decoded in batches whose places are refilled as rows finish.

    id: a folder, a hub id, or builtin:smollm2. revision: of the hub.
    dtype: "auto" is the faster of float32 and bfloat16 by a small matmul, measured once per machine.
    adapter: a PEFT adapter (folder, hub id, or builtin:NAME of this package), merged into the weights.
    system: a system message put first when the chat has none.
    template: a Jinja file instead of the tokenizer's; or "none": the texts of the turns as they are, for classifiers
        and base models; or "moderation": the tokenizer's, of a model that judges a chat and does not go on with it.
    thinking: passed to the template as enable_thinking, if set. date: passed as date_string, for templates that would
        put in today's.
    repetition_penalty: on tokens that occurred in the prompt or the answer, above 0; default 1: none. Small models
        that would repeat themselves need about 1.1.
    device: "auto" (a GPU if there is one) or a torch device. device_map: "" or accelerate's ("auto"), for models that
        need several devices. trust_remote_code: run code that comes with the model; default false.
    rows: most rows that decode together; 0: by memory and time. width: most chats a call; with 1 each row is
        computed alone and is the same whatever the order.

    Raises `SpecError` from `check` when weights or template cannot be had, `AskError` for a chat that the template or
    the context window refuses.
    """

    version: ClassVar[int] = 1
    hosts: ClassVar[tuple[str, ...]] = ()
    lanes: ClassVar[int] = 1
    id: str
    revision: str = ""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    adapter: str = ""
    system: str = ""
    template: str = ""
    thinking: bool | None = None
    date: str = ""
    repetition_penalty: float = 1.0
    device: str = field(default="auto", metadata={"key": False})
    device_map: str = field(default="", metadata={"key": False})
    trust_remote_code: bool = False
    rows: int = field(default=0, metadata={"key": False})
    width: int = field(default=256, metadata={"key": False})

    def __post_init__(self) -> None:
        if not self.id:
            raise SpecError("id is empty", hint="a folder, a hub id such as Qwen/Qwen3-8B, or builtin:smollm2")
        if self.repetition_penalty <= 0:
            raise SpecError(f"repetition_penalty is {self.repetition_penalty}", hint="above 0; 1 is none")
        if self.width < 1 or self.rows < 0:
            raise SpecError(f"width is {self.width}, rows {self.rows}", hint="width is 1 or more, rows 0 or more")

    @property
    def gives(self) -> frozenset[str]:
        all_ = {"system", "turns", "forged", "prefill", "logprobs", "weights"}
        return frozenset(all_ - {"prefill"} if self.template == MODERATION else all_)

    @property
    def place(self) -> str:
        return "devices" if self.device_map else self._device()

    def _device(self) -> str:
        if self.device != "auto":
            return self.device
        import torch

        return "cuda:0" if torch.cuda.is_available() else "cpu"

    def check(self) -> None:
        self.identity()

    def identity(self) -> Json:
        """Digests of weights, adapter, tokenizer and template, and the dtype that "auto" stands for: never a path."""
        with _LOCK:
            if self not in _IDENTITIES:
                _IDENTITIES[self] = {
                    "weights": files_digest(self._folder(), ("*.safetensors", "config.json", "generation_config.json")),
                    "tokenizer": files_digest(self._folder(), TOKENIZER),
                    "adapter": files_digest(resolve(self.adapter, ""), ("adapter_*",)) if self.adapter else "",
                    "template": digest(self._template()) if self.template not in ("", RAW, MODERATION) else "",
                    "dtype": self.dtype if self.dtype != "auto" else fastest_dtype(self._device()),
                }
            return _IDENTITIES[self]

    def _folder(self) -> Path:
        return resolve(self.id, self.revision)

    def _template(self) -> str:
        try:
            return Path(self.template).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"cannot read the template {self.template}: {error}") from error

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        from withstand.models._decode import decode

        loaded = self.load()
        tokenizer = loaded.tokenizer
        prompts = [self.render(chat) for chat in chats]
        ids = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
        longest = max(map(len, ids))
        if loaded.window and longest + sampling.max_tokens > loaded.window:
            raise AskError(
                f"a prompt of {longest} tokens and {sampling.max_tokens} to come pass the window of {loaded.window}",
                hint="fewer max_tokens, or a model with a longer window",
            )
        stops = None
        if sampling.stop:
            reach = max(map(len, sampling.stop)) + 8

            def stops(answer: list[int]) -> bool:
                return any(stop in tokenizer.decode(answer[-reach:]) for stop in sampling.stop)

        rows = self.rows or loaded.rows(longest + sampling.max_tokens)
        rows = min(rows, self.width)
        answers = decode(loaded.model, ids, seeds, sampling, loaded.ends, rows, stops, self.repetition_penalty)
        return [
            self._completion(tokenizer, chat, sampling, answer, len(prompt))
            for chat, answer, prompt in zip(chats, answers, ids, strict=True)
        ]

    def _completion(self, tokenizer: Any, chat: Chat, sampling: Sampling, answer: Any, prompt: int) -> Completion:
        text = tokenizer.decode(answer.ids, skip_special_tokens=True)
        for stop in sampling.stop:
            text = text.partition(stop)[0]
        thought, closed, rest = text.partition("</think>")
        opened = thought.lstrip().startswith("<think>")
        reasoning = ""
        if closed or opened:  # thinking is kept apart, also if it was cut inside
            reasoning, text = thought.lstrip().removeprefix("<think>").strip(), rest.lstrip() if closed else ""
        counted = len(tokenizer(reasoning, add_special_tokens=False)["input_ids"]) if reasoning else 0
        return Completion(
            chat,
            text,
            finish=answer.finish,
            reasoning=reasoning,
            logprobs=tuple(
                tuple((tokenizer.decode([token]), value) for token, value in position) for position in answer.logprobs
            ),
            prompt_tokens=prompt,
            answer_tokens=max(len(answer.ids) - counted, 0),
            reasoning_tokens=counted,
        )

    def render(self, chat: Chat) -> str:
        """The chat as the model reads it; one that ends with an assistant message is to be continued, or judged."""
        messages = list(chat)
        if self.system and messages[0].role != "system":
            messages.insert(0, Message("system", self.system))
        if any(message.images for message in messages):
            raise AskError("this target reads no images")
        more: dict[str, Any] = {}
        if self.thinking is not None:
            more["enable_thinking"] = self.thinking
        if self.date:
            more["date_string"] = self.date
        tokenizer = self.load().tokenizer
        prefill = messages[-1].role == "assistant" and self.template != MODERATION
        try:
            rendered: str = tokenizer.apply_chat_template(
                [{"role": message.role, "content": message.text} for message in messages],
                tokenize=False,
                add_generation_prompt=not prefill,
                continue_final_message=prefill,
                **more,
            )
        except Exception as error:  # a template raises what it likes
            raise AskError(f"the chat template refuses this chat: {error}", hint="see the roles it knows") from error
        return rendered

    def load(self, dtype: str = "") -> "_Loaded":
        """The model on its device, in its own dtype or in another; loaded once for all equal targets."""
        chosen: Any = dtype or self.identity()["dtype"]
        spec = replace(self, dtype=chosen)
        with _LOCK:
            if spec not in _LOADED:
                _LOADED[spec] = _load(spec)
            return _LOADED[spec]

    def release(self) -> None:
        """Unload it, in every dtype: no stage to come needs it."""
        with _LOCK:
            gone = [spec for spec in _LOADED if replace(spec, dtype=self.dtype) == self]
            for spec in gone:
                del _LOADED[spec]
            if gone:
                gc.collect()


_LOCK = threading.RLock()
_LOADED: dict[HF, "_Loaded"] = {}
_IDENTITIES: dict[HF, Json] = {}


@dataclass
class _Loaded:
    """A model in memory. `window`: its longest sequence in tokens, 0 if unknown; `ends`: tokens that end an answer."""

    model: Any
    tokenizer: Any
    ends: frozenset[int]
    window: int

    def rows(self, length: int) -> int:
        """Rows of `length` tokens that decode together: as many as half of the free memory holds, at most 64 on a CPU,
        where more gain nothing, and 256 on a GPU."""
        import torch

        config = self.model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        row = 2 * config.num_hidden_layers * heads * size * self.model.dtype.itemsize * length
        if self.model.device.type == "cuda":
            return max(1, min(256, torch.cuda.mem_get_info(self.model.device)[0] // 2 // row))
        return max(1, min(64, _free_memory() // 2 // row))


def _load(spec: HF) -> _Loaded:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    identity = spec.identity()
    folder = spec._folder()
    more: dict[str, Any] = {"device_map": spec.device_map} if spec.device_map else {}
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, identity["dtype"]), trust_remote_code=spec.trust_remote_code, **more
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
    if spec.template not in ("", MODERATION):
        tokenizer.chat_template = _raw(tokenizer) if spec.template == RAW else spec._template()
    if not tokenizer.chat_template:
        raise SpecError(
            f"{spec.id} has no chat template",
            hint="use an instruct model, or give template=FILE with a Jinja template; template=none sends bare texts",
        )
    if spec.adapter:
        from peft import PeftModel

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of the two libraries to each other
            model = PeftModel.from_pretrained(model, str(resolve(spec.adapter, ""))).merge_and_unload()
    if not spec.device_map:
        model.to(spec._device())
    said = model.generation_config.eos_token_id
    ends = {said} if isinstance(said, int) else set(said or ())
    ends |= {tokenizer.eos_token_id} - {None}
    window = getattr(model.config.get_text_config(), "max_position_embeddings", 0) or 0
    return _Loaded(model.eval(), tokenizer, frozenset(ends), window)


def _raw(tokenizer: Any) -> str:
    """A template that adds what the tokenizer puts before any text: a text then has the ids that it has alone.

    Some put a space before the very first word only, which a special token before it would suppress.
    """
    start = tokenizer.decode(tokenizer("")["input_ids"])
    same = tokenizer(f"{start}a", add_special_tokens=False)["input_ids"] == tokenizer("a")["input_ids"]
    head = start if same else f"{start} "
    return f"{{{{ {head!r} }}}}{{% for turn in messages %}}{{{{ turn.content }}}}{{% endfor %}}"


def fastest_dtype(device: str) -> Literal["float32", "bfloat16"]:
    """The faster of float32 and bfloat16 for a layer of 32 rows on this machine; measured once and kept in the cache.

    On CPUs of one kind bfloat16 may be several times faster or slower, so it is measured. A GPU takes bfloat16.
    """
    import platform

    import torch

    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    key = digest([platform.node(), platform.processor(), torch.__version__, torch.get_num_threads()])[:16]
    memory = cache_dir("dtype", key)
    try:
        kept = memory.read_text().strip()
    except OSError:
        kept = ""
    if kept in ("float32", "bfloat16"):
        return kept  # type: ignore[return-value]
    seconds = {name: _matmul_seconds(getattr(torch, name)) for name in ("float32", "bfloat16")}
    fastest: Literal["float32", "bfloat16"] = (
        "bfloat16" if seconds["bfloat16"] < 0.8 * seconds["float32"] else "float32"
    )
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(fastest)
    except OSError:
        pass  # measured again next time
    return fastest


def _matmul_seconds(dtype: Any) -> float:
    import torch

    rows, weights = torch.randn(32, 1024, dtype=dtype), torch.randn(2048, 1024, dtype=dtype)
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        torch.nn.functional.linear(rows, weights)
        best = min(best, time.perf_counter() - start)
    return best


def _free_memory() -> int:
    """Bytes that can be had without swapping; 4 GiB where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 4 << 30
