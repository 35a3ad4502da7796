"""A loopback chat server with faults, for tests and benchmarks: `python tests/openai_server.py --latency 0.1`.

It speaks POST /v1/chat/completions as OpenAI, vLLM and Ollama do, and /v1/moderations. An answer depends on the
messages, the temperature and (above temperature 0) the seed alone. Standard library only.
"""

import argparse
import json
import random
import threading
import time
from collections import deque
from collections.abc import Iterable
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

WORDS = [
    "the",
    "soup",
    "pan",
    "of",
    "and",
    "hot",
    "bread",
    "with",
    "fresh",
    "rice",
    "stir",
    "it",
    "until",
    "warm",
    "salt",
]

CATEGORIES = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm"),
    *("self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic"),
)

FAULTS = (
    "429",  # with "Retry-After: 0"; "429:7" says 7 (anything a header can hold)
    "500",
    "slow",  # no answer before the client hangs up
    "drop",  # the connection closes without an answer
    "cut",  # the body ends in its middle
    "not_json",
    "wrong_shape",
    "no_choices",
    "null_message",
    "filtered",  # finish_reason "content_filter"
    "filtered_400",  # Azure's form: an error with the code "content_filter"
    "refusal",  # OpenAI's form: no content, a text in `refusal`
    "long",  # ten million characters
    "400",
    "401",  # quotes the key that it was sent
    "403",
    "404",
    "301",
    "quota",  # a 429 that no waiting mends
    "tool",  # not a fault: a tool call
)
"""What `faults` and `kinds` may name. A code or name may carry an argument behind a colon (only 429 reads it)."""


class Loopback(ThreadingHTTPServer):
    """`with` serves it from a thread of its own."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is part of the tests."""

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self.shutdown()
        self.server_close()


class OpenAIServer(Loopback):
    """`with OpenAIServer() as server: server.url`. `requests`: path, headers (lower-case names), body of each.

    latency: seconds before each answer. faults: one a request, in order, "" for none; then `chance` of one of `kinds`,
    drawn with `seed`. `model`: the only one it serves ("" for any). `bears`: requests at once, above
    which it says 429 (0: any).
    """

    def __init__(
        self,
        port: int = 0,
        latency: float = 0.0,
        faults: Iterable[str] = (),
        chance: float = 0.0,
        kinds: tuple[str, ...] = ("429", "500", "drop", "cut", "not_json", "no_choices"),
        seed: int = 0,
        model: str = "",
        bears: int = 0,
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.latency, self.faults, self.chance, self.kinds, self.model = latency, deque(faults), chance, kinds, model
        self.requests: list[dict[str, Any]] = []
        self.bears = bears
        self.most = 0  # requests answered at once, at most
        self.now = 0
        self.lock = threading.Lock()
        self.random = random.Random(seed)

    def fault(self) -> str:
        with self.lock:
            if self.faults:
                return self.faults.popleft()
            return self.random.choice(self.kinds) if self.random.random() < self.chance else ""


class _Handler(BaseHTTPRequestHandler):
    server: OpenAIServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # TCP_NODELAY
    wbufsize = -1  # headers and body in one write
    timeout = 60

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        server = self.server
        with server.lock:
            server.requests.append(
                {"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}, "body": body}
            )
            server.now += 1
            server.most = max(server.most, server.now)
            fault = "429" if server.bears and server.now > server.bears else ""
        try:
            self.answer(body, fault or server.fault())
        finally:
            with server.lock:
                server.now -= 1

    def answer(self, body: dict[str, Any], fault: str) -> None:
        time.sleep(self.server.latency)
        fault, _, argument = fault.partition(":")
        whole = {"/v1/chat/completions": complete, "/v1/moderations": moderate}.get(self.path)
        if whole is None:
            return self.send(404, {"detail": "Not Found"})
        if self.server.model and body["model"] != self.server.model:
            return self.fail(404, f"The model `{body['model']}` does not exist.", "model_not_found")
        if any(message["role"] == "tool" for message in body.get("messages", ())) and not answered(body["messages"]):
            return self.fail(400, "messages with role 'tool' must be a response to a preceding 'tool_calls'")
        match fault:
            case "429":
                return self.fail(429, "Rate limit reached.", "rate_limit", {"Retry-After": argument or "0"})
            case "quota":
                return self.fail(429, "You exceeded your current quota.", "insufficient_quota")
            case "301":
                return self.send(301, {}, {"Location": "https://elsewhere.invalid/v1/chat/completions"})
            case "401":
                return self.fail(401, f"Incorrect API key: {self.headers['Authorization']}.", "invalid_api_key")
            case "filtered_400":
                return self.fail(400, "The response was filtered.", "content_filter")
            case "400" | "403" | "404" | "500":
                return self.fail(int(fault), f"This is error {fault}.", "some_code")
            case "slow":
                self.rfile.read(1)
            case "drop":
                self.close_connection = True
                return None
            case "cut":
                return self.send(200, whole(body), cut=True)
            case "not_json":
                return self.send(200, "<html>Bad gateway</html>")
            case "wrong_shape":
                return self.send(200, [{"choices": "none"}])
        return self.send(200, spoil(whole(body), fault) if fault else whole(body))

    def fail(self, status: int, message: str, code: str, headers: dict[str, str] | None = None) -> None:
        self.send(status, {"error": {"message": message, "type": "error", "code": code}}, headers)

    def send(self, status: int, value: Any, headers: dict[str, str] | None = None, cut: bool = False) -> None:
        data = (value if isinstance(value, str) else json.dumps(value)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, content in (headers or {}).items():
            self.send_header(name, content)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = self.close_connection or cut


def answered(messages: list[dict[str, Any]]) -> bool:
    """Whether each tool's turn answers a call of the assistant's turn before it, and each call has its turn."""
    open_calls: list[str] = []
    for message in messages:
        if message["role"] != "tool":
            if open_calls:
                return False
            open_calls = [call["id"] for call in message.get("tool_calls", ())]
        elif message.get("tool_call_id") not in open_calls:
            return False
        else:
            open_calls.remove(message["tool_call_id"])
    return not open_calls


def complete(body: dict[str, Any]) -> dict[str, Any]:
    """The whole answer to a request. A model whose name begins with "thinker" reasons first.

    The models "list" and "json" keep the format that an attack asks its attacker for.
    """
    messages = body["messages"]
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or 16
    temperature = body.get("temperature", 1.0)
    source = random.Random(
        blake2b(json.dumps([messages, temperature, body.get("seed") if temperature else None]).encode()).digest()
    )
    words = [source.choice(WORDS) for _ in range(source.randint(4, 24))]
    text = " ".join(words[:limit])
    for stop in body.get("stop") or []:
        text = text.partition(stop)[0]
    if body["model"] == "list":
        text = f"1. {text}, {text}, please"
    if body["model"] == "json":
        text = json.dumps(dict.fromkeys(("prompt", "question", "reply", "summary", "strategy", "definition"), text))
    message: dict[str, Any] = {"role": "assistant", "content": text}
    prompt, count = sum(len(m["content"].split()) for m in messages), len(text.split())
    usage: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": count, "total_tokens": prompt + count}
    choice = {"index": 0, "message": message, "finish_reason": "length" if len(words) > limit else "stop"}
    if body["model"].startswith("thinker"):
        message["reasoning_content"] = "Let me think."
        usage |= {"completion_tokens": count + 3, "completion_tokens_details": {"reasoning_tokens": 3}}
    if body.get("logprobs"):
        tops = [[(word, -0.5), *((f"{word}{i}", -1.0 - i) for i in range(1, body["top_logprobs"]))] for word in words]
        choice["logprobs"] = {
            "content": [
                {
                    "token": top[0][0],
                    "logprob": top[0][1],
                    "top_logprobs": [{"token": token, "logprob": logprob} for token, logprob in reversed(top)],
                }
                for top in tops[:count]
            ]
        }
    return {
        "id": f"chatcmpl-{source.getrandbits(32):08x}",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [choice],
        "usage": usage,
    }


def moderate(body: dict[str, Any]) -> dict[str, Any]:
    """Each category whose name is in the text is flagged at 0.75; the others have 0.125."""
    scores = {name: 0.75 if name in body["input"] else 0.125 for name in CATEGORIES}
    flags = {name: score > 0.5 for name, score in scores.items()}
    inputs = {name: ["text"] for name in CATEGORIES}
    result = {"flagged": any(flags.values()), "categories": flags, "category_scores": scores}
    return {
        "id": "modr-1",
        "model": "omni-moderation-2024-09-26",
        "results": [result | {"category_applied_input_types": inputs}],
    }


def spoil(answer: dict[str, Any], fault: str) -> dict[str, Any]:
    """`answer` with the fault in its choice."""
    choice = answer["choices"][0]
    match fault:
        case "no_choices":
            answer["choices"] = []
        case "null_message":
            choice["message"] = None
        case "filtered":
            choice |= {"finish_reason": "content_filter", "message": {"role": "assistant", "content": ""}}
        case "refusal":
            choice["message"] |= {"content": None, "refusal": "I can't help with that."}
        case "long":
            choice["message"]["content"] = "x" * 10_000_000
        case "tool":
            call = {"id": "1", "type": "function", "function": {"name": "oven", "arguments": '{"heat": 200}'}}
            choice |= {"finish_reason": "tool_calls"}
            choice["message"] |= {"content": None, "tool_calls": [call]}
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--chance", type=float, default=0.0, help="of a fault, per request")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="", help="the only one served (default: any)")
    args = parser.parse_args()
    server = OpenAIServer(args.port, args.latency, chance=args.chance, seed=args.seed, model=args.model)
    print(f"serving {server.url}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
