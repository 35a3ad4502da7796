"""What a stranger's file may do to the reader: be refused, in little memory and time, with file, place and way out."""

import os
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from withstand.core import SpecError, bounded
from withstand.explorer import security
from withstand.formats import labels, rows
from withstand.registry import grammar
from withstand.report import bundle
from withstand.runner import baseline, spec, transfer

MIB = 2**20


@contextmanager
def refused(most: int = 16 * MIB) -> Iterator[Any]:
    """Expect a `SpecError` with a hint, and at most so many bytes taken before it."""
    tracemalloc.start()
    try:
        with pytest.raises(SpecError) as caught:
            yield caught
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.hint
    assert peak < most, f"{peak / MIB:.0f} MiB were taken"


READERS: dict[str, Callable[[str], object]] = {
    "rows": rows.read,
    "labels": lambda path: labels.read_labels(path, {}),
    "spec": spec.read_spec,
    "baseline": baseline.read,
    "test cases": transfer.cases_file,
    "bundle": bundle.read,
    "@file": lambda path: grammar.parse(f"hf,system=@{path}"),
    "tokens": security.read_people,
}


@pytest.mark.parametrize("reader", READERS)
def test_a_pipe_or_a_device_is_refused_and_never_waited_for(tmp_path: Path, reader: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    with refused():
        READERS[reader](str(pipe))
    with refused():
        READERS[reader]("/dev/zero")


def test_a_pipe_as_spec_ends_the_command_with_2(withstand: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.toml")
    done = withstand("run", "run.toml")
    assert done.code == 2
    assert "run.toml cannot be read: it is a pipe" in done.err


def test_a_line_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    with file.open("wb") as writer:
        writer.truncate(2**30)  # takes no room on the disk
    with refused(3 * bounded.LINE) as caught:
        rows.read(str(file))
    assert "a line has more than 64 MiB" in str(caught.value)


@pytest.mark.parametrize(("name", "limit"), [("spec", bounded.TOML), ("baseline", bounded.DOCUMENT)])
def test_a_large_document_is_not_read_to_its_end(tmp_path: Path, name: str, limit: int) -> None:
    file = tmp_path / "large"
    with file.open("wb") as writer:
        writer.truncate(2**33)
    with refused(3 * limit):
        READERS[name](str(file))


def test_a_zip_bomb_is_unpacked_no_further_than_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "bomb.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in "abcdefgh":
            archive.writestr(name, bytes(16 * MIB))
    with refused() as caught:
        bounded.read_zip(file, 4 * MIB)
    assert "holds more than" in str(caught.value)


def test_a_zip_file_that_lies_about_its_sizes_or_lists_a_million_files_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "lies.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", bytes(MIB))
    honest = file.read_bytes()
    file.write_bytes(honest.replace(MIB.to_bytes(4, "little"), (1).to_bytes(4, "little")))
    with refused():
        bounded.read_zip(file)
    end = honest.rindex(b"PK\5\6")
    file.write_bytes(honest[: end + 12] + (2**31).to_bytes(4, "little") + honest[end + 16 :])
    with refused() as caught:
        bounded.read_zip(file)
    assert "lists too many files" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        ".".join("a" * 20_000) + " = 1",
        "[" + " . ".join(['"a b"'] * 20_000) + "]",
        "a = " + "[" * 100_000,
        "a = " + "{b = " * 1_000,
        "a = " + "1" * 5_000,
        "a = [" + "1," * 300_000 + "]",
        'a = """' + '"' * 100_000,
    ],
)
def test_toml_that_grows_in_the_parser_is_refused_before_it(text: str) -> None:
    with refused(32 * MIB):
        bounded.parse_toml("run.toml", text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "[" * 100 + "]" * 100,
        '{"a":' * 90 + "1" + "}" * 90,
        "1" * 5_000,
        "NaN",
        "[-Infinity]",
        "1e999",
        "[" + "{}," * 2_000_000 + "{}]",
        "[" + '"",' * 1_000 + "," * 4_000_000 + "]",
    ],
)
def test_json_that_no_record_holds_is_refused(text: str) -> None:
    with refused(64 * MIB) as caught:
        bounded.parse_json("file.json", text)
    assert "file.json" in str(caught.value)


def test_commas_within_texts_are_no_values() -> None:
    text = '["' + "," * 5_000_000 + '"]'
    assert len(bounded.parse_json("a.json", text)[0]) == 5_000_000
    table = "a.b.c = '" + "." * 100 + "'\nd = [" + "0.5, " * 100 + "]\n"
    assert len(bounded.parse_toml("a.toml", table)["d"]) == 100


def test_millions_of_columns_are_refused() -> None:
    with refused(64 * MIB) as caught:
        rows.parse_csv(rows.File("wide.csv", b"," * 5_000_000))
    assert "wide.csv, line 1" in str(caught.value)
