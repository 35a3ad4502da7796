"""The proxy at 50 requests a second, beside the same server asked directly at the same time.

Server, proxy and client are processes of their own. Requests to the server and through the proxy take turns, every
10 ms one, so that whatever else the machine does meets both. A request is timed from its first byte to its answer's
last. What the proxy adds is the difference of medians, and of 99th percentiles.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RATE, SECONDS = 50.0, 20.0
SERVER, PROXY = 8741, 8742
JUDGES = ("contains:miracle", "kitchen")
MODES = {
    "log": [],
    "flag": ["--judge"],
    "block, answers stream": ["--judge", "--mode", "block", "--fail", "closed"],
    "block, answers held": ["--judge", "--mode", "block", "--fail", "closed", "--answers", "hold"],
    "block, windows of 16": ["--judge", "--mode", "block", "--fail", "closed", "--answers", "window:16"],
}
"""Flags of each; `--judge` stands for those of `JUDGES`."""
PROMPT = "When does the train to the coast leave, and is there a seat by the window for my aunt? " * 6
TEXT = "The train to the coast leaves at noon from the second platform, and many seats are free today. " * 4
WARM = 50
"""Requests that are not counted: imports, connections."""


def bench(folder: Path) -> dict[str, Any]:
    """Milliseconds of whole answers and of streams of 20 events, directly and through the proxy, in each mode."""
    server = subprocess.Popen([sys.executable, __file__, "server"])
    modes = {}
    try:
        for name, flags in MODES.items():
            modes[name] = _mode(folder / name.replace(",", "").replace(" ", "-"), flags)
    finally:
        server.kill()
    worst = [max(mode[kind]["adds"][at] for mode in modes.values() for kind in ("whole", "stream")) for at in (0, 1)]
    return {
        "modes": modes,
        "judges": list(JUDGES),
        "rate": RATE,
        "unit": "ms: [median, 99th percentile]; load is of 2 cores",
        "adds_at_most": worst,
        "goal": "adds < 5 ms at the median, < 15 ms at the 99th percentile",
        "ratio_to_goal": round(max(worst[0] / 5, worst[1] / 15), 3),
    }


def _mode(folder: Path, flags: list[str]) -> dict[str, Any]:
    folder.mkdir()
    judges = [part for judge in JUDGES for part in ("--judge", judge)]
    own = [part for flag in flags for part in (judges if flag == "--judge" else [flag])]
    proxy = subprocess.Popen(
        [
            sys.executable, "-m", "withstand", "monitor", "proxy", "--to", f"http://127.0.0.1:{SERVER}/v1", *own,
            "--port", str(PROXY), "--log", str(folder / "proxy.jsonl"), "--store", str(folder / "store.db"),
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    load = os.getloadavg()[0]
    try:
        asyncio.run(_load(WARM))
        before = _cpu(proxy.pid)
        times = asyncio.run(_load(int(RATE * SECONDS)))
        cpu = _cpu(proxy.pid) - before
    finally:
        proxy.terminate()
        proxy.wait(30)
    requests = sum(map(len, times.values())) / 2
    result: dict[str, Any] = {}
    for kind in ("whole", "stream"):
        direct, proxied = (_figures(times[kind, port]) for port in (SERVER, PROXY))
        result[kind] = {"direct": direct, "proxied": proxied}
        result[kind]["adds"] = [round(b - a, 2) for a, b in zip(direct, proxied, strict=True)]
    lines = sum(1 for _ in (folder / "proxy.jsonl").open())
    return {**result, "cpu_ms_a_request": round(cpu * 1e3 / requests, 2), "logged": lines, "load": round(load, 1)}


def _cpu(pid: int) -> float:
    """Seconds of the processor that a process and its children have used; Linux."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK") + sum(map(_cpu, children))


def _figures(times: list[float]) -> list[float]:
    """Median and 99th percentile, in ms."""
    cut = statistics.quantiles(times, n=100)
    return [round(cut[49] * 1e3, 2), round(cut[98] * 1e3, 2)]


async def _load(requests: int) -> Mapping[tuple[str, int], list[float]]:
    """Seconds of each request, by kind and port."""
    await _up(PROXY)
    times: dict[tuple[str, int], list[float]] = {(k, p): [] for k in ("whole", "stream") for p in (SERVER, PROXY)}
    free: dict[int, list[Any]] = {SERVER: [], PROXY: []}

    async def one(kind: str, port: int) -> None:
        stream = free[port].pop() if free[port] else await asyncio.open_connection("127.0.0.1", port)
        body = json.dumps(
            {"model": "m", "stream": kind == "stream", "messages": [{"role": "user", "content": PROMPT}], "user": "ana"}
        ).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        begin = time.perf_counter()
        stream[1].write(head.encode() + body)
        answer = await stream[0].readuntil(b"\r\n\r\n")
        assert b" 200 " in answer.split(b"\r\n")[0], answer
        if b"transfer-encoding: chunked" in answer.lower():
            while (size := int(await stream[0].readline(), 16)) or await stream[0].readline() is None:
                await stream[0].readexactly(size + 2)
        else:
            length = int(answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            await stream[0].readexactly(length)
        times[kind, port].append(time.perf_counter() - begin)
        free[port].append(stream)

    tasks = []
    start = time.perf_counter()
    for number in range(2 * requests):
        await asyncio.sleep(max(0.0, start + number / RATE / 2 - time.perf_counter()))
        kind = "stream" if number // 2 % 2 else "whole"
        tasks.append(asyncio.ensure_future(one(kind, (SERVER, PROXY)[number % 2])))
    await asyncio.gather(*tasks)
    return times


async def _up(port: int) -> None:
    for _ in range(600):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        writer.close()
        return
    raise TimeoutError("the proxy did not start")


# --- the server -----------------------------------------------------------------------------------------------------


def _answers() -> tuple[bytes, list[bytes]]:
    message = {"role": "assistant", "content": TEXT}
    value = {
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    body = json.dumps(value).encode()
    whole = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    step = len(TEXT) // 20
    events = [
        f"data: {json.dumps({'model': 'm', 'choices': [{'index': 0, 'delta': {'content': TEXT[at : at + step]}}]})}\n\n"
        for at in range(0, len(TEXT), step)
    ]
    pieces = [event.encode() for event in [*events, "data: [DONE]\n\n"]]
    return whole, [f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces] + [b"0\r\n\r\n"]


async def _serve() -> None:
    whole, pieces = _answers()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(request.partition(b"content-length:")[2].partition(b"\r\n")[0])
                if b'"stream":true' in (await reader.readexactly(length)).replace(b" ", b""):
                    writer.write(head)
                    for piece in pieces:
                        writer.write(piece)
                        await asyncio.sleep(0.001)
                else:
                    writer.write(whole)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", SERVER) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
