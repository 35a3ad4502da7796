"""A stand-in for the package vllm, for tests where it cannot be installed: its names and signatures, no model.

The signatures are those of vllm/entrypoints/llm.py, sampling_params.py, outputs.py and lora/request.py of 0.8.5, 0.9.2
and 0.15 (https://docs.vllm.ai/en/v0.9.2/api/vllm/entrypoints/llm.html and the like), as far as the target could use
them. Whatever they do not list is refused, as the real ones refuse it. Answers come from `replies`.
"""

import importlib.machinery
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

ENGINE_ARGS = {
    "disable_log_stats", "enable_lora", "enable_prefix_caching", "kv_cache_dtype", "load_format", "max_logprobs",
    "max_lora_rank", "max_loras", "max_model_len", "max_num_batched_tokens", "max_num_seqs", "pipeline_parallel_size",
}  # fmt: skip
"""What LLM's **kwargs hand to EngineArgs; others are a TypeError there."""


@dataclass
class SamplingParams:
    """The fields of 0.8.5 that are there in all three, with their checks."""

    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    include_stop_str_in_output: bool = False

    def __post_init__(self) -> None:
        if self.temperature < 0.0:
            raise ValueError(f"temperature must be non-negative, got {self.temperature}.")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}.")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {self.max_tokens}.")


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float | None
    logprobs: list[dict[int, Logprob]] | None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool = True


@dataclass
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str = ""
    long_lora_max_len: int | None = None

    def __post_init__(self) -> None:
        if self.lora_int_id < 1:
            raise ValueError(f"id must be > 0, got {self.lora_int_id}")


class Tokenizer:
    """A token is a word."""

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [len(word) for word in text.split()]


@dataclass
class Call:
    """One call of `chat`, as it came."""

    messages: list[list[dict[str, str]]]
    params: list[SamplingParams]
    more: dict[str, Any]


class Engine:
    def __init__(self) -> None:
        self.engine_core = self
        self.down = False

    def shutdown(self) -> None:
        self.down = True


def module(
    replies: Callable[[str, SamplingParams], CompletionOutput], version: str, on_load: Callable[[], None]
) -> ModuleType:
    """The package as a module; `made` lists its LLMs with their arguments and calls."""
    made: list[Any] = []

    class LLM:
        def __init__(
            self,
            model: str,
            *,
            tokenizer: str | None = None,
            tokenizer_mode: str = "auto",
            skip_tokenizer_init: bool = False,
            trust_remote_code: bool = False,
            allowed_local_media_path: str = "",
            tensor_parallel_size: int = 1,
            dtype: str = "auto",
            quantization: str | None = None,
            revision: str | None = None,
            tokenizer_revision: str | None = None,
            seed: int | None = None,
            gpu_memory_utilization: float = 0.9,
            cpu_offload_gb: float = 0,
            enforce_eager: bool = False,
            disable_custom_all_reduce: bool = False,
            hf_token: bool | str | None = None,
            hf_overrides: dict[str, Any] | None = None,
            **kwargs: Any,
        ) -> None:
            if unknown := set(kwargs) - ENGINE_ARGS:
                raise TypeError(f"EngineArgs.__init__() got an unexpected keyword argument {sorted(unknown)[0]!r}")
            if kwargs.get("max_lora_rank", 16) not in (8, 16, 32, 64, 128, 256, 320, 512):
                raise ValueError("max_lora_rank")
            on_load()
            self.given = {
                "model": model, "dtype": dtype, "quantization": quantization, "seed": seed,
                "gpu_memory_utilization": gpu_memory_utilization, "tensor_parallel_size": tensor_parallel_size,
                "trust_remote_code": trust_remote_code, "enforce_eager": enforce_eager, **kwargs,
            }  # fmt: skip
            self.calls: list[Call] = []
            self.llm_engine = Engine()
            made.append(self)

        def get_tokenizer(self) -> Tokenizer:
            return Tokenizer()

        def _chat(self, messages: Any, sampling_params: Any, lora: Any, prefill: Any, more: dict[str, Any]) -> Any:
            generation, continued = prefill
            if generation and continued:
                raise ValueError("Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
            if len(sampling_params) != len(messages):
                raise ValueError("The lengths of prompts and params must be the same.")
            if lora is not None and not self.given.get("enable_lora"):
                raise ValueError("Got lora_request but LoRA is not enabled!")
            self.calls.append(Call(messages, sampling_params, {**more, "lora_request": lora, "prefill": prefill}))
            limit = self.given.get("max_model_len") or 10_000
            outputs = []
            for number, (chat, params) in enumerate(zip(messages, sampling_params, strict=True)):
                prompt = " ".join(turn["content"] for turn in chat)
                ids = Tokenizer().encode(prompt)
                if len(ids) > limit:
                    raise ValueError(f"The decoder prompt (length {len(ids)}) is longer than the maximum model length")
                outputs.append(RequestOutput(str(number), prompt, ids, [replies(prompt, params)]))
            return outputs

    if version == "0.8.5":

        def chat(
            self: Any,
            messages: Any,
            sampling_params: Any = None,
            use_tqdm: bool = True,
            lora_request: Any = None,
            chat_template: str | None = None,
            chat_template_content_format: str = "auto",
            add_generation_prompt: bool = True,
            continue_final_message: bool = False,
            tools: Any = None,
            mm_processor_kwargs: Any = None,
        ) -> Any:
            more = {"chat_template": chat_template, "use_tqdm": use_tqdm}
            prefill = (add_generation_prompt, continue_final_message)
            return self._chat(messages, sampling_params, lora_request, prefill, more)

    else:

        def chat(  # type: ignore[misc]
            self: Any,
            messages: Any,
            sampling_params: Any = None,
            use_tqdm: bool = True,
            lora_request: Any = None,
            chat_template: str | None = None,
            chat_template_content_format: str = "auto",
            add_generation_prompt: bool = True,
            continue_final_message: bool = False,
            tools: Any = None,
            chat_template_kwargs: dict[str, Any] | None = None,
            mm_processor_kwargs: Any = None,
        ) -> Any:
            more = {"chat_template": chat_template, "use_tqdm": use_tqdm, "chat_template_kwargs": chat_template_kwargs}
            prefill = (add_generation_prompt, continue_final_message)
            return self._chat(messages, sampling_params, lora_request, prefill, more)

    LLM.chat = chat  # type: ignore[attr-defined]
    package, lora, request = ModuleType("vllm"), ModuleType("vllm.lora"), ModuleType("vllm.lora.request")
    package.__spec__ = importlib.machinery.ModuleSpec("vllm", None, is_package=True)
    package.__version__ = version  # type: ignore[attr-defined]
    package.LLM, package.SamplingParams, package.lora = LLM, SamplingParams, lora  # type: ignore[attr-defined]
    package.made = made  # type: ignore[attr-defined]
    lora.request = request  # type: ignore[attr-defined]
    request.LoRARequest = LoRARequest  # type: ignore[attr-defined]
    return package


def modules(package: ModuleType) -> dict[str, ModuleType]:
    """What goes into sys.modules."""
    return {"vllm": package, "vllm.lora": package.lora, "vllm.lora.request": package.lora.request}


def answer(
    text: str, ids: list[int], finish: str = "stop", stop: int | str | None = None, logprobs: Any = None
) -> CompletionOutput:
    return CompletionOutput(0, text, ids, None, logprobs, finish, stop)
