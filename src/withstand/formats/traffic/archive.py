"""The samples in a log of Inspect that is a zip file (.eval), one at a time, without what the monitor does not read."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from withstand.core import Json, SpecError, bounded
from withstand.formats.traffic.cutting import Piece, gathered, too_long
from withstand.formats.traffic.decode import Decoder

ZSTANDARD = 93
"""The number that zip files give to it, which `zipfile` does not know before Python 3.14."""
SAMPLE = bounded.LINE
"""Bytes of a sample, unpacked: most of them are its events."""
READ = ("id", "epoch", "uuid", "input", "messages", "output", "metadata", "started_at", "completed_at", "total_time")
"""What is kept of a sample, with its `attachments` where it names them."""
OF_THE_RUN = ("eval_id", "run_id", "task", "model", "created")
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, struct.error, OSError)


def sample_pieces(path: str, start: int, size: int) -> Iterator[Piece]:
    """The samples of a log behind the first `start`: objects with `eval` and one sample in `samples`."""
    return gathered(_samples(path, start), size, DAMAGE)


def _samples(path: str, start: int) -> Iterator[tuple[bytes, tuple[str, str] | None]]:
    decode = Decoder()
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        run = _run(file, archive, members, decode)
        names = sorted(name for name in members if name.startswith("samples/") and name.endswith(".json"))
        for name in names[start:]:
            yield _sample(file, archive, members[name], run, decode)


def _run(file: BinaryIO, archive: zipfile.ZipFile, members: Mapping[str, Any], decode: Decoder) -> Json:
    """What the log says of the run; of one that did not end, its journal."""
    for name in ("header.json", "_journal/start.json"):
        if name in members and isinstance(value := decode.loads(_unpacked(file, archive, members[name])), dict):
            run = value.get("eval")
            return {key: run.get(key) for key in OF_THE_RUN} if isinstance(run, dict) else {}
    raise ValueError("it has no header.json: is it a log of Inspect?")


def _sample(
    file: BinaryIO, archive: zipfile.ZipFile, member: Any, run: Json, decode: Decoder
) -> tuple[bytes, tuple[str, str] | None]:
    """A sample as a line, or its problem."""
    if member.file_size > SAMPLE:
        return b"", too_long(member.file_size)
    try:
        sample = decode.loads(_unpacked(file, archive, member))
    except DAMAGE as error:
        return b"", ("damaged sample", " ".join(str(error).split())[:200])
    if not isinstance(sample, dict):
        return b"", ("no object", f"{member.filename} holds no object")
    kept = {name: sample[name] for name in READ if sample.get(name) is not None}
    line: bytes = decode.dumps({"eval": run, "samples": [kept]})
    if b"attachment://" in line:
        line = decode.dumps({"eval": run, "samples": [{**kept, "attachments": sample.get("attachments")}]})
    return line + b"\n", None


def _unpacked(file: BinaryIO, archive: zipfile.ZipFile, member: Any) -> bytes:
    """The bytes of a member, at most `SAMPLE`. Raises one of `DAMAGE`."""
    if member.compress_type != ZSTANDARD:
        with archive.open(member) as stream:
            data = stream.read(SAMPLE + 1)
    else:
        try:
            import zstandard
        except ImportError:
            raise SpecError(f"{archive.filename} is packed with zstandard", hint="pip install zstandard") from None
        file.seek(member.header_offset)
        names, extra = struct.unpack("<HH", file.read(30)[26:30])
        file.seek(names + extra, io.SEEK_CUR)
        packed = file.read(min(member.compress_size, SAMPLE))
        try:
            data = zstandard.ZstdDecompressor().stream_reader(packed).read(SAMPLE + 1)
        except zstandard.ZstdError as error:
            raise ValueError(f"{member.filename}: {error}") from None
    if len(data) > SAMPLE:
        raise ValueError(f"{member.filename} has more than {SAMPLE // 2**20} MiB")
    return data
