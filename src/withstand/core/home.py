"""The user's own folder, and the secret in it by which the user knows what is theirs."""

import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path

IDENTITY = "WITHSTAND_IDENTITY"
LEAST = 16
"""Characters of an identity."""


def home_dir(*names: str) -> Path:
    """A path below `WITHSTAND_HOME`, or below the platform's folder for what programs remember; not made here."""
    unix = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return user_dir(os.environ.get("WITHSTAND_HOME"), "Application Support", unix).joinpath(*names)


def user_dir(chosen: str | None, mac: str, unix: str | Path) -> Path:
    """The folder of the package that was chosen, or the one of the platform: `mac` in the Library, or in `unix`."""
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path.home() / "Library" / mac if sys.platform == "darwin" else Path(unix)
    return base / "withstand"


def identity() -> bytes:
    """The user's secret: `WITHSTAND_IDENTITY`, else a random one that is kept in the user's folder (mode 0600).

    b"" where there is none and none can be kept: then nothing can be recognized as the user's.
    """
    if given := os.environ.get(IDENTITY, "").strip():
        return given.encode() if len(given) >= LEAST else b""
    path = home_dir("identity")
    with suppress(OSError):
        if not path.exists():
            _keep(path)
        kept = path.read_bytes().strip()
        return kept if len(kept) >= LEAST else b""
    return b""


def _keep(path: Path) -> None:
    """Write a new secret, whole or not at all; the secret of a process that was faster stands."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}-{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
