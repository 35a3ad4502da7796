"""The target for applications behind REST, over a real socket."""

import json
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest

import withstand
from withstand.cli.main import main
from withstand.core import AskError, Completion, Message, Sampling, SpecError, ToolCall, dumps, to_json, user
from withstand.models import _paths, _retry, _wire
from withstand.models.http import Http

SECRET = "abcdef-0123456789"
LOSES = (Message("user", "a"), Message("assistant", "1 a"), Message("user", "b"))


class App(ThreadingHTTPServer):
    """Answers with what `answer(request)` returns: a JSON value, or (status, headers, body)."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, answer: Callable[[dict[str, Any]], Any]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.requests, self.lock = answer, list[dict[str, Any]](), threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/chat"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: App
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = {"method": self.command, "path": self.path, "headers": headers, "text": body}
        if "json" in headers.get("content-type", ""):
            asked["body"] = json.loads(body)
        with self.server.lock:
            self.server.requests.append(asked)
            reply = self.server.answer(asked)
        status, sent, data = reply if isinstance(reply, tuple) else (200, {}, reply)
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **sent}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = "Content-Length" in sent

    do_GET = do_PUT = do_POST  # noqa: N815


@pytest.fixture(autouse=True)
def _quick_and_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retry, "FIRST_WAIT", 0.001)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "APP_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def serve() -> Iterator[Callable[..., App]]:
    """Starts an application that gives each of `answers` once, and the last one from then on."""
    with ExitStack() as stack:

        def start(*answers: Any) -> App:
            left = list(answers)
            first = answers[0]
            app = App(first if callable(first) else lambda _: left.pop(0) if len(left) > 1 else left[0])
            threading.Thread(target=app.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(app.server_close)
            stack.callback(app.shutdown)
            return app

        yield start


Serve = Callable[..., App]


def model(app: App, **fields: Any) -> Http:
    return Http(**({"url": app.url, "body": '{"message": "{prompt}"}', "text": "answer"} | fields))


def ask(app: App, prompt: str = "Hi", **fields: Any) -> Completion:
    return model(app, **fields).generate([user(prompt)], Sampling(), [7])[0]


def refused(app: App, **fields: Any) -> AskError:
    with pytest.raises(AskError) as caught:
        ask(app, **fields)
    return caught.value


# --- what is sent ------------------------------------------------------------------------------------------------


def test_a_json_body_is_filled_as_json(serve: Serve) -> None:
    app = serve({"answer": "Yes."})
    drawn = '"n": ["{max_tokens}", "{seed}"], "t": ["{temperature}", "{top_p}"]'
    body = f'{{"q": "Q: {{prompt}}", "s": "{{system}}", {drawn}, "x": "{{x}}"}}'
    chat = (Message("system", "Be brief."), Message("user", 'Say "{seed}"\n\ud83d ${HOME}'))
    (got,) = model(app, body=body).generate([chat], Sampling(max_tokens=9), [2**40 + 5])
    (asked,) = app.requests
    assert (got.chat, got.text, asked["method"], asked["path"]) == (chat, "Yes.", "POST", "/chat")
    assert asked["body"] == {
        "q": f"Q: {chat[1].text}", "s": "Be brief.", "n": [9, 5], "t": [0.0, 1.0], "x": "{x}",
    }  # fmt: skip


def test_a_url_and_a_form_are_quoted(serve: Serve) -> None:
    app = serve({"answer": "Yes."})
    text = "salt & pepper/50% \xfc?"
    ask(app, text, method="GET", url=f"{app.url}/{{prompt}}?k=1", body="")
    form = ("Content-Type: application/x-www-form-urlencoded",)
    ask(app, text, body="q={prompt}&n={max_tokens}", headers=form)
    ask(app, text, body="I ask: {prompt}")
    got, form_sent, plain = app.requests
    assert (got["method"], unquote(got["path"]), got["text"]) == ("GET", f"/chat/{text}?k=1", "")
    assert parse_qs(form_sent["text"]) == {"q": [text], "n": ["512"]}
    assert (plain["text"], plain["headers"]["content-type"]) == (f"I ask: {text}", "text/plain; charset=utf-8")
    with pytest.raises(AskError, match="cannot be sent"):
        ask(app, "\ud83d", body="I ask: {prompt}")


def test_history_is_sent(serve: Serve) -> None:
    app = serve({"answer": "Yes."})
    chat = (Message("system", "s"), *LOSES)
    whole = model(app, history="send", body='{"messages": "{messages}"}')
    apart = model(
        app, history="send", body='{"past": "{history}", "now": "{prompt}", "system": "{system}"}',
        message='{"by": "{role}", "parts": [{"text": "{text}"}]}',
    )  # fmt: skip
    assert whole.gives == apart.gives == {"system", "turns", "forged"}
    for target in (whole, apart):
        target.generate([chat], Sampling(), [0])
    first, second = (request["body"] for request in app.requests)
    assert first == {"messages": [{"role": turn.role, "content": turn.text} for turn in chat]}
    past = [{"by": "user", "parts": [{"text": "a"}]}, {"by": "assistant", "parts": [{"text": "1 a"}]}]
    assert second == {"past": past, "now": "b", "system": "s"}


@pytest.mark.parametrize(
    ("chat", "fields", "message"),
    [
        (LOSES, {}, "one user turn"),
        (LOSES[:2], {"history": "session"}, "cannot continue an assistant message"),
        ((LOSES[1], LOSES[2]), {"history": "session"}, "do not take turns"),
        ((LOSES[0], Message("tool", "x")), {"history": "session"}, "do not take turns"),
        ((Message("system", "s"), LOSES[0]), {}, "no place for a system message"),
        ((Message("user", "a", images=("a.png",)),), {}, "does not read images"),
    ],
)
def test_what_cannot_be_sent_is_refused_up_front(serve: Serve, chat: Any, fields: Any, message: str) -> None:
    app = serve({"answer": "Yes."})
    with pytest.raises(AskError, match=message) as caught:
        model(app, **fields).generate([chat], Sampling(), [0])
    assert caught.value.hint
    assert app.requests == []


# --- secrets -----------------------------------------------------------------------------------------------------


def test_a_secret_is_sent_and_never_told(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_KEY", f" {SECRET}\n")
    app = serve((401, {}, {"error": f"bad key {SECRET}"}), {"answer": f"Your key is {SECRET}."})
    fields = {"headers": ("Authorization: Bearer ${APP_KEY}", "X-Mode: test")}
    error = refused(app, **fields)
    assert "[APP_KEY]" in str(error)
    assert "APP_KEY" in error.hint
    assert SECRET not in "".join([*traceback.format_exception(error), error.hint])
    assert ask(app, **fields).text == "Your key is [APP_KEY]."
    assert app.requests[1]["headers"]["authorization"] == f"Bearer {SECRET}"
    assert SECRET not in repr(model(app, **fields)) + dumps(to_json(model(app, **fields)))


def test_check_wants_the_variables(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    target = model(serve({}), headers=("X-Api-Key: ${APP_KEY}",))
    with pytest.raises(SpecError, match="APP_KEY is not set"):
        target.check()
    monkeypatch.setenv("APP_KEY", "a\x07secret")
    with pytest.raises(SpecError, match="APP_KEY holds") as caught:
        target.check()
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(SpecError, match="token_command"):
        model(serve({}), token_command="no_such_program_here", headers=("Authorization: {token}",)).check()


def test_a_token_command_runs_once_and_again_when_refused(serve: Serve, tmp_path: Path) -> None:
    script = tmp_path / "token.py"
    script.write_text(
        "import pathlib\n"
        f"path = pathlib.Path({str(tmp_path / 'count')!r})\n"
        "path.write_text(str(number := int(path.read_text() if path.exists() else 0) + 1))\n"
        "print(f'token-{number}')\n"
    )
    app = serve({"answer": "1"}, {"answer": "2"}, (401, {}, {"error": "token-1 is over"}), {"answer": "token-2"})
    fields = {"token_command": f"{sys.executable} {script}", "headers": ("Authorization: Bearer {token}",)}
    model(app, **fields).check()
    assert [ask(app, **fields).text for _ in range(3)] == ["1", "2", "[token]"]
    sent = [request["headers"]["authorization"] for request in app.requests]
    assert sent == ["Bearer token-1"] * 3 + ["Bearer token-2"]
    (tmp_path / "fails.py").write_text(f"import sys; print({SECRET!r}); sys.exit({SECRET!r})")
    error = refused(app, **(fields | {"token_command": f"{sys.executable} {tmp_path / 'fails.py'}"}))
    assert "token_command failed" in str(error)
    assert SECRET not in "".join(traceback.format_exception(error))


# --- what comes back ---------------------------------------------------------------------------------------------


def test_paths() -> None:
    value = {"a": [{"b": 1, "c d": {"e-f": None}}, {"b": 2}], "g.h": 3}
    assert _paths.values_at("$", value) == [value]
    assert _paths.values_at("a[0].b", value) == _paths.values_at("$.a[-2].b", value) == [1]
    assert _paths.values_at("a[*].b", value) == [1, 2]
    assert _paths.values_at("a[0].c d.e-f", value) == [None]
    assert _paths.values_at("a[7].b", value) == _paths.values_at("a.b", value) == _paths.values_at("x", value) == []
    for wrong in ("a[", "a[x]", "a..b", "a[0]]", "."):
        with pytest.raises(SpecError, match="no path"):
            _paths.steps(wrong)


def test_an_answer_with_everything(serve: Serve) -> None:
    answer = {
        "out": [{"text": "One "}, {"text": "two."}],
        "calls": [{"name": "oven", "arguments": {"heat": 200}}, {"name": "bell", "args": "{}"}],
        "found": [{"text": "Menu"}, {"text": "Hours"}],
        "usage": {"in": 11, "out": 3},
    }
    got = ask(
        serve(answer), text="out[*].text", tool_calls="calls", context="found[*].text", prompt_tokens="usage.in",
        answer_tokens="usage.out",
    )  # fmt: skip
    assert got == Completion(
        user("Hi"), "One two.", reasoning="Menu\n\nHours", prompt_tokens=11, answer_tokens=3,
        tool_calls=(ToolCall("oven", '{"heat": 200}'), ToolCall("bell", "{}")),
    )  # fmt: skip


def test_plain_text_and_a_tool_call_alone(serve: Serve) -> None:
    assert (
        ask(serve((200, {"Content-Type": "text/plain; charset=latin-1"}, b"Gr\xfc\xdfe")), text="$").text
        == "Gr\xfc\xdfe"
    )
    assert ask(serve("Hello"), text="$").text == "Hello"
    got = ask(serve({"answer": None, "tools": [{"name": "oven"}]}), tool_calls="tools")
    assert (got.text, got.tool_calls) == ("", (ToolCall("oven", ""),))


def test_tool_calls_in_the_pieces_of_a_stream(serve: Serve) -> None:
    """As OpenAI streams them: https://platform.openai.com/docs/guides/function-calling, "Streaming"."""

    def piece(index: int, **function: str) -> dict[str, Any]:
        head = {"id": f"call_{index}", "type": "function"} if "name" in function else {}
        return {"tool_calls": [{"index": index, **head, "function": function}]}

    deltas: list[Any] = [
        {"role": "assistant", "content": None, **piece(0, name="cancel", arguments="")},
        piece(0, arguments='{"book'),
        piece(1, name="mail", arguments=""),
        piece(0, arguments='ing": 17}'),
        piece(1, arguments="{}"),
        {"content": "Done."},
    ]
    stream = "".join(f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]})}\n\n" for delta in deltas)
    app = serve((200, {"Content-Type": "text/event-stream"}, f"{stream}data: [DONE]\n\n".encode()))
    paths = {"text": "choices[0].delta.content", "tool_calls": "choices[0].delta.tool_calls"}
    got = ask(app, **paths)
    assert got.text == "Done."
    assert got.tool_calls == (ToolCall("cancel", '{"booking": 17}'), ToolCall("mail", "{}"))


def test_server_sent_events(serve: Serve) -> None:
    stream = (
        b': hello\r\n\r\nevent: start\r\ndata: {"id": 1}\r\n\r\n'
        b'data: {"answer": "One "}\n\ndata: {"answer":\ndata: "two."}\n\n'
        b'data: {"usage": {"out": 2}}\n\nevent: done\ndata: {"answer": "One two."}\n\ndata: [DONE]\n\n'
    )
    app = serve((200, {"Content-Type": "text/event-stream"}, stream))
    got = ask(app, events=("message",), answer_tokens="usage.out")
    assert (got.text, got.answer_tokens) == ("One two.", 2)
    assert ask(app, events=("done",)).text == "One two."
    plain = serve((200, {"Content-Type": "text/event-stream"}, b"data: One\n\ndata:  two\n\n"))
    assert ask(plain, text="$").text == "One two"


def test_filters(serve: Serve) -> None:
    error = (400, {}, {"error": {"code": "content_filter"}})
    assert ask(serve(error), filtered=("error.code=content_filter",)).finish == "filtered"
    assert ask(serve({"answer": "", "blocked": True}), filtered=("x=1", "blocked")).finish == "filtered"
    assert ask(serve({"answer": "Yes", "blocked": False}), filtered=("blocked",)).finish == "stop"
    got = ask(serve((451, {"Content-Type": "text/html"}, b"<p>No</p>")), statuses=("451=filtered",))
    assert (got.text, got.finish) == ("", "filtered")
    assert ask(serve((418, {}, {"answer": "Tea"})), statuses=("418=answer",)).text == "Tea"


# --- faults ------------------------------------------------------------------------------------------------------

CUT = (200, {"Content-Length": "99"}, b'{"answer": "Y')


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ((429, {"Retry-After": "0"}, {"error": "Slow down."}), 'HTTP 429: {"error": "Slow down."}'),
        ((500, {}, b"Oops"), "HTTP 500: Oops"),
        ((418, {}, b"Tea"), "HTTP 418: Tea"),
        (CUT, "the connection failed"),
        ((200, {"Content-Type": "text/html"}, b"<html>Bad gateway</html>"), "the answer is not JSON"),
        ((200, {}, b""), "the answer is empty"),
        ((204, {}, b""), "the answer is empty"),
        ((200, {"Content-Type": "text/event-stream"}, b": nothing\n\n"), "the answer is empty"),
    ],
)
def test_passing_faults_are_retried(serve: Serve, fault: Any, reason: str) -> None:
    app = serve(fault, fault, {"answer": "Yes."}, fault)
    fields = {"statuses": ("418=retry",)}
    assert ask(app, **fields).text == "Yes."
    assert len(app.requests) == 3
    error = refused(app, tries=2, **fields)
    assert str(error).startswith(f"http:127.0.0.1:{app.server_port} was asked 2 times without an answer")
    assert reason in str(error)
    assert "is the application up" in error.hint


@pytest.mark.parametrize(
    ("fault", "message", "hint"),
    [
        ((400, {}, {"error": "no field q"}), "HTTP 400: ", "check body"),
        ((403, {}, b""), "HTTP 403", "Authorization: Bearer ${NAME}"),
        ((404, {}, b"nothing here"), "HTTP 404: nothing here", "path in url"),
        ((405, {}, b""), "HTTP 405", "which is POST"),
        ((301, {"Location": "https://elsewhere.invalid/"}, b""), "HTTP 301", "https://elsewhere.invalid/"),
        ({"reply": {"parts": ["Yes."]}}, "no text at 'answer'; texts stand at reply.parts[0]", "set text"),
        ({"answer": {"text": "Yes."}}, "texts stand at answer.text", "set text"),
        ({"answer": "x" * 101}, "101 characters", "max_answer_chars"),
        ((200, {}, b'{"answer": "' + b"x" * 7000 + b'"}'), "more than 6,400 bytes", "max_answer_chars"),
    ],
)
def test_lasting_faults_end_it_at_once(serve: Serve, fault: Any, message: str, hint: str) -> None:
    app = serve(fault)
    error = refused(app, max_answer_chars=100)
    assert message in str(error)
    assert hint in error.hint
    assert len(app.requests) == 1


def test_no_server_and_a_slow_one(serve: Serve) -> None:
    app = serve({"answer": "Yes."})
    with app.lock:  # it waits for it
        assert "no answer within 0.2 s" in str(refused(app, timeout=0.2, tries=1))
    app.shutdown()
    app.server_close()
    assert "connection failed" in str(refused(app, tries=2))


def test_a_long_retry_after_is_not_waited_for(serve: Serve) -> None:
    assert "asks for a wait of 3600 s" in str(refused(serve((503, {"Retry-After": "3600"}, b""))))


def test_a_proxy_of_the_environment(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = serve({"answer": "through the proxy"})
    monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/chat"))
    assert ask(proxy, url="http://app.invalid/chat").text == "through the proxy"
    assert proxy.requests[0]["path"] == "http://app.invalid/chat"
    assert ask(serve({"answer": "not for this machine"})).text == "not for this machine"


# --- TLS ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, and its key, in one file."""
    import shutil

    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


def test_certificates(serve: Serve, certificate: Path) -> None:
    import ssl

    app = serve({"answer": "Yes."})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    context.load_verify_locations(certificate / "cert.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    app.socket = context.wrap_socket(app.socket, server_side=True)
    fields = {"url": app.url.replace("http:", "https:"), "tries": 1}
    assert "not trusted" in str(refused(app, **fields))
    trusting = fields | {"ca": str(certificate / "cert.pem")}
    assert "connection failed" in str(refused(app, **trusting))
    shown = trusting | {"cert": str(certificate / "cert.pem"), "cert_key": str(certificate / "key.pem")}
    assert ask(app, **shown).text == "Yes."
    with pytest.raises(SpecError, match=r"nowhere\.pem"):
        model(app, ca="nowhere.pem").check()


# --- sessions ----------------------------------------------------------------------------------------------------


class Memory:
    """An application that answers with the number of the turn in its session, and its words. It can fail."""

    def __init__(self, cookies: bool = False, own: bool = False, odd: bool = False) -> None:
        self.sessions: dict[str, list[str]] = {}
        self.cookies, self.own, self.odd, self.count = cookies, own, odd, 0
        self.failing: list[Any] = []

    def __call__(self, request: dict[str, Any]) -> Any:
        given = request["headers"].get("cookie", "").removeprefix("sid=") if self.cookies else None
        session = given or request["body"].get("session") or f"s{len(self.sessions)}"
        if request["path"] == "/open":
            return {"id": session}
        turns = self.sessions.setdefault(session, [])
        turns.append(request["body"]["message"])
        self.count += 1
        if self.failing and (fault := self.failing.pop(0)):
            return fault
        answer = {"answer": f"{self.count if self.odd else len(turns)} {turns[-1]}", "id": session}
        return (200, {"Set-Cookie": f"sid={session}; Path=/"}, answer) if self.cookies else answer


BODY = '{"message": "{prompt}", "session": "{session}"}'


def talk(target: Http, chat: Any, text: str) -> Any:
    """The chat with one more user turn and its answer."""
    chat = (*chat, Message("user", text))
    (answer,) = target.generate([chat], Sampling(), [0])
    assert answer.chat == chat
    return (*chat, Message("assistant", answer.text))


@pytest.mark.parametrize(
    ("app_fields", "fields"),
    [
        ({}, {"body": BODY}),  # an id of ours
        ({}, {"body": BODY, "session": "id"}),  # the first answer gives it
        ({}, {"body": BODY, "session": "id", "start": "/open"}),
        ({"cookies": True}, {}),
    ],
)
def test_a_conversation_is_one_session_and_each_branch_replays_it(serve: Serve, app_fields: Any, fields: Any) -> None:
    memory = Memory(**app_fields)
    target = model(serve(memory), history="session", **fields)
    assert target.gives == {"turns"}
    chat = talk(target, talk(target, talk(target, (), "a"), "b"), "c")
    assert chat[-1].text == "3 c"
    assert memory.count == 3
    branch = talk(target, chat[:2], "d")
    assert branch == (*chat[:2], Message("user", "d"), Message("assistant", "2 d"))
    assert memory.count == 5
    assert talk(target, chat, "e")[-1].text == "4 e"  # the first session is still where it was
    assert memory.count == 6
    assert sorted(memory.sessions.values()) == [["a", "b", "c", "e"], ["a", "d"]]


def test_another_process_replays_a_conversation(serve: Serve) -> None:
    memory = Memory()
    target = model(serve(memory), history="session", body=BODY)
    assert talk(target, LOSES[:2], "b")[-1].text == "2 b"
    assert list(memory.sessions.values()) == [["a", "b"]]


def test_a_forged_turn_is_refused(serve: Serve) -> None:
    memory = Memory()
    target = model(serve(memory), history="session", body=BODY)
    with pytest.raises(AskError, match="turn 2 of the chat is not what") as caught:
        target.generate([(LOSES[0], Message("assistant", "Sure!"), *LOSES)], Sampling(), [0])
    assert "history=send" in caught.value.hint
    assert memory.count == 1


@pytest.mark.parametrize("history", ["last", "session"])
@pytest.mark.parametrize("source", ["cases", "many_shot", "inject"])
def test_a_run_with_forged_turns_is_refused_before_the_first_ask(
    serve: Serve, tmp_path: Path, history: str, source: str
) -> None:
    app = serve({"answer": "Yes."})
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"question": "Bake?", "answer": "Do."}\n')
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Sure!"}]
    cases = tmp_path / "cases.json"
    cases.write_text(json.dumps({"bagels": [[*turns, {"role": "user", "content": "How?"}]]}))
    spec: dict[str, Any] = {"suite": "kitchen", "ids": ["bagels"], "benign": "none"}
    spec |= {
        "cases": {"attack": [], "cases_from": str(cases)},
        "many_shot": {"attack": {"use": "many_shot", "path": str(pairs), "shots": 1}},
        "inject": {"attack": {"use": "inject", "carrier": "tool"}},
    }[source]
    target = {"use": "http", "url": app.url, "body": BODY, "text": "answer", "history": history}
    with pytest.raises(SpecError, match=r"needs forged turns of the assistant, which http.* does not give") as caught:
        withstand.run(spec | {"target": target}, store=tmp_path / "s.db")
    assert "history=send" in caught.value.hint
    assert app.requests == []


def test_a_conversation_from_another_run_is_no_forgery(serve: Serve, tmp_path: Path) -> None:
    """Of a transfer of a conversation the user's turns alone are sent, so that a session takes them."""
    attacker = {"use": "scripted", "reply": '{"question": "Bake {n}?"}'}
    crescendo = {"use": "crescendo", "attacker": attacker, "judge": "contains:never", "turns": 2, "streams": 1}
    spec: dict[str, Any] = {"suite": "kitchen", "ids": ["bagels"], "benign": "none"}
    source = withstand.run(spec | {"target": "scripted", "attack": crescendo}, store=tmp_path / "s.db", name="found")
    sent = [case["chat"] for case in source.cases()]
    memory = Memory()
    target = {"use": "http", "url": serve(memory).url, "body": BODY, "text": "answer", "history": "session"}
    done = withstand.run(spec | {"target": target, "attack": [], "cases_from": "found"}, store=tmp_path / "s.db")
    assert [cell["error"] for cell in done.cells] == [0]
    questions = [[turn["text"] for turn in chat if turn["role"] == "user"] for chat in sent]
    assert list(memory.sessions.values()) == questions


# --- what it costs -----------------------------------------------------------------------------------------------


def test_prices_of_tokens_and_of_asks(serve: Serve) -> None:
    """1,000 tokens in at $2 and 500 out at $6 a million are 0.002 + 0.003 dollars, and each call costs a cent."""
    app = serve({"answer": "Yes.", "usage": {"in": 1000, "out": 500}})
    paths = {"prompt_tokens": "usage.in", "answer_tokens": "usage.out"}
    assert ask(app, **paths, price_in=2, price_out=6).cost == pytest.approx(0.005)
    assert ask(app, **paths, price_in=2, price_ask=0.01).cost == pytest.approx(0.012)
    assert ask(app, price_ask=0.01).cost == pytest.approx(0.01)
    assert ask(app, **paths).cost == 0
    spoke = serve((400, {}, {"error": "no"}))
    assert ask(spoke, statuses=("400=filtered",), price_ask=0.01).cost == pytest.approx(0.01)
    for fields in ({"price_in": 1}, {"price_ask": -1}, {**paths, "price_out": -1}):
        with pytest.raises(SpecError, match="price_"):
            model(app, **fields)


def test_a_replayed_conversation_costs_each_of_its_calls(serve: Serve) -> None:
    target = model(serve(Memory()), history="session", body=BODY, price_ask=0.01)
    (answer,) = target.generate([LOSES], Sampling(), [0])
    assert answer.cost == pytest.approx(0.02)


def test_prices_feed_the_cost_of_a_run_and_its_cap(serve: Serve, tmp_path: Path) -> None:
    app = serve({"answer": "Yes."})
    target = {"use": "http", "url": app.url, "body": BODY, "text": "answer", "price_ask": 0.25, "lanes": 1}
    spec = {"suite": "kitchen", "limit": 8, "benign": "none", "target": target, "attack": "direct"}
    capped = withstand.run(spec, store=tmp_path / "s.db", max_cost=0.9)
    assert capped.tally is not None
    assert capped.tally.stopped == "--max-cost"
    assert len(app.requests) < 8
    done = withstand.run(spec, store=tmp_path / "s.db")
    assert [cell["cost"] for cell in done.cells] == [pytest.approx(8 * 0.25)]
    words = ["run", "--suite", "kitchen", "--limit", "1", "--benign", "none", "--attack", "direct", "--max-cost", "9"]
    fields = f"text=answer,body='{BODY}'"
    for price, code in (("", 2), (",price_ask=0.1", 0)):
        with pytest.raises(SystemExit) as end:
            main([*words, "--target", f"http:{app.url},{fields}{price}", "--store", str(tmp_path / "t.db")])
        assert (end.value.code or 0) == code


def test_an_application_that_answers_anew_each_time_may_branch(serve: Serve) -> None:
    target = model(serve(Memory(odd=True)), history="session", body=BODY)
    chat = talk(target, talk(target, (), "a"), "b")
    assert talk(target, chat[:2], "c")[-1].text == "4 c"  # turn 3 was its "a", said otherwise


@pytest.mark.parametrize("fault", [(500, {}, b""), CUT, (404, {}, b"no such session")])
def test_a_session_that_broke_is_begun_again(serve: Serve, fault: Any) -> None:
    memory = Memory()
    target = model(serve(memory), history="session", body=BODY)
    chat = talk(target, (), "a")
    memory.failing = [fault]
    assert talk(target, chat, "b")[-1].text == "2 b"
    assert list(memory.sessions.values()) == [["a", "b"], ["a", "b"]]


def test_lanes_do_not_share_sessions(serve: Serve) -> None:
    memory = Memory(cookies=True)
    target = model(serve(memory), history="session")

    def converse(name: int) -> Any:
        return talk(target, talk(target, (), f"a{name}"), f"b{name}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(converse, range(40)))
    assert sorted(memory.sessions.values()) == sorted([f"a{n}", f"b{n}"] for n in range(40))


def test_start_must_give_a_session(serve: Serve) -> None:
    fields = {"history": "session", "body": BODY, "session": "uuid", "start": "/open"}
    assert "no session at 'uuid'; texts stand at id" in str(refused(serve(Memory()), **fields))


# --- the component -----------------------------------------------------------------------------------------------


def test_names() -> None:
    target = Http("https://App.example.org/v1/{session}", '{"m": "{prompt}", "s": "{system}"}', revision="abc")
    assert (target.place, target.hosts, target.width) == ("http:app.example.org:443", ("app.example.org",), 1)
    assert (target.gives, target.identity()) == ({"system"}, {"revision": "abc"})
    two = Http("http://a:8000/chat", "{prompt}", history="session", start="https://b/open")
    assert (two.place, two.hosts, two.gives) == ("http:a:8000", ("a", "b"), {"turns"})
    assert Http("http://a/v1/completions", "{prompt}", raw=True).gives == {"raw"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": "localhost:8000/chat"}, "url"),
        ({"url": "http://{prompt}/chat"}, "url"),
        ({"url": "http://me:secret@host/chat"}, "user name"),
        ({"start": "ftp://host"}, "start"),
        ({"body": ""}, "no|neither"),
        ({"body": "{messages}"}, "neither"),
        ({"body": "{prompt}{messages}"}, "history=send"),
        ({"history": "send"}, "neither"),
        ({"history": "all"}, "history"),
        ({"text": "a["}, "no path"),
        ({"filtered": ("a[=1",)}, "no path"),
        ({"statuses": ("400",)}, "statuses"),
        ({"statuses": ("4xx=error",)}, "statuses"),
        ({"headers": ("Authorization Bearer",)}, "headers"),
        ({"headers": ("Authorization: Bearer secret",)}, "Authorization holds its value"),
        ({"headers": ("X-API-Key: secret",)}, "X-API-Key holds its value"),
        ({"message": "{role}"}, "message is not JSON"),
        ({"lanes": 0}, "lanes"),
        ({"timeout": 0.0}, "timeout"),
    ],
)
def test_wrong_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        Http(**({"url": "http://host/chat", "body": "{prompt}"} | fields))
    assert "secret" not in str(caught.value) + caught.value.hint
    assert caught.value.hint


def test_httpx_is_loaded_with_the_first_ask() -> None:
    code = "import sys, withstand.models.http; sys.exit(bool({'httpx', 'httpx2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_put_in_is_no_gap() -> None:
    assert _wire.filled("{a} {b} {c}", {"{a}": "{b}", "{b}": 1}) == "{b} 1 {c}"
