"""Which stores are the user's own: those that the user made, and those that the user said to trust, with the writers
whom the user trusts in them.

A new store gets an id, signed with the user's secret (`withstand.core.home`). Nobody without the secret can sign
another id, but who may change a store of the user can change everything else in it.
"""

import hmac
import re
import secrets
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sql

from withstand.core import StoreError, dumps
from withstand.core.home import home_dir, identity

TRUSTED = "trusted-stores"
"""A file in the user's folder: a line for each store that the user trusts, with its id, writers and where it was."""

OF_BEFORE = "store"
"""What is signed in the id of a store that may have rows without a mark of their writer (`marks`)."""

MARKED = "marked store"

WRITERS = "writers="


def sign(*parts: str) -> str:
    """What proves that the user wrote `parts`; "" where the user has no secret."""
    secret = identity()
    return hmac.new(secret, dumps(list(parts)).encode(), "sha256").hexdigest() if secret else ""


def signed(signature: str, *parts: str) -> bool:
    """Whether the user signed `parts`."""
    expected = sign(*parts)
    return bool(expected) and hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))


def identify(connection: sql.Connection, insert: Any, of_before: bool) -> None:
    """Give a store an id that the user signs; one that it has stands.

    insert: into `meta`.   of_before: the user takes it over with the rows that it has, which may be without marks.
    """
    store_id = secrets.token_hex(16)
    facts = {"id": store_id, "owner": sign(OF_BEFORE if of_before else MARKED, store_id)}
    connection.execute(insert, [{"key": key, "value": value} for key, value in facts.items()])


def is_id(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{32}", text) is not None


def is_own(store_id: str, owner: str) -> bool:
    """Whether the user made the store with this id, or trusts it."""
    return is_id(store_id) and (
        signed(owner, MARKED, store_id) or is_of_before(store_id, owner) or store_id in trusted()
    )


def is_of_before(store_id: str, owner: str) -> bool:
    """Whether it is the user's own store of before rows had marks. A newer store cannot say so, since the signature
    says what it is, so that nobody can take a mark off a row of it."""
    return is_id(store_id) and signed(owner, OF_BEFORE, store_id)


def trusted() -> dict[str, frozenset[str]]:
    """The stores that the user trusts by id, with the authors whom the user trusts in them (`marks`)."""
    try:
        text = home_dir(TRUSTED).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    stores: dict[str, frozenset[str]] = {}
    for line in text.splitlines():
        store_id, authors, *_ = [*line.split(" ", 2), ""]
        listed = authors.removeprefix(WRITERS).split(",") if authors.startswith(WRITERS) else []
        stores[store_id] = stores.get(store_id, frozenset()) | frozenset(filter(None, listed))
    return stores


def remember(store_id: str, authors: Iterable[str], where: str) -> None:
    """Trust a store, and these authors in it, from now on. Raises `StoreError` where that cannot be kept."""
    path = home_dir(TRUSTED)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"{store_id} {WRITERS}{','.join(sorted(authors))} {' '.join(where.split())}\n")
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror}", hint="set WITHSTAND_HOME to a folder that you may write to"
        ) from error
