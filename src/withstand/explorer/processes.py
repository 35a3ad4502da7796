"""What tells a process from all others, so that a signal never goes to another one that took its number."""

import socket
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from withstand.core import Json


@dataclass(frozen=True, slots=True)
class Process:
    """What tells a process from all others: its number, when it began, by the system's count, and the machine."""

    pid: int
    began: str
    host: str
    boot: str

    @staticmethod
    def of(pid: int) -> "Process":
        return Process(pid, _began(pid), *machine())

    def __post_init__(self) -> None:
        if not isinstance(self.pid, int) or self.pid < 1 or not all(map(_is_text, (self.began, self.host, self.boot))):
            raise ValueError("this is no process")

    def json(self) -> Json:
        return asdict(self)

    @property
    def is_here(self) -> bool:
        return (self.host, self.boot) == machine()

    @property
    def is_alive(self) -> bool:
        """Whether it runs on this machine."""
        return self.is_here and bool(self.began) and _began(self.pid) == self.began


@cache
def machine() -> tuple[str, str]:
    """The name of the machine, and what changes when it starts anew ("" where the system does not say)."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return socket.gethostname(), boot.read_text().strip() if boot.exists() else ""


def _began(pid: int) -> str:
    """When a process began, as the system counts it; "" where there is none, or one that only waits to be buried."""
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] in "ZX" else fields[19]
    listed = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, began = listed.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else " ".join(began.split())


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 300
