"""The server behind: one pool of connections to one address. No redirect is followed, no cookie kept."""

from collections.abc import AsyncIterator
from typing import Any

from withstand.monitor.proxy.mode import Mode
from withstand.monitor.proxy.route import Headers

CONNECT = 10.0
"""Seconds until a connection stands."""
IDLE = 2.0
"""Seconds for which a connection waits for another request: servers close theirs after 5."""


UNREACHABLE = "upstream_unreachable"
SHARE = 8
"""Requests at once in one pool: httpcore's looks at all pairs of its connections for each request, 15 ms at 200."""


class UpstreamError(Exception):
    """The server behind did not answer. status: for the client.   code: for programs."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Pool:
    """Some of the connections. active: requests whose answer is not read to its end."""

    def __init__(self, pool: Any) -> None:
        self.pool, self.active = pool, 0


class Response:
    """An answer's head, and the way to its body. It must be closed."""

    def __init__(self, response: Any, pool: Pool) -> None:
        self.status: int = response.status
        self.headers: Headers = response.headers
        self.pieces: AsyncIterator[bytes] = response.aiter_stream()
        self._response, self._pool = response, pool

    async def close(self) -> None:
        self._pool.active -= 1
        await self._response.aclose()


class Upstream:
    """Sends requests to the server of a mode; `open` and `close` are called in the event loop that it serves."""

    def __init__(self, mode: Mode) -> None:
        import httpcore
        import httpx

        self._core = httpcore
        self._base = httpcore.URL(mode.to)
        self._prefix = mode.prefix.encode("latin-1", "replace")
        self._host = mode.authority.encode("latin-1", "replace")
        self._timeout = {"connect": CONNECT, "read": mode.read, "write": mode.read, "pool": CONNECT}
        self._tls = httpx.create_ssl_context() if mode.to.startswith("https") else None
        self._pools: list[Pool] = []

    def _pool(self) -> Pool:
        """The first pool that is not full, so that few connections serve few requests."""
        for pool in self._pools:
            if pool.active < SHARE:
                return pool
        more = self._core.AsyncConnectionPool(
            ssl_context=self._tls, max_connections=None, max_keepalive_connections=SHARE, keepalive_expiry=IDLE
        )
        self._pools.append(Pool(more))
        return self._pools[-1]

    async def send(self, method: str, target: bytes, headers: Headers, body: bytes) -> Response:
        """The answer, as far as its head came. Raises `UpstreamError`."""
        url = self._core.URL(
            scheme=self._base.scheme, host=self._base.host, port=self._base.port, target=self._prefix + target
        )
        own: Headers = [(b"host", self._host), *headers]
        if body or method not in ("GET", "HEAD", "OPTIONS", "DELETE"):
            own.append((b"content-length", str(len(body)).encode()))
        request = self._core.Request(method, url, headers=own, content=body, extensions={"timeout": self._timeout})
        pool = self._pool()
        pool.active += 1
        try:
            return Response(await pool.pool.handle_async_request(request), pool)
        except BaseException as error:
            pool.active -= 1
            if isinstance(error, Exception):
                raise self.reason(error) from error
            raise

    def reason(self, error: Exception) -> Exception:
        """An error of the connection as an `UpstreamError`; another one as it is."""
        core = self._core
        if isinstance(error, core.ConnectError | core.ConnectTimeout | core.PoolTimeout):
            return UpstreamError(502, UNREACHABLE, "the server behind this proxy cannot be reached")
        if isinstance(error, core.TimeoutException):
            return UpstreamError(504, "upstream_timeout", "the server behind this proxy said nothing in time")
        if isinstance(error, core.NetworkError | core.ProtocolError):
            return UpstreamError(502, "upstream_broken", "the server behind this proxy broke the connection off")
        return error

    async def close(self) -> None:
        for pool in self._pools:
            await pool.pool.aclose()
