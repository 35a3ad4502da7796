"""What a server of suites and a folder of weights may not do: send elsewhere, fill memory, pass for another model."""

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from withstand.core import SpecError, cache
from withstand.core.cache import remembered_sha256, sha256
from withstand.formats import rows
from withstand.models._folder import files_digest, identity_of


class Sender(BaseHTTPRequestHandler):
    """Sends /away to this machine under its other name, /on to /file, and else 3,000 bytes."""

    def do_GET(self) -> None:
        port = self.server.server_address[1]
        places = {"/away": f"http://localhost:{port}/file", "/on": "/file"}
        self.send_response(302 if self.path in places else 200)
        self.send_header("Location", places.get(self.path, ""))
        self.end_headers()
        if self.path not in places:
            self.wfile.write(b"text\n" * 600)

    def log_message(self, *_: Any) -> None:
        """Be silent."""


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("WITHSTAND_CACHE", str(tmp_path / "cache"))
    server = HTTPServer(("127.0.0.1", 0), Sender)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_suite_follows_no_redirect_to_another_host(url: str) -> None:
    with pytest.raises(SpecError, match="sends to http://localhost") as caught:
        rows.read_or_fetch(f"{url}/away")
    assert caught.value.hint
    assert rows.read_or_fetch(f"{url}/on").data == b"text\n" * 600


def test_a_suite_from_a_server_has_a_limit(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "FETCHED", 2_999)
    with pytest.raises(SpecError, match="has more than"):
        rows.read_or_fetch(f"{url}/file")


def test_weights_of_pytorch_belong_to_the_identity_where_there_are_no_others(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    bare = identity_of(tmp_path, "", "")
    (tmp_path / "pytorch_model.bin").write_bytes(b"one")
    first = identity_of(tmp_path, "", "")
    (tmp_path / "pytorch_model.bin").write_bytes(b"two")
    second = identity_of(tmp_path, "", "")
    assert len({bare["weights"], first["weights"], second["weights"]}) == 3
    (tmp_path / "model.safetensors").write_bytes(b"three")  # which transformers loads then
    kept = files_digest(tmp_path, ("*.safetensors",))
    (tmp_path / "pytorch_model.bin").write_bytes(b"four")
    assert files_digest(tmp_path, ("*.safetensors",)) == kept


def test_a_file_of_the_same_size_and_time_is_not_taken_for_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WITHSTAND_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    stamp = file.stat()
    monkeypatch.setattr(cache, "RECENT", -(10**18))  # so that it is remembered at once
    assert remembered_sha256(file) == sha256(file)
    assert list((tmp_path / "cache" / "sha256").iterdir())
    file.write_bytes(b"two")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert remembered_sha256(file) == sha256(file)
