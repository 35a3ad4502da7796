"""Compressed bodies, opened within a limit. Only gzip and deflate, which need no library."""

import zlib

LARGEST = 64 * 1024 * 1024
"""Bytes of a body after it was opened: a small one may hold gigabytes."""


class CodingError(Exception):
    """A body that cannot be opened: unknown coding, broken, or too large."""


class Opener:
    """Opens a body in pieces, as they come. coding: the header Content-Encoding.   most: bytes that it may open to."""

    def __init__(self, coding: str, most: int = LARGEST) -> None:
        name = coding.strip().lower()
        if name not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise CodingError(f"the coding {name[:40]!r} is not known; gzip and deflate are")
        self._inflate = zlib.decompressobj(47) if name not in ("", "identity") else None
        self._left = most

    def feed(self, piece: bytes) -> bytes:
        """The opened bytes of the next piece. Raises `CodingError`."""
        if self._inflate is None:
            opened = piece
        else:
            try:
                opened = self._inflate.decompress(piece, self._left + 1)
            except zlib.error as error:
                raise CodingError(f"the body is broken: {error}") from error
            if self._inflate.unused_data:
                raise CodingError("there is more behind the end of the compressed body")
        self._left -= len(opened)
        if self._left < 0:
            raise CodingError("the body is too large once it is opened")
        return opened

    def end(self) -> None:
        """Raises `CodingError` where the body broke off."""
        if self._inflate is not None and not self._inflate.eof:
            raise CodingError("the compressed body breaks off")


def opened(coding: str, body: bytes, most: int = LARGEST) -> bytes:
    """A whole body, opened. Raises `CodingError`."""
    opener = Opener(coding, most)
    content = opener.feed(body)
    opener.end()
    return content
