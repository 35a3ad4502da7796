"""What a stranger's file may do to the reader: be refused, in little memory and time, with file, place and way out."""

import json
import os
import tempfile
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
from withstand.judges import _minhash_pickles
from withstand.models import encoder, vllm
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
    "signatures": lambda path: list(_minhash_pickles.convert(folder(path, "id.pkl"))),
    "adapter": lambda path: vllm._rank(folder(path, "adapter_config.json")),
    "encoder settings": lambda path: encoder._read_json(Path(path)),
}


def folder(path: str, name: str) -> str:
    """A folder in which the file at `path` has that name."""
    place = Path(tempfile.mkdtemp())
    (place / name).symlink_to(path)
    return str(place)


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


def test_what_is_made_of_rows_is_limited_and_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reader holds is at most a fifth above what it counts, whatever the rows hold; past the limit it stops."""
    records = [{"id": f"b{n}", "text": f"How do I bake bread {n}?", "tags": ["a", "b"], "n": n} for n in range(2_000)]
    table = "id,text\n" + "".join(f"{record['id']},{record['text']}\n" for record in records)
    files = {
        "rows.csv": table,
        "rows.jsonl": "".join(json.dumps(record) + "\n" for record in records),
        "long.jsonl": f'{{"text": "{"Bread?" * 2_000}"}}\n' * 50,
        "wide.jsonl": f'{{"text": "\U0001f35e{"Bread?" * 300}"}}\n' * 2_000,
        "tiny.jsonl": "{}\n" * 5_000,
    }  # fmt: skip
    kept: list[Any] = []
    begin = rows._Kept.__init__
    monkeypatch.setattr(rows._Kept, "__init__", lambda self, file: kept.append(self) or begin(self, file))
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        tracemalloc.start()
        parsed = rows.parse(rows.read(str(tmp_path / name)))
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held - len(text.encode()) < 1.2 * kept[-1].size, name
        assert len(parsed) > 40
        monkeypatch.setattr(bounded, "MEMORY", kept[-1].size - 1)
        with pytest.raises(SpecError, match="of memory from row") as caught:
            rows.parse(rows.read(str(tmp_path / name)))
        assert "split the file" in caught.value.hint
        monkeypatch.undo()
        monkeypatch.setattr(rows._Kept, "__init__", lambda self, file: kept.append(self) or begin(self, file))


def test_a_large_list_of_json_is_refused_and_lines_are_read_in_their_place(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    with path.open("wb") as file:
        file.write(b" [\n" + b"\n" * bounded.DOCUMENT)
    with pytest.raises(SpecError, match="a list of more than 64 MiB") as caught:
        rows.parse(rows.read(str(path)))
    assert "JSON Lines" in caught.value.hint
