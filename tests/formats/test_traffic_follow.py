"""A log that grows while it is read, and is rotated: by name, by being emptied, several times, and between two runs."""

import gzip
import io
import json
import os
import shutil
import sys

import pytest

from withstand.formats.traffic.exchange import BadLine
from withstand.formats.traffic.log import open_log
from withstand.formats.traffic.position import BEGINNING


def line(number, pad=0):
    record = {"ts": 1772366400 + number, "account": "ann", "id": str(number), "prompt": "soup " * pad, "completion": ""}
    return json.dumps(record).encode() + b"\n"


def lines(*numbers):
    return b"".join(map(line, numbers))


def append(path, data):
    with open(path, "ab") as file:
        file.write(data)


class Writer:
    """What happens to a log while nobody has anything to read: an action a call, then the end."""

    def __init__(self, *actions):
        self.actions = list(actions)

    def __call__(self):
        if self.actions:
            self.actions.pop(0)()
            return True
        return False


def taken(log, writer=None):
    """Ids of exchanges and kinds of bad lines, and the last position."""
    items, end = [], log.start
    for batch in log.batches(follow=writer):
        items += [item.kind if isinstance(item, BadLine) else int(item.id) for item in batch.read()]
        end = batch.end
    return items, end


def test_a_log_that_grows_by_pieces_of_lines(tmp_path):
    path = tmp_path / "app.log"
    path.write_bytes(b"")
    whole = lines(1, 2, 3)
    writer = Writer(*(lambda part=whole[at : at + 30]: append(path, part) for at in range(0, len(whole), 30)))
    items, end = taken(open_log(str(path)), writer)
    assert (items, end.line, end.offset) == ([1, 2, 3], 3, len(whole))


def test_the_last_line_of_a_log_waits_for_its_rest_over_a_stop(tmp_path):
    path = tmp_path / "app.log"
    path.write_bytes(lines(1) + line(2)[:40])
    items, end = taken(open_log(str(path)), Writer())
    assert (items, end.line) == ([1], 1)
    [_, batch] = open_log(str(path)).batches()  # not followed: it is shown, and read again
    assert (batch.waits, batch.end, batch.read()[0].kind) == (True, end, "half-written line")
    append(path, line(2)[40:] + lines(3))
    assert taken(open_log(str(path), start=end))[0] == [2, 3]
    path.write_bytes(line(1)[:40])  # not even a form can be told
    [batch] = open_log(str(path)).batches()
    assert (batch.waits, batch.end, batch.read()[0].kind) == (True, BEGINNING, "half-written line")


def rotate(path):
    """app.log -> app.log.1 -> app.log.2, by name."""
    for number in range(3, 0, -1):
        if (old := path.with_name(f"app.log.{number}")).exists():
            old.rename(path.with_name(f"app.log.{number + 1}"))
    path.rename(path.with_name("app.log.1"))


def aged(path, seconds):
    """Give a file a time of its own: rotated files are told apart by theirs."""
    os.utime(path, (1_700_000_000 + seconds, 1_700_000_000 + seconds))


def test_a_log_that_is_renamed_while_it_is_followed(tmp_path):
    path = tmp_path / "app.log"
    path.write_bytes(lines(1, 2) + line(3)[:20])
    old = path.open("ab")

    def late():  # its writer still has the old file open
        old.write(line(3)[20:])
        old.flush()

    writer = Writer(
        lambda: rotate(path), late, lambda: None, lambda: path.write_bytes(lines(4)), lambda: append(path, lines(5)),
        lambda: None,
    )  # fmt: skip
    items, end = taken(open_log(str(path)), writer)
    assert (items, end.line) == ([1, 2, 3, 4, 5], 2)
    append(path, lines(6))
    assert taken(open_log(str(path), start=end))[0] == [6]


def test_the_old_file_is_left_only_when_the_next_one_has_begun(tmp_path):
    path = tmp_path / "app.log"
    path.write_bytes(lines(1))
    end = taken(open_log(str(path)))[1]
    rotate(path)
    for content in (None, b""):  # the next file is not there yet, or empty: the writer still has the old one
        if content is not None:
            path.write_bytes(content)
        append(tmp_path / "app.log.1", line(2)[:20])
        assert taken(open_log(str(path), start=end))[0] == ["half-written line"]
        append(tmp_path / "app.log.1", line(2)[20:])
        items, end = taken(open_log(str(path), start=end))
        assert items == [2]
    (tmp_path / "app.log.1.gz").write_bytes(gzip.compress((tmp_path / "app.log.1").read_bytes()))  # half way
    path.write_bytes(lines(3))
    assert taken(open_log(str(path), start=end))[0] == [3]


def test_a_log_that_is_emptied_while_it_is_followed(tmp_path):
    path = tmp_path / "app.log"
    path.write_bytes(lines(1, 2))

    def emptied():
        append(path, lines(3))  # nobody has read it yet
        shutil.copyfile(path, tmp_path / "app.log.1")
        os.truncate(path, 0)
        append(path, lines(4))

    items, end = taken(open_log(str(path)), Writer(emptied, lambda: append(path, lines(5))))
    assert (items, end.line) == ([1, 2, 3, 4, 5], 2)
    os.truncate(path, 0)  # no copy: what was written to it since nobody knows
    append(path, lines(6, 7, 8, 9))
    assert taken(open_log(str(path), start=end))[0] == ["log replaced", 6, 7, 8, 9]


@pytest.mark.parametrize("packed", [False, True])
def test_a_log_that_is_rotated_twice_while_nobody_reads(tmp_path, packed):
    path = tmp_path / "app.log"
    path.write_bytes(lines(1, 2, 3))
    end = next(open_log(str(path)).batches(len(line(1)))).end
    assert end.line == 1
    for number, content in enumerate((lines(4, 5), lines(6)), 1):
        aged(path, number)
        rotate(path)
        path.write_bytes(content)
    aged(path, 9)
    if packed:
        first = tmp_path / "app.log.2"
        (tmp_path / "app.log.2.gz").write_bytes(gzip.compress(first.read_bytes()))
        aged(tmp_path / "app.log.2.gz", 1)
        first.unlink()
    items, last = taken(open_log(str(path), start=end))
    assert items == [2, 3, 4, 5, 6]
    assert taken(open_log(str(path), start=last))[0] == []


def test_every_stop_in_a_chain_of_rotated_files_goes_on_there(tmp_path):
    path = tmp_path / "app.log"
    path.write_bytes(lines(1, 2))
    start = next(open_log(str(path)).batches(len(line(1)))).end
    for number, content in enumerate((lines(3, 4), lines(5, 6)), 1):
        aged(path, number)
        rotate(path)
        path.write_bytes(content)
    items = []
    while (batch := next(open_log(str(path), start=start).batches(len(line(1))), None)) is not None:
        items += [int(item.id) for item in batch.read()]
        start = batch.end
    assert items == [2, 3, 4, 5, 6]


def test_a_pipe_is_read_as_it_comes_and_passed_over_when_it_comes_again(monkeypatch, tmp_path):
    def given(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))
        return "-"

    items, end = taken(open_log(given(lines(1, 2))))
    assert items == [1, 2]
    assert taken(open_log(given(lines(1, 2, 3)), start=end))[0] == [3]
    assert taken(open_log(given(lines(7, 8, 9)), start=end))[0] == ["log replaced", 7, 8, 9]
    assert BEGINNING.mark == ""
