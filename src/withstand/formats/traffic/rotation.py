"""A log that is rotated: the files of it that are not read yet, whatever they are called now."""

import os
import re
from pathlib import Path
from typing import Literal

from withstand.core import SpecError
from withstand.formats.traffic.position import BEGINNING, Position, is_marked, mark_of
from withstand.formats.traffic.source import STDIN, Source

PACKED = 2**62
"""The size of a packed log, which nobody knows before it is unpacked."""


def copies(path: str) -> list[str]:
    """The rotated files of a log, oldest first: app.log.1, app.log.2.gz, app.log-20260301, app-20260301.log."""
    log = Path(path)
    stem, suffix = re.escape(log.stem), re.escape(log.suffix)
    behind = rf"{re.escape(log.name)}[.\-_][\w.\-]*\d[\w.\-]*"
    name = re.compile(rf"(?:{behind}|{stem}[.\-_]\d[\w.\-]*{suffix}(?:\.gz|\.zst)?)")
    listed = []
    for entry in os.scandir(log.parent):
        if name.fullmatch(entry.name) and entry.name != log.name and entry.is_file():
            number = int((re.findall(r"\d+", entry.name[len(log.stem) :]) or ["0"])[-1][:18])
            rank = -number if number < 10_000 else number  # app.log.2 is older than app.log.1; a date counts up
            listed.append((entry.stat().st_mtime_ns, rank, str(log.parent / entry.name)))
    return [copy for *_, copy in sorted(listed)]


def head_of(path: str) -> tuple[bytes, int]:
    """The head of a log, unpacked, and the size of its file; b"" and 0 where there is none that can be read."""
    try:
        source = Source(path)
    except SpecError:
        return b"", 0
    try:
        return source.head, os.fstat(source.file.fileno()).st_size if not source.packed else PACKED
    finally:
        source.close()


def unread(path: str, start: Position) -> tuple[list[tuple[str, Position]], bool]:
    """The files with what is behind `start`, oldest first, and whether the one that `start` is of is among them.

    The log itself is left out where it has nothing in it yet: its writer may still write to the file before it.
    """
    if path == STDIN or not start.mark:
        return [(path, start)], True
    head, size = head_of(path)
    if is_marked(head, start.mark) and size >= start.offset:
        return [(path, start)], True
    files: list[tuple[str, Position]] = []
    marks = {mark_of(head)}
    for copy in copies(path):
        inside, _ = head_of(copy)
        if not files and is_marked(inside, start.mark):
            files.append((copy, start))
        elif files and inside and mark_of(inside) not in marks:  # else it is the same file, packed meanwhile
            files.append((copy, BEGINNING))
        else:
            continue
        marks.add(mark_of(inside))
    return [*files, *([(path, BEGINNING)] if size or not files else [])], bool(files)


def newer(path: str, source: Source) -> list[str]:
    """The rotated files of a log that were written after `source`, oldest first."""
    written, mark = os.fstat(source.file.fileno()).st_mtime_ns, mark_of(source.head)
    files = []
    for copy in copies(path):
        status = Path(copy).stat()
        if status.st_mtime_ns > written and (status.st_dev, status.st_ino) != source.identity:
            head, _ = head_of(copy)
            if head and not is_marked(head, mark):
                files.append(copy)
    return files


def state(path: str, source: Source) -> Literal["same", "renamed", "cut"]:
    """What became of a log of which all was read. cut: it was emptied in place, and may have grown again.

    renamed: its writer has begun the next one; before that it may still write to this one.
    """
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return "same"
    if (status.st_dev, status.st_ino) != source.identity:
        return "renamed" if status.st_size else "same"
    return "cut" if status.st_size < source.file.tell() or not source.unchanged() else "same"
