"""What a server sends, before anything else reads it: within limits of size and time, and without our secrets.

Hooks of an HTTP client, so that they also guard what comes through a proxy. They serve httpx and its successor httpx2,
which some versions of the openai package use.
"""

import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from withstand.core import AskError
from withstand.core.redact import redactor

GUARD = "withstand"
"""The request's extension with its limits."""

STARTED = "withstand_started"
DECODERS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
ENCODINGS = {"Accept-Encoding": ", ".join(DECODERS)}
"""What a request accepts: what can be unpacked within a limit."""

PART = 2**16


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one call. most: bytes of the body, unpacked. seconds: from sending it to its last byte.

    secrets: pairs of a secret and its name, which is what is read in its place.
    """

    most: int
    seconds: float
    secrets: tuple[tuple[str, str], ...] = ()


def hooks(limits: Limits | None = None) -> dict[str, list[Any]]:
    """The `event_hooks` of a client whose requests carry their `Limits` as the extension `GUARD`, or have these."""

    def begin(request: Any) -> None:
        request.extensions = {**request.extensions, STARTED: time.monotonic()}

    def guard(response: Any) -> None:
        chosen: Limits = response.request.extensions.get(GUARD, limits)
        redact = redactor(chosen.secrets).text
        kind = response.headers.pop("content-encoding", "").strip().lower()
        response.headers.pop("content-length", None)  # of what was sent, not of what is read
        pairs = [(name, redact(value)) for name, value in response.headers.multi_items()]
        response.headers = type(response.headers)(pairs)
        deadline = response.request.extensions[STARTED] + chosen.seconds
        body = _body_class(type(response).__module__.partition(".")[0])
        response.stream = body(response.stream, kind, chosen, deadline)

    return {"request": [begin], "response": [guard]}


class _Body:
    """A body that is read whole, unpacked and redacted before its first byte is passed on."""

    def __init__(self, stream: Any, kind: str, limits: Limits, deadline: float) -> None:
        self.stream, self.kind, self.limits, self.deadline = stream, kind, limits, deadline

    def close(self) -> None:
        self.stream.close()

    def __iter__(self) -> Iterator[bytes]:
        body = bytearray()
        for part in self.unpacked():
            body += part
            if len(body) > self.limits.most:
                raise AskError(
                    f"the answer has more than {self.limits.most:,} bytes",
                    hint="raise max_answer_chars if it is the application's own answer",
                )
        if not self.limits.secrets:
            yield bytes(body)
            return
        text = body.decode("latin-1")  # takes all bytes and gives them back; secrets are ASCII
        yield redactor(self.limits.secrets).text(text).encode("latin-1")

    def received(self) -> Iterator[bytes]:
        for part in self.stream:
            if time.monotonic() > self.deadline:
                late = f"the answer was not whole after {self.limits.seconds:g} s"
                raise AskError(late, hint="raise deadline if the server is this slow")
            yield part

    def unpacked(self) -> Iterator[bytes]:
        if self.kind in ("", "identity"):
            yield from self.received()
            return
        if self.kind not in DECODERS:
            raise AskError(f"the answer is packed as {self.kind[:40]!r}, which was not asked for")
        decoder = zlib.decompressobj(DECODERS[self.kind])
        try:
            for part in self.received():
                while part:
                    yield decoder.decompress(part, PART)
                    part = decoder.unconsumed_tail
            yield decoder.flush()
        except zlib.error as error:
            raise AskError(f"the answer cannot be unpacked: {error}") from None


@cache
def _body_class(library: str) -> type[_Body]:
    """A `_Body` that is a stream of this library, which checks the class."""
    return type("Body", (_Body, sys.modules[library].SyncByteStream), {})
