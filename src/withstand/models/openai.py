"""Any chat server that speaks OpenAI's protocol: OpenAI, vLLM, Ollama, llama.cpp, LM Studio, most providers.

The protocol: https://platform.openai.com/docs/api-reference/chat/create.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from withstand.core import AskError, Chat, Completion, Json, Sampling, ToolCall, at_least
from withstand.models._chat import best_first, refuse_images, refuse_long, with_tool_calls
from withstand.models._fields import json_object
from withstand.models._prices import price
from withstand.models._retry import Transient
from withstand.models._server import OFFICIAL, Server

FINISH: Mapping[Json, Literal["length", "filtered"]] = {
    "content_filter": "filtered",
    "refusal": "filtered",
    "length": "length",
}
"""The server's finish_reason -> ours; any other one is "stop"."""
FILTERED = {"choices": [{"finish_reason": "content_filter", "message": {"content": ""}}]}
"""A filter that speaks by an error (HTTP 400, code "content_filter", Azure's way), in the form of an answer."""
LEAST_LOGPROB = -9999.0
"""What OpenAI and vLLM write for a probability of 0; for servers that write -Infinity, which JSON cannot hold."""


@dataclass(frozen=True)
class OpenAI(Server):
    """A model behind an OpenAI-compatible server, asked through the official SDK.

    served_as: a name of your own that tells apart servers with different models of one name. Set it if you use two
        such servers: `base_url` is not part of a row's key.
    system: a system message that is put first if the chat has none.
    prefill: how the server continues a chat that ends with an assistant message. "continue": by vLLM's option
        `continue_final_message`; "plain": without an option; "no" (default): it does not. The answer must hold only the
        text after the prefix; do not use a server that repeats the prefix.
    max_tokens_field: the name of the token limit in the request. Default "auto": max_completion_tokens for
        api.openai.com, max_tokens for any other server.
    extra: a JSON object that is merged into the request, such as {"top_k": 1}; a null removes a field from it.
    send_seed: whether the request holds the row's seed; default true.
    price_in, price_out: US dollars per million tokens of prompt and answer. Without them withstand takes the prices
        from the file that WITHSTAND_PRICES names, and for api.openai.com also from a list of 2026.
    max_answer_chars: longest answer in characters, reasoning included; a longer one is an error. Default 1,000,000.

    Raises `SpecError` for fields that cannot work, `AskError` when there is no answer.
    """

    version: ClassVar[int] = 1

    served_as: str = ""
    system: str = ""
    prefill: Literal["no", "continue", "plain"] = "no"
    max_tokens_field: Literal["auto", "max_tokens", "max_completion_tokens"] = "auto"
    extra: str = ""
    send_seed: bool = True
    price_in: float | None = field(default=None, metadata={"key": False})
    price_out: float | None = field(default=None, metadata={"key": False})
    lanes: int = field(default=64, metadata={"key": False})
    timeout: float = field(default=120.0, metadata={"key": False})
    max_answer_chars: int = field(default=1_000_000, metadata={"key": False})

    def __post_init__(self) -> None:
        Server.__post_init__(self)
        at_least(1, self, "max_answer_chars")
        json_object("extra", self.extra)

    @property
    def most_bytes(self) -> int:
        return 64 * self.max_answer_chars

    @property
    def gives(self) -> frozenset[str]:
        return frozenset({"system", "turns", "forged", "logprobs"} | ({"prefill"} if self.prefill != "no" else set()))

    @property
    def price(self) -> tuple[float, float] | None:
        """US dollars for a million tokens of prompt and answer; None if nobody has named them."""
        if self.price_in is None and self.price_out is None:
            return price(self.model, listed=self.host == OFFICIAL)
        return self.price_in or 0.0, self.price_out or 0.0

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        return [self._answer(chat, sampling, seed) for chat, seed in zip(chats, seeds, strict=True)]

    def _answer(self, chat: Chat, sampling: Sampling, seed: int) -> Completion:
        request = self._request(chat, sampling, seed)
        hint = "if it names a parameter: max_tokens_field, send_seed and extra change what is sent"
        return self.asked(
            "/chat/completions", request, lambda answer: self._read(chat, sampling, answer), hint, FILTERED
        )

    def _request(self, chat: Chat, sampling: Sampling, seed: int) -> dict[str, Json]:
        refuse_images(f"{self.model} at {self.place}", chat)
        messages = with_tool_calls(chat)
        if self.system and all(message.role != "system" for message in chat):
            messages.insert(0, {"role": "system", "content": self.system})
        limit = self.max_tokens_field
        if limit == "auto":
            limit = "max_completion_tokens" if self.host == OFFICIAL else "max_tokens"
        request: dict[str, Json] = {
            "model": self.model,
            "messages": messages,
            limit: sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if chat[-1].role == "assistant":
            if self.prefill == "no":
                raise AskError(
                    f"the chat ends with an assistant message, which {self.model} was not set to continue",
                    hint='set prefill="continue" for vLLM, "plain" for a server that does so by itself',
                )
            if self.prefill == "continue":
                request |= {"add_generation_prompt": False, "continue_final_message": True}
        if sampling.stop:
            request["stop"] = list(sampling.stop)
        if sampling.logprobs:
            request |= {"logprobs": True, "top_logprobs": sampling.logprobs}
        if self.send_seed:
            request["seed"] = seed % 2**31
        request |= json_object("extra", self.extra)
        return {name: value for name, value in request.items() if value is not None}

    def _read(self, chat: Chat, sampling: Sampling, answer: Json) -> Completion:
        try:
            choice = answer["choices"][0]
            message = choice["message"]
            text = message.get("content") or message.get("refusal") or ""
            reasoning = message.get("reasoning") or message.get("reasoning_content") or ""
            calls = [call["function"] for call in message.get("tool_calls") or ()]
            tool_calls = tuple([ToolCall(call["name"], call.get("arguments") or "") for call in calls])
            places = (choice.get("logprobs") or {}).get("content") or ()
            logprobs = tuple([_top(place.get("top_logprobs") or [place]) for place in places])
            usage = answer.get("usage") or {}
            prompt, written = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
            thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
            price_in, price_out = self.price or (0.0, 0.0)
            cost = (prompt * price_in + written * price_out) / 1e6
            size = len("".join((text, reasoning)))  # join: refuses what is not a string
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise Transient(f"the answer has another shape ({error!r}): {str(answer)[:200]}") from error
        refuse_long(f"{self.model} at {self.place}", size, self.max_answer_chars)
        if sampling.logprobs and text and not logprobs:
            raise AskError(
                f"{self.model} at {self.place} was asked for logprobs and gave none",
                hint="switch them on in the server, or use an attack that needs only text",
            )
        return Completion(
            chat=chat,
            text=text,
            finish=FINISH.get(choice.get("finish_reason"), "stop"),
            reasoning=reasoning,
            tool_calls=tool_calls,
            logprobs=logprobs,
            prompt_tokens=prompt,
            answer_tokens=max(written - thought, 0),
            reasoning_tokens=thought,
            cost=cost,
            seconds=answer.get("seconds") or 0.0,
        )


def _top(tokens: list[Json]) -> tuple[tuple[str, float], ...]:
    pairs = [(token["token"], float(token["logprob"])) for token in tokens]
    return best_first((text, value if math.isfinite(value) else LEAST_LOGPROB) for text, value in pairs)
