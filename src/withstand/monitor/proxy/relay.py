"""How an answer travels: as it comes, held whole, or in windows that leave only after their verdict."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from withstand.monitor.proxy import refusals
from withstand.monitor.proxy.answer import CHARS_A_TOKEN, MOST, AnswerError, Events
from withstand.monitor.proxy.coding import CodingError, Opener
from withstand.monitor.proxy.passage import Passage
from withstand.monitor.proxy.reply import Reply
from withstand.monitor.proxy.route import end_to_end, header
from withstand.monitor.proxy.upstream import Response

Verdict: TypeAlias = Callable[[Passage], Awaitable[bool]]
"""Judges the answer so far, and says whether it may pass; if not, the passage's decision says why."""
Stop: TypeAlias = Callable[[Passage, Reply], Awaitable[None]]
"""Tells the client that its answer does not come."""


class Reader:
    """Reads an answer into its passage, as far as it can be read."""

    def __init__(self, passage: Passage, headers: Any) -> None:
        self.answer = passage.answer
        self.streams = header(headers, b"content-type").lower().startswith("text/event-stream")
        self._events, self._body = Events(), bytearray()
        self._opener: Opener | None = None
        try:
            self._opener = Opener(header(headers, b"content-encoding"))
        except CodingError as error:
            self.answer.broken = str(error)

    def feed(self, piece: bytes) -> list[bytes]:
        """Read a piece; the opened bytes, of a stream its whole events. What cannot be read breaks the answer."""
        if self.answer.broken or self._opener is None:
            return []
        try:
            opened = self._opener.feed(piece)
            if self.streams:
                events = self._events.feed(opened)
                for event in events:
                    self.answer.event(event)
                return events
            self._body += opened
            if len(self._body) > MOST:
                raise AnswerError("the answer is too long to be judged whole")
            return [opened]
        except (CodingError, AnswerError) as error:
            self.answer.broken = str(error)
            return []

    def end(self) -> bytes:
        """Read what is left; of a stream the bytes behind its last whole event."""
        if self.answer.broken or self._opener is None:
            return b""
        try:
            self._opener.end()
            if not self.streams:
                if self._body.strip():
                    self.answer.whole(bytes(self._body))
                return b""
            if self._events.rest.strip():
                self.answer.event(self._events.rest)
            return self._events.rest
        except (CodingError, AnswerError) as error:
            self.answer.broken = str(error)
            return b""


async def stream(passage: Passage, response: Response, reply: Reply, reads: bool) -> None:
    """Pass the answer on as it comes. reads: it is also read, for the log and for judges afterwards."""
    reader = Reader(passage, response.headers) if reads else None
    await reply.start(response.status, end_to_end(response.headers))
    async for piece in response.pieces:
        await reply.more(piece)
        if reader:
            reader.feed(piece)
    if reader:
        reader.end()
    await reply.end()


async def hold(passage: Passage, response: Response, reply: Reply, verdict: Verdict, stop: Stop) -> None:
    """Pass the answer on once all of it was judged."""
    reader, kept, size = Reader(passage, response.headers), list[bytes](), 0
    async for piece in response.pieces:
        kept.append(piece)
        size += len(piece)
        reader.feed(piece)
        if size > MOST or passage.answer.broken:
            passage.answer.broken = passage.answer.broken or "the answer is too long to be held"
            break
    reader.end()
    if not await verdict(passage):
        await stop(passage, reply)
        return
    await reply.start(response.status, end_to_end(response.headers))
    for piece in kept:
        await reply.more(piece)
    async for piece in response.pieces:  # of an answer that could not be read, and passes though
        await reply.more(piece)
    await reply.end()


async def window(passage: Passage, response: Response, reply: Reply, verdict: Verdict, stop: Stop, tokens: int) -> None:
    """Pass a stream on in windows of so many tokens. Each is judged with all that came before it."""
    reader, answer = Reader(passage, response.headers), passage.answer
    if not reader.streams or answer.broken:
        await hold(passage, response, reply, verdict, stop)
        return
    waiting: list[bytes] = []
    judged = 0
    headers = end_to_end(response.headers, (b"content-encoding", b"content-length"))

    async def flush() -> bool:
        """Let the window go, if it may."""
        nonlocal judged
        if (answer.chars > judged or answer.broken or answer.opaque) and not await verdict(passage):
            return False
        judged = answer.chars
        if not reply.started:
            await reply.start(response.status, headers)
        await reply.more(b"".join(waiting))
        waiting.clear()
        return True

    async for piece in response.pieces:
        waiting += reader.feed(piece)
        full = answer.chars - judged >= tokens * CHARS_A_TOKEN
        if (full or answer.ended or answer.broken) and not await flush():
            await _cut(passage, reply, stop)
            return
        if answer.broken:  # what cannot be read may pass only as the user said: not in pieces of two codings
            passage.trouble = "answer_broken"
            return
    waiting.append(reader.end())
    if not await flush():
        await _cut(passage, reply, stop)
        return
    await reply.end()


async def _cut(passage: Passage, reply: Reply, stop: Stop) -> None:
    """End an answer in its middle, in the shape of its stream."""
    if not reply.started:
        await stop(passage, reply)
        return
    await reply.more(refusals.ending(passage.route.kind, passage.answer.model, "content_filter"))
    await reply.end()
