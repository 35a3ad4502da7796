"""Processes that tests kill: forked from a server that has imported the package, so that each starts at once.

Tests that use them are of the xdist group "killed": one server serves all of them.
"""

import functools
import itertools
import multiprocessing
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "pytest", "psycopg", "withstand.api", "withstand.data.kitchen", "withstand.models.scripted",
        "withstand.attacks.search.best_of_n", "withstand.attacks.templated.direct", "withstand.judges.contains",
        "withstand.attacks.gradient.gcg", "withstand.models.hf", "withstand.training.sft", "trl", "datasets",
        "transformers.models.llama.modeling_llama",
    ]
)  # fmt: skip
TOYS = str(Path(__file__).parent / "toys")


class Worker:
    """A process that does a task of this module. `says`: what the task sends, so that a kill lands inside a call
    however fast the machine is; at the end what it returns, or the traceback."""

    def __init__(self, task: Callable[..., Any], *args: Any, wait: bool = False) -> None:
        self.says, end = SERVER.Pipe()
        self.process = SERVER.Process(target=do, args=(task, args, end, wait), daemon=True)
        self.process.start()
        end.close()
        if wait:
            assert self.hear() == "ready"

    def hear(self) -> str:
        """What it says next; an error after two minutes of silence."""
        assert self.says.poll(120), "the process says nothing"
        return str(self.says.recv())

    def kill(self) -> None:
        self.process.kill()  # SIGKILL
        self.process.join(60)

    def end(self) -> list[str]:
        """All that it says until it ends by itself, one item at a time."""
        said = []
        try:
            while True:
                said.append(self.hear())
        except EOFError:
            self.process.join(60)
            return said


def do(task: Callable[..., Any], args: tuple[Any, ...], end: Connection, wait: bool) -> None:
    """Wait for the word if it is to wait, so that two begin at once however busy the machine is; then do the task."""
    try:
        if wait:
            end.send("ready")
            end.recv()  # the word to go
        end.send(task(end.send, *args))
    except BaseException:
        end.send(traceback.format_exc())
        raise


def run(say: Callable[[str], None], spec: dict[str, Any], where: str) -> str:
    """Run a spec on a store; say "call" at each call of a model before it answers. The state at the end."""
    from withstand import api

    sys.path.insert(0, TOYS)
    slept = time.sleep
    lock = threading.Lock()  # lanes speak at the same time

    def sleep(seconds: float) -> None:
        with lock:
            say("call")
        slept(seconds)

    time.sleep = sleep
    return str(api.run(spec, store=where).summary["run"]["state"])


def search(say: Callable[[str], None], spec: dict[str, Any], where: str, stay_in: int = 0) -> str:
    """Run a spec with an attack on weights; say "piece" before each piece of work, and never leave the piece of number
    `stay_in`. The cache is beside the store. The state at the end."""
    from withstand import api
    from withstand.registry import find

    os.environ["WITHSTAND_CACHE"] = str(Path(where).parent / "cache")
    attack: Any = type(find.build("attack", spec["attack"]))
    advance = attack.advance
    numbers = itertools.count(1)

    @functools.wraps(advance)  # its name is in the key of a piece
    def spoken(self: Any, model: Any, parts: Any) -> Any:
        say("piece")
        if next(numbers) == stay_in:
            threading.Event().wait()
        return advance(self, model, parts)

    attack.advance = spoken
    return str(api.run(spec, store=where).summary["run"]["state"])


def train(say: Callable[[str], None], stage: Any, base: str, rows: Any, folder: Path, at: tuple[int, ...]) -> str:
    """Train a stage into a folder, keeping the steps `at`; say each step behind it. "trained" at the end."""
    import torch

    from withstand.core.stage import How

    torch.set_num_threads(1)  # as many as in the tests: sums in another order differ in the last digit

    def log(step: int, _loss: float) -> None:
        say(str(step))
        time.sleep(0.2)

    stage.train(base, rows, folder, How(log, at))
    return "trained"
