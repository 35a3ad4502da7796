"""A server behind the proxy for tests, byte for byte under their control, and the proxy in front of it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn

from withstand.monitor.proxy.build import build
from withstand.monitor.proxy.mode import Mode

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns, run in a thread of its own: a browser leaves a loop running in that of the tests."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


Answerer = Callable[["Asked", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Asked:
    """A request that reached the server."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass
class Behind:
    """The server. requests: what came.   closed: connections whose client went before the answer was whole."""

    answer: Answerer
    requests: list[Asked] = field(default_factory=list)
    closed: int = 0
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *lines = head.decode("latin-1").strip().split("\r\n")
                headers = [tuple(re.split(r":\s*", text, maxsplit=1)) for text in lines]
                asked = Asked(line, headers, b"")  # type: ignore[arg-type]
                asked.body = await reader.readexactly(int(asked.header("content-length") or 0))
                self.requests.append(asked)
                working = asyncio.ensure_future(self.answer(asked, writer))
                watching = asyncio.ensure_future(reader.read(1))
                await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
                if not working.done():
                    self.closed += 1
                    working.cancel()
                    return
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
                working.result()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def head(status: int = 200, kind: str = "application/json", length: int | None = None, more: str = "") -> bytes:
    """The head of an answer; chunked where it has no length."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{size}\r\n{more}\r\n".encode()


def whole(body: bytes, status: int = 200, kind: str = "application/json", more: str = "") -> bytes:
    return head(status, kind, len(body), more) + body


def chunk(piece: bytes) -> bytes:
    return f"{len(piece):x}\r\n".encode() + piece + b"\r\n"


def said(text: str, **message: Any) -> bytes:
    """A whole answer of a chat."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    return json.dumps(
        {"id": "1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}
    ).encode()


def event(text: str, index: int = 0, **delta: Any) -> bytes:
    """An event of a chat's stream."""
    choice = {"index": index, "delta": {"content": text, **delta}, "finish_reason": None}
    value = {"id": "1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def streamed(*texts: str) -> bytes:
    """A whole stream."""
    return b"".join(map(event, texts)) + b"data: [DONE]\n\n"


def says(*pieces: bytes) -> Answerer:
    """A server that writes these pieces, each by itself."""

    async def answer(_: Asked, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return answer


def streams(*events: bytes) -> Answerer:
    """A server that streams these events, each in a chunk by itself."""
    return says(head(kind="text/event-stream"), *map(chunk, events), b"0\r\n\r\n")


@dataclass
class Front:
    """The proxy at work. client: of its address.   app: the application."""

    client: httpx.AsyncClient
    app: Any
    behind: Behind
    folder: Path
    port: int

    async def chat(self, text: str = "hello", path: str = "/v1/chat/completions", **fields: Any) -> httpx.Response:
        body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
        return await self.client.post(path, json=body)

    @property
    def counts(self) -> Any:
        return self.app.session.counts

    async def lines(self, number: int) -> list[Any]:
        """The lines of the log, once so many are there."""
        path = self.folder / "proxy.jsonl"
        for _ in range(3_000):
            lines = path.read_text().splitlines() if path.exists() else []
            if len(lines) >= number:
                return [json.loads(line) for line in lines]
            await asyncio.sleep(0.01)
        raise TimeoutError(f"the log has {len(lines)} lines instead of {number}")

    async def raw(self, data: bytes) -> bytes:
        """All that comes back to these bytes on a connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        answer = await reader.read()
        writer.close()
        return answer


@asynccontextmanager
async def proxied(
    folder: Path, answer: Answerer, judge: str = "contains:miracle", **options: Any
) -> AsyncIterator[Front]:
    """A proxy in front of a server that answers so. options: of `Mode` and of `build`."""
    behind = Behind(answer)
    server = await asyncio.start_server(behind.serve, "127.0.0.1", 0)
    behind.port = server.sockets[0].getsockname()[1]
    own = {name: options.pop(name) for name in [*options] if name in Mode.__dataclass_fields__}
    mode = Mode(f"http://127.0.0.1:{behind.port}/v1", **own)
    judges = [judge] if judge and "settings" not in options else []
    options = {"processes": 0, "salt": "the salt of a kitchen", "now": lambda: 1_800_000_000.0, **options}
    app = build(mode, str(folder / "proxy.jsonl"), judges=judges, **options)
    config = uvicorn.Config(
        app, port=0, http="h11", ws="none", log_level="critical", lifespan="on", server_header=False, date_header=False,
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    front = uvicorn.Server(config)
    serving = asyncio.create_task(front.serve())
    while not front.started:
        await asyncio.sleep(0.005)
    port = front.servers[0].sockets[0].getsockname()[1]
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            yield Front(client, app, behind, folder, port)
    finally:
        front.should_exit = True
        await serving
        server.close()
