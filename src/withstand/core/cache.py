"""Where downloads are kept, and how long a file's digest is remembered. The place decides no result."""

import hashlib
import json
import os
import sys
from pathlib import Path


def cache_dir(*names: str) -> Path:
    """A folder below `WITHSTAND_CACHE`, or below the platform's own cache folder; not made here."""
    if chosen := os.environ.get("WITHSTAND_CACHE"):
        return Path(chosen).joinpath(*names)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base.joinpath("withstand", *names)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path) -> str:
    """`sha256` of a large file, read once for each path, size and time of change."""
    path = path.resolve()
    stat = path.stat()
    key = hashlib.sha256(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()[:32]
    memory = cache_dir("sha256", key)
    try:
        return str(json.loads(memory.read_text())["sha256"])
    except (OSError, ValueError, KeyError):
        digest = sha256(path)
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(json.dumps({"path": str(path), "sha256": digest}))
    except OSError:
        pass  # a cache that cannot be written costs time, nothing else
    return digest
