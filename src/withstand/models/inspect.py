"""Every provider of inspect-ai by its model API: openai/gpt-4o-mini, anthropic/..., google/..., mockllm/model.

The API: https://inspect.aisi.org.uk/models.html. Needs the extra `inspect`, and what the provider itself needs.
"""

import asyncio
import json
import os
import re
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from withstand.core import AskError, Chat, Completion, Json, Sampling, SpecError, ToolCall, at_least
from withstand.core.errors import positive
from withstand.core.redact import Redactor
from withstand.models._chat import best_first, refuse_images, refuse_long
from withstand.models._fields import json_object, keyless_object
from withstand.models._loop import loop_of, settled
from withstand.models._retry import Transient, retrying, seconds_asked
from withstand.models._server import split_url
from withstand.models._shared import built_once
from withstand.models._wire import LOOPBACK

MOCK = "mockllm"
LOOP = "inspect"
"""One loop for all: Inspect's limits on connections belong to the loop on which they were first met."""
OURS = ("cache", "max_connections", "max_retries", "num_choices")
"""Settings of Inspect's that would break what a target promises: one fresh answer a row, retries and lanes of ours."""
VARIABLE = re.compile("KEY|TOKEN|SECRET|PASSWORD")
"""Variables of the environment whose values no message shows."""


@dataclass(frozen=True)
class Inspect:
    """A model that inspect-ai reaches. API keys come from the provider's own variables, such as OPENAI_API_KEY.

    Providers want a tool message to follow a tool call. If the chat shows no call, withstand puts an empty call of a
    tool named `tool` before the message. Inspect leaves out settings that a provider does not have (a seed, a
    temperature); missing log-probabilities are an error. mockllm counts tokens with tiktoken, which downloads its table
    at first use.

    model: PROVIDER/NAME as Inspect writes it.
    base_url: the address of the server; "" (default): the provider's own.
    key_env: the environment variable that holds the API key; "" (default): the provider's own.
    revision: the version that the server runs, if the name does not say it.
    served_as: a name of your own that tells apart servers with different models of one name. Set it if you use two such
        servers: `base_url` is not part of a row's key.
    system: a system message that is put first if the chat has none.
    prefill: whether the provider continues a chat that ends with an assistant message; default false.
    model_args: a JSON object of arguments for the provider, such as {"responses_api": false}.
    extra: a JSON object that is merged into Inspect's GenerateConfig, such as {"top_k": 1, "reasoning_effort": "low"};
        a null removes a setting.
    send_seed: whether the request holds the row's seed; default true.
    price_in, price_out: US dollars per million tokens of prompt and answer.
    lanes: most requests at once. timeout: longest time of one answer in seconds.
    tries: attempts per row, after errors that Inspect would retry, timeouts and unreadable answers.
    max_answer_chars: longest answer in characters, reasoning included; a longer one is an error.

    Raises `SpecError` for fields that cannot work, a missing package or key; `AskError` when there is no answer.
    """

    version: ClassVar[int] = 1
    width: ClassVar[int] = 1

    model: str
    base_url: str = field(default="", metadata={"key": False})
    key_env: str = field(default="", metadata={"key": False})
    revision: str = ""
    served_as: str = ""
    system: str = ""
    prefill: bool = False
    model_args: str = ""
    extra: str = ""
    send_seed: bool = True
    price_in: float | None = field(default=None, metadata={"key": False})
    price_out: float | None = field(default=None, metadata={"key": False})
    lanes: int = field(default=16, metadata={"key": False})
    timeout: float = field(default=120.0, metadata={"key": False})
    tries: int = field(default=6, metadata={"key": False})
    max_answer_chars: int = field(default=1_000_000, metadata={"key": False})

    def __post_init__(self) -> None:
        provider, _, name = self.model.partition("/")
        if not provider or not name:
            raise SpecError(f"model is {self.model!r}", hint="write PROVIDER/NAME, as openai/gpt-4o-mini")
        at_least(1, self, "lanes", "tries", "max_answer_chars")
        positive(self, "timeout")
        if self.base_url:
            split_url(self.base_url)
        keyless_object("model_args", self.model_args)
        if taken := sorted(set(OURS) & set(keyless_object("extra", self.extra))):
            raise SpecError(
                f"extra holds {', '.join(taken)}", hint="lanes and tries say how often and how many at once"
            )

    @property
    def provider(self) -> str:
        return self.model.partition("/")[0]

    @property
    def place(self) -> str:
        return f"inspect:{self.provider}" + (f"@{split_url(self.base_url).netloc}" if self.base_url else "")

    @property
    def gives(self) -> frozenset[str]:
        return frozenset({"system", "turns", "forged", "logprobs"} | ({"prefill"} if self.prefill else set()))

    @property
    def hosts(self) -> tuple[str, ...]:
        """That of `base_url`. Without one Inspect alone knows, from variables and files too: the provider is named."""
        if self.provider == MOCK:
            return ()
        return (split_url(self.base_url).hostname or "" if self.base_url else f"inspect:{self.provider}",)

    def identity(self) -> Json:
        return {"revision": self.revision}

    def check(self) -> None:
        """Raises `SpecError` if inspect-ai, the provider's package or its key is missing, or settings are wrong."""
        api = _model(self).api
        self._config(Sampling(), 0)
        if not self.base_url or self.provider == MOCK:
            return
        if getattr(api, "base_url", None) != self.base_url:
            raise SpecError(f"Inspect's {self.provider} takes no base_url", hint="leave base_url out")
        host = split_url(self.base_url).hostname or ""
        if host in LOOPBACK and _proxied(split_url(self.base_url).scheme, host):
            raise SpecError(
                f"the environment sends requests for {host} through a proxy", hint=f"export NO_PROXY={host}"
            )

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        return [self._answer(chat, sampling, seed) for chat, seed in zip(chats, seeds, strict=True)]

    def _answer(self, chat: Chat, sampling: Sampling, seed: int) -> Completion:
        refuse_images(self.model, chat)
        if chat[-1].role == "assistant" and not self.prefill:
            raise AskError(
                f"the chat ends with an assistant message, which {self.model} was not set to continue",
                hint="set prefill=true if the provider continues it",
            )
        sent, config = self._messages(chat), self._config(sampling, seed)
        return retrying(
            lambda: self._read(chat, sampling, self._ask(sent, config)),
            self.tries,
            f"{self.model} by inspect-ai",
            hint="is the provider up? If it is too busy: fewer lanes, more tries, a longer timeout; then run again",
        )

    def _messages(self, chat: Chat) -> list[Any]:
        """The chat in Inspect's classes."""
        from inspect_ai import model as api
        from inspect_ai.tool import ToolCall as Call

        kinds = {"system": api.ChatMessageSystem, "user": api.ChatMessageUser, "assistant": api.ChatMessageAssistant}
        sent: list[Any] = []
        if self.system and all(message.role != "system" for message in chat):
            sent.append(api.ChatMessageSystem(content=self.system))
        for place, message in enumerate(chat):
            if message.role != "tool":
                sent.append(kinds[message.role](content=message.text))
                continue
            caller = next((message for message in reversed(sent) if message.role != "tool"), None)
            if caller is None or caller.role != "assistant":
                caller = api.ChatMessageAssistant(content="")
                sent.append(caller)
            call = Call(id=f"call_{place}", function="tool", arguments={})
            caller.tool_calls = [*(caller.tool_calls or ()), call]
            sent.append(api.ChatMessageTool(content=message.text, tool_call_id=call.id, function="tool"))
        return sent

    def _config(self, sampling: Sampling, seed: int) -> Any:
        """Inspect's GenerateConfig. Its own retries are off: ours count."""
        from inspect_ai.model import GenerateConfig

        settings: dict[str, Any] = {
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_retries": 0,
            "max_connections": self.lanes,
        }
        if sampling.stop:
            settings["stop_seqs"] = list(sampling.stop)
        if sampling.logprobs:
            settings |= {"logprobs": True, "top_logprobs": sampling.logprobs}
        if self.send_seed:
            settings["seed"] = seed % 2**31
        settings |= json_object("extra", self.extra)
        if unknown := sorted(set(settings) - set(GenerateConfig.model_fields)):
            raise SpecError(
                f"extra: Inspect's GenerateConfig has no {', '.join(unknown)}", hint="see its documentation"
            )
        try:
            return GenerateConfig(**settings)
        except ValueError as error:
            raise SpecError(f"extra: {_line(error)}", hint="see the types of Inspect's GenerateConfig") from error

    def _ask(self, messages: list[Any], config: Any) -> Any:
        """Inspect's answer, or `Transient` where another try may help, else `AskError`."""
        future = asyncio.run_coroutine_threadsafe(_generated(_model(self), messages, config), loop_of(LOOP, LOOP))
        error: Any = settled(future, self.timeout).exception()
        if error is None:
            return future.result()
        worth_it = hasattr(error, "last_attempt")  # tenacity's RetryError: Inspect would have tried again
        if worth_it:
            error = error.last_attempt.exception() or error
        if str(error).startswith("\nRequest:") and error.__cause__:
            error = error.__cause__  # the wrapper quotes all that was sent
        if isinstance(error, UnicodeEncodeError):
            raise AskError(f"the chat cannot be sent: {error}", hint="it contains an unpaired surrogate character")
        status = _status(error)
        reason = _hidden(f"{type(error).__name__}: {_line(error)}")
        if getattr(error, "code", None) == "insufficient_quota":
            raise AskError(f"{self.model}: {reason}", hint="the account has no credit left")
        if not worth_it and status in range(300, 500) and status not in (408, 409, 429):
            raise AskError(
                f"{self.model} refused: {reason}",
                hint="check model, key and base_url; if it names a parameter, extra can take it out with a null",
            )
        headers = getattr(getattr(error, "response", None), "headers", None) or {}
        raise Transient(reason, seconds_asked(headers.get("retry-after")))  # no `from`: the error may quote a key

    def _read(self, chat: Chat, sampling: Sampling, output: Any) -> Completion:
        if not output.choices:
            raise Transient(f"the answer holds no choice: {_hidden(_line(output.error or ''))}".rstrip(": "))
        choice = output.choices[0]
        content = choice.message.content
        parts = [] if isinstance(content, str) else [part for part in content if part.type == "reasoning"]
        thoughts = [(getattr(part, "summary", None) or "") if part.redacted else part.reasoning for part in parts]
        text, reasoning = choice.message.text, "\n".join(filter(None, thoughts))
        refuse_long(self.model, len(text) + len(reasoning), self.max_answer_chars)
        places = choice.logprobs.content if choice.logprobs else ()
        if sampling.logprobs and text and not places:
            raise AskError(
                f"{self.model} was asked for logprobs and gave none", hint="use an attack that needs only text"
            )
        usage = output.usage
        prompt = written = thought = 0
        cost = 0.0
        if usage:
            prompt = usage.input_tokens + (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
            written, thought = usage.output_tokens, usage.reasoning_tokens or 0
            cost = getattr(usage, "total_cost", None) or 0.0
        if self.price_in is not None or self.price_out is not None:
            cost = ((self.price_in or 0.0) * prompt + (self.price_out or 0.0) * written) / 1e6
        calls = choice.message.tool_calls or ()
        return Completion(
            chat=chat,
            text=text,
            finish=_FINISH.get(choice.stop_reason, "stop"),
            reasoning=reasoning,
            tool_calls=tuple([ToolCall(call.function, json.dumps(call.arguments)) for call in calls]),
            logprobs=tuple([_top(place) for place in places]),
            prompt_tokens=prompt,
            answer_tokens=max(written - thought, 0),
            reasoning_tokens=thought,
            cost=cost,
        )


_FINISH: Mapping[str, Literal["length", "filtered"]] = {
    "content_filter": "filtered",
    "max_tokens": "length",
    "model_length": "length",
}
"""Inspect's stop_reason -> ours; "stop", "tool_calls" and "unknown" are an end like any."""


def _top(place: Any) -> tuple[tuple[str, float], ...]:
    return best_first((token.token, float(token.logprob)) for token in place.top_logprobs or [place])


async def _generated(model: Any, messages: list[Any], config: Any) -> Any:
    """One call, with a transcript of its own: Inspect notes every call in the current one, which would only grow."""
    from inspect_ai.log import Transcript
    from inspect_ai.log._transcript import init_transcript

    init_transcript(Transcript())
    return await model.generate(messages, config=config)


@built_once
def _model(target: Inspect) -> Any:
    """Inspect's model, which all lanes share."""
    try:
        from inspect_ai.model import get_model
    except ImportError as error:
        raise SpecError(
            f"{target.model} needs {error.name or 'inspect-ai'}, which is not installed",
            hint="pip install 'withstand[inspect]'",
        ) from error
    key = os.environ.get(target.key_env, "").strip() or None
    if target.key_env and not key:
        raise SpecError(f"the variable {target.key_env} is not set", hint=f"export {target.key_env}=...")
    try:
        model = get_model(
            target.model,
            base_url=target.base_url or None,
            api_key=key,
            memoize=False,
            **json_object("model_args", target.model_args),
        )
    except Exception as error:  # noqa: BLE001 - a provider raises what it likes: a missing package, key or argument
        raise SpecError(
            f"Inspect cannot make {target.model}: {_hidden(_line(error))}",
            hint="see https://inspect.aisi.org.uk/providers.html for what the provider needs",
        ) from None
    client: Any = getattr(model.api, "client", None)
    if isinstance(getattr(client, "max_retries", None), int):
        client.max_retries = 0  # those of the SDK below: ours count
    http: Any
    for http in (getattr(client, "_client", None), getattr(model.api, "http_client", None)):
        if hasattr(http, "follow_redirects"):
            http.follow_redirects = False  # text goes to the host that was named, and to no other
    return model


def _proxied(scheme: str, host: str) -> bool:
    return scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)


def _status(error: BaseException) -> int:
    """The HTTP status that an error of any SDK carries; 0 for none."""
    within = getattr(error, "response", None)
    codes = [getattr(error, "status_code", None), getattr(error, "code", None), getattr(within, "status_code", None)]
    return next((code for code in codes if isinstance(code, int)), 0)


def _line(error: object) -> str:
    """A message as one line without rich's markup, at most 500 characters."""
    text = str(getattr(error, "message", None) or error)
    return " ".join(re.sub(r"\[/?[a-z ]+\]", "", text).split())[:500]


def _hidden(text: str) -> str:
    """Without the values of variables that hold keys."""
    secrets = {value.strip(): "key" for name, value in os.environ.items() if VARIABLE.search(name.upper())}
    return Redactor({secret: name for secret, name in secrets.items() if len(secret) >= 8}).text(text)
