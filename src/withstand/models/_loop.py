"""Event loops for what is asynchronous, each in a thread of its own; lanes hand calls over and wait."""

import asyncio
import threading
from collections.abc import Hashable
from concurrent.futures import Future, wait
from typing import Any

from withstand.models._retry import Transient
from withstand.models._shared import built_once


@built_once
def loop_of(owner: Hashable, name: str) -> asyncio.AbstractEventLoop:
    """The event loop of `owner`, in a thread called `name`."""
    del owner  # only the cache tells them apart
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name=name, daemon=True).start()
    return loop


def settled(future: "Future[Any]", timeout: float) -> "Future[Any]":
    """The future when it has its result or its exception.

    Raises `Transient` if that takes longer than `timeout` seconds, or it was cancelled; then it is given up.
    """
    if not wait([future], timeout).done:
        future.cancel()
        raise Transient(f"no answer within {timeout:g} s")
    if future.cancelled():
        raise Transient("the call cancelled itself")
    return future
