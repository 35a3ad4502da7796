"""A Python function as target."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import withstand
from withstand.core import AskError, Completion, Message, Sampling, SpecError, ToolCall, user
from withstand.models import _retry
from withstand.models import function as module
from withstand.models.function import Function, register

APP = """
class Bot:
    def answer(self, messages):
        return "bot " + messages[-1]["content"]

bot = Bot()
number = 3

def answer(messages):
    return "app " + messages[-1]["content"]

async def later(messages):
    return "later " + messages[-1]["content"]
"""


@pytest.fixture(autouse=True)
def _quick_and_clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_retry, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(module, "_live", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in {name for name in sys.modules if name.startswith("my_")} - before:
        del sys.modules[name]


def ask(function: Callable[..., Any] | str, text: str = "Hi", **options: Any) -> Completion:
    path = function if isinstance(function, str) else register(function)
    return Function(path, **options).generate([user(text)], Sampling(), [0])[0]


def failed(function: Callable[..., Any], **options: Any) -> AskError:
    with pytest.raises(AskError) as caught:
        ask(function, **options)
    return caught.value


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_app.py").write_text(APP)
    monkeypatch.syspath_prepend(tmp_path)
    assert ask("my_app:answer").text == "app Hi"
    assert ask("my_app:bot.answer").text == "bot Hi"
    assert ask("my_app:later").text == "later Hi"


def test_names() -> None:
    model = Function("my_app:answer", revision="abc")
    assert (model.place, model.width, model.lanes, model.hosts) == ("function:my_app:answer", 1, 8, ())
    assert model.gives == {"system", "turns", "forged"} == Function("my_app:answer", raw=True).gives - {"raw"}
    assert model.identity() == {"revision": "abc"}
    assert {model: 1}[Function("my_app:answer", revision="abc")] == 1


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("my_missing:answer", "there is no module my_missing", "PYTHONPATH"),
        ("my_app.sub:answer", "there is no module my_app.sub", "PYTHONPATH"),
        ("my_app:nothing", "nothing", "module:name"),
        ("my_app:number", "is a int", "list of messages"),
        ("my_broken:answer", "fails on import: SyntaxError", "fix the module"),
        ("my_needy:answer", "there is no module my_absent", "installed"),
    ],
)
def test_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str, hint: str) -> None:
    (tmp_path / "my_app.py").write_text(APP)
    (tmp_path / "my_broken.py").write_text("def (:")
    (tmp_path / "my_needy.py").write_text("import my_absent")
    monkeypatch.syspath_prepend(tmp_path)
    Function("my_app:answer").check()
    with pytest.raises(SpecError, match=message) as caught:
        Function(path).check()
    assert hint in caught.value.hint


@pytest.mark.parametrize("path", ["my_app", "my_app:", ":answer", ""])
def test_a_path_without_both_parts(path: str) -> None:
    with pytest.raises(SpecError, match="path is") as caught:
        Function(path)
    assert "module:name" in caught.value.hint


def test_wrong_limits() -> None:
    with pytest.raises(SpecError, match="tries is 0"):
        Function("a:b", tries=0)


def test_it_gets_the_messages_afresh_each_time() -> None:
    seen = []

    def answer(messages: list[dict[str, str]]) -> str:
        seen.append([dict(message) for message in messages])
        messages.clear()
        if len(seen) == 1:
            raise RuntimeError("first")
        return ""

    chat = (Message("system", "Be brief."), Message("user", "Hi"))
    (got,) = Function(register(answer)).generate([chat], Sampling(), [0])
    assert (got.text, got.finish, got.tokens, got.chat) == ("", "stop", 0, chat)
    sent = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert seen == [sent, sent]


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        (None, "returned None, not a str", "return the text"),
        (3, "returned a int, not a str", "return the text"),
        ({"answer": "Hi"}, "returned a part 'answer', which is not known", "text, tool_calls"),
        ({}, "neither text nor tool_calls", "text"),
        ({"text": 3}, "returned 3 as text", "must be str"),
        ({"text": "Hi", "prompt_tokens": True}, "returned True as prompt_tokens", "whole number"),
        ({"text": "Hi", "answer_tokens": -1}, "returned -1 as answer_tokens", "0 or more"),
        ({"text": "Hi", "tool_calls": {"name": "x"}}, "as tool_calls", "list or tuple"),
        ({"tool_calls": [{"name": "x", "arguments": {1, 2}}]}, "tool_calls that are no JSON", "as text"),
        ({"tool_calls": [{"tool": "x"}]}, "a tool call without a name", '"name": ...'),
        ({"text": "Hi", "reasoning": ["a", 1]}, "not all text", "a list of them"),
        ({"text": "Hi", "filtered": "no"}, "returned 'no' as filtered", "must be bool"),
        ({"text": "x" * 10_000_000}, "10,000,000 characters, above 1,000,000", "max_answer_chars"),
        ("x" * 10_000_000, "10,000,000 characters, above 1,000,000", "max_answer_chars"),
    ],
)
def test_wrong_answers_end_it_at_once(value: object, message: str, hint: str) -> None:
    calls = []

    def answer(messages: list[dict[str, str]]) -> object:
        calls.append(1)
        return value

    error = failed(answer)
    assert message in str(error)
    assert hint in error.hint
    assert len(calls) == 1


def test_a_mapping_says_more_than_the_text() -> None:
    parts: dict[str, Any] = {
        "text": None,
        "tool_calls": [{"name": "cancel", "arguments": {"booking": 17}}, {"function": {"name": "mail"}}],
        "reasoning": ["The letter.", "The menu."],
        "prompt_tokens": 12,
        "answer_tokens": 3,
        "filtered": False,
    }

    async def later(messages: list[dict[str, str]]) -> dict[str, Any]:
        return parts

    wanted = Completion(
        user("Hi"),
        "",
        reasoning="The letter.\n\nThe menu.",
        tool_calls=(ToolCall("cancel", '{"booking": 17}'), ToolCall("mail")),
        prompt_tokens=12,
        answer_tokens=3,
    )

    def proxy(messages: list[dict[str, str]]) -> object:
        return MappingProxyType({"text": "Hi"})

    def silenced(messages: list[dict[str, str]]) -> object:
        return {"filtered": True}

    assert ask(lambda messages: parts) == ask(later) == wanted
    assert ask(proxy).text == "Hi"
    filtered = ask(silenced)
    assert (filtered.text, filtered.finish) == ("", "filtered")


AGENT = """
CALL = {"name": "send_mail", "arguments": {"to": "guest@mail.example"}}

def plain(messages):
    return "Heat the oven to 200 C, knead the dough, bake for 30 minutes."

def sync(messages):
    if "bagels" in messages[-1]["content"]:
        return {"text": "Sent.", "tool_calls": [CALL], "reasoning": "a recipe", "prompt_tokens": 7, "answer_tokens": 2}
    return {"filtered": True, "prompt_tokens": 7}

async def later(messages):
    return sync(messages)
"""


@pytest.mark.parametrize("name", ["sync", "later"])
def test_a_function_from_the_command_line_to_the_report(tmp_path: Path, name: str) -> None:
    """What is called, used and filtered arrives in rows and verdicts."""
    (tmp_path / "my_agent.py").write_text(AGENT)
    (tmp_path / "ids.txt").write_text("bagels\nsourdough_loaf\n")
    words = ["run", "--suite", "kitchen", "--ids", "ids.txt", "--benign", "none", "--attack", "direct"]
    words += ["--judge", "tool_called:send_mail", "--target", f"function:my_agent:{name}", "--json"]
    done = subprocess.run([sys.executable, "-m", "withstand", *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads(done.stdout)["cells"]
    assert (cell["success"], cell["filtered"], cell["cases"], cell["tokens"]) == (1, 1, 2, 16)
    cases = {case["behavior"]: case for case in withstand.load(store=tmp_path / "withstand.db").cases()}
    assert (cases["bagels"]["completion"], cases["bagels"]["reasoning"]) == ("Sent.", "a recipe")
    assert "send_mail" in cases["bagels"]["why"]


def test_a_function_that_returns_text_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "my_agent.py").write_text(AGENT)
    words = ["run", "--suite", "kitchen", "--limit", "4", "--benign", "none", "--attack", "direct", "--json"]
    words += ["--judge", "contains:knead", "--target", "function:my_agent:plain"]
    done = subprocess.run([sys.executable, "-m", "withstand", *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads(done.stdout)["cells"]
    assert (cell["success"], cell["error"]) == (4, 0)


def test_exceptions_are_retried_and_then_told() -> None:
    calls = []

    def answer(messages: list[dict[str, str]]) -> str:
        calls.append(1)
        raise KeyError("shelf")

    error = failed(answer, tries=2)
    assert "was asked 2 times without an answer; last: KeyError: 'shelf'" in str(error)
    assert isinstance(error.__cause__, KeyError)
    assert len(calls) == 2


def test_even_an_exit_is_a_failed_ask() -> None:
    def answer(messages: list[dict[str, str]]) -> str:
        sys.exit(3)

    assert "SystemExit: 3" in str(failed(answer, tries=1))


def test_a_hung_function_is_given_up() -> None:
    release = threading.Event()

    def answer(messages: list[dict[str, str]]) -> str:
        release.wait(600)
        return "late"

    assert "last: no answer within 0.1 s" in str(failed(answer, timeout=0.1, tries=2))
    release.set()  # what comes late disturbs nothing


def test_async_functions_share_one_loop_thread() -> None:
    threads, now, most = set(), 0, 0

    async def answer(messages: list[dict[str, str]]) -> str:
        nonlocal now, most
        threads.add(threading.get_ident())
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.05)
        now -= 1
        return messages[0]["content"]

    model = Function(register(answer))
    with ThreadPoolExecutor(8) as pool:
        got = pool.map(lambda i: model.generate([user(str(i))], Sampling(), [0])[0].text, range(16))
    assert list(got) == [str(i) for i in range(16)]
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert 2 <= most <= 8


def test_a_hung_async_function_is_cancelled() -> None:
    cancelled = threading.Event()

    async def answer(messages: list[dict[str, str]]) -> str:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return "late"

    assert "no answer within 0.1 s" in str(failed(answer, timeout=0.1, tries=1))
    assert cancelled.wait(60)


def test_async_faults() -> None:
    async def raises(messages: list[dict[str, str]]) -> str:
        raise ValueError("no")

    async def gives_up(messages: list[dict[str, str]]) -> str:
        raise asyncio.CancelledError

    async def without_arguments() -> str:
        return "no"

    class Bot:
        async def __call__(self, messages: list[dict[str, str]]) -> None:
            return None

    assert "ValueError: no" in str(failed(raises, tries=1))
    assert "cancelled itself" in str(failed(gives_up, tries=1))
    assert "TypeError" in str(failed(without_arguments, tries=1))
    target = Bot()
    target.__qualname__, target.__module__ = "target", "nowhere"
    assert "returned None" in str(failed(target))


def test_register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_app.py").write_text(APP)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import my_app  # type: ignore[import-not-found]

    assert register(my_app.answer) == "my_app:answer"
    assert module._live == {}

    def make(word: str) -> Callable[..., str]:
        def answer(messages: list[dict[str, str]]) -> str:
            return word

        return answer

    first = make("first")
    path = register(first)
    assert path == register(first)
    assert path.endswith("make.<locals>.answer")
    assert ask(path).text == "first"
    with pytest.raises(SpecError, match="is another function"):
        register(make("second"))
    with pytest.raises(SpecError, match="no name"):
        register(Function("a:b"))  # type: ignore[arg-type]
