"""What a server sends, before anything else reads it: within limits of size and time, and without our secrets.

Hooks and sockets of an HTTP client, so that they also guard what comes through a proxy. They serve httpx and its
successor httpx2, which some versions of the openai package use.
"""

import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from withstand.core import AskError
from withstand.core.redact import redactor

GUARD = "withstand"
"""The request's extension with its limits."""

DECODERS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
ENCODINGS = {"Accept-Encoding": ", ".join(DECODERS)}
"""What a request accepts: what can be unpacked within a limit."""

PART = 2**16
WRITTEN = 2**14
"""Bytes that are handed to a socket at once: it takes as many as soon as it says that it takes any."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one call. most: bytes of the body, unpacked. seconds: from connecting to the last byte.

    secrets: pairs of a secret and its name, which is what is read in its place.
    """

    most: int
    seconds: float
    secrets: tuple[tuple[str, str], ...] = ()


class _Call(threading.local):
    """The call that this thread makes: a client of a thread does one thing at a time, from its connection on."""

    seconds = deadline = float("inf")

    def begin(self, seconds: float) -> None:
        self.seconds, self.deadline = seconds, time.monotonic() + seconds

    def left(self, timeout: float | None = None) -> float:
        """Seconds until the deadline, or until `timeout`. Raises `AskError` past the deadline."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise AskError(
                f"the answer was not whole after {self.seconds:g} s", hint="raise deadline if the server is this slow"
            )
        return left if timeout is None else min(timeout, left)


_call = _Call()


class _Stream:
    """A connection whose every wait ends at the deadline of the call."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _late():
            return self.stream.read(max_bytes, _call.left(timeout))  # type: ignore[no-any-return]

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _late():
            for start in range(0, len(buffer), WRITTEN):
                self.stream.write(buffer[start : start + WRITTEN], _call.left(timeout))

    def start_tls(self, ssl_context: Any, server_hostname: Any = None, timeout: float | None = None) -> "_Stream":
        with _late():
            return _Stream(self.stream.start_tls(ssl_context, server_hostname, _call.left(timeout)))

    def close(self) -> None:
        self.stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self.stream.get_extra_info(info)


class _Backend:
    """What opens connections, as `httpcore.NetworkBackend` does."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **more: Any) -> _Stream:
        with _late():
            return _Stream(self.backend.connect_tcp(host, port, timeout=_call.left(timeout), **more))

    def connect_unix_socket(self, path: str, timeout: float | None = None, **more: Any) -> _Stream:
        with _late():
            return _Stream(self.backend.connect_unix_socket(path, timeout=_call.left(timeout), **more))

    def sleep(self, seconds: float) -> None:
        self.backend.sleep(_call.left(seconds))


@contextmanager
def _late() -> Iterator[None]:
    """A wait that ended by the deadline says so, instead of naming the pause that is allowed."""
    try:
        yield
    except Exception as error:
        if type(error).__name__.endswith("Timeout"):  # of httpcore or of its successor
            _call.left()
        raise


def guarded(client: Any) -> Any:
    """The client, whose connections keep the deadline of a call while they connect, send and read headers.

    No option of httpx reaches the sockets, so that this takes the parts that its transports have by the same name in
    all versions; a test asks both libraries.
    """
    for transport in (client._transport, *client._mounts.values()):
        if transport is not None:  # no proxy
            transport._pool._network_backend = _Backend(transport._pool._network_backend)
    return client


def hooks(limits: Limits | None = None) -> dict[str, list[Any]]:
    """The `event_hooks` of a client whose requests carry their `Limits` as the extension `GUARD`, or have these."""

    def begin(request: Any) -> None:
        _call.begin(request.extensions.get(GUARD, limits).seconds)

    def guard(response: Any) -> None:
        chosen: Limits = response.request.extensions.get(GUARD, limits)
        redact = redactor(chosen.secrets).text
        kind = response.headers.pop("content-encoding", "").strip().lower()
        response.headers.pop("content-length", None)  # of what was sent, not of what is read
        pairs = [(name, redact(value)) for name, value in response.headers.multi_items()]
        response.headers = type(response.headers)(pairs)
        body = _body_class(type(response).__module__.partition(".")[0])
        response.stream = body(response.stream, kind, chosen)

    return {"request": [begin], "response": [guard]}


class _Body:
    """A body that is read whole, unpacked and redacted before its first byte is passed on."""

    def __init__(self, stream: Any, kind: str, limits: Limits) -> None:
        self.stream, self.kind, self.limits = stream, kind, limits

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
            _call.left()
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
