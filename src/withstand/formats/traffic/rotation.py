"""A log that is rotated: the files of it that are not read yet, whatever they are called now."""

import os
import re
from pathlib import Path
from typing import Literal

from withstand.core import SpecError
from withstand.formats.traffic.position import Position, is_marked, mark_of
from withstand.formats.traffic.source import STDIN, Source


def copies(path: str) -> list[str]:
    """The rotated files of a log, oldest first: app.log.1, app.log.2.gz, app.log-20260301, app-20260301.log."""
    log = Path(path)
    stem, suffix = re.escape(log.stem), re.escape(log.suffix)
    behind = rf"{re.escape(log.name)}[.\-_][\w.\-]*\d[\w.\-]*"
    name = re.compile(rf"(?:{behind}|{stem}[.\-_]\d[\w.\-]*{suffix}(?:\.gz|\.zst)?)")
    listed = []
    for entry in os.scandir(log.parent):
        if name.fullmatch(entry.name) and entry.name != log.name and entry.is_file():
            listed.append((entry.stat().st_mtime_ns, str(log.parent / entry.name)))
    return [copy for _, copy in sorted(listed)]


def head_of(path: str) -> tuple[bytes, int]:
    """The head of a log, unpacked, and its size (0 where it is packed)."""
    source = Source(path)
    try:
        return source.head, 0 if source.packed else os.fstat(source.file.fileno()).st_size
    finally:
        source.close()


def unread(path: str, start: Position) -> tuple[list[tuple[str, Position]], bool]:
    """The files with what is behind `start`, oldest first, and whether the one that `start` is of is among them."""
    if path == STDIN or not start.mark:
        return [(path, start)], True
    head, size = head_of(path)
    if is_marked(head, start.mark) and (not size or size >= start.offset):
        return [(path, start)], True
    files: list[tuple[str, Position]] = []
    for copy in copies(path):
        try:
            marked = not files and is_marked(head_of(copy)[0], start.mark)
        except SpecError:
            continue
        if files or marked:
            files.append((copy, start if marked else Position()))
    return [*files, (path, Position())], bool(files)


def newer(path: str, source: Source) -> list[str]:
    """The rotated files of a log that were written after `source`, oldest first."""
    written, mark = os.fstat(source.file.fileno()).st_mtime_ns, mark_of(source.head)
    files = []
    for copy in copies(path):
        status = Path(copy).stat()
        if status.st_mtime_ns > written and (status.st_dev, status.st_ino) != source.identity:
            try:
                if not is_marked(head_of(copy)[0], mark):
                    files.append(copy)
            except SpecError:
                continue
    return files


def state(path: str, source: Source) -> Literal["same", "gone", "renamed", "cut"]:
    """What became of a log of which all was read. cut: it was emptied in place, and may have grown again."""
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return "gone"
    if (status.st_dev, status.st_ino) != source.identity:
        return "renamed"
    if status.st_size < source.file.tell():
        return "cut"
    return "same" if source.unchanged() else "cut"
