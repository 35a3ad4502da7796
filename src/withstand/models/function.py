"""A Python function as target: `f(messages) -> str`, or a mapping that says more, sync or async: the entry of an
application. Ours."""

import asyncio
import importlib
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, ClassVar

from withstand.core import AskError, Chat, Completion, Json, Sampling, SpecError, at_least
from withstand.core.errors import positive
from withstand.core.records import as_dicts
from withstand.models._calls import call_of
from withstand.models._chat import refuse_long
from withstand.models._loop import loop_of, settled
from withstand.models._retry import Transient, retrying


@dataclass(frozen=True)
class Function:
    """A function that is called with a list of {"role": ..., "content": ...} and returns a str, or a mapping.

    A mapping holds "text" (the answer, a str), "tool_calls" or both. "tool_calls" is a list of {"name": ...,
    "arguments": ...} with arguments as JSON text or any JSON value; OpenAI's form, with both inside "function", works
    too. Optional parts: "reasoning", a str or a list of them, for thoughts or retrieved passages, which judges see only
    if set to; "prompt_tokens" and "answer_tokens", whole numbers, 0 if missing; "filtered", true if the application's
    own filter answered, so that no judge is asked. A part that is None counts as missing; any other part is an error.

    The function receives neither sampling nor seed. A sync function runs in a thread of its own, which is abandoned
    after `timeout`. Async functions share one event loop and are cancelled after `timeout`.

    The function is part of the process of the run. What it prints goes to stderr under `--json`. An abandoned call of
    an endless function keeps its thread, and a core if it computes, until the run ends. `os._exit` ends the run without
    a word, as SIGKILL would: what was saved is kept, and the same command continues. To guard against both, serve the
    application in a process of its own and use `http`.

    path: "module:name", such as "my_app:answer" or "my_app:bot.answer", or the result of `register`.
    revision: the version of the function (such as a commit). Change it when the function changes.
    timeout: longest time of one call in seconds. tries: attempts per row, after an exception or a timeout.
    lanes: most calls at once. max_answer_chars: longest text in characters; a longer one is an error.
    raw: whether it continues the text of the last turn itself, without a chat template; default false.

    Raises `SpecError` if the function cannot be found, `AskError` if it fails or returns anything else.
    """

    version: ClassVar[int] = 1
    width: ClassVar[int] = 1
    hosts: ClassVar[tuple[str, ...]] = ()

    path: str
    revision: str = ""
    timeout: float = field(default=120.0, metadata={"key": False})
    tries: int = field(default=3, metadata={"key": False})
    lanes: int = field(default=8, metadata={"key": False})
    max_answer_chars: int = field(default=1_000_000, metadata={"key": False})
    raw: bool = field(default=False, metadata={"key": False})

    def __post_init__(self) -> None:
        module, _, name = self.path.partition(":")
        if not module or not name:
            raise SpecError(f"path is {self.path!r}", hint='write it as "module:name", as my_app:answer')
        at_least(1, self, "tries", "lanes", "max_answer_chars")
        positive(self, "timeout")

    @property
    def gives(self) -> frozenset[str]:
        return frozenset({"system", "turns", "forged"} | ({"raw"} if self.raw else set()))

    @property
    def place(self) -> str:
        return f"function:{self.path}"

    def identity(self) -> Json:
        return {"revision": self.revision}

    def check(self) -> None:
        """Raises `SpecError` if the function cannot be imported, is not there or cannot be called."""
        _find(self.path)

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        return [self._answer(chat) for chat in chats]

    def _answer(self, chat: Chat) -> Completion:
        hint = "make the function answer this chat (call it by hand), or raise tries or timeout; then run again"
        answer = retrying(lambda: self._call(chat), self.tries, self.place, hint)
        if not isinstance(answer, (str, Mapping)):
            raise AskError(
                f"{self.path} returned {'None' if answer is None else f'a {type(answer).__name__}'}, not a str",
                hint='return the text, or {"text": ..., "tool_calls": [...]}',
            )
        completion = _completion(self.path, chat, {"text": answer} if isinstance(answer, str) else answer)
        refuse_long(self.path, len(completion.text), self.max_answer_chars)
        return completion

    def _call(self, chat: Chat) -> object:
        function = _find(self.path)
        messages = as_dicts(chat)
        future: Future[object]
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
            future = asyncio.run_coroutine_threadsafe(_awaited(function, messages), loop_of(self, self.place))
        else:
            future = Future()
            future.set_running_or_notify_cancel()  # from here on it cannot be cancelled, only given up
            threading.Thread(target=_fill, args=(future, function, messages), daemon=True).start()
        if error := settled(future, self.timeout).exception():
            raise Transient(f"{type(error).__name__}: {error}") from error
        return future.result()


PARTS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "tool_calls": (list, tuple),
    "reasoning": (str, list, tuple),
    "prompt_tokens": (int,),
    "answer_tokens": (int,),
    "filtered": (bool,),
}


def _completion(path: str, chat: Chat, answer: Mapping[str, Any]) -> Completion:
    """What a mapping says, or an `AskError` that names the part that is wrong."""
    names = ", ".join(PARTS)
    given: dict[str, Any] = {name: value for name, value in answer.items() if value is not None}
    for name, value in given.items():
        if name not in PARTS:
            raise AskError(f"{path} returned a part {name!r}, which is not known", hint=f"parts are {names}")
        count = PARTS[name] == (int,)
        odd = count and isinstance(value, int) and (isinstance(value, bool) or value < 0)
        if not isinstance(value, PARTS[name]) or odd:
            wanted = "a whole number, 0 or more" if count else " or ".join(kind.__name__ for kind in PARTS[name])
            raise AskError(f"{path} returned {value!r:.100} as {name}", hint=f"it must be {wanted}")
    if not {"text", "tool_calls", "filtered"} & set(given):
        raise AskError(f"{path} returned neither text nor tool_calls", hint=f'as {{"text": ...}}; parts are {names}')
    reasoning = given.get("reasoning", "")
    parts = [reasoning] if isinstance(reasoning, str) else reasoning
    if not all(isinstance(part, str) for part in parts):
        raise AskError(f"{path} returned reasoning that is not all text", hint="give a str, or a list of them")
    try:
        calls = tuple(map(call_of, given.get("tool_calls", ())))
    except TypeError as error:
        raise AskError(
            f"{path} returned tool_calls that are no JSON: {error}", hint="give the arguments as text"
        ) from None
    if not all(call.name for call in calls):
        raise AskError(f"{path} returned a tool call without a name", hint='as {"name": ..., "arguments": ...}')
    return Completion(
        chat,
        given.get("text", ""),
        "filtered" if given.get("filtered") else "stop",
        "\n\n".join(parts),
        calls,
        prompt_tokens=given.get("prompt_tokens", 0),
        answer_tokens=given.get("answer_tokens", 0),
    )


_live: dict[str, Callable[..., Any]] = {}


def register(function: Callable[..., Any]) -> str:
    """The path by which `Function` finds `function`, also where no import reaches it (a notebook, another function).

    Such a one is known to this process alone: another can resume the run only after it has registered it too.
    Raises `SpecError` if it has no name, or its path leads to another function.
    """
    name = getattr(function, "__qualname__", "")
    if not name:
        raise SpecError(
            f"{function!r} has no name by which it can be imported", hint="wrap it in a function made with def"
        )
    path = f"{function.__module__}:{name}"
    try:
        registered = _find(path)
    except SpecError:
        registered = _live.setdefault(path, function)
    if registered is not function:
        raise SpecError(f"{path} is another function", hint="give this one a name of its own")
    return path


def _find(path: str) -> Callable[..., Any]:
    if path in _live:
        return _live[path]
    module, _, name = path.partition(":")
    try:
        target = attrgetter(name)(importlib.import_module(module))
    except ModuleNotFoundError as error:
        hint = (
            f"is {error.name} installed or on PYTHONPATH? The current folder is searched only where the command or its "
            "spec file names the function"
        )
        raise SpecError(f"{path}: there is no module {error.name}", hint) from error
    except AttributeError as error:
        raise SpecError(
            f"{path}: {error}", hint="write the path as module:name; register() helps in notebooks"
        ) from error
    except Exception as error:
        raise SpecError(
            f"{path}: {module} fails on import: {type(error).__name__}: {error}", "fix the module"
        ) from error
    if not callable(target):
        raise SpecError(f"{path} is a {type(target).__name__}", hint="name a function that takes a list of messages")
    return target  # type: ignore[no-any-return]


def _fill(future: "Future[object]", function: Callable[..., Any], messages: list[dict[str, str]]) -> None:
    try:
        future.set_result(function(messages))
    except BaseException as error:  # noqa: BLE001  (even SystemExit: whoever waits must hear of it)
        future.set_exception(error)


async def _awaited(function: Callable[..., Any], messages: list[dict[str, str]]) -> object:
    return await function(messages)
