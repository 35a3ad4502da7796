"""Which stores are the user's own: those that the user made, and those that the user said to trust.

A new store gets an id, signed with the user's secret (`withstand.core.home`). Nobody without the secret can sign
another id, but who may change a store of the user can change everything else in it.
"""

import hmac
import re
import secrets

from withstand.core import Json, StoreError, dumps
from withstand.core.home import home_dir, identity

TRUSTED = "trusted-stores"
"""A file in the user's folder: a line for each store that the user trusts, with its id and where it was."""


SPEC = "spec "
"""How an entry of `meta` begins that says who wrote the spec of a run."""


def sign(*parts: str) -> str:
    """What proves that the user wrote `parts`; "" where the user has no secret."""
    secret = identity()
    return hmac.new(secret, dumps(list(parts)).encode(), "sha256").hexdigest() if secret else ""


def signed(signature: str, *parts: str) -> bool:
    """Whether the user signed `parts`."""
    expected = sign(*parts)
    return bool(expected) and hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))


def new_id() -> dict[str, str]:
    """What `meta` says of a store that the user makes."""
    store_id = secrets.token_hex(16)
    return {"id": store_id, "owner": sign("store", store_id)}


def mark_of(run_key: str, spec: Json) -> str:
    """What a store keeps where the user wrote the spec of a run: who may change a store cannot make another one.

    "" where the user has no secret.
    """
    signature = sign("spec", run_key, dumps(spec))
    return signature and SPEC + signature


def is_id(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{32}", text) is not None


def is_own(store_id: str, owner: str) -> bool:
    """Whether the user made the store with this id, or trusts it."""
    return is_id(store_id) and (signed(owner, "store", store_id) or store_id in trusted())


def trusted() -> frozenset[str]:
    """The ids of the stores that the user trusts."""
    try:
        text = home_dir(TRUSTED).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    return frozenset(line.partition(" ")[0] for line in text.splitlines())


def remember(store_id: str, where: str) -> None:
    """Trust the store with this id from now on. Raises `StoreError` where that cannot be kept."""
    path = home_dir(TRUSTED)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"{store_id} {' '.join(where.split())}\n")
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror}", hint="set WITHSTAND_HOME to a folder that you may write to"
        ) from error
