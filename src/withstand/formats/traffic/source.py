"""The unpacked bytes of a log: of a file or of stdin, plain, in gzip or zstandard, in UTF-16."""

import codecs
import gzip
import io
import os
import sys
import zlib
from typing import Any, BinaryIO

from withstand.core import SpecError, bounded
from withstand.formats.traffic.position import HEAD

STDIN = "-"


class Source:
    """A log's unpacked bytes. path: of the file, or "-".   packed: how, "" for not at all.   head: its first bytes.

    damage: why nothing more can be read, though the file goes on.
    Raises `SpecError` for what is no file, or may not be read.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.file = _opened(path)
        self._start = self.file.peek(HEAD)[:HEAD] if isinstance(self.file, io.BufferedReader) else b""
        self.packed, self.stream, self._errors = _unpacking(self.file, self._start)
        self.head, self.damage = b"", ""
        self._ahead, self._count = b"", 0
        ahead = b""
        while len(self.head) < HEAD and (part := self.read(HEAD)):
            ahead += part
            if path == STDIN:  # more may be long in coming
                break
        self._ahead = ahead

    @property
    def identity(self) -> tuple[int, int]:
        """What the system calls the open file, whatever its name is now."""
        status = os.fstat(self.file.fileno())
        return status.st_dev, status.st_ino

    def read(self, size: int) -> bytes:
        """At most `size` bytes, about; none: there is nothing more now."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        data = b""
        try:
            data = self.stream.read1(size) if hasattr(self.stream, "read1") else self.stream.read(size)
        except self._errors as error:
            self.stream = io.BytesIO()
            self.damage = " ".join(str(error).split())[:200] or "it ends early"
        if self._count == len(self.head) < HEAD:
            self.head = (self.head + data)[:HEAD]
        self._count += len(data)
        return data

    def unchanged(self) -> bool:
        """Whether the file still begins as it did."""
        with open(self.file.fileno(), "rb", buffering=0, closefd=False) as file:
            place = file.tell()
            file.seek(0)
            start = file.read(HEAD)
            file.seek(place)
        same = start.startswith(self._start)
        self._start = start if same else self._start
        return same

    def sample(self, size: int, line: bool) -> bytes:
        """The first bytes, about `size`, which are read again afterwards. line: of stdin no more than a line."""
        data = b""
        while len(data) < size and (part := self.read(size)):
            data += part
            if line and self.path == STDIN and b"\n" in data:  # the next line may be long in coming
                break
        self._ahead = data + self._ahead
        return data

    def skip(self, offset: int) -> bool:
        """Go to a place in the unpacked bytes, from the beginning. Returns whether there is such a place."""
        if not self.packed and self.path != STDIN:
            self._ahead, self._count = b"", offset
            return self.file.seek(0, os.SEEK_END) >= offset and self.file.seek(offset) == offset
        left = offset
        while left > 0 and (part := self.read(min(left, 2**20))):
            self._ahead, left = part[left:] + self._ahead, left - len(part)
        return left <= 0

    def close(self) -> None:
        self.file.close()


def _opened(path: str) -> BinaryIO:
    if path == STDIN:
        return sys.stdin.buffer
    try:
        return os.fdopen(bounded.descriptor(path), "rb")
    except FileNotFoundError:
        raise SpecError(f"{path}: no such file", hint="name a log, or - for stdin") from None
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}", hint="name a file that you may read") from None


def _unpacking(file: BinaryIO, head: bytes) -> tuple[str, Any, tuple[type[Exception], ...]]:
    """How a file is packed that begins with `head`, the stream of what is in it, and the errors of the unpacker."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip", gzip.GzipFile(fileobj=file), (OSError, EOFError, zlib.error)
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        try:
            import zstandard
        except ImportError:
            raise SpecError(
                "the log is packed with zstandard", hint="pip install zstandard, or pipe zstd -dc"
            ) from None
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        return "zstandard", reader, (OSError, zstandard.ZstdError)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16", Recoded(file, "utf-16"), (OSError,)
    for encoding, at in (("utf-16-le", 1), ("utf-16-be", 0)):  # ASCII in UTF-16 without a byte order mark
        if len(head) >= 8 and not any(head[at:64:2]) and all(head[1 - at : 64 : 2]):
            return "UTF-16", Recoded(file, encoding), (OSError,)
    return "", file, (OSError,)


class Recoded:
    """The bytes of a file in another encoding as UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self.file, self.decoder = file, codecs.getincrementaldecoder(encoding)(errors="replace")

    def read(self, size: int) -> bytes:
        while data := self.file.read(size):
            if text := self.decoder.decode(data):
                return text.encode(errors="replace")
        return b""
