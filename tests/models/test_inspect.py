"""The target that asks inspect-ai's providers: Inspect's own stand-in, and its OpenAI providers over a real socket."""

import asyncio
import builtins
import threading
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from withstand import api as withstand_api
from withstand.core import AskError, Completion, Message, Sampling, SpecError, ToolCall, user
from withstand.models import _retry
from withstand.models import inspect as module
from withstand.models._shared import built_once
from withstand.models.inspect import Inspect
from withstand.registry import find
from withstand.runner.suites import check_offline

api: Any = None

Serve = Callable[..., Any]
KEY = "sk-secret-0123456789"
CHAT = '{"responses_api": false}'


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    """Here, and not as all tests are collected, by every process: it takes a second."""
    global api
    api = pytest.importorskip("inspect_ai.model", reason="inspect-ai is not installed: the target inspect is untested")


@pytest.fixture(autouse=True)
def _quick_and_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retry, "FIRST_WAIT", 0.001)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MY_KEY", KEY)


@pytest.fixture
def mocked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Inspect]:
    """`mocked(outputs, ...)`: a target on Inspect's own mockllm, which says these outputs, or what a function says.

    Outputs without usage get one: mockllm would count with a table from the network.
    """
    get_model = api.get_model

    def make(outputs: Iterable[Any] | Callable[..., Any], **fields: Any) -> Inspect:
        source = outputs if callable(outputs) else iter(outputs)

        def answer(messages: Any, tools: Any, choice: Any, config: Any) -> Any:
            output = source(messages, config) if callable(source) else next(source)
            if isinstance(output, Exception):
                raise output
            if not output.usage:
                output.usage = api.ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
            return output

        monkeypatch.setattr(module, "_model", built_once(module._model.__wrapped__))
        monkeypatch.setattr(api, "get_model", lambda name, **more: get_model(name, custom_outputs=answer, **more))
        return Inspect("mockllm/model", **fields)

    return make


def output_of(content: Any = "Sure.", stop: str = "stop", **message: Any) -> Any:
    turn = api.ChatMessageAssistant(content=content, source="generate", **message)
    return api.ModelOutput(model="mock", choices=[api.ChatCompletionChoice(message=turn, stop_reason=stop)])


def ask(model: Inspect, sampling: Sampling | None = None, seed: int = 0) -> Completion:
    return model.generate([user("How do I boil rice?")], sampling or Sampling(), [seed])[0]


def refused(model: Inspect, sampling: Sampling | None = None) -> AskError:
    with pytest.raises(AskError) as caught:
        ask(model, sampling)
    return caught.value


# --- Inspect's stand-in ------------------------------------------------------------------------------------------


def test_what_is_sent(mocked: Callable[..., Inspect]) -> None:
    seen: list[Any] = []

    def answer(messages: Any, config: Any) -> Any:
        seen.append((messages, config))
        return output_of()

    model = mocked(answer, system="Be brief.", lanes=3, extra='{"top_k": 5, "top_p": null}')
    chat = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    model.generate([chat], Sampling(max_tokens=7, temperature=0.5, top_p=0.9, stop=("\n",)), [2**40 + 5])
    ((messages, config),) = seen
    assert [(m.role, m.text) for m in messages] == [("system", "Be brief."), *((m.role, m.text) for m in chat)]
    assert config.model_dump(exclude_none=True) == {
        "max_retries": 0,
        "max_connections": 3,
        "max_tokens": 7,
        "temperature": 0.5,
        "stop_seqs": ["\n"],
        "seed": 5,
        "top_k": 5,
    }
    model.generate([(Message("system", "Be long."), Message("user", "a"))], Sampling(logprobs=0), [0])
    assert [m.text for m in seen[-1][0]] == ["Be long.", "a"]
    assert "seed" not in Inspect("mockllm/model", send_seed=False)._config(Sampling(), 3).model_dump(exclude_none=True)


def test_tool_messages_answer_a_call(mocked: Callable[..., Inspect]) -> None:
    seen: list[Any] = []

    def answer(messages: Any, config: Any) -> Any:
        seen.extend(messages)
        return output_of()

    chat = [("user", "a"), ("assistant", "I look."), ("tool", "one"), ("tool", "two"), ("user", "b"), ("tool", "three")]
    mocked(answer).generate([tuple(Message(role, text) for role, text in chat)], Sampling(), [0])  # type: ignore[arg-type]
    calls = [[call.id for call in m.tool_calls or ()] for m in seen if m.role == "assistant"]
    answers = [m.tool_call_id for m in seen if m.role == "tool"]
    assert [m.role for m in seen] == ["user", "assistant", "tool", "tool", "user", "assistant", "tool"]
    assert calls == [answers[:2], answers[2:]]
    assert len(set(answers)) == 3
    assert [m.text for m in seen if m.role == "tool"] == ["one", "two", "three"]


def test_reasoning_tool_calls_and_tokens(mocked: Callable[..., Inspect]) -> None:
    from inspect_ai.model import ContentReasoning, ContentText
    from inspect_ai.tool import ToolCall as Call

    hidden = ContentReasoning(reasoning="gibberish", redacted=True)
    output = output_of([ContentReasoning(reasoning="Hm."), hidden, ContentText(text="Sure.")], "tool_calls")
    output.message.tool_calls = [Call(id="1", function="oven", arguments={"heat": 200})]
    output.usage = api.ModelUsage(
        input_tokens=10, output_tokens=20, total_tokens=37, input_tokens_cache_read=7, reasoning_tokens=5
    )
    completion = ask(mocked([output], price_in=1.0, price_out=10.0))
    assert (completion.text, completion.reasoning, completion.finish) == ("Sure.", "Hm.", "stop")
    assert completion.tool_calls == (ToolCall("oven", '{"heat": 200}'),)
    assert (completion.prompt_tokens, completion.answer_tokens, completion.reasoning_tokens) == (17, 15, 5)
    assert completion.cost == pytest.approx((17 * 1.0 + 20 * 10.0) / 1e6)


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("stop", "stop"),
        ("unknown", "stop"),
        ("max_tokens", "length"),
        ("model_length", "length"),
        ("content_filter", "filtered"),
    ],
)
def test_how_an_answer_ends(mocked: Callable[..., Inspect], stop: str, finish: str) -> None:
    assert ask(mocked([output_of("x", stop)])).finish == finish


def test_logprobs(mocked: Callable[..., Inspect]) -> None:
    top = [api.TopLogprob(token="no", logprob=-2.0), api.TopLogprob(token="yes", logprob=-0.5)]
    output = output_of("yes!")
    output.choices[0].logprobs = api.Logprobs(
        content=[
            api.Logprob(token="yes", logprob=-0.5, top_logprobs=top),
            api.Logprob(token="!", logprob=-0.1),
        ]
    )
    completion = ask(mocked([output]), Sampling(logprobs=2))
    assert completion.logprobs == ((("yes", -0.5), ("no", -2.0)), (("!", -0.1),))
    assert "gave none" in str(refused(mocked([output_of()]), Sampling(logprobs=2)))


def test_a_failure_is_tried_again_and_then_told(mocked: Callable[..., Inspect]) -> None:
    assert ask(mocked([RuntimeError("busy"), api.ModelOutput(), output_of("At last.")])).text == "At last."
    error = refused(mocked(lambda *_: RuntimeError(f"bad key {KEY}"), tries=2))
    assert (
        str(error)
        == "mockllm/model by inspect-ai was asked 2 times without an answer; last: RuntimeError: bad key [key]"
    )
    assert KEY not in "".join(traceback.format_exception(error))
    assert error.hint
    assert "above 4" in str(refused(mocked([output_of("a" * 5)], max_answer_chars=4)))


def test_a_slow_answer_is_given_up(mocked: Callable[..., Inspect]) -> None:
    ended = threading.Event()

    def answer(*_: Any) -> Any:
        async def later() -> Any:
            try:
                await asyncio.sleep(600)
            finally:
                ended.set()

        return later()

    model = mocked(lambda *_: output_of(), timeout=0.05, tries=1)
    module._model(model).api.outputs = answer
    assert "no answer within 0.05 s" in str(refused(model))
    assert ended.wait(60)  # and its coroutine is cancelled, not left to run


def test_prefill_and_images(mocked: Callable[..., Inspect]) -> None:
    chat = (Message("user", "Hi"), Message("assistant", "Sure, "))
    assert "prefill" not in Inspect("mockllm/model").gives
    with pytest.raises(AskError, match="ends with an assistant message"):
        mocked([]).generate([chat], Sampling(), [0])
    model = mocked([output_of("here")], prefill=True)
    assert "prefill" in model.gives
    assert model.generate([chat], Sampling(), [0])[0].text == "here"
    with pytest.raises(AskError, match="does not read images"):
        mocked([]).generate([(Message("user", "Hi", images=("a.png",)),)], Sampling(), [0])


def test_calls_leave_nothing_behind(mocked: Callable[..., Inspect]) -> None:
    """Inspect notes every call in the current transcript; a run of a million rows must not keep them all."""
    from inspect_ai.log import transcript

    seen: list[Any] = []

    def answer(*_: Any) -> Any:
        seen.append(len(transcript().events))
        return output_of()

    model = mocked(answer)
    for _ in range(20):
        ask(model)
    assert max(seen) <= 2


def test_one_loop_thread_serves_all(mocked: Callable[..., Inspect]) -> None:
    names: list[str] = []

    def answer(*_: Any) -> Any:
        names.append(threading.current_thread().name)
        return output_of()

    first = mocked(answer)
    ask(first)
    ask(Inspect("mockllm/other"))
    assert names == ["inspect", "inspect"]


# --- its OpenAI providers ----------------------------------------------------------------------------------------


def openai(server: Any, provider: str = "openai-api/local", name: str = "small", **fields: Any) -> Inspect:
    return Inspect(f"{provider}/{name}", base_url=server.url, key_env="MY_KEY", **fields)


@pytest.mark.parametrize(("provider", "args"), [("openai-api/local", ""), ("openai", CHAT)])
def test_over_a_socket(openai_server: Serve, provider: str, args: str) -> None:
    server = openai_server()
    model = openai(server, provider, "thinker", model_args=args)
    model.check()
    sampling = Sampling(max_tokens=3, temperature=0.5, top_p=0.9, logprobs=2)
    completion = model.generate([user("Hi there")], sampling, [7])[0]
    (request,) = server.requests
    assert request["headers"]["authorization"] == f"Bearer {KEY}"
    body = request["body"]
    assert body["messages"] == [{"role": "user", "content": "Hi there"}]
    assert (body["seed"], body["top_logprobs"], body["top_p"]) == (7, 2, 0.9)
    assert len(completion.text.split()) == 3
    assert (completion.finish, completion.reasoning) == ("length", "Let me think.")
    assert (completion.prompt_tokens, completion.answer_tokens, completion.reasoning_tokens) == (2, 3, 3)
    assert [len(place) for place in completion.logprobs] == [2, 2, 2]
    assert all(place[0][1] >= place[1][1] for place in completion.logprobs)


@pytest.mark.parametrize(
    "fault", ["429", "500", "drop", "cut", "not_json", "wrong_shape", "no_choices", "null_message"]
)
def test_what_may_mend_is_tried_once_more_by_us_alone(openai_server: Serve, fault: str) -> None:
    server = openai_server(faults=[fault])
    assert ask(openai(server)).finish == "stop"
    assert len(server.requests) == 2
    server = openai_server(faults=[fault] * 3)
    refused(openai(server, tries=3))
    assert len(server.requests) == 3  # neither Inspect nor the SDK below tried on its own


@pytest.mark.parametrize("fault", ["400", "401", "403", "404", "301", "quota"])
def test_what_no_try_mends_is_told_at_once_and_without_the_key(openai_server: Serve, fault: str) -> None:
    server = openai_server(faults=[fault])
    error = refused(openai(server))
    assert len(server.requests) == 1  # a redirect is not followed either
    assert KEY not in "".join(traceback.format_exception(error)) + error.hint
    assert "Hi there" not in str(error)
    assert error.hint


def test_filters_refusals_and_tools(openai_server: Serve) -> None:
    server = openai_server(faults=["filtered", "filtered_400", "refusal", "tool"])
    model = openai(server)
    filtered, by_error, refusal, tool = (ask(model) for _ in range(4))
    assert (filtered.finish, by_error.finish, refusal.finish) == ("filtered", "filtered", "stop")
    assert refusal.text == "I can't help with that."
    assert tool.tool_calls == (ToolCall("oven", '{"heat": 200}'),)


def test_a_server_that_asks_for_a_long_wait_is_not_waited_for(openai_server: Serve) -> None:
    error = refused(openai(openai_server(faults=["429:1000"])))
    assert "asks for a wait of 1000 s" in str(error)


def test_lanes_ask_at_once(openai_server: Serve) -> None:
    server = openai_server(latency=1.0)
    model = openai(server, lanes=8)
    ask(model)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: ask(model, seed=seed), range(8)))
    assert 4 < server.most <= 8  # a busy machine may not get all eight out within a second


def test_a_run(openai_server: Serve, tmp_path: Any) -> None:
    server = openai_server(chance=0.2)
    spec = {
        "suite": "kitchen",
        "limit": 10,
        "target": {"use": "inspect", "model": "openai-api/local/small", "base_url": server.url, "key_env": "MY_KEY"},
        "attack": "direct",
    }
    run = withstand_api.run(spec, store=tmp_path / "s.db", offline=True)
    assert sum(cell["error"] for cell in run.cells) == 0
    assert sum(cell["cases"] for cell in run.cells) == 20


# --- fields ------------------------------------------------------------------------------------------------------


def test_hosts_and_offline() -> None:
    hosts = {
        Inspect("mockllm/model"): (),
        Inspect("openai/gpt-4o-mini"): ("inspect:openai",),
        Inspect("ollama/x", base_url="http://localhost:11434/v1"): ("localhost",),
        Inspect("openai/x", base_url="https://api.example.com/v1"): ("api.example.com",),
    }
    for model, expected in hosts.items():
        assert model.hosts == expected
        if expected in ((), ("localhost",)):
            check_offline(model.hosts)
        else:
            with pytest.raises(SpecError, match="--offline"):
                check_offline(model.hosts)


def test_a_proxy_never_gets_what_is_meant_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Inspect("openai-api/local/m", base_url="http://127.0.0.1:1/v1", key_env="MY_KEY")
    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")
    with pytest.raises(SpecError, match="through a proxy"):
        model.check()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    model.check()


def test_names(openai_server: Serve) -> None:
    server = openai_server()
    model = openai(server, revision="v1")
    assert model.place == f"inspect:openai-api@127.0.0.1:{server.server_port}"
    assert (model.width, model.lanes, model.identity()) == (1, 16, {"revision": "v1"})
    assert model.gives == {"system", "turns", "forged", "logprobs"}
    assert find.build("target", "inspect:openai/gpt-4o-mini,lanes=2") == Inspect("openai/gpt-4o-mini", lanes=2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "gpt-4o"}, "model is 'gpt-4o'"),
        ({"base_url": "localhost:80"}, "base_url"),
        ({"lanes": 0}, "lanes is 0"),
        ({"timeout": 0.0}, "timeout is 0"),
        ({"extra": "{top_k: 1}"}, "extra is not JSON"),
        ({"model_args": "[1]"}, "model_args is"),
        ({"model_args": '{"api_key": "x"}'}, "would be stored"),
        ({"extra": '{"extra_headers": {"Authorization": "x"}}'}, "would be stored"),
        ({"extra": '{"max_retries": 3}'}, "extra holds max_retries"),
    ],
)
def test_wrong_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        Inspect(**({"model": "mockllm/model"} | fields))
    assert caught.value.hint or "must be" in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "openai/gpt-4o"}, "OPENAI_API_KEY"),
        ({"model": "nobody/x"}, "nobody"),
        ({"model": "mockllm/model", "key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY is not set"),
        ({"model": "mockllm/model", "extra": '{"top_kk": 1}'}, "no top_kk"),
        ({"model": "mockllm/model", "extra": '{"top_k": "many"}'}, "top_k"),
        ({"model": "sagemaker/x", "base_url": "http://localhost/v1"}, "sagemaker"),
    ],
)
def test_what_cannot_work_is_found_before_anything_is_asked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        Inspect(**fields).check()
    assert caught.value.hint


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("inspect_ai"):
            raise ModuleNotFoundError(f"No module named {name!r}", name="inspect_ai")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(SpecError, match="not installed") as caught:
        Inspect("mockllm/missing").check()
    assert caught.value.hint == "pip install 'withstand[inspect]'"
