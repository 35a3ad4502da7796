"""Signatures of bundles, by the SSH key of who made one: `ssh-keygen -Y`, as Git signs commits.

The namespace is `withstand`, so that a signature of another thing is none of a bundle. Who may sign is in a file of
allowed signers (ssh-keygen(1)): a line is a name and a public key.
"""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from withstand.core import SpecError

NAMESPACE = "withstand"
MOST_BYTES = 2**16
"""Of a signature: those of SSH keys have at most a few kB."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a signature says. `signer`: the name of an allowed signer, "" where none was asked for or none has the key.

    key: kind and fingerprint of the public key.   why: what is wrong with a bad one.
    """

    state: Literal["unsigned", "good", "bad"]
    signer: str = ""
    key: str = ""
    why: str = ""


def sign(data: bytes, key: str) -> bytes:
    """The signature of `data` by a private key, or by the agent's key of a public one. Raises `SpecError`."""
    path = Path(key).expanduser()
    if not path.is_file():
        raise SpecError(f"there is no SSH key at {key}", hint="`ssh-keygen -t ed25519` makes one")
    done = _ssh_keygen("sign", ["-f", str(path), "-n", NAMESPACE], data)
    if done.returncode or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        raise SpecError(f"{key} does not sign: {_message(done)}", hint="name an SSH key that you may use")
    return done.stdout


def check(data: bytes, signature: bytes | None, signers: str = "") -> Signature:
    """What the signature of `data` says. signers: a file of allowed signers; without it any key's signature is good."""
    if signature is None:
        return Signature("unsigned")
    if len(signature) > MOST_BYTES:
        return Signature("bad", why=f"it is longer than {MOST_BYTES:,} bytes")
    if signers and not Path(signers).expanduser().is_file():
        raise SpecError(f"there is no file of allowed signers at {signers}", hint="a line is: NAME ssh-ed25519 KEY")
    with tempfile.TemporaryDirectory(prefix="withstand-") as folder:
        file = str(Path(folder, "signature"))
        Path(file).write_bytes(signature)
        done = _ssh_keygen("check-novalidate", ["-n", NAMESPACE, "-s", file], data)
        match = re.search(rb"with (\S+ key \S+)", done.stdout)
        if done.returncode or not match:
            return Signature("bad", why="it is not of this manifest")
        key = match[1].decode("ascii", "replace")
        if not signers:
            return Signature("good", key=key)
        allowed = ["-f", str(Path(signers).expanduser())]
        names = _ssh_keygen("find-principals", [*allowed, "-s", file], b"").stdout.decode("utf-8", "replace").split()
        for name in names:
            if not _ssh_keygen("verify", [*allowed, "-I", name, "-n", NAMESPACE, "-s", file], data).returncode:
                return Signature("good", name, key)
    return Signature("bad", key=key, why=f"{signers} does not allow its key")


def _ssh_keygen(action: str, arguments: list[str], data: bytes) -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(
            ["ssh-keygen", "-Y", action, *arguments], input=data, capture_output=True, check=False,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except OSError as error:
        raise SpecError(f"ssh-keygen cannot be run: {error.strerror}", hint="install OpenSSH 8.2 or newer") from error


def _message(done: "subprocess.CompletedProcess[bytes]") -> str:
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else f"ssh-keygen ends with {done.returncode}"
