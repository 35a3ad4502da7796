"""The OpenAI-compatible target, over a real socket."""

import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from clocks import until
from withstand.attacks.llm.inject import Inject
from withstand.core import (
    AskError,
    Behavior,
    Completion,
    Message,
    Sampling,
    SpecError,
    Target,
    ToolCall,
    dumps,
    to_json,
    user,
)
from withstand.models import _retry, _server
from withstand.models._pace import Pace
from withstand.models.openai import OpenAI

Serve = Callable[..., Any]
KEY = "sk-secret-0123456789"


@pytest.fixture(autouse=True)
def _quick_and_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retry, "FIRST_WAIT", 0.001)
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def ask(server: Any, text: str = "How do I boil rice?", seed: int = 0, **options: Any) -> Completion:
    sampling = options.pop("sampling", Sampling())
    return OpenAI(**({"model": "small", "base_url": server.url} | options)).generate([user(text)], sampling, [seed])[0]


def refused(server: Any, **options: Any) -> AskError:
    with pytest.raises(AskError) as caught:
        ask(server, **options)
    return caught.value


# --- what is sent ----------------------------------------------------------------------------------------------


def test_request(openai_server: Serve) -> None:
    server = openai_server()
    sampling = Sampling(max_tokens=7, temperature=0.5, top_p=0.9, stop=("\n",))
    ask(server, "Hi", seed=2**40 + 5, sampling=sampling, system="Be brief.")
    (request,) = server.requests
    assert request["body"] == {
        "model": "small",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["\n"],
        "seed": 5,
    }
    assert request["headers"]["authorization"] == "Bearer none"


def test_a_chat_keeps_its_own_system_message(openai_server: Serve) -> None:
    server = openai_server()
    model = OpenAI("small", server.url, system="Be brief.")
    chat = (Message("system", "Be long."), Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    model.generate([chat], Sampling(), [0])
    sent = server.requests[0]["body"]["messages"]
    assert [(m["role"], m["content"]) for m in sent] == [(m.role, m.text) for m in chat]


def test_a_turn_of_a_tool_answers_a_call(openai_server: Serve) -> None:
    server = openai_server()
    model = OpenAI(model="small", base_url=server.url)
    [case] = list(Inject(carrier="tool").run(Behavior("b", "Bake"), Target(model)))
    results = (Message("tool", "one"), Message("tool", "two"))
    model.generate([case.chat, (*user("Hi"), *results, *user("Go on"))], Sampling(), [0, 0])
    sent, further = (request["body"]["messages"] for request in server.requests)
    assert [(turn["role"], turn["content"]) for turn in sent] == [(turn.role, turn.text) for turn in case.chat]
    assert sent[1]["tool_calls"] == [
        {"id": "call_2", "type": "function", "function": {"name": "tool", "arguments": "{}"}}
    ]
    assert sent[2]["tool_call_id"] == "call_2"
    assert [turn["role"] for turn in further] == ["user", "assistant", "tool", "tool", "user"]
    assert [call["id"] for call in further[1]["tool_calls"]] == [turn["tool_call_id"] for turn in further[2:4]]


def test_extra_adds_and_takes_away(openai_server: Serve) -> None:
    server = openai_server()
    ask(server, extra='{"top_k": 1, "top_p": null}', send_seed=False, max_tokens_field="max_completion_tokens")
    body = server.requests[0]["body"]
    assert body["top_k"] == 1
    assert body["max_completion_tokens"] == 512
    assert not {"top_p", "seed", "max_tokens", "stop", "logprobs"} & set(body)


def test_only_the_official_host_gets_max_completion_tokens() -> None:
    request = OpenAI("gpt")._request(user("Hi"), Sampling(max_tokens=9), 0)
    assert request["max_completion_tokens"] == 9
    assert "max_tokens" not in request


def test_prefill(openai_server: Serve) -> None:
    server = openai_server()
    chat = (Message("user", "Hi"), Message("assistant", "Sure, "))
    flags = {"add_generation_prompt": False, "continue_final_message": True}
    for prefill, expected in (("continue", flags), ("plain", {})):
        model = OpenAI("small", server.url, prefill=prefill)
        assert "prefill" in model.gives
        model.generate([chat, user("Hi")], Sampling(), [0, 0])
        continued, plain = (request["body"] for request in server.requests[-2:])
        assert continued["messages"][-1] == {"role": "assistant", "content": "Sure, "}
        assert {name: continued[name] for name in flags if name in continued} == expected
        assert not set(flags) & set(plain)
    model = OpenAI("small", server.url)
    assert "prefill" not in model.gives
    with pytest.raises(AskError, match="ends with an assistant message") as caught:
        model.generate([chat], Sampling(), [0])
    assert "prefill=" in caught.value.hint


def test_images_and_half_surrogates_are_not_sent(openai_server: Serve) -> None:
    server = openai_server()
    with pytest.raises(AskError, match="does not read images"):
        OpenAI("small", server.url).generate([(Message("user", "Hi", images=("a.png",)),)], Sampling(), [0])
    assert "surrogate" in refused(server, text="\ud800").hint
    assert server.requests == []


def test_key_is_sent_and_never_told(openai_server: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin")
    server = openai_server(faults=["401"])
    error = refused(server, key_env="MY_KEY")
    assert server.requests[0]["headers"]["authorization"] == f"Bearer {KEY}"
    assert "[key]" in str(error)
    assert "MY_KEY" in error.hint
    assert KEY not in "".join([*traceback.format_exception(error), error.hint])
    model = OpenAI("small", server.url, key_env="MY_KEY")
    assert KEY not in repr(model) + dumps(to_json(model))


def test_a_broken_key_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-\nsecret")
    with pytest.raises(SpecError, match="MY_KEY") as caught:
        OpenAI("small", "http://127.0.0.1:9/v1", key_env="MY_KEY").check()
    assert "secret" not in "".join(traceback.format_exception(caught.value))


# --- what comes back -------------------------------------------------------------------------------------------


def test_answer(openai_server: Serve) -> None:
    server = openai_server()
    got = ask(server, "one two three", price_in=2.0, price_out=10.0)
    count = len(got.text.split())
    assert got.chat == user("one two three")
    assert (got.finish, got.prompt_tokens, got.answer_tokens, got.reasoning_tokens) == ("stop", 3, count, 0)
    assert got.cost == pytest.approx((3 * 2.0 + count * 10.0) / 1e6)
    assert 0.0 < got.seconds < 10.0
    assert ask(server, "one two three").cost == 0.0
    assert ask(server, sampling=Sampling(max_tokens=2)).finish == "length"
    assert len(server.requests) == 3


def test_an_answer_depends_on_chat_sampling_and_seed(openai_server: Serve) -> None:
    server = openai_server()
    warm = Sampling(temperature=1.0)
    assert ask(server, seed=1).text == ask(server, seed=2).text != ask(server, "Other").text
    assert ask(server, seed=1, sampling=warm).text == ask(server, seed=1, sampling=warm).text
    assert ask(server, seed=1, sampling=warm).text != ask(server, seed=2, sampling=warm).text


def test_reasoning_is_kept_apart(openai_server: Serve) -> None:
    got = ask(openai_server(), model="thinker", price_out=1e6)
    assert got.reasoning == "Let me think."
    assert "think" not in got.text
    assert (got.reasoning_tokens, got.answer_tokens) == (3, len(got.text.split()))
    assert got.cost == 3 + got.answer_tokens


def test_logprobs_best_first(openai_server: Serve) -> None:
    got = ask(openai_server(), sampling=Sampling(logprobs=3))
    assert [top[0][0] for top in got.logprobs] == got.text.split()
    assert all([value for _, value in top] == [-0.5, -2.0, -3.0] for top in got.logprobs)


def test_missing_logprobs_are_an_error(openai_server: Serve) -> None:
    server = openai_server()
    error = refused(server, sampling=Sampling(logprobs=3), extra='{"logprobs": null}')
    assert "gave none" in str(error)
    assert len(server.requests) == 1


def test_minus_infinity_fits_the_store() -> None:
    answer = json.loads(
        '{"choices": [{"message": {"content": "a"}, "logprobs": {"content": [{"token": "a", "logprob": -Infinity}]}}]}'
    )
    got = OpenAI("small")._read(user("Hi"), Sampling(logprobs=1), answer)
    assert got.logprobs == ((("a", -9999.0),),)
    dumps(to_json(got))


def test_tool_calls(openai_server: Serve) -> None:
    got = ask(openai_server(faults=["tool"]))
    assert (got.text, got.finish, got.tool_calls) == ("", "stop", (ToolCall("oven", '{"heat": 200}'),))


@pytest.mark.parametrize("fault", ["filtered", "filtered_400"])
def test_filtered(openai_server: Serve, fault: str) -> None:
    server = openai_server(faults=[fault])
    got = ask(server, sampling=Sampling(logprobs=1))
    assert (got.text, got.finish) == ("", "filtered")
    assert len(server.requests) == 1


def test_a_refusal_is_the_text(openai_server: Serve) -> None:
    got = ask(openai_server(faults=["refusal"]))
    assert (got.text, got.finish) == ("I can't help with that.", "stop")


def test_a_long_answer_is_an_error_at_once(openai_server: Serve) -> None:
    server = openai_server(faults=["long", "long"])
    error = refused(server)
    assert "10,000,000 characters" in str(error)
    assert "max_answer_chars" in error.hint
    assert len(server.requests) == 1
    assert len(ask(server, max_answer_chars=10_000_000).text) == 10_000_000


# --- faults ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("429", "HTTP 429: Rate limit reached."),
        ("500", "HTTP 500: This is error 500."),
        ("drop", "the connection failed: "),
        ("cut", "the connection failed: "),
        ("not_json", "the answer is not JSON"),
        ("wrong_shape", "the answer has another shape"),
        ("no_choices", "the answer has another shape"),
        ("null_message", "the answer has another shape"),
    ],
)
def test_passing_faults_are_retried(openai_server: Serve, fault: str, reason: str) -> None:
    server = openai_server(faults=[fault, fault, "", fault, fault])
    assert ask(server).text == ask(openai_server()).text
    assert len(server.requests) == 3
    error = refused(server, tries=2)
    assert str(error).startswith(f"small at api:127.0.0.1:{server.server_port} was asked 2 times without an answer")
    assert reason in str(error)
    assert "is the server up" in error.hint


def test_timeout(openai_server: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = openai_server(faults=["slow", "", "slow"])
    model = OpenAI("small", server.url, timeout=0.3)

    def be_patient(_seconds: float) -> None:
        model._client.timeout = 60  # a busy machine may need more than 0.3 s for the answer that does come

    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=be_patient))
    assert model.generate([user("How do I boil rice?")], Sampling(), [0])[0].text
    assert len(server.requests) == 2
    assert "no answer within 0.2 s" in str(refused(server, timeout=0.2, tries=1))  # by a client that is not patient


def test_no_server(openai_server: Serve) -> None:
    server = openai_server()
    server.__exit__()
    error = refused(server, tries=2)
    assert "refused" in str(error)
    assert "is the server up" in error.hint


def test_retry_after_is_honored(openai_server: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = openai_server(faults=["429:0.4", "", "429:3600"])
    slept: list[float] = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=slept.append))
    ask(server)
    assert len(slept) == 1
    assert slept[0] >= 0.4
    assert "asks for a wait of 3600 s" in str(refused(server))
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("fault", "message", "hint"),
    [
        ("400", "HTTP 400: This is error 400.", "max_tokens_field"),
        ("401", "HTTP 401", "key_env"),
        ("403", "HTTP 403", "key_env"),
        ("404", "HTTP 404", "check model and base_url"),
        ("quota", "HTTP 429: You exceeded your current quota.", "credit"),
        ("301", "HTTP 301", "https://elsewhere.invalid/v1"),
    ],
)
def test_lasting_faults_end_it_at_once(openai_server: Serve, fault: str, message: str, hint: str) -> None:
    server = openai_server(faults=[fault])
    error = refused(server)
    assert message in str(error)
    assert hint in error.hint
    assert len(server.requests) == 1


def test_a_wrong_model_and_a_base_url_without_v1(openai_server: Serve) -> None:
    server = openai_server(model="small")
    error = refused(server, model="large")
    assert "The model `large` does not exist." in str(error)
    assert f"{server.url}/models" in error.hint
    assert "/v1 at its end" in refused(server, base_url=server.url.removesuffix("/v1")).hint


def test_many_lanes_with_faults_share_one_client(openai_server: Serve) -> None:
    server = openai_server(latency=0.02, chance=0.2, seed=1)
    model = OpenAI("small", server.url, lanes=16, tries=12)
    chats = [user(f"Dish {i}") for i in range(200)]
    with ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda chat: model.generate([chat], Sampling(), [0])[0], chats))
    calm = openai_server()
    assert [answer.text for answer in got] == [ask(calm, chat[0].text).text for chat in chats]
    assert [answer.chat for answer in got] == chats
    assert 200 < len(server.requests) < 300
    assert 8 <= server.most <= 16


def test_a_server_that_bears_few_is_soon_asked_by_as_few(openai_server: Serve) -> None:
    server = openai_server(latency=0.02, bears=4)
    model = OpenAI("small", server.url, lanes=32, tries=12)
    with ThreadPoolExecutor(32) as pool:
        got = list(pool.map(lambda i: model.generate([user(f"Dish {i}")], Sampling(), [0])[0], range(400)))
    assert len(got) == 400
    assert len(server.requests) < 550  # 32 at once would be refused seven times out of eight


def test_one_answer_that_asks_for_a_pause_holds_all(openai_server: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = openai_server(faults=["429:1"])
    model = OpenAI("small", server.url, lanes=2)
    now = [0.0]
    pace = Pace(2, rpm=0, tpm=0, clock=lambda: now[0])
    monkeypatch.setattr(_server, "pace_of", lambda *limits: pace)
    asks = [threading.Thread(target=model.generate, args=([user(text)], Sampling(), [0])) for text in "ab"]
    asks[0].start()
    until(lambda: server.requests and not pace.running)  # it was told to pause
    asks[1].start()
    time.sleep(0.1)
    assert len(server.requests) == 1
    now[0] = 1.0
    for thread in asks:
        thread.join(60)
    assert len(server.requests) == 3


def test_requests_a_minute(openai_server: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = openai_server()
    limits: list[tuple[Any, ...]] = []

    def pace_of(place: str, *rest: Any) -> Pace:
        limits.append(rest)
        return Pace(*rest, clock=lambda: 0.0)

    monkeypatch.setattr(_server, "pace_of", pace_of)
    OpenAI("small", server.url, rpm=600, tpm=700, lanes=8).generate([user("Dish")], Sampling(), [0])
    assert limits == [(8, 600, 700)]


def test_prices(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, openai_server: Serve) -> None:
    assert OpenAI("gpt-4o-mini").price == OpenAI("gpt-4o-mini-2024-07-18").price == (0.15, 0.6)
    assert OpenAI("gpt-4o-mini", price_in=1.0).price == (1.0, 0.0)
    assert OpenAI("nobody-knows").price is None
    server = openai_server()
    assert OpenAI("gpt-4o-mini", server.url).price is None  # another server's model of that name
    file = tmp_path / "prices.toml"
    file.write_text('small = [1, 2.5]\n"gpt-4o-mini" = [0.1, 0.2]\n')
    monkeypatch.setenv("WITHSTAND_PRICES", str(file))
    assert OpenAI("gpt-4o-mini").price == (0.1, 0.2)
    got = ask(server, "one two three")
    assert got.cost == pytest.approx((3 * 1 + got.answer_tokens * 2.5) / 1e6)


@pytest.mark.parametrize("text", ["small = 3\n", "small = [1]\n", "small = [-1, 2]\n", "not toml"])
def test_prices_that_cannot_be_read(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(text)
    monkeypatch.setenv("WITHSTAND_PRICES", str(file))
    with pytest.raises(SpecError, match="WITHSTAND_PRICES"):
        _ = OpenAI("small").price


# --- the component ---------------------------------------------------------------------------------------------


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    model = OpenAI("gpt", revision="2025-01-01")
    assert (model.place, model.hosts, model.width, model.lanes) == ("api:api.openai.com", ("api.openai.com",), 1, 64)
    assert model.gives == {"system", "turns", "forged", "logprobs"}
    assert model.identity() == {"revision": "2025-01-01"}
    assert OpenAI("m", "http://Box:8000/v1").place == "api:box:8000"
    assert OpenAI("m", "http://box:80/v1").place == "api:box"
    assert OpenAI("m", "http://[::1]:8000/v1").hosts == ("::1",)
    assert {model: 1}[OpenAI("gpt", revision="2025-01-01")] == 1


def test_check_wants_a_key_for_the_official_host_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="MY_KEY") as caught:
        OpenAI("gpt", key_env="MY_KEY").check()
    assert "key_env" in caught.value.hint
    OpenAI("m", "http://localhost:8000/v1", key_env="MY_KEY").check()
    monkeypatch.setenv("MY_KEY", KEY)
    OpenAI("gpt", key_env="MY_KEY").check()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base_url": "localhost:8000/v1"}, "base_url"),
        ({"base_url": "ftp://host/v1"}, "base_url"),
        ({"base_url": "http:///v1"}, "base_url"),
        ({"base_url": "http://host:eight/v1"}, "base_url"),
        ({"base_url": "http://me:secret@host/v1"}, "user name"),
        ({"extra": "{top_k: 1}"}, "extra is not JSON"),
        ({"extra": "[1]"}, "extra is"),
        ({"lanes": 0}, "lanes"),
        ({"timeout": 0.0}, "timeout"),
        ({"tries": -1}, "tries"),
    ],
)
def test_wrong_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        OpenAI("m", **fields)
    assert "secret" not in str(caught.value)


def test_a_proxy_does_not_stand_before_this_machine(openai_server: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert ask(openai_server(), tries=1).text


def test_the_sdk_is_loaded_with_the_first_ask() -> None:
    code = "import sys, withstand.models.openai; sys.exit('openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False).returncode == 0


def test_first_lanes_build_one_client(openai_server: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    import openai

    built = []
    client = openai.DefaultHttpxClient

    def build(**options: Any) -> Any:
        built.append(threading.current_thread())
        time.sleep(0.05)
        return client(**options)

    monkeypatch.setattr(openai, "DefaultHttpxClient", build)
    server = openai_server()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: ask(server, f"Dish {i}"), range(8)))
    assert len(built) == 1
