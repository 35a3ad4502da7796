"""How a file is written: whole, or not at all, and by one writer at a time. Standard library only."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from withstand.core.errors import SpecError


def save(path: Path, text: str | bytes) -> None:
    """Write by rename, so that a file is whole or not there. It keeps the permissions of the one that it replaces."""
    content = text if isinstance(text, bytes) else text.encode("utf-8", errors="replace")
    temporary = path
    try:
        if path.is_dir():
            raise SpecError(f"cannot write {path}: it is a folder", hint="name a file in it with -o")
        if path.is_file() or not path.exists():  # else /dev/stdout or a pipe: nothing to put in its place
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
        if temporary != path and path.exists():
            temporary.touch(mode=0o600)  # nobody else reads the text before it has the permissions
            temporary.write_bytes(content)
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        else:
            temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        if temporary != path:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise SpecError(f"cannot write {path}: {error.strerror}", hint="name another file with -o") from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until nobody else holds the folder of `path`, threads of this process included; let go at the end.

    For who reads a file, changes it and writes it back. The folder is locked, since the file is replaced. Where there
    are no such locks (Windows), nothing is held. Raises `SpecError` where the folder cannot be opened.
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        yield
        return
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise SpecError(f"cannot open {path.parent}: {error.strerror}", hint="name a file in another folder") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
