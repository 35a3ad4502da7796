"""HarmBench's pickles of MinHash signatures, read without running anything that is in them.

Loading a pickle calls what it names. Here the few names that such a pickle needs stand for inert pieces, which keep
what they are given, and every other name is an error: neither datasketch nor numpy is called by the file.
"""

import pickle
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from pickletools import genops
from typing import Any

from withstand.core import Json, SpecError, bounded
from withstand.judges import _minhash
from withstand.judges._signature_file import line


class _Piece:
    """What a pickle makes of a name that it may use."""

    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _MinHash(_Piece):
    pass


class _Hash(_Piece):
    pass


class _Array(_Piece):
    pass


class _Buffer(_Piece):
    pass


class _Type(_Piece):
    pass


KNOWN: dict[tuple[str, str], type[_Piece]] = {
    ("datasketch.minhash", "MinHash"): _MinHash,
    ("datasketch.hashfunc", "sha1_hash32"): _Hash,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Buffer for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Piece]:
        if piece := KNOWN.get((module, name)):
            return piece
        message = f"names {module}.{name}, which no pickle of MinHash signatures needs"
        raise SpecError(message, hint="do not trust this file; nothing of it was run")


MALFORMED = (
    pickle.UnpicklingError, AttributeError, EOFError, ImportError, IndexError, KeyError, MemoryError, OverflowError,
    RecursionError, TypeError, ValueError,
)  # fmt: skip


def convert(folder: str) -> Iterator[Json]:
    """The lines of all `ID.pkl` in a folder. Raises `SpecError` with the file that is not a list of signatures."""
    paths = sorted(Path(folder).expanduser().glob("*.pkl"))
    if not paths:
        hint = "name the folder that holds ID.pkl, as HarmBench's data/copyright_classifier_hashes does"
        raise SpecError(f"{folder}: there is no .pkl in it", hint=hint)
    for path in paths:
        try:
            data = bounded.read_bytes(path)
        except OSError as error:
            raise SpecError(f"{path} cannot be read: {error.strerror}", hint="name a folder you may read") from None
        try:
            yield line(path.stem, data, "spacy", signatures_in(data))
        except SpecError as error:
            raise SpecError(f"{path} {error}", hint=error.hint) from None


def signatures_in(data: bytes) -> list[list[int]]:
    """The signatures in a pickle of a list of MinHash."""
    try:
        for code, argument, _ in genops(data):  # raises where a length passes the end: no memory is taken for it
            if code.name.endswith("PUT") and (argument or 0) > len(data):
                raise ValueError("a place far beyond its end")
        signatures = _Unpickler(BytesIO(data)).load()
        if not isinstance(signatures, list) or not signatures:
            raise ValueError("no list")
        return [_signature(signature) for signature in signatures]
    except MALFORMED as error:
        hint = "only a list of MinHash of datasketch's old scheme, with 128 permutations and seed 1, can be compared"
        raise SpecError(f"is not a pickle of such signatures: {error}", hint=hint) from None


def _signature(piece: Any) -> list[int]:
    """The 128 numbers of a MinHash; `ValueError` unless it was arguments just as ours are."""
    state = piece.state if type(piece) is _MinHash else None
    if not isinstance(state, dict):
        raise ValueError("something else than a MinHash is in the list")
    if state["seed"] != _minhash.SEED or state["hashfunc"] is not _Hash or state.get("scheme", "legacy") != "legacy":
        raise ValueError("another seed, hash or scheme")
    if _numbers(state["permutations"]).tolist() != _minhash.permutations().tolist():
        raise ValueError("other permutations")
    values = _numbers(state["hashvalues"])
    if values.shape != (_minhash.PERMUTATIONS,) or values.max() > _minhash.LARGEST:
        raise ValueError("no 128 numbers of 32 bits")
    numbers: list[int] = values.tolist()
    return numbers


def _numbers(piece: Any) -> Any:
    """The array of 64-bit integers that a piece stands for."""
    import numpy as np

    if type(piece) is _Buffer:  # protocol 5
        raw, dtype, shape, order = piece.arguments
    else:
        _, shape, dtype, fortran, raw = piece.state
        order = "F" if fortran else "C"
    if dtype.arguments[0] != "u8" or dtype.state[1] != "<":
        raise ValueError("numbers of another type")
    return np.frombuffer(raw, "<u8").reshape(shape, order=order)
