"""The log of the proxy: one writer, in a thread of its own, so that a slow disk stalls no answer."""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from withstand.core import Json, SpecError
from withstand.monitor.intake.redaction import redact

WAITING = 10_000
"""Lines that may wait for the disk; what comes then is counted as not logged."""
BATCH = 500
OFTEN = 0.05
"""Seconds between two looks at what waits: a thread that is woken for each line takes the lock from the answers."""
PAUSE = 1.0
"""Seconds before a write that failed is tried again."""
TEXTS = ("system", "prompt", "completion")


class Log:
    """Appends exchanges as JSON lines. text: how texts are kept.   rotate: bytes from which on the file becomes
    FILE.1, the next one FILE.2 and so on; 0 for never.

    say: tells who runs it.   lost: lines that found no place.   trouble: why the last write failed, "" if it did not.
    """

    def __init__(
        self, path: str | Path, text: Literal["redacted", "full", "none"] = "redacted", rotate: int = 0,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.path, self.text, self.rotate, self._say = Path(path), text, rotate, say
        self.lost, self.trouble = 0, ""
        self._waiting: deque[Mapping[str, Json]] = deque()
        self._closing = threading.Event()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            raise SpecError(f"cannot write {path}: {error.strerror}", hint="--log FILE names another file") from error
        self._thread = threading.Thread(target=self._write, daemon=True, name="log")
        self._thread.start()

    def put(self, line: Mapping[str, Json]) -> bool:
        """Have a line written; False where too many wait, and it is lost. Never blocks, and wakes nobody."""
        if len(self._waiting) >= WAITING:
            self.lost += 1
            return False
        self._waiting.append(line)
        return True

    def close(self, seconds: float = 10.0) -> None:
        """Write what waits, for so long at most."""
        self._closing.set()
        self._thread.join(seconds)

    def _write(self) -> None:
        pause, warned = 0.0, False
        while not self._closing.wait(pause) or self._waiting:
            lines = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            block = b"".join(map(self._line, lines))
            while block and not self._append(block):
                if not warned:
                    self._say(f"note: the log cannot be written: {self.trouble}; lines wait, and then are lost")
                warned = True
                if self._closing.wait(PAUSE):
                    self.lost += len(lines)
                    break
            warned = bool(self.trouble)
            pause = 0.0 if self._waiting else OFTEN
        self._file.close()

    def _line(self, line: Mapping[str, Json]) -> bytes:
        import orjson

        kept = dict(line)
        for name in TEXTS:
            if kept.get(name):
                kept[name] = WAYS[self.text](kept[name])
        return orjson.dumps(kept, option=orjson.OPT_APPEND_NEWLINE)

    def _append(self, block: bytes) -> bool:
        """Write a block whole, or not at all: a part of one is cut off, so that no line comes twice or in half."""
        try:
            size = os.fstat(self._file.fileno()).st_size
            if self.rotate and size and size + len(block) > self.rotate:
                self._turn()
                size = 0
            if self._file.write(block) < len(block):
                self._file.truncate(size)
                self.trouble = "no space for a whole line"
                return False
        except OSError as error:
            self.trouble = error.strerror or str(error)
            with contextlib.suppress(OSError):
                self._file.truncate(size)
            return False
        self.trouble = ""
        return True

    def _open(self) -> None:
        """The file, for the user alone; a line that a kill left in half is ended, and read as a bad one."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = open(descriptor, "r+b", buffering=0)  # noqa: SIM115 - it is written for as long as the proxy runs
        if self._file.seek(0, os.SEEK_END):
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")

    def _turn(self) -> None:
        self._file.close()
        ends = [path.suffix[1:] for path in self.path.parent.glob(f"{self.path.name}.*")]
        last = max((int(end) for end in ends if end.isdigit()), default=0)
        self.path.rename(self.path.with_name(f"{self.path.name}.{last + 1}"))
        self._open()


WAYS: Mapping[str, Callable[[str], str]] = {"redacted": redact, "full": str, "none": lambda _: ""}
"""How a text is kept."""
