"""A loopback chat server that means harm: each kind is a reply that a hostile or broken server may send.

It answers POST of any path. The key that it was sent stands in `LEAKS` replies in the forms that a server may give it.
"""

import base64
import json
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import quote

from openai_server import Loopback

KEY = 'sk-canary+/7"Zk9/Wq2=Lx5'
"""A key whose forms in URLs, JSON and base64 all differ from itself."""

FORMS = (KEY, quote(KEY, safe=""), quote(KEY), json.dumps(KEY)[1:-1], base64.b64encode(KEY.encode()).decode())
"""What must be in no store, output or log."""

HUGE = 200 * 2**20
"""Bytes of a reply that must not be held in memory."""


def answer(text: str = "Fresh bread.", **usage: Any) -> dict[str, Any]:
    """A chat completion."""
    message = {"role": "assistant", "content": text}
    return {
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5} | usage,
    }


def with_message(**message: Any) -> dict[str, Any]:
    whole = answer()
    whole["choices"][0]["message"] |= message
    return whole


def error(message: Any, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "error", "code": "bad"} | more}


Reply = tuple[int, Any, dict[str, str]]


def ok(value: Any) -> Callable[[], Reply]:
    return lambda: (200, value, {})


def refusal(status: int, value: Any, **headers: str) -> Callable[[], Reply]:
    return lambda: (status, value, {name.replace("_", "-"): content for name, content in headers.items()})


CALL = {"id": "1", "type": "function", "function": {"name": "oven", "arguments": json.dumps({"key": KEY})}}

LEAKS: dict[str, Callable[[], Reply]] = {
    "key_in_error": refusal(401, error(f"Incorrect key {KEY}.")),
    "key_quoted_in_error": refusal(400, error(f"url /x?key={quote(KEY, safe='')}")),
    "key_in_base64": refusal(403, error(f"header {base64.b64encode(KEY.encode()).decode()}")),
    "key_as_json_in_error": refusal(422, error(json.dumps({"Authorization": f"Bearer {KEY}"}))),
    "key_in_error_object": refusal(400, error({"sent": [f"Bearer {KEY}"]})),
    "key_as_error_code": refusal(400, error("no", code=KEY)),
    "key_in_plain_error": refusal(400, f"<h1>{KEY}</h1>"),
    "key_in_busy_error": refusal(429, error(f"slow down, {KEY}"), Retry_After="0"),
    "key_in_server_error": refusal(500, error(f"trace: Authorization={KEY}")),
    "key_in_location": refusal(301, {}, Location=f"http://127.0.0.1:9/v1?key={quote(KEY, safe='')}"),
    "key_in_retry_after": refusal(429, error("busy"), Retry_After=f"0 {KEY}"),
    "key_in_answer": ok(answer(f"Your key is {KEY}.")),
    "key_quoted_in_answer": ok(answer(f"See https://x.invalid/?k={quote(KEY, safe='')}")),
    "key_in_base64_in_answer": ok(answer(base64.b64encode(KEY.encode()).decode())),
    "key_in_reasoning": ok(with_message(reasoning_content=f"They use {KEY}.")),
    "key_in_tool_call": ok(with_message(content=None, tool_calls=[CALL])),
    "key_in_wrong_shape": ok({"choices": KEY}),
    "key_in_text_that_is_no_json": ok(f"oops {KEY}"),
}
"""Replies with the key of the request in them."""

NUMBERS: dict[str, Callable[[], Reply]] = {
    "tokens_of_1e30": ok(answer(prompt_tokens=10**30, completion_tokens=10**30)),
    "tokens_below_zero": ok(answer(prompt_tokens=-5, completion_tokens=-(10**20))),
    "tokens_as_text": ok(answer(prompt_tokens="3", completion_tokens=[2])),
    "tokens_not_finite": ok('{"choices": [{"message": {"content": "x"}}], "usage": {"completion_tokens": NaN}}'),
    "tokens_of_1e400": ok('{"choices": [{"message": {"content": "x"}}], "usage": {"completion_tokens": 1e400}}'),
    "tokens_of_10000_digits": ok(
        '{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": ' + "9" * 10_000 + "}}"
    ),
    "retry_after_not_finite": refusal(429, error("busy"), Retry_After="inf"),
    "retry_after_of_1e300": refusal(429, error("busy"), Retry_After="1e300"),
}

TEXTS: dict[str, Callable[[], Reply]] = {
    "text_that_says_purged": ok(answer("purged:" + "0123456789abcdef" * 2)),
    "text_with_nul": ok(answer("a\0b")),
    "text_with_lone_surrogate": ok('{"choices": [{"message": {"content": "\\ud800"}}]}'),
    "text_with_escapes": refusal(400, error("\x1b[2J\x1b]0;owned\x07 and \u202eevil")),
    "text_of_markup": ok(answer("<script>alert(1)</script>")),
    "no_utf8": lambda: (200, b'{"choices": [{"message": {"content": "\xff\xfe"}}]}', {}),
    "deep_json": ok('{"choices": ' + "[" * 100_000 + "]" * 100_000 + "}"),
}


def _gzip_bomb() -> Iterator[bytes]:
    """A reply that is 1,000 times as long as what is sent."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    for _ in range(HUGE // 2**20):
        yield packer.compress(b" " * 2**20)
    yield packer.flush()


def _endless() -> Iterator[bytes]:
    for _ in range(HUGE // 2**16):
        yield b" " * 2**16


def _drip() -> Iterator[bytes]:
    """A byte at a time, each well within the pause that a client waits for the next one."""
    for _ in range(1_200):
        yield b" "
        time.sleep(0.05)


STREAMS: dict[str, tuple[Callable[[], Iterator[bytes]], dict[str, str]]] = {
    "gzip_bomb": (_gzip_bomb, {"Content-Encoding": "gzip"}),
    "gzip_bomb_in_an_error": (_gzip_bomb, {"Content-Encoding": "gzip"}),
    "endless_body": (_endless, {}),
    "slow_drip": (_drip, {}),
}
"""Bodies that are sent piece by piece until the client hangs up."""

HEADS: dict[str, bytes] = {
    "slow_status_line": b"HTTP/1.1 200 OK" + b"K" * 1_200,
    "slow_headers": b"HTTP/1.1 200 OK\r\nX-Bread: " + b"a" * 1_200,
}
"""What comes before a body, sent a byte at a time until the client hangs up."""

KINDS = (*LEAKS, *NUMBERS, *TEXTS, *STREAMS, *HEADS)


class HostileServer(Loopback):
    """`with HostileServer("gzip_bomb") as server: server.url`. `asked`: the headers of each request; `sent`: bytes.

    A reader that leaves in the middle of a reply is what is wanted of it.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kind = kind
        self.asked: list[dict[str, str]] = []
        self.sent = 0


class _Handler(BaseHTTPRequestHandler):
    server: HostileServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append({name.lower(): value for name, value in self.headers.items()})
        if self.server.kind in HEADS:
            self.close_connection = True
            for place, _ in zip(range(len(HEADS[self.server.kind])), _drip(), strict=False):
                self.wfile.write(HEADS[self.server.kind][place : place + 1])
                self.server.sent += 1
            return
        if self.server.kind in STREAMS:
            self.stream(*STREAMS[self.server.kind])
            return
        status, value, headers = {**LEAKS, **NUMBERS, **TEXTS}[self.server.kind]()
        data = value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
        self.send_response(status)
        for name, content in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, content)
        self.end_headers()
        self.wfile.write(data)

    def stream(self, parts: Callable[[], Iterator[bytes]], headers: dict[str, str]) -> None:
        self.send_response(500 if self.server.kind.endswith("error") else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        for name, content in headers.items():
            self.send_header(name, content)
        self.end_headers()
        self.close_connection = True
        for part in parts():
            self.wfile.write(part)
            self.server.sent += len(part)
