"""The salt of a monitor, by which names of people and keys become pseudonyms that nobody can turn back without it."""

import os
import secrets
from hashlib import blake2b
from pathlib import Path

from withstand.core import SpecError
from withstand.monitor.traffic import Traffic

FILE = "salt"
LEAST = 16
"""Characters of a salt: a shorter one can be guessed, and with it every name."""


class Hasher:
    """Keyed hashes (BLAKE2b) of names and texts, apart for each kind: an account and a key of one name differ."""

    def __init__(self, salt: bytes) -> None:
        self.salt = blake2b(salt, digest_size=32).digest()
        self._names: dict[tuple[str, str], str] = {}

    def name(self, kind: str, text: str) -> str:
        """A pseudonym of 20 characters; "" for "". kind: at most 16 characters."""
        if not text:
            return ""
        place = kind, text
        if (pseudonym := self._names.get(place)) is None:
            if len(self._names) > 100_000:
                self._names.clear()
            data = text.encode("utf-8", "surrogatepass")
            pseudonym = blake2b(data, digest_size=10, key=self.salt, person=kind.encode()).hexdigest()
            self._names[place] = pseudonym
        return pseudonym

    def number(self, kind: str, data: bytes) -> int:
        """64 bits. Two of 10 million texts meet by chance with a probability of 3 in a million."""
        return int.from_bytes(blake2b(data, digest_size=8, key=self.salt, person=kind.encode()).digest(), "little")


def salt_of(folder: Path, given: str = "") -> bytes:
    """The salt: the one given (from the environment), else that of the folder, which is made where there is none."""
    if given:
        if len(given) < LEAST:
            raise SpecError(f"the salt has {len(given)} characters", hint=f"take {LEAST} random ones or more")
        return given.encode()
    path = folder / FILE
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            hint = f"chmod 600 {path}; whoever has read it can tell accounts by their hashes"
            raise SpecError(f"{path} can be read by others", hint=hint) from None
    else:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
    text = path.read_text(encoding="utf-8").strip()
    if len(text) < LEAST:
        raise SpecError(f"{path} holds no salt", hint="put the one back that was there, or take another --out")
    return text.encode()


def check_salt(traffic: Traffic, hasher: Hasher) -> None:
    """Raise `SpecError` where the traffic was hashed with another salt; note this one where there is no traffic yet."""
    proof = hasher.name("proof", "withstand monitor")
    stored = traffic.fact("salt")
    if not stored:
        traffic.set_fact("salt", proof)
    elif stored != proof:
        raise SpecError(
            f"the salt is not the one that {traffic.folder} was read with: an account would have two names, and copies "
            "would not be known again",
            hint="give the salt of before (its variable or file), or read the logs into a new --out",
        )
