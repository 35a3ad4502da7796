"""How a file is written: whole, or not at all. Standard library only."""

import contextlib
import os
from pathlib import Path

from withstand.core.errors import SpecError


def save(path: Path, text: str | bytes) -> None:
    """Write by rename, so that a file is whole or not there."""
    content = text if isinstance(text, bytes) else text.encode("utf-8", errors="replace")
    temporary = path
    try:
        if path.is_dir():
            raise SpecError(f"cannot write {path}: it is a folder", hint="name a file in it with -o")
        if path.is_file() or not path.exists():  # else /dev/stdout or a pipe: nothing to put in its place
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        if temporary != path:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise SpecError(f"cannot write {path}: {error.strerror}", hint="name another file with -o") from error
