"""The ASGI application: takes a request, asks the gate, asks the server behind, passes the answer on, logs it."""

import asyncio
import contextlib
import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from withstand.monitor.intake.salt import Hasher
from withstand.monitor.proxy import refusals, relay
from withstand.monitor.proxy.gate import READ, Gate
from withstand.monitor.proxy.lanes import Lanes
from withstand.monitor.proxy.log import Log
from withstand.monitor.proxy.passage import Passage
from withstand.monitor.proxy.reply import Reply, Send
from withstand.monitor.proxy.route import REWRITES, TOKEN, Headers, end_to_end, header, route_of
from withstand.monitor.proxy.session import Session
from withstand.monitor.proxy.upstream import UNREACHABLE, Response, Upstream, UpstreamError
from withstand.runner.suites import is_own
from withstand.store.store import Store

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

PENDING = 1_000
"""Answers that may wait to be judged after they passed; what comes then stays unjudged, and is counted so."""
FIRST, LATEST = 60.0, 3_600.0
"""Seconds until the counts are first written to the store, and between two writes at most: the pause doubles."""
CONVERSATION = b"x-conversation-id"


class TooLargeError(Exception):
    """A request's body above the limit."""


class Proxy:
    """The application. names: makes pseudonyms.   hosts: names that a request's Host may have, None for any.

    token: what clients must send in the header of `TOKEN`, "" for nothing.   now: the clock of the log.
    say: tells who runs it.
    """

    def __init__(
        self, session: Session, gate: Gate, lanes: Lanes, log: Log | None, names: Hasher,
        hosts: frozenset[str] | None = None, token: str = "", store: Store | None = None,
        now: Callable[[], float] = time.time, say: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.session, self.gate, self.lanes, self.log, self.store = session, gate, lanes, log, store
        self._say, self._down = say, False
        self.mode, self._now, self._names, self._hosts, self._token = session.mode, now, names, hosts, token
        self._categories = {key: labeler.screener.category for key, labeler in gate.screens.labelers.items()}
        self._ending: set[asyncio.Task[None]] = set()
        self.upstream: Upstream

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._life(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    # --- from start to end ---

    async def _life(self, receive: Receive, send: Send) -> None:
        await receive()
        self.upstream = Upstream(self.mode)
        await self._keep()
        keeping = asyncio.create_task(self._keep_often())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        keeping.cancel()
        if self._ending:
            await asyncio.wait(self._ending, timeout=2 * self.mode.timeout)
        await self.upstream.close()
        await asyncio.to_thread(self.lanes.close)
        if self.log:
            await asyncio.to_thread(self.log.close)
        await self._keep(ended=True)
        await send({"type": "lifespan.shutdown.complete"})

    async def _keep(self, ended: bool = False) -> None:
        """Write the counts to the store; a store that is busy must not end the proxy."""
        self.session.counts["unlogged"] = self.log.lost if self.log else 0
        if self.store is not None:
            try:
                await asyncio.to_thread(self.session.keep, self.store, self._now(), ended)
            except Exception as error:  # noqa: BLE001 - the counts are written again later
                self._say(f"note: the store did not take the counts: {type(error).__name__}: {error}")

    async def _keep_often(self) -> None:
        pause = FIRST
        while True:
            await asyncio.sleep(pause)
            await self._keep()
            pause = min(2 * pause, LATEST)

    # --- a request ---

    async def _http(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        headers: Headers = list(scope["headers"])
        raw = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        self.session.counts["requests"] += 1
        passage = Passage(
            self.session.counts["requests"], self._now(), scope["method"], raw, headers,
            route_of(scope["method"].upper(), scope["raw_path"]),
        )  # fmt: skip
        reply = Reply(send, passage)
        if not await self._admits(passage, reply):
            self.session.counts["refused"] += 1
            return
        try:
            async with asyncio.timeout(self.mode.read):
                passage.body = await _body(receive, self.mode.body)
        except TooLargeError:
            self.session.counts["refused"] += 1
            message = f"a request has at most {self.mode.body:,} bytes"
            await reply.whole(*refusals.error(413, "request_too_large", message))
            return
        except TimeoutError:
            self.session.counts["refused"] += 1
            await reply.whole(*refusals.error(408, "request_timeout", "the request did not come to its end in time"))
            return
        except ConnectionError:
            self.session.counts["left"] += 1
            return
        work = asyncio.ensure_future(self._serve(passage, reply))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and not passage.sent:
                passage.left = True
                self.session.counts["left"] += 1
                work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
        finally:
            gone.cancel()
            work.cancel()
            passage.took = time.perf_counter() - passage.clock
            self._end(passage)

    async def _admits(self, passage: Passage, reply: Reply) -> bool:
        """Whether the client may use this proxy at all."""
        host = header(passage.headers, b"host")
        if not is_own(host, self._hosts):
            await reply.whole(*refusals.error(421, "wrong_host", f"this proxy is not {host[:100]!r}"))
            return False
        token = header(passage.headers, TOKEN).encode("latin-1")
        if self._token and not hmac.compare_digest(token, self._token.encode()):
            message = f"this proxy needs its token in the header {TOKEN.decode()}"
            await reply.whole(*refusals.error(401, "proxy_token", message))
            return False
        return True

    async def _serve(self, passage: Passage, reply: Reply) -> None:
        if not await self.gate.enters(passage, reply):
            return
        response = None
        try:
            response = await self._ask(passage)
            self._down = False
            await self._answer(passage, response, reply)
        except Exception as error:
            reason = self.upstream.reason(error)
            if not isinstance(reason, UpstreamError):
                raise
            passage.trouble = reason.code
            passage.why.append(f"{type(error.__cause__ or error).__name__}: {str(error.__cause__ or error)[:200]}")
            if reason.code == UNREACHABLE and not self._down:
                self._down = True
                self._say(f"note: {reason} ({passage.why[-1]})")
            if not reply.started:
                await reply.whole(*refusals.error(reason.status, reason.code, str(reason)))
            # else the connection is closed before its end, and the client sees that something lacks
        finally:
            if response is not None:
                await response.close()

    async def _ask(self, passage: Passage) -> Response:
        """Send the request on: as it came, or where judges read it, as they read it."""
        judged = passage.asked is not None and bool(self.gate.screens.labelers)
        without = [b"host", b"content-length", b"expect", TOKEN]
        if passage.route.kind in READ:
            without.append(b"accept-encoding")
        if self.gate.blocks:
            without += REWRITES
        if judged:
            without += [b"content-encoding", b"content-type"]
        headers = end_to_end(passage.headers, without)
        if passage.route.kind in READ:  # of the codings those that are opened here
            gzip = "gzip" in header(passage.headers, b"accept-encoding")
            headers.append((b"accept-encoding", b"gzip" if gzip else b"identity"))
        if judged:
            headers.append((b"content-type", b"application/json"))
        body = passage.asked.body if passage.asked is not None and judged else passage.body
        if self.gate.blocks and passage.route.harmless:  # none of these needs a body, and nobody judged it
            body = b""
        return await self.upstream.send(passage.method, passage.target, headers, body)

    async def _answer(self, passage: Passage, response: Response, reply: Reply) -> None:
        gate, reads = self.gate, passage.asked is not None and passage.route.kind in READ
        reads = reads and 200 <= response.status < 300
        if not (reads and gate.holds):
            await relay.stream(passage, response, reply, reads)
        elif self.mode.answers == "hold":
            await relay.hold(passage, response, reply, gate.leaves, gate.stop)
        else:
            await relay.window(passage, response, reply, gate.leaves, gate.stop, self.mode.window)

    # --- afterwards ---

    def _end(self, passage: Passage) -> None:
        """Judge what passed unjudged, count and log, without holding the client's connection."""
        if len(self._ending) >= PENDING:
            passage.unjudged.append("too many answers waited to be judged")
            self._count(passage)
            return
        task = asyncio.ensure_future(self._finish(passage))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _finish(self, passage: Passage) -> None:
        try:
            await self.gate.afterwards(passage)
        finally:
            self._count(passage)

    def _count(self, passage: Passage) -> None:
        counts = self.session.counts
        counts["exchanges" if passage.asked is not None else "other"] += 1
        counts["flagged"] += passage.decision == "passed" and bool(passage.flagged)
        counts["failed_open"] += passage.opened
        counts["unjudged"] += bool(passage.unjudged)
        counts["server_errors"] += bool(passage.trouble)
        if passage.decision != "passed":
            counts[passage.decision.replace(" ", "_")] += 1
        if self.log and passage.logged:
            self.log.put(self._line(passage))

    def _line(self, passage: Passage) -> Any:
        name, headers = self._names.name, passage.headers
        credential = header(headers, b"authorization").removeprefix("Bearer ").strip()
        key = name("key", credential or header(headers, b"api-key") or header(headers, b"x-api-key"))
        who = header(headers, self.mode.account.lower().encode()) if self.mode.account else ""
        account = name("account", who or (passage.asked.user if passage.asked else ""))
        return passage.line(
            id=f"{self.session.id}-{passage.number}", account=account or key or "anonymous", key=key,
            conversation=name("conversation", header(headers, CONVERSATION)), categories=self._categories,
            labeler_version=self.session.version, policy=self.session.policy, session=self.session.id,
        )  # fmt: skip


async def _body(receive: Receive, most: int) -> bytes:
    """A request's body. Raises `TooLargeError`, or `ConnectionError` where the client left."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        body += message.get("body", b"")
        if len(body) > most:
            raise TooLargeError
        if not message.get("more_body"):
            return bytes(body)


async def _gone(receive: Receive) -> None:
    """Until the client has left, or has its answer."""
    while (await receive())["type"] != "http.disconnect":
        pass
