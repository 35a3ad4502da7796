"""The folder of downloads and unfinished searches, and the memory of files' digests. No result depends on it."""

import hashlib
import json
import os
import time
from pathlib import Path

from withstand.core.home import user_dir

RECENT = 2 * 10**9
"""Nanoseconds after a change in which another change may carry the same time."""


def cache_dir(*names: str) -> Path:
    """A folder below `WITHSTAND_CACHE`, or below the platform's own cache folder; not made here."""
    unix = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return user_dir(os.environ.get("WITHSTAND_CACHE"), "Caches", unix).joinpath(*names)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path) -> str:
    """`sha256` of a large file, read once for each path, inode, size, and times of change.

    The time of the inode's change is the system's own: a program that sets the other time back does not move it. A file
    that changed a moment ago is read again the next time, since it may change once more within the clock's step.
    """
    path = path.resolve()
    stat = path.stat()
    stamp = f"{path}\0{stat.st_ino}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}"
    key = hashlib.sha256(stamp.encode()).hexdigest()[:32]
    memory = cache_dir("sha256", key)
    try:
        return str(json.loads(memory.read_text())["sha256"])
    except (OSError, ValueError, KeyError):
        digest = sha256(path)
    if time.time_ns() - stat.st_ctime_ns < RECENT:
        return digest
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(json.dumps({"path": str(path), "sha256": digest}))
    except OSError:
        pass  # a cache that cannot be written costs time, nothing else
    return digest
