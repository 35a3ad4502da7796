"""Files that people attach, such as screenshots: in a folder beside the store, each named by its SHA-256, for its user
alone. A file is what its first bytes say; nothing but pictures is kept.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sql

from withstand.core import Json, SpecError, digest
from withstand.core.home import home_dir
from withstand.store.attempts import Attachment
from withstand.store.database import loads
from withstand.store.store import Store
from withstand.store.tables import attempt, event

LARGEST = 5_000_000
"""Bytes of a file."""
MOST = 1_000_000_000
"""Bytes of all files of a store."""
SIGNS = {
    "image/png": rb"\x89PNG\r\n\x1a\n",
    "image/jpeg": rb"\xff\xd8\xff",
    "image/gif": rb"GIF8[79]a",
    "image/webp": rb"RIFF....WEBP",
}
"""Media type -> how such a file begins. No SVG: it may hold a script."""
ENDINGS = {"image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "image/webp": ".webp"}


def folder(store: Store) -> Path:
    """Where the files of a store lie. Those of a database server lie in the user's own folder."""
    return Path(f"{store.path}-files") if store.path else home_dir("files", digest(store.where)[:16])


def kind_of(data: bytes) -> str:
    """The media type of a picture by its first bytes; "" for what is none."""
    return next((kind for kind, sign in SIGNS.items() if re.match(sign, data, re.DOTALL)), "")


def keep(store: Store, data: bytes) -> Attachment:
    """Keep a picture. Raises `SpecError` for one that is too large, or no picture."""
    kind = kind_of(data)
    if not kind:
        raise SpecError("this file is no picture", hint="attach a PNG, JPEG, GIF or WebP file")
    if len(data) > LARGEST:
        raise SpecError(f"this picture has {len(data) / 1e6:.1f} MB", hint=f"at most {LARGEST / 1e6:.0f} MB")
    name, place = hashlib.sha256(data).hexdigest(), folder(store)
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sum(entry.stat().st_size for entry in place.iterdir()) + len(data) > MOST:
            raise SpecError(f"the files in {place} take {MOST / 1e9:.0f} GB", hint="describe the output in words")
        draft = place / f".{name}.{os.getpid()}.{os.urandom(4).hex()}"
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(data)
        draft.replace(place / name)
    except OSError as error:
        raise SpecError(f"cannot keep the file in {place}: {error.strerror}", hint="free some space") from error
    return Attachment(f"{name[:12]}{ENDINGS[kind]}", name, kind)


def read(store: Store, name: str) -> tuple[bytes, str] | None:
    """The content of a file and its media type; None where it is not there, or changed."""
    if not re.fullmatch(r"[0-9a-f]{64}", name):
        return None
    with suppress(OSError):
        data = (folder(store) / name).read_bytes()
        if hashlib.sha256(data).hexdigest() == name and (kind := kind_of(data)):
            return data, kind
    return None


def copy(source: Store, into: Store) -> int:
    """Bring the files that entries of a store name and that it lacks from another one, as after a merge; how many."""
    lacking = [name for name in set(_named(into)) if not (folder(into) / name).is_file()]
    brought = [file for name in lacking if (file := read(source, name))]
    for data, _ in brought:
        keep(into, data)
    return len(brought)


def sweep(store: Store) -> int:
    """Delete the files that no attempt and no step of a session names any more, as after a purge; how many."""
    place = folder(store)
    if not place.is_dir():
        return 0
    kept = set(_named(store))
    gone = [path for path in place.iterdir() if path.name not in kept]
    for path in gone:
        path.unlink(missing_ok=True)
    return len(gone)


def _named(store: Store) -> Iterator[str]:
    """The files that entries name whose texts were not erased."""
    for table in (attempt, event):
        c = table.c
        for (value,) in store.select(sql.select(c.value).where(c.purged.is_(None), c.value.like('%"sha256":%'))):
            yield from _hashes(loads(value))


def _hashes(value: Json) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("sha256"), str):
            yield value["sha256"]
        value = list(value.values())
    for inner in value if isinstance(value, list) else ():
        yield from _hashes(inner)
