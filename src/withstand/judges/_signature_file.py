"""The file of signatures: a line of JSON for each work, integers only, so that lines may be joined with `cat`.

It holds no text. But who can guess how the text goes on can check each guess against it, and so rebuild the text: keep
the file as private as the text.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from withstand.core import Json, SpecError, bounded, dumps
from withstand.judges import _minhash

VERSION = 1
BUILD_AGAIN = "build it again with `withstand judge copyright build`"


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """`kind` "": what the behavior's tags say. `windows`: signatures in halves. `grams`: an array of the hashed 5-grams
    in the order of the text; None: not known.
    """

    kind: str
    words: str
    windows: Any
    grams: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class SignatureFile:
    """Its works by behavior id, and the SHA-256 of its bytes."""

    digest: str
    works: Mapping[str, Work]


# --- write -----------------------------------------------------------------------------------------------------------


def build(text: str, behavior: str, kind: str = "book", words: str = "plain") -> Json:
    """The line of a text: `kind` is book or lyrics, `words` plain or spacy."""
    for name, value, allowed in (("kind", kind, tuple(_minhash.KINDS)), ("words", words, _minhash.RULES)):
        if value not in allowed:
            raise SpecError(f"{name} is {value!r}", hint=f"it must be {' or '.join(allowed)}")
    grams = _minhash.grams_of(text)
    if not grams:
        raise SpecError("the text has fewer than five words", hint="give the whole text of the work")
    windows = _minhash.signatures(_minhash.tokens_of(text, words), kind).tolist()
    source = text.encode("utf-8", "surrogatepass")
    return line(behavior, source, words, windows) | {"kind": kind, "grams": grams}


def line(behavior: str, source: bytes, words: str, windows: list[list[int]]) -> dict[str, Json]:
    """What every work has."""
    digest = f"sha256:{sha256(source).hexdigest()}"
    return {"version": VERSION, "id": behavior, "source": digest, "words": words, "windows": windows}


def joined(path: str, lines: list[Json]) -> str:
    """The file at `path`, if there is one, with `lines` added. Raises `SpecError` where it knows one of the ids."""
    there = Path(path).is_file()
    ids = set(load(path).works) if there else set[str]()
    for added in lines:
        if added["id"] in ids:
            message = f"{path} has signatures of {added['id']} already"
            raise SpecError(message, hint="delete that line of the file, or name another file with -o")
        ids.add(added["id"])
    old = bounded.read_text(path, bounded.ROWS) if there else ""
    return old + "".join(f"{dumps(added)}\n" for added in lines)


# --- read ------------------------------------------------------------------------------------------------------------


def load(path: str) -> SignatureFile:
    """The file at `path`, read once for each size and time of change. Raises `SpecError` with file and line."""
    place = Path(path).expanduser()
    try:
        stat = place.stat()
        return _load(place, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise SpecError(message, hint="make it with `withstand judge copyright build`") from None


@lru_cache(maxsize=2)
def _load(path: Path, size: int, changed: int) -> SignatureFile:  # noqa: ARG001 - another stamp, another reading
    data = bounded.read_bytes(path, bounded.ROWS, bounded.LINE)
    works: dict[str, Work] = {}
    for place, row in _rows(path, data):
        behavior, work = _work(place, row)
        if behavior in works:
            raise SpecError(f"{place}: {behavior} is there twice", hint="delete one of the lines")
        works[behavior] = work
    if not works:
        raise SpecError(f"{path}: there is no work in it", hint="make it with `withstand judge copyright build`")
    return SignatureFile(sha256(data).hexdigest(), works)


def _rows(path: Path, data: bytes) -> Iterator[tuple[str, Json]]:
    for number, text in enumerate(data.split(b"\n"), 1):
        if text.strip():
            yield f"{path}, line {number}", bounded.parse_json(str(path), bounded.decode(str(path), text), number)


def _work(place: str, row: Json) -> tuple[str, Work]:
    if not isinstance(row, dict) or row.get("version") != VERSION:
        raise SpecError(f"{place} is no work of version {VERSION} of this format", hint=BUILD_AGAIN)
    kind, grams = row.get("kind", ""), row.get("grams")
    windows = _integers(row.get("windows"), 2)
    numbers = None if grams is None else _integers(grams, 1)
    wrong = {
        "id": not isinstance(row.get("id"), str),
        "kind": kind not in ("", *_minhash.KINDS),
        "words": row.get("words") not in _minhash.RULES,
        "windows": windows is None or windows.shape[1] != _minhash.PERMUTATIONS,
        "grams": grams is not None and numbers is None,
    }
    if any(wrong.values()):
        raise SpecError(
            f"{place}: {' and '.join(name for name in wrong if wrong[name])} cannot be right", hint=BUILD_AGAIN
        )
    return row["id"], Work(kind, row["words"], _minhash.halves(windows), numbers)


def _integers(value: Json, dimensions: int) -> Any:
    """The 32-bit integers of nested lists as an array; None where there is anything else."""
    import numpy as np

    try:
        array = np.array(value)
    except ValueError:  # lists of different lengths
        return None
    if array.ndim != dimensions or array.dtype.kind not in "iu" or not array.size:
        return None
    return array.astype(np.uint32) if array.min() >= 0 and array.max() <= _minhash.LARGEST else None
