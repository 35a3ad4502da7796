"""Rows, and every mistake a data file can hold: file, place, and what to do next."""

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from withstand.core import SpecError
from withstand.data import _read
from withstand.data.csv import CSV
from withstand.data.harmbench import HarmBench
from withstand.data.jsonl import JSONL
from withstand.formats import rows

COLUMNS = {"id": "id", "text": "text", "context": "", "category": "", "functional": "", "tags": ""}


def csv_rows(data: bytes) -> _read.Table:
    return _read.csv_table(rows.File("b.csv", data))


def jsonl_rows(*lines: object) -> _read.Table:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    return table_of(text)


def table_of(text: str) -> _read.Table:
    file = rows.File("b.jsonl", text.encode())
    return _read.Table.of(file, rows.parse_jsonl(file))


@contextmanager
def mistake(*parts: str) -> Iterator[None]:
    """Expect a `SpecError` with a hint, whose message and hint hold all `parts`."""
    with pytest.raises(SpecError) as caught:
        yield
    assert caught.value.hint
    for part in parts:
        assert part in f"{caught.value} | {caught.value.hint}"


class TestRows:
    def test_bom_and_crlf(self) -> None:
        table = csv_rows(b'\xef\xbb\xbfid,text\r\na,"one\r\ntwo"\r\n')
        assert table.columns == ("id", "text")
        assert table.rows[0].text("text") == "one\ntwo"

    def test_jsonl_crlf_and_line_separators(self) -> None:
        table = jsonl_rows({"id": "a", "text": "one\r\ntwo"}, "", {"id": 2, "text": "a\u2028b", "n": None})
        assert [row.place for row in table.rows] == ["b.jsonl, line 1", "b.jsonl, line 3"]
        assert table.rows[0].text("text") == "one\ntwo"
        assert (table.rows[1].text("id"), table.rows[1].text("n"), table.rows[1].text("")) == ("2", "", "")
        raw = table_of('{"text": "a\u2028b"}\r\n{"text": "c"}\r\n')
        assert [row.text("text") for row in raw.rows] == ["a\u2028b", "c"]

    def test_row_and_line_numbers(self) -> None:
        table = csv_rows(b'id,text\na,"one\ntwo"\n\nb,three\n')
        assert [row.place for row in table.rows] == ["b.csv, row 2 (line 2)", "b.csv, row 4 (line 5)"]

    def test_large_field(self) -> None:
        assert len(csv_rows(b"id,text\na," + b"x" * 300_000).rows[0].text("text")) == 300_000


class TestMistakes:
    def test_missing_file(self, tmp_path: Path) -> None:
        (tmp_path / "behaviors.csv").touch()
        with mistake("behavior.csv: no such file", "did you mean behaviors.csv?"):
            CSV(str(tmp_path / "behavior.csv")).load()
        with mistake("no such file", "the current folder is"):
            JSONL(str(tmp_path / "nowhere" / "b.jsonl")).load()

    def test_folder_instead_of_file(self, tmp_path: Path) -> None:
        with mistake(str(tmp_path), "cannot be read"):
            CSV(str(tmp_path)).load()

    @pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
    def test_encoding(self, bom: bytes) -> None:
        with mistake("b.csv, line 3", f"byte {14 + len(bom)} (0xe9) is not UTF-8", "save the file as UTF-8"):
            csv_rows(bom + b"id,text\na,b\nc,\xe9t\xe9\n")

    def test_missing_column(self) -> None:
        with mistake("b.csv: no column 'text'; there are id, Text", "did you mean Text?"):
            _read.behaviors(csv_rows(b"id,Text\na,b\n"), COLUMNS)
        with mistake("b.jsonl: no column 'text'; there are id, prompt", "give a file that has it"):
            _read.behaviors(jsonl_rows({"id": "a", "prompt": "b"}), COLUMNS)

    def test_column_twice(self) -> None:
        with mistake("b.csv, row 1 (line 1)", "two columns are called 'id'"):
            csv_rows(b"id,text,id\na,b,c\n")

    @pytest.mark.parametrize(("row", "count"), [(b"c", 1), (b"c,d,e", 3)])
    def test_wrong_number_of_fields(self, row: bytes, count: int) -> None:
        with mistake("b.csv, row 3 (line 4)", f"{count} fields, but the header has 2", "double quotes"):
            csv_rows(b'id,text\na,"b\nb"\n' + row + b"\n")

    def test_open_quote(self) -> None:
        with mistake("b.csv, row 3 (line 3): bad CSV", "close every quote"):
            csv_rows(b'id,text\na,b\nc,"d\ne,f\n')

    def test_bad_json(self) -> None:
        with mistake("b.jsonl, line 2, character 8: bad JSON", "double quotes"):
            jsonl_rows({"id": "a"}, '{"id": b}')
        with mistake("b.jsonl, line 2: expected an object, found list"):
            jsonl_rows({"id": "a"}, [1])

    @pytest.mark.parametrize("value", [True, 1.5, ["x"], {"x": "y"}])
    def test_cell_that_is_no_text(self, value: object) -> None:
        with mistake("b.jsonl, line 1, column text: expected text, found", "as a string"):
            _read.behaviors(jsonl_rows({"id": "a", "text": value}), COLUMNS)

    def test_duplicate_id(self) -> None:
        with mistake("b.csv, row 4 (line 4), column id", "'a' is already that of b.csv, row 2 (line 2)"):
            _read.behaviors(csv_rows(b"id,text\na,x\nb,y\na,z\n"), COLUMNS)

    def test_empty_text_and_id(self) -> None:
        with mistake("b.csv, row 2 (line 2), column text: the text is empty"):
            _read.behaviors(csv_rows(b"id,text\na, \n"), COLUMNS)
        with mistake("b.csv, row 2 (line 2), column id: the id is empty"):
            _read.behaviors(csv_rows(b"id,text\n,x\n"), COLUMNS)

    def test_empty_suite(self) -> None:
        with mistake("b.csv: there is no behavior in it"):
            _read.behaviors(csv_rows(b"id,text\n"), COLUMNS)
        with mistake("b.jsonl: there is no behavior in it"):
            _read.behaviors(jsonl_rows(), COLUMNS)
        with mistake("b.csv: there is no behavior in it"):
            _read.behaviors(csv_rows(b""), COLUMNS)

    def test_targets(self) -> None:
        table = csv_rows(b"id,text\na,x\n")
        with mistake("b.csv, row 2 (line 2), column id", "'a' has no target string in t.json", "add it"):
            _read.behaviors(table, COLUMNS, targets=rows.File("t.json", b'{"b": "Sure"}'))
        with mistake("no target string in t.json"):
            _read.behaviors(table, COLUMNS, targets=rows.File("t.json", b'{"a": ["Sure"]}'))
        with mistake("t.json, line 2, character 1: bad JSON"):
            _read.behaviors(table, COLUMNS, targets=rows.File("t.json", b'{"a": "Sure",\n'))


class Site:
    """A folder behind a loopback server; `asked` lists the paths."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        site = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: object) -> None:
                super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

            def do_GET(self) -> None:
                site.asked.append(self.path)
                if self.path.startswith("/broken"):
                    self.send_error(500)
                elif self.path.startswith("/short"):
                    self.send_response(200)
                    self.send_header("Content-Length", "100")
                    self.end_headers()
                    self.wfile.write(b"id")
                else:
                    super().do_GET()

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("WITHSTAND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "site").mkdir()
    site = Site(tmp_path / "site")
    thread = threading.Thread(target=site.server.serve_forever, args=(0.02,))
    thread.start()
    yield site
    site.server.shutdown()
    site.server.server_close()
    thread.join()


class TestURL:
    def test_fetched_once(self, site: Site, tmp_path: Path) -> None:
        (tmp_path / "site" / "b.csv").write_bytes(b"id,text\na,x\n")
        suite = CSV(f"{site.url}/b.csv")
        assert [behavior.text for behavior in suite.load()] == ["x"]
        assert len(suite.version) == 8
        assert suite.load()
        assert site.asked == ["/b.csv"]
        assert len(list((tmp_path / "cache" / "data").iterdir())) == 1

    def test_mistake_names_url_and_copy(self, site: Site, tmp_path: Path) -> None:
        (tmp_path / "site" / "b.csv").write_bytes(b"id,text\na,\n")
        with mistake(f"{site.url}/b.csv", str(tmp_path / "cache"), "row 2"):
            CSV(f"{site.url}/b.csv").load()

    @pytest.mark.parametrize(
        ("path", "part"), [("/none.csv", "404"), ("/broken.csv", "500"), ("/short.csv", "cannot be fetched")]
    )
    def test_server_says_no(self, site: Site, path: str, part: str) -> None:
        with mistake(f"{site.url}{path}", part):
            CSV(f"{site.url}{path}").load()

    def test_nobody_there(self, site: Site) -> None:
        with mistake("http://127.0.0.1:9/b.csv: cannot be fetched", "check address and network"):
            CSV("http://127.0.0.1:9/b.csv").load()

    def test_silence_times_out(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rows, "TIMEOUT", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as mute, mistake("cannot be fetched", "timed out"):
            CSV(f"http://127.0.0.1:{mute.getsockname()[1]}/b.csv").load()

    def test_cache_that_cannot_be_written(self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "site" / "b.csv").write_bytes(b"id,text\na,x\n")
        (tmp_path / "file").touch()
        monkeypatch.setenv("WITHSTAND_CACHE", str(tmp_path / "file"))
        with mistake("no copy can be kept", "set WITHSTAND_CACHE"):
            CSV(f"{site.url}/b.csv").load()

    def test_harmbench_folder_and_file(self, site: Site, tmp_path: Path) -> None:
        head = "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID\n"
        (tmp_path / "site" / "hb").mkdir()
        (tmp_path / "site" / "hb" / "harmbench_behaviors_text_val.csv").write_text(head + "Do x,standard,c,,,x\n")
        with mistake("harmbench_targets_text.json", "404", "copy it beside"):
            HarmBench(f"{site.url}/hb", split="val").load()
        alone = HarmBench(f"{site.url}/hb/harmbench_behaviors_text_val.csv", split="val")
        assert [behavior.target_string for behavior in alone.load()] == [""]
        (tmp_path / "site" / "hb" / "harmbench_targets_text.json").write_text('{"x": "Sure, here"}')
        for path in ("hb/", "hb/harmbench_behaviors_text_val.csv"):
            suite = HarmBench(f"{site.url}/{path}", split="val")
            assert [behavior.target_string for behavior in suite.load()] == ["Sure, here"]
            assert suite.version.startswith("modified-")
