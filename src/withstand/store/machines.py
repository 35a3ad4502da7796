"""Whether a store is on a network file system, and which machine has it open there.

SQLite's write-ahead log needs memory that all its users share, so all of them on one machine (sqlite.org/wal.html). Its
rollback journal needs file locks, which network file systems often lack (sqlite.org/faq.html#q5). So a store there has
a rollback journal, and one machine at a time has it open: an open store keeps a file beside it, named by the machine,
which it writes anew every `BEAT` seconds. Ages are told by the file system's own clock.
"""

import os
import platform
import re
import secrets
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path

from withstand.core import StoreError, WithstandError, digest
from withstand.core.bounded import head
from withstand.core.text import visible

BEAT = 20.0
"""Seconds between two signs of life."""

LEASE = 180.0
"""Seconds without a sign of life after which a machine is taken to be off."""

MARK = "-open-"
"""Between the store's name and the machine in the name of a sign of life."""

NETWORK = frozenset(
    {
        "nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "afs", "afpfs", "coda", "webdav",
        "9p", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "lustre", "gpfs", "mmfs", "ceph", "glusterfs", "beegfs",
        "davfs", "fhgfs", "panfs", "orangefs", "pvfs2", "wekafs", "gfs", "gfs2", "ocfs2", "acfs", "fuse",
        "osxfuse", "macfuse", "hgfs", "drvfs", "fakeowner",
    }
)  # fmt: skip
"""Types of file systems that more than one machine can write to."""

LOCAL_FUSE = frozenset({"fuse.ntfs", "fuse.ntfs-3g", "fuse.exfat", "fuse.fuse-overlayfs"})
"""Types with `fuse.` that are none; what an unknown one does is not known."""


def network_type(path: Path) -> str:
    """The type of the network file system that holds the file, such as "nfs4"; "" for a local one, or where the system
    does not say (Windows names only shares of the form `\\\\host\\share`)."""
    real = path.resolve()
    if sys.platform == "win32":
        return "smb" if real.drive.startswith("\\\\") else ""
    depth, kind = -1, ""
    for place, type_ in mounts():
        if (real == place or place in real.parents) and len(place.parts) >= depth:  # a later mount hides an earlier one
            depth, kind = len(place.parts), type_
    is_network = kind in NETWORK or (kind.startswith("fuse.") and kind not in LOCAL_FUSE)
    return kind if is_network else ""


def mounts() -> list[tuple[Path, str]]:
    """Where each file system is mounted and its type, in the order of mounting; nothing where that cannot be read."""
    if sys.platform == "darwin":
        return parse_mount(_output("/sbin/mount"))
    with suppress(OSError):
        return parse_mountinfo(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))
    return []


def parse_mountinfo(text: str) -> list[tuple[Path, str]]:
    """`mounts` from Linux's /proc/self/mountinfo (proc_pid_mountinfo(5)), which writes a space as \\040."""
    places = []
    for line in text.splitlines():
        fields, _, rest = line.partition(" - ")
        if len(fields.split()) > 4 and rest:
            place = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields.split()[4])
            places.append((Path(place), rest.split()[0]))
    return places


def parse_mount(text: str) -> list[tuple[Path, str]]:
    """`mounts` from what `mount` prints on macOS: "host:/folder on /Volumes/x (nfs, nodev)"."""
    return [(Path(place), kind) for place, kind in re.findall(r"^.+? on (/.*) \((\w+)[,)]", text, re.MULTILINE)]


def _output(*command: str) -> str:
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    return ""


def machine() -> str:
    """What tells this running system from all others, as 12 hex digits.

    It is the kernel's boot id: containers of a machine share it, clones of a disk do not, and no name of a host changes
    it. Where there is none, it is the network card's address and the host's name.
    """
    boot = ""
    if sys.platform == "darwin":
        boot = _output("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid").strip()
    else:
        with suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return digest(boot or [uuid.getnode(), platform.node()])[:12]


class Claim:
    """That this machine has a store open. On a local file system nothing is kept, and other machines are looked for."""

    def __init__(self, path: Path, kind: str) -> None:
        """kind: of `network_type`. Raises `StoreError` where another machine has the store open, or it cannot be said
        that this one has."""
        self.path, self.kind = path.resolve(), kind
        self._own = f"{self.path.name}{MARK}{machine()}-"  # how the names of this machine's files begin
        self.file = self.path.with_name(self._own + secrets.token_hex(4))
        self._name = visible(platform.node())[:100].encode()
        self._process, self._lock, self._released = os.getpid(), threading.Lock(), threading.Event()
        self._keeps = bool(kind) and os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
        if not self._keeps:  # it cannot be written, or all its users are here
            with suppress(OSError):
                self._refuse_others(time.time())
            return
        self._take()
        threading.Thread(target=self._live, daemon=True, name=f"open {path.name}").start()

    def hold(self) -> None:
        """Say that the store is still open here. Raises `StoreError` where another machine took it in the meantime."""
        if self._keeps:
            with self._lock:
                self._hold()

    def release(self) -> None:
        """Say that the store is closed here."""
        self._released.set()
        if self._keeps and os.getpid() == self._process:  # not in a fork
            with self._lock, suppress(OSError):
                self.file.unlink(missing_ok=True)

    def _live(self) -> None:
        while not self._released.wait(BEAT):
            with self._lock, suppress(StoreError):  # the next write says it
                if not self._released.is_set():
                    self._hold()

    def _hold(self) -> None:
        try:
            self._write()
        except FileNotFoundError:  # this machine was taken to be off: it slept, or the network was away
            self._take()
        except OSError as error:
            raise self._unwritable(error) from error

    def _take(self) -> None:
        """Say it first and look for others then: of two that do so at once, at least one sees the other."""
        try:
            os.close(os.open(self.file, os.O_CREAT | os.O_WRONLY, 0o644))
            self._write()
            self._refuse_others(self.file.stat().st_mtime)
        except (OSError, StoreError) as error:
            with suppress(OSError):
                self.file.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise self._unwritable(error) from error
            raise

    def _write(self) -> None:
        """A write, since its time is that of the file system, where a time that is set may be this machine's."""
        with self.file.open("r+b") as file:
            file.write(self._name)

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(
            f"{self.path} is on a network file system ({self.kind}): cannot write {self.file}: {error.strerror}",
            hint="this file says to other machines that the store is open; use a local disk or a PostgreSQL store",
        )

    def _refuse_others(self, now: float) -> None:
        """Raise `StoreError` where another machine gave a sign of life; remove the signs of machines that are off."""
        with os.scandir(self.path.parent) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(f"{self.path.name}{MARK}")]
        for file in map(self.path.with_name, names):
            try:
                age = now - file.stat().st_mtime
            except FileNotFoundError:
                continue
            if age > LEASE:
                if self._keeps:
                    file.unlink(missing_ok=True)  # if it still lives, it looks anew before it writes
            elif not file.name.startswith(self._own):
                raise self._taken(file, LEASE - age)

    def _taken(self, file: Path, left: float) -> StoreError:
        try:
            name = visible(head(file, 200).decode("utf-8", "replace")) or "another machine"
        except (OSError, WithstandError):
            name = "another machine"
        where = f"{self.path} is on a network file system ({self.kind})" if self.kind else f"{self.path} is shared"
        return StoreError(
            f"{where}, and {name} has it open: two machines that use one SQLite file damage it",
            hint="wait until it is closed there, use a PostgreSQL store, or a store for each machine and `withstand "
            f"store merge`; if {name} is off, run again in {max(left, 0) + 1:.0f} s, or delete {file}",
        )
