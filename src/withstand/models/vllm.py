"""vLLM in this process: its LLM class with whole batches. Kwon et al. 2023, arXiv:2309.06180; the extra `vllm`.

Written against the documented API of vLLM 0.8 to 0.15 (https://docs.vllm.ai) and tested against a stand-in with its
signatures. Not yet measured on a GPU.
"""

import gc
import importlib.util
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from withstand.core import AskError, Chat, Completion, Json, Sampling, SpecError, at_least, bounded
from withstand.core.device import GIB, free_memory
from withstand.core.records import as_dicts
from withstand.models._chat import best_first, refuse_images
from withstand.models._fields import json_object, keyless_object
from withstand.models._folder import identity_of, resolve, template_of
from withstand.models._thinking import split_thinking

RANKS = (8, 16, 32, 64, 128, 256, 512)
"""What vLLM takes as max_lora_rank."""


@dataclass(frozen=True)
class VLLM:
    """A chat model that vLLM runs on the GPUs of this machine, each row with its own seed. Not yet measured on a GPU.

    Template, end tokens and the separation of thinking are those of `hf`. vLLM's usage statistics are switched off. An
    answer may change by rounding with the other rows of its batch, as on a server.

    id: a folder or hub id. revision: the hub's revision.
    dtype: "auto" (default) is vLLM's choice: that of the model's config, but float16 for float32.
    adapter: a LoRA adapter (folder or hub id), applied without merging.
    system: a system message that is put first if the chat has none.
    template: a Jinja file that replaces the tokenizer's template.
    thinking: passed to the template as enable_thinking, if set. date: passed as date_string. Both need vLLM 0.9.
    quantization: vLLM's name of it, such as "fp8" or "awq"; "" (default): as the weights are stored.
    max_model_len: most tokens of prompt and answer together; 0 (default): the model's own limit.
    gpu_memory_utilization: share of the GPU's memory for weights and cache, above 0, at most 1.
    tensor_parallel_size: number of GPUs that share the model. width: most chats per call.
    trust_remote_code: run code that comes with the model; default false.
    extra: a JSON object of more arguments of vLLM's engine, such as {"enforce_eager": true}.
    params: a JSON object of more SamplingParams, such as {"top_k": 20}.

    Raises `SpecError` if vLLM or the weights are not available, `AskError` for a chat that vLLM refuses.
    """

    version: ClassVar[int] = 1
    hosts: ClassVar[tuple[str, ...]] = ()
    lanes: ClassVar[int] = 1
    gives: ClassVar[frozenset[str]] = frozenset({"system", "turns", "forged", "prefill", "logprobs"})

    id: str
    revision: str = ""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    adapter: str = ""
    system: str = ""
    template: str = ""
    thinking: bool | None = None
    date: str = ""
    quantization: str = ""
    max_model_len: int = 0
    gpu_memory_utilization: float = field(default=0.9, metadata={"key": False})
    tensor_parallel_size: int = field(default=1, metadata={"key": False})
    width: int = field(default=256, metadata={"key": False})
    trust_remote_code: bool = False
    extra: str = ""
    params: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            raise SpecError("id is empty", hint="a folder or a hub id such as Qwen/Qwen3-8B")
        at_least(1, self, "width", "tensor_parallel_size")
        at_least(0, self, "max_model_len")
        if not 0 < self.gpu_memory_utilization <= 1:
            raise SpecError(f"gpu_memory_utilization is {self.gpu_memory_utilization}", hint="above 0, at most 1")
        taken = set(keyless_object("extra", self.extra)) & {*self._engine("", ""), "revision", "tokenizer"}
        taken |= set(json_object("params", self.params)) & {*_drawn(Sampling(), 0), "n", "best_of", "output_kind"}
        if taken:
            raise SpecError(f"extra or params holds {', '.join(sorted(taken))}", hint="fields and sampling say that")

    @property
    def place(self) -> str:
        return "cuda:0" if self.tensor_parallel_size == 1 else "devices"

    def footprint(self) -> Json:
        """What it takes of its GPUs in GiB: vLLM reserves its share of each when it is loaded, whatever the model."""
        import torch

        gpus = range(torch.cuda.device_count())[: self.tensor_parallel_size]
        with _LOCK:
            loaded = self in _LOADED
        total = sum(torch.cuda.mem_get_info(gpu)[1] for gpu in gpus) / GIB
        free = free_memory(self.place) if gpus else None
        weights = 0.0 if loaded else self.gpu_memory_utilization * total
        return {"weights": weights, "row": 0.0, "free": None if free is None else free / GIB}

    def check(self) -> None:
        """Raises `SpecError` if vLLM is missing, or the weights cannot be had."""
        _check_installed(self.id)
        self.identity()

    def identity(self) -> Json:
        """Digests of weights, adapter, tokenizer and template: never a path."""
        with _LOCK:
            if self not in _IDENTITIES:
                if not Path(self.id).is_dir():
                    _check_installed(self.id)  # before gigabytes are fetched for nothing
                _IDENTITIES[self] = identity_of(resolve(self.id, self.revision), self.adapter, self.template)
            return _IDENTITIES[self]

    def _engine(self, folder: str, adapter: str) -> dict[str, Any]:
        """The arguments of vLLM's LLM, but for `extra`."""
        arguments: dict[str, Any] = {
            "model": folder,
            "dtype": self.dtype,
            "seed": 0,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "tensor_parallel_size": self.tensor_parallel_size,
            "trust_remote_code": self.trust_remote_code,
        }
        if self.quantization:
            arguments["quantization"] = self.quantization
        if self.max_model_len:
            arguments["max_model_len"] = self.max_model_len
        if adapter:
            arguments |= {"enable_lora": True, "max_lora_rank": _rank(adapter)}
        return arguments

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        answers: list[Completion | None] = [None] * len(chats)
        for prefill in (False, True):  # a call takes one way of ending the prompt for all its chats
            places = [i for i, chat in enumerate(chats) if (chat[-1].role == "assistant") == prefill]
            if not places:
                continue
            outputs = self._ask([chats[i] for i in places], sampling, [seeds[i] for i in places], prefill)
            for i, output in zip(places, outputs, strict=True):
                answers[i] = self._completion(chats[i], sampling, output)
        return [answer for answer in answers if answer is not None]

    def _ask(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int], prefill: bool) -> list[Any]:
        """vLLM's outputs, in order. It refuses a batch for one bad chat; `drive` then sends row by row."""
        import vllm

        loaded = _loaded(self)
        more: dict[str, Any] = {"add_generation_prompt": False, "continue_final_message": True} if prefill else {}
        kwargs: dict[str, Any] = {} if self.thinking is None else {"enable_thinking": self.thinking}
        kwargs |= {"date_string": self.date} if self.date else {}
        if kwargs:
            more["chat_template_kwargs"] = kwargs
        if self.template:
            more["chat_template"] = template_of(self.template)
        if loaded.lora is not None:
            more["lora_request"] = loaded.lora
        given, messages = json_object("params", self.params), [self._messages(chat) for chat in chats]
        try:
            drawn = [vllm.SamplingParams(**_drawn(sampling, seed), **given) for seed in seeds]
            outputs: list[Any] = loaded.llm.chat(messages, sampling_params=drawn, use_tqdm=False, **more)
        except Exception as error:  # vLLM and a template raise what they like
            raise AskError(
                f"vLLM refuses this: {_line(error)}",
                hint="a shorter chat, fewer max_tokens or a larger max_model_len; params and thinking as this version "
                "knows them; and see the roles that the template knows",
            ) from error
        if len(outputs) != len(chats):
            raise AskError(f"vLLM answered {len(outputs)} times to {len(chats)} chats", hint="run again")
        return outputs

    def _messages(self, chat: Chat) -> list[dict[str, str]]:
        refuse_images("this target", chat)
        messages = as_dicts(chat)
        if self.system and messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": self.system})
        return messages

    def _completion(self, chat: Chat, sampling: Sampling, output: Any) -> Completion:
        answer = output.outputs[0]
        if answer.finish_reason not in ("stop", "length"):
            raise AskError(f"vLLM ended the answer by {answer.finish_reason!r}", hint="run again")
        written, places = len(answer.token_ids), answer.logprobs or ()
        if answer.finish_reason == "stop" and not isinstance(answer.stop_reason, str) and written:
            written, places = written - 1, list(places)[:-1]  # the token that ended it is no part of the answer
        reasoning, text = split_thinking(answer.text)
        thought = 0
        if reasoning:
            thought = len(_loaded(self).llm.get_tokenizer().encode(reasoning, add_special_tokens=False))
        return Completion(
            chat,
            text,
            finish=answer.finish_reason,
            reasoning=reasoning,
            logprobs=tuple([_top(place, sampling.logprobs) for place in places]),
            prompt_tokens=len(output.prompt_token_ids),
            answer_tokens=max(written - thought, 0),
            reasoning_tokens=thought,
        )

    def release(self) -> None:
        """Unload it: no stage to come needs it."""
        with _LOCK:
            gone = _LOADED.pop(self, None)
            if gone is None:
                return
            core: Any = getattr(gone.llm.llm_engine, "engine_core", None)  # a process of its own since vLLM 0.8
            if hasattr(core, "shutdown"):
                core.shutdown()
            del gone, core
            gc.collect()


@dataclass
class _Loaded:
    """vLLM's LLM, and the request that names the adapter, None without one."""

    llm: Any
    lora: Any


_LOCK = threading.RLock()
_LOADED: dict[VLLM, _Loaded] = {}
_IDENTITIES: dict[VLLM, Json] = {}


def _check_installed(name: str) -> None:
    if "vllm" not in sys.modules and importlib.util.find_spec("vllm") is None:
        raise SpecError(
            f"{name} by vllm needs vllm, which is not installed",
            hint="pip install 'withstand[vllm]' on a machine with a GPU, or use hf",
        )


def _loaded(target: VLLM) -> _Loaded:
    """The model on its GPUs; loaded once for all equal targets."""
    with _LOCK:
        if target not in _LOADED:
            _LOADED[target] = _load(target)
        return _LOADED[target]


def _load(target: VLLM) -> _Loaded:
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # it would report the machine and the model to its makers
    import vllm
    from vllm.lora.request import LoRARequest

    adapter = str(resolve(target.adapter, "")) if target.adapter else ""
    engine = target._engine(str(resolve(target.id, target.revision)), adapter)
    try:
        llm = vllm.LLM(**engine, **json_object("extra", target.extra))
    except Exception as error:  # no GPU, no memory, an argument that this version does not know
        raise SpecError(
            f"vLLM cannot load {target.id}: {_line(error)}",
            hint="a lower max_model_len or gpu_memory_utilization if memory is short; extra as this version knows it",
        ) from error
    return _Loaded(llm, LoRARequest("adapter", 1, adapter) if adapter else None)


def _drawn(sampling: Sampling, seed: int) -> dict[str, Any]:
    """The arguments of vLLM's SamplingParams, but for `params`."""
    return {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": seed % 2**31,
        "stop": list(sampling.stop) or None,
        "logprobs": sampling.logprobs or None,
    }


def _top(place: Any, most: int) -> tuple[tuple[str, float], ...]:
    """The top tokens of a position; vLLM adds the one that was drawn where it is not among them."""
    return best_first((entry.decoded_token or "", float(entry.logprob)) for entry in place.values())[:most]


def _rank(adapter: str) -> int:
    """The smallest rank that vLLM takes and that holds the adapter's."""
    path = Path(adapter) / "adapter_config.json"
    try:
        rank = int(bounded.parse_json(str(path), bounded.read_text(path))["r"])
    except (OSError, ValueError, KeyError, TypeError, SpecError) as error:
        raise SpecError(f"{path} names no rank: {error}", hint="is it a LoRA adapter of peft?") from error
    allowed = next((size for size in RANKS if size >= rank), None)
    if allowed is None:
        raise SpecError(f"{path}: its rank {rank} is above vLLM's {RANKS[-1]}", hint="merge it, or use hf")
    return allowed


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
