"""A store on a network file system: one machine at a time, without a write-ahead log. The file system and the machine
are fakes; the files are real."""

import os
import sqlite3
import warnings
from pathlib import Path
from typing import Any

import pytest

from clocks import until
from withstand.core import StoreError
from withstand.store import database, machines
from withstand.store.store import Row, Store

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / {share} rw,relatime shared:9 master:2 - nfs4 files.example.org:/x rw,vers=4.2
31 30 0:27 / {share}/disk rw,relatime - xfs /dev/sdb1 rw
"""


class Machines:
    """Where this process says that it runs. `share`: a folder on NFS."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, share: Path) -> None:
        self.share, self.name = share, "node1"
        table = MOUNTS.format(share=str(share).replace(" ", r"\040"))
        monkeypatch.setattr(machines, "mounts", lambda: machines.parse_mountinfo(table))
        monkeypatch.setattr(machines, "machine", lambda: self.name.ljust(12, "0"))
        monkeypatch.setattr(machines.platform, "node", lambda: f"{self.name}.example.org")

    def open(self, name: str, path: Path | None = None) -> Store:
        self.name = name
        return Store(str(path or self.share / "s.db"))


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    share = tmp_path / "a share"
    (share / "disk").mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield Machines(monkeypatch, share)


def mode_of(store: Store) -> Any:
    with store.engine.connect() as connection:
        names = ("journal_mode", "mmap_size")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]


def silence(share: Path, seconds: float) -> None:
    """Let the last sign of life be so much longer ago."""
    [sign] = share.glob(f"s.db{machines.MARK}*")
    os.utime(sign, (sign.stat().st_mtime - seconds,) * 2)


def test_the_type_of_a_file_system_is_that_of_the_longest_mount_point(tmp_path: Path, shared: Any) -> None:
    share, kind = shared.share, machines.network_type
    (tmp_path / "link").symlink_to(share)
    assert [kind(path) for path in (share / "s.db", tmp_path / "link" / "s.db")] == ["nfs4", "nfs4"]
    assert [kind(path) for path in (tmp_path / "s.db", share / "disk" / "s.db", Path(f"{share}2/s.db"))] == [""] * 3


@pytest.mark.parametrize(
    ("type_", "network"),
    [("cifs", True), ("9p", True), ("lustre", True), ("fuse.sshfs", True), ("fuse.new", True), ("ext4", False),
     ("fuse.fuse-overlayfs", False), ("fuseblk", False), ("overlay", False), ("tmpfs", False)],
)  # fmt: skip
def test_types_of_file_systems(type_: str, network: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = (
        f"1 0 0:1 / / rw - ext4 d rw\n2 1 0:2 / {tmp_path} rw - autofs d rw\n3 2 0:3 / {tmp_path} rw - {type_} d rw\n"
    )
    monkeypatch.setattr(machines, "mounts", lambda: machines.parse_mountinfo(f"{table}damaged line\n"))
    assert machines.network_type(tmp_path / "s.db") == (type_ if network else "")


def test_the_mounts_of_macos_are_read() -> None:
    printed = "/dev/disk3s1 on / (apfs, local)\n//a@nas/my files on /Volumes/my files (1) (smbfs, nodev)\n"
    assert machines.parse_mount(printed) == [(Path("/"), "apfs"), (Path("/Volumes/my files (1)"), "smbfs")]


def test_there_is_no_write_ahead_log_and_what_one_holds_is_taken_in(shared: Any) -> None:
    """A store that was copied there with its log: no row is lost."""
    disk, path = shared.share / "disk" / "s.db", shared.share / "s.db"
    with Store(str(disk)) as store:
        store.add(rows=[Row("old", "x", 1)])
        assert mode_of(store)[0] == "wal"
        for end in ("", "-wal"):
            Path(f"{path}{end}").write_bytes(Path(f"{disk}{end}").read_bytes())
    with pytest.warns(UserWarning, match=r"network file system \(nfs4\)"):
        store = Store(str(path))
    with store:
        assert mode_of(store) == ["delete", 0]
        store.add(rows=[Row("new", "x", 1)])
        assert store.have(["old", "new"]) == {"old", "new"}
        assert {file.name for file in shared.share.iterdir()} - {"disk"} == {"s.db", store._claim.file.name}
    assert sorted(file.name for file in shared.share.iterdir()) == ["disk", "s.db"]


def test_a_log_that_another_process_has_in_use_is_an_error(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shared.share / "s.db"
    with shared.open("node1", path) as store:
        store.add(rows=[Row("a", "x", 1)])
    monkeypatch.setattr(database, "BUSY", 0.0)
    holder = sqlite3.connect(path)
    holder.execute("PRAGMA journal_mode=WAL")
    holder.execute("SELECT * FROM row").fetchone()
    with pytest.raises(StoreError, match=r"cannot be taken in: database is locked") as caught:
        Store(str(path))
    assert "end what has it open" in caught.value.hint
    holder.close()
    Store(str(path)).close()


def test_a_second_machine_is_refused_until_the_first_has_closed_it(shared: Any) -> None:
    with shared.open("node1") as store, shared.open("node1") as another:  # two processes of one machine
        store.add(rows=[Row("a", "x", 1)])
        another.add(rows=[Row("b", "x", 1)])
        for path in (shared.share / "s.db", shared.share / "disk" / ".." / "s.db"):
            with pytest.raises(StoreError, match=r"node1.example.org has it open") as caught:
                shared.open("node2", path)
            assert all(way in caught.value.hint for way in ("PostgreSQL", "`withstand store merge`", "run again in 1"))
    with shared.open("node2") as store:
        assert store.have(["a", "b"]) == {"a", "b"}


def test_the_server_of_the_files_is_refused_too(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the folder is on a local disk."""
    with shared.open("node1"):
        monkeypatch.setattr(machines, "mounts", lambda: [(Path("/"), "ext4")])
        with pytest.raises(StoreError, match=r"is shared, and node1.example.org has it open"):
            shared.open("server")


def test_a_machine_that_crashed_blocks_nobody_for_long_and_one_that_slept_does_not_write(shared: Any) -> None:
    sleeper = shared.open("node1")
    sleeper.add(rows=[Row("a", "x", 1)])
    silence(shared.share, machines.LEASE / 2)
    with pytest.raises(StoreError, match=r"node1.example.org has it open"):
        shared.open("node2")
    silence(shared.share, machines.LEASE / 2 + 1)
    with shared.open("node2") as store:
        store.add(rows=[Row("b", "x", 1)])
        shared.name = "node1"
        with pytest.raises(StoreError, match=r"node2.example.org has it open"):
            sleeper.add(rows=[Row("c", "x", 1)])
        assert store.have("abc") == {"a", "b"}
        store.add(rows=[Row("d", "x", 1)])  # whoever has it is not disturbed
    sleeper.add(rows=[Row("c", "x", 1)])  # free again
    assert sleeper.have("abcd") == set("abcd")
    sleeper.close()
    assert not list(shared.share.glob(f"*{machines.MARK}*"))


def test_what_cannot_be_said_to_others_is_refused(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    store = shared.open("node1")
    store.close()
    monkeypatch.setattr(os, "scandir", no)
    with pytest.raises(StoreError, match=r"cannot write .*Permission denied") as caught:
        shared.open("node1")
    monkeypatch.undo()
    assert "local disk" in caught.value.hint
    assert not list(shared.share.glob(f"*{machines.MARK}*"))


def test_signs_of_life_are_given_while_a_store_is_open(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "BEAT", 0.01)
    with shared.open("node1"):
        [sign] = shared.share.glob(f"s.db{machines.MARK}*")
        first = sign.stat().st_mtime
        silence(shared.share, 1000)
        until(lambda: sign.stat().st_mtime >= first)
    assert not sign.exists()


def test_a_store_that_fails_to_open_leaves_no_sign(shared: Any) -> None:
    with sqlite3.connect(shared.share / "s.db") as connection:
        connection.execute("CREATE TABLE other (a TEXT)")
    with pytest.raises(StoreError, match=r"is a database, but not a store"):
        shared.open("node1")
    assert not list(shared.share.glob(f"*{machines.MARK}*"))
