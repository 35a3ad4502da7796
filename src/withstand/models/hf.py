"""Any transformers chat model on this machine, white-box: a folder, a hub id or the embedded one. Ours.

The chat template is the tokenizer's own. Answers are drawn by a sampler of ours over the logits, one seed per row; of
the generation settings in the model's folder only the tokens that end an answer apply.
"""

import gc
import threading
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any, ClassVar, Literal

from withstand.core import AskError, Chat, Completion, Json, Message, Sampling, SpecError, at_least
from withstand.core.device import GIB, free_memory
from withstand.core.errors import positive
from withstand.core.records import as_dicts
from withstand.core.stage import Loading
from withstand.engine.flops import watch
from withstand.models._chat import refuse_images
from withstand.models._device import fastest_dtype, row_bytes, torch_device, weight_bytes
from withstand.models._fields import json_object
from withstand.models._folder import BUILTIN, MODERATION, RAW, identity_of, loading_of, marks_in, resolve
from withstand.models._quantized import BITSANDBYTES, Kind, Quantized, quantized, settings
from withstand.models._thinking import Tags, Watch, answer_start, split_thinking
from withstand.models._tuned import check_adapter, check_tuned


@dataclass(frozen=True, slots=True)
class HF:
    """A causal language model with a chat template, decoded in batches: a new row starts as soon as another ends.

    Thinking between `think_open` and `think_close` becomes the completion's reasoning, not its text. If the answer is
    cut inside the thinking, its text is empty and it is unscored.

    id: a folder, a hub id, builtin:smollm2 or builtin:gemma3-270m. revision: the hub's revision.
    dtype: "auto" (default) is the faster of float32 and bfloat16 for a small matrix product, measured once per machine.
    quantize: "int8" or "int4" quantizes the weights with bitsandbytes while loading; default "": not. Weights that are
        stored quantized load if transformers supports their format; some formats have no gradients.
    adapter: a PEFT adapter (folder, hub id, or builtin:NAME of this package), merged into the weights, or laid over
        them where they are quantized.
    system: a system message that is put first if the chat has none.
    template: a Jinja file that replaces the tokenizer's template. "none" sends the bare texts of the turns, for
        classifiers and base models. "moderation" keeps the tokenizer's template, for a model that rates a chat instead
        of continuing it.
    thinking: passed to the template as enable_thinking, if set. date: passed as date_string, for templates that
        otherwise insert today's date. template_kwargs: a JSON object with more arguments of the template, such as
        {"reasoning_effort": "low"}.
    reasoning_tokens: most tokens of thinking. At this limit withstand inserts `think_close`, and the answer after it
        has its own `max_tokens` (budget forcing, arXiv:2501.19393). Default 0: `max_tokens` limits thinking and answer
        together.
    think_open, think_close: the tags around the thinking as the model writes them. White space at their ends is written
        but not required when they are read.
    repetition_penalty: penalty on tokens of the prompt and the answer so far, above 0; default 1: none. Small models
        that repeat themselves need about 1.1.
    device: "auto" (a GPU if there is one) or a torch device. device_map: "" or accelerate's, such as "auto", for models
        that need several devices. trust_remote_code: run code that comes with the model; default false.
    rows: most rows that decode together; 0 (default): as many as memory allows, within limits. width: most chats per
        call. With 1 each row is computed alone, so that no other row changes its rounding.

    Raises `SpecError` from `check` if weights, template or the library of a quantization are missing, `AskError` for a
    chat that the template or the context window refuses.
    """

    version: ClassVar[int] = 1
    hosts: ClassVar[tuple[str, ...]] = ()
    lanes: ClassVar[int] = 1
    id: str
    revision: str = ""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantize: Kind = ""
    adapter: str = ""
    system: str = ""
    template: str = ""
    thinking: bool | None = None
    date: str = ""
    template_kwargs: str = ""
    reasoning_tokens: int = 0
    think_open: str = "<think>\n"
    think_close: str = "\n</think>\n\n"
    repetition_penalty: float = 1.0
    device: str = field(default="auto", metadata={"key": False})
    device_map: str = field(default="", metadata={"key": False})
    trust_remote_code: bool = False
    rows: int = field(default=0, metadata={"key": False})
    width: int = field(default=256, metadata={"key": False})

    def __post_init__(self) -> None:
        if not self.id:
            raise SpecError("id is empty", hint="a folder, a hub id such as Qwen/Qwen3-8B, or builtin:smollm2")
        positive(self, "repetition_penalty")
        at_least(1, self, "width")
        at_least(0, self, "rows", "reasoning_tokens")
        if not all(self._tags.bare):
            raise SpecError("think_open or think_close is empty", hint="leave it out for <think> and </think>")
        self._more()

    @property
    def gives(self) -> frozenset[str]:
        lacks = {RAW: {"raw"} if self.system else set(), MODERATION: {"prefill", "raw"}}.get(self.template, {"raw"})
        with suppress(SpecError):  # which `check` raises
            kind = self._quantized(self._known_folder())
            lacks |= {"gradients"} if kind and not kind.gradients else set()
        return frozenset({"system", "turns", "forged", "prefill", "logprobs", "raw", "weights", "gradients"} - lacks)

    @property
    def place(self) -> str:
        return "devices" if self.device_map else torch_device(self.device)

    def check(self) -> None:
        self.identity()
        self._quantized(self.folder())
        if self.adapter:
            check_adapter(self.folder(), self.id, resolve(self.adapter, ""))

    @property
    def _tags(self) -> Tags:
        return Tags(self.think_open, self.think_close)

    def _more(self) -> dict[str, Any]:
        """What the template is passed beside the messages."""
        more: dict[str, Any] = {} if self.thinking is None else {"enable_thinking": self.thinking}
        more |= {"date_string": self.date} if self.date else {}
        return more | json_object("template_kwargs", self.template_kwargs)

    def _quantized(self, folder: Path | None) -> Quantized | None:
        quantization = settings(folder, self.quantize)
        return quantized(quantization) if quantization else None

    def _known_folder(self) -> Path | None:
        """The folder if it is on this machine: what a model gives is asked before it may be fetched."""
        if self.id.startswith(BUILTIN):
            return None
        if Path(self.id).is_dir():
            return Path(self.id)
        try:
            from huggingface_hub import try_to_load_from_cache
        except ImportError:
            return None
        cached = try_to_load_from_cache(self.id, "config.json", revision=self.revision or None)
        return Path(cached).parent if isinstance(cached, str) else None

    def footprint(self) -> Json:
        """What it takes of its device in GiB, before it is loaded, by the headers of its weights."""
        import torch
        from transformers import AutoConfig

        kind = self._quantized(self.folder())
        config = AutoConfig.from_pretrained(self.folder(), trust_remote_code=self.trust_remote_code)
        itemsize = getattr(torch, self.identity()["dtype"]).itemsize
        as_stored = kind and not kind.whole and not self.quantize
        matrix = {"int8": 1.0, "int4": 0.5}.get(self.quantize)
        vocabulary = config.get_text_config().vocab_size
        weights = weight_bytes(self.folder(), None if as_stored else itemsize, matrix, vocabulary) / GIB
        with _LOCK:
            weights *= self._own() not in _LOADED
        free = free_memory(self.place)
        row = row_bytes(config, itemsize, 1_024) / GIB
        return {"weights": weights, "row": row, "free": None if free is None else free / GIB}

    def identity(self) -> Json:
        """Digests of weights, adapter, tokenizer and template, and the dtype that "auto" stands for: never a path."""
        with _LOCK:
            if self not in _IDENTITIES:
                template = "" if self.template in (RAW, MODERATION) else self.template
                _IDENTITIES[self] = {
                    **identity_of(self.folder(), self.adapter, template),
                    "dtype": self.dtype if self.dtype != "auto" else fastest_dtype(torch_device(self.device)),
                }
            return _IDENTITIES[self]

    @property
    def marks(self) -> dict[str, Json]:
        """Labels for which it must not be released, of its weights and of its adapter."""
        return marks_in(self._known_folder(), self.adapter)

    def folder(self) -> Path:
        """Where weights and tokenizer lie on this machine; fetched first where they do not."""
        return resolve(self.id, self.revision)

    def adapter_folder(self) -> Path:
        """Where its adapter lies on this machine; for a target that has one."""
        return resolve(self.adapter, "")

    def loading(self) -> Loading:
        """How a training loads and renders it: as it is asked."""
        return loading_of(self, self._more())

    def tuned_from(self, base: "HF") -> list[str]:
        """Notes on what could not be compared. Raises `SpecError` where it was not tuned from `base`."""
        return check_tuned(base, self)

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion | AskError]:
        self.load()  # what is wrong with the model is wrong for all chats
        closing: list[int] = []
        most = sampling.max_tokens
        if self.reasoning_tokens:
            opening, closing = (self._ids(tag) for tag in self._tags.written)
            most += self.reasoning_tokens + len(opening) + len(closing)
        prompts = [self._prompt(chat, most) for chat in chats]
        fit = [
            (chat, *prompt, seed)
            for chat, prompt, seed in zip(chats, prompts, seeds, strict=True)
            if not isinstance(prompt, AskError)
        ]
        answers = iter(self._answers(fit, sampling, most, closing) if fit else ())
        return [prompt if isinstance(prompt, AskError) else next(answers) for prompt in prompts]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.load().tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _prompt(self, chat: Chat, most: int) -> tuple[str, list[int]] | AskError:
        """The rendered chat and its ids, or why it cannot be answered with `most` tokens: others of its batch can."""
        try:
            rendered = self.render(chat)
        except AskError as error:
            return error
        ids, window = self._ids(rendered), self.load().window
        if not window or len(ids) + most <= window:
            return rendered, ids
        return AskError(
            f"a prompt of {len(ids)} tokens and {most} to come pass the window of {window}",
            hint="fewer max_tokens or reasoning_tokens, or a model with a longer window",
        )

    def _answers(
        self, asked: Sequence[tuple[Chat, str, list[int], int]], sampling: Sampling, most: int, closing: list[int]
    ) -> list[Completion]:
        """Decode chats, each with its text, its ids and its seed, together. closing: tokens that end the thinking."""
        from withstand.models._decode import decode

        loaded, tokenizer = self.load(), self.load().tokenizer
        ids, seeds = [ids for _, _, ids, _ in asked], [seed for *_, seed in asked]

        def watch(place: int) -> Watch:
            opened = self._tags.opened(asked[place][1])
            return Watch(loaded.read, sampling, self._tags, opened, self.reasoning_tokens, closing)

        watched = watch if sampling.stop or self.reasoning_tokens else None
        rows = min(self.rows or loaded.rows(max(map(len, ids)) + most), self.width)
        answers = decode(loaded.model, ids, seeds, sampling, loaded.ends, rows, watched, self.repetition_penalty, most)
        completions = []
        for (chat, rendered, tokens, _), answer in zip(asked, answers, strict=True):
            read = self.read(chat, answer.ids, sampling.stop, rendered)
            logprobs = answer.logprobs[answer_start(answer.ids, loaded.read, self._tags) :] if read.text else ()
            tops = tuple(
                tuple((tokenizer.decode([token]), value) for token, value in position) for position in logprobs
            )
            completions.append(replace(read, finish=answer.finish, logprobs=tops, prompt_tokens=len(tokens)))
        return completions

    def read(self, chat: Chat, ids: Sequence[int], stop: Sequence[str] = (), rendered: str = "") -> Completion:
        """What tokens after the rendered chat say: thinking apart, even if it was cut inside."""
        read, tags = self.load().read, self._tags
        text = read(ids)
        reasoning, text = split_thinking(text, tags, tags.opened(rendered))
        thought = answer_start(ids, read, tags) or (len(ids) if reasoning else 0)
        for marker in stop:
            text = text.partition(marker)[0]
        return Completion(chat, text, reasoning=reasoning, answer_tokens=len(ids) - thought, reasoning_tokens=thought)

    def closing(self, rendered: str) -> str:
        """What closes the thinking of a model that thinks before it answers, or may."""
        return "" if self.template == RAW else self._tags.close(rendered, str(self.load().tokenizer.chat_template))

    def render(self, chat: Chat) -> str:
        """The chat as the model reads it; one that ends with an assistant message is to be continued, or judged."""
        messages = list(chat)
        if self.system and messages[0].role != "system":
            messages.insert(0, Message("system", self.system))
        refuse_images("this target", chat)
        if messages[-1].role != "assistant" or self.template == MODERATION:
            return self._rendered(messages)
        rendered, prefix = self._rendered(messages, prefill=True), messages[-1].text
        head = rendered.rpartition(prefix.strip())[0] if prefix.strip() else rendered
        if len(messages) > 1 and self.closing(head):  # the template continues an answer that was not thought about
            asked = self._rendered(messages[:-1])
            return asked + self.closing(asked) + prefix
        return rendered

    def _rendered(self, messages: Sequence[Message], prefill: bool = False) -> str:
        try:
            rendered: str = self.load().tokenizer.apply_chat_template(
                as_dicts(tuple(messages)),
                tokenize=False,
                add_generation_prompt=not prefill,
                continue_final_message=prefill,
                **self._more(),
            )
        except Exception as error:  # a template raises what it likes
            raise AskError(f"the chat template refuses this chat: {error}", hint="see the roles it knows") from error
        return rendered

    def load(self, dtype: str = "") -> "_Loaded":
        """The model on its device, in its own dtype or in another; loaded once for all equal targets."""
        spec = self._own(dtype)
        with _LOCK:
            if spec not in _LOADED:
                _LOADED[spec] = _load(spec)
            return _LOADED[spec]

    def release(self) -> None:
        """Unload it, in every dtype: no stage to come needs it."""
        with _LOCK:
            gone = self._held()
            for spec in gone:
                del _LOADED[spec]
            if gone:
                gc.collect()

    def _held(self) -> list["HF"]:
        """What of it is loaded, a dtype each."""
        with _LOCK:
            return [spec for spec in _LOADED if replace(spec, dtype=self._own().dtype) == self._own()]

    def _own(self, dtype: str = "") -> "HF":
        """It with its dtype and device told, by which equal models are known."""
        chosen: Any = dtype or self.identity()["dtype"]
        return replace(self, dtype=chosen, device=torch_device(self.device))


_LOCK = threading.RLock()
_LOADED: dict[HF, "_Loaded"] = {}
_IDENTITIES: dict[HF, Json] = {}


@dataclass
class _Loaded:
    """A model in memory. `window`: its longest sequence in tokens, 0 if unknown; `ends`: tokens that end an answer;
    `hidden`: special tokens that are no text."""

    model: Any
    tokenizer: Any
    ends: frozenset[int]
    window: int
    hidden: frozenset[int]

    def read(self, ids: Sequence[int]) -> str:
        """The text of tokens, without the special ones but with those of the thinking's tags."""
        text: str = self.tokenizer.decode([token for token in ids if token not in self.hidden])
        return text

    def rows(self, length: int) -> int:
        """Rows of `length` tokens that decode together: as many as half of the free memory holds, at most 64 on a CPU,
        where more gain nothing, and 256 on a GPU."""
        row = row_bytes(self.model.config, self.model.dtype.itemsize, length)
        free = free_memory(str(self.model.device))
        fit = (4 * GIB if free is None else free) // 2 // row
        return max(1, min(256 if self.model.device.type == "cuda" else 64, fit))


def _load(spec: HF) -> _Loaded:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    identity, folder, device = spec.identity(), spec.folder(), torch_device(spec.device)
    kind = spec._quantized(folder)
    more: dict[str, Any] = {"device_map": spec.device_map} if spec.device_map else {}
    if kind:  # which cannot be moved afterwards
        more.setdefault("device_map", {"": device})
    if spec.quantize:
        from transformers import BitsAndBytesConfig

        # which says of every layer and step that int8 computes in float16
        getLogger("bitsandbytes.autograd._functions").setLevel(ERROR)
        more["quantization_config"] = BitsAndBytesConfig.from_dict(dict(BITSANDBYTES[spec.quantize]))
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, identity["dtype"]), trust_remote_code=spec.trust_remote_code, **more
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
    if spec.template not in ("", MODERATION):
        tokenizer.chat_template = spec.loading().template
    if not tokenizer.chat_template:
        raise SpecError(
            f"{spec.id} has no chat template",
            hint="use an instruct model, or give template=FILE with a Jinja template; template=none sends bare texts",
        )
    if spec.adapter:
        from peft import PeftModel

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of the two libraries to each other
            over: Any = PeftModel.from_pretrained(model, str(resolve(spec.adapter, "")))
            model = over.get_base_model() if kind and not kind.whole else over.merge_and_unload()
    if not more.get("device_map"):
        model.to(device)
    eos = model.generation_config.eos_token_id
    ends = {eos} if isinstance(eos, int) else set(eos or ())
    ends |= {tokenizer.eos_token_id} - {None}
    window = getattr(model.config.get_text_config(), "max_position_embeddings", 0) or 0
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special} | {*tokenizer.all_special_ids}
    of_tags = {i for tag in spec._tags.written for i in tokenizer(tag, add_special_tokens=False)["input_ids"]}
    watch(model)
    return _Loaded(model.eval(), tokenizer, frozenset(ends), window, frozenset(special - of_tags))
