"""What goes to the client: ASGI messages, in order, and whether anything went already."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from withstand.monitor.proxy.passage import Passage
from withstand.monitor.proxy.route import Headers

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Reply:
    """The answer to one client."""

    def __init__(self, send: Send, passage: Passage) -> None:
        self._send, self._passage = send, passage
        self.started = False

    async def start(self, status: int, headers: Headers) -> None:
        self.started, self._passage.status = True, status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def more(self, piece: bytes) -> None:
        if piece:
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        self._passage.sent = True

    async def whole(self, status: int, body: bytes, kind: str = "application/json") -> None:
        """A whole answer of the proxy's own."""
        length = str(len(body)).encode()
        await self.start(status, [(b"content-type", kind.encode()), (b"content-length", length)])
        await self.more(body)
        await self.end()
