"""Processes that tests kill: forked from a server that has imported the package, so that each starts at once."""

import json
import multiprocessing
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "pytest", "psycopg", "withstand.api", "withstand.data.kitchen", "withstand.models.scripted",
        "withstand.attacks.search.best_of_n", "withstand.attacks.templated.direct", "withstand.judges.contains",
    ]
)  # fmt: skip
TOYS = str(Path(__file__).parent / "toys")


class Worker:
    """A process that runs a spec on a store. `says`: "call" at each call of a model before it answers, so that a kill
    lands inside a call however fast the machine is; the state at the end, or the traceback."""

    def __init__(self, spec: dict[str, Any], where: str, wait: bool = False) -> None:
        self.says, end = SERVER.Pipe()
        self.process = SERVER.Process(target=run, args=(json.dumps(spec), where, end, wait), daemon=True)
        self.process.start()
        end.close()
        if wait:
            assert self.hear() == "ready"

    def hear(self) -> str:
        """What it says next; an error after a minute of silence."""
        assert self.says.poll(60), "the process says nothing"
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


def run(spec: str, where: str, end: Connection, wait: bool) -> None:
    """Wait for the word if told to, so that two begin at once however busy the machine is; then run."""
    from withstand import api

    sys.path.insert(0, TOYS)
    slept = time.sleep

    lock = threading.Lock()  # lanes speak at the same time

    def sleep(seconds: float) -> None:
        with lock:
            end.send("call")
        slept(seconds)

    time.sleep = sleep
    try:
        if wait:
            end.send("ready")
            end.recv()  # the word to go
        end.send(api.run(json.loads(spec), store=where).summary["run"]["state"])
    except BaseException:
        end.send(traceback.format_exc())
        raise
