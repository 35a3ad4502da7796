"""Builds wheel and sdist into dist/, checks both, and runs the demo from the wheel in a clean environment: `make dist`.

Needs Python 3.11 and pip alone: the tools that build and check are installed into an environment that is thrown away.
With TAG in the environment, such as v1.2.3, the version of the package must be that of the tag.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "withstand"
TOOLS = ("build>=1.2", "twine>=6.1")
WHEEL_MB, SDIST_MB, CORE_MB = 10, 10, 250  # an index takes files up to 100 MB; ours are far below, and stay there
NOT_IN_SDIST = re.compile(r"\.")  # dot files at the top belong to the repository, not to the source
BY_BUILDER = {"PKG-INFO", ".gitignore"}  # what hatchling writes into every sdist
LEFTOVERS = re.compile(r"(^|/)(__pycache__|\.\w[^/]*|[^/]+\.(py[co]|db|db-wal|db-shm|orig|rej|swp|log|pem|key))(/|$)")


class DistError(Exception):
    """What is wrong with the files or the build. The message says where, and what to do."""


def tracked() -> set[str]:
    """The files that git knows, relative to the root, with forward slashes. Raises `DistError` outside a clone."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout:
        raise DistError(f"{ROOT} is not a git clone: what belongs into the files is what git tracks\n{done.stderr}")
    return set(done.stdout.rstrip("\0").split("\0"))


def wheel_names(wheel: Path) -> dict[str, int]:
    """The files of a wheel, with their sizes in bytes."""
    with zipfile.ZipFile(wheel) as archive:
        return {info.filename: info.file_size for info in archive.infolist() if not info.is_dir()}


def sdist_names(sdist: Path) -> dict[str, int]:
    """The files of an sdist, with their sizes in bytes. A link or a device in it is an error."""
    with tarfile.open(sdist) as archive:
        members = [member for member in archive.getmembers() if not member.isdir()]
    if odd := [member.name for member in members if not member.isfile()]:
        raise DistError(f"{sdist.name} holds links: {', '.join(odd)}")
    return {member.name: member.size for member in members}


def check_wheel(names: Iterable[str], version: str, files: set[str]) -> None:
    """Refuses a wheel that holds anything but the package's tracked files and its metadata, or lacks one of them."""
    names = set(names)
    info = f"{PACKAGE}-{version}.dist-info"
    wanted = {file.removeprefix("src/") for file in files if file.startswith(f"src/{PACKAGE}/")}
    metadata = {name for name in names if PurePosixPath(name).parts[0] == info}
    _compare("the wheel", names - metadata, wanted)
    _compare("the wheel", set(), {f"{info}/{name}" for name in ("METADATA", "RECORD", "entry_points.txt")} - metadata)
    if not any(name.startswith(f"{info}/licenses/") and name.endswith("LICENSE") for name in metadata):
        raise DistError("the wheel has no LICENSE: see license-files in pyproject.toml")


def check_sdist(names: Iterable[str], version: str, files: set[str]) -> None:
    """Refuses an sdist that holds anything but tracked files, or lacks one that a user of the source needs."""
    names, top = set(names), f"{PACKAGE}-{version}/"
    if outside := sorted(name for name in names if not name.startswith(top)):
        raise DistError(f"the sdist has files outside {top}: {_listed(outside)}")
    inside = {name.removeprefix(top) for name in names}
    _compare("the sdist", set(), {"PKG-INFO"} - inside)
    _compare("the sdist", inside - BY_BUILDER, {file for file in files if not NOT_IN_SDIST.match(file)})


def _compare(where: str, names: set[str], wanted: set[str]) -> None:
    leftovers = {name for name in names if LEFTOVERS.search(name)}  # not even where git tracks them
    if stray := sorted(names - wanted | leftovers):
        raise DistError(
            f"{where} has stray files: {_listed(stray)}\n"
            "delete them, commit them, or exclude them in [tool.hatch.build] of pyproject.toml"
        )
    if missing := sorted(wanted - names):
        raise DistError(f"{where} lacks files: {_listed(missing)}\nsee [tool.hatch.build] in pyproject.toml")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def check_size(path: Path, most_mb: float) -> float:
    """The size of a file in MB (10**6 bytes). Raises `DistError` above `most_mb`."""
    size = path.stat().st_size / 1e6
    if size > most_mb:
        largest = sorted(
            (wheel_names if path.suffix == ".whl" else sdist_names)(path).items(), key=lambda file: -file[1]
        )
        listed = "".join(f"\n  {bytes_ / 1e6:6.1f} MB  {name}" for name, bytes_ in largest[:5])
        raise DistError(f"{path.name} has {size:.1f} MB; the limit is {most_mb:g} MB. Its largest files:{listed}")
    return size


def check_tag(tag: str, version: str) -> None:
    """Refuses a tag such as v1.2.3 whose version is not the package's. An empty tag passes."""
    if tag and tag != f"v{version}":
        raise DistError(f"the tag is {tag} and the version in pyproject.toml is {version}: they must agree")


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without anything that could lend the clean installation a module, a store or a cache."""
    lent = {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP"}
    kept = {
        name: value for name, value in environment.items() if name not in lent and not name.startswith("WITHSTAND_")
    }
    return {**kept, "PYTHONNOUSERSITE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "NO_COLOR": "1"}


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """What a command prints. Raises `DistError` with all of it where the command fails."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean_environment(os.environ), text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        shown = " ".join(Path(part).name if isinstance(part, Path) else part for part in command)
        raise DistError(f"{done.stdout.rstrip()}\n`{shown}` failed with exit code {done.returncode}")
    return done.stdout


def environment_in(folder: Path) -> Path:
    """Makes a virtual environment and returns its folder of commands."""
    run(sys.executable, "-m", "venv", folder)
    return folder / ("Scripts" if os.name == "nt" else "bin")


def build(scratch: Path) -> tuple[Path, Path]:
    """Builds the sdist, and the wheel from the sdist, into dist/, and checks their metadata as an index does."""
    tools = environment_in(scratch / "tools")
    run(tools / "python", "-m", "pip", "install", "--quiet", *TOOLS)
    out = ROOT / "dist"
    for old in (*out.glob(f"{PACKAGE}-*.whl"), *out.glob(f"{PACKAGE}-*.tar.gz")):
        old.unlink()
    run(tools / "python", "-m", "build", "--outdir", out, ROOT)
    (wheel,), (sdist,) = out.glob(f"{PACKAGE}-*.whl"), out.glob(f"{PACKAGE}-*.tar.gz")
    run(tools / "python", "-m", "twine", "check", "--strict", wheel, sdist)
    return wheel, sdist


def install(wheel: Path, scratch: Path) -> tuple[Path, float]:
    """Installs a wheel, with what it needs and no more, into a clean environment.

    Returns the environment's folder of commands, and what site-packages takes, pip included, in MB as `du -m` counts.
    """
    commands = environment_in(scratch / "clean")
    python = commands / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    run(python, "-m", "pip", "install", "--quiet", wheel)
    run(python, "-m", "pip", "check")
    blocks = sum(-(-path.stat().st_size // 4096) for path in site.rglob("*") if path.is_file())
    return commands, blocks * 4096 / 2**20


def demo(commands: Path, version: str, scratch: Path) -> str:
    """Runs `withstand demo` in an empty folder, and returns what it prints."""
    empty = scratch / "empty"
    empty.mkdir()
    where = run(commands / "python", "-c", "import withstand; print(withstand.__file__)", cwd=empty).strip()
    if not Path(where).resolve().is_relative_to((scratch / "clean").resolve()):
        raise DistError(f"the clean environment imports {PACKAGE} from {where}")
    if version not in (printed := run(commands / PACKAGE, "--version", cwd=empty)):
        raise DistError(f"`{PACKAGE} --version` prints {printed.strip()!r}, and the wheel is {version}")
    printed = run(commands / PACKAGE, "demo", cwd=empty)
    report = empty / "withstand-demo.html"
    if not report.is_file() or "</html>" not in report.read_text(encoding="utf-8"):
        raise DistError(f"{printed}\n`{PACKAGE} demo` wrote no whole report")
    return printed


def main() -> int:
    """Builds, checks, installs and runs; 0 when all of it went well."""
    scratch = Path(tempfile.mkdtemp(prefix="withstand-dist-"))
    try:
        version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
        check_tag(os.environ.get("TAG", ""), version)
        files = tracked()
        print("building wheel and sdist ...", flush=True)
        wheel, sdist = build(scratch)
        for path, most in ((wheel, WHEEL_MB), (sdist, SDIST_MB)):
            print(f"  dist/{path.name}: {check_size(path, most):.1f} MB", flush=True)
        check_wheel(wheel_names(wheel), version, files)
        check_sdist(sdist_names(sdist), version, files)
        print("metadata, sizes and lists of files are in order", flush=True)
        print("installing the wheel into a clean environment ...", flush=True)
        commands, size = install(wheel, scratch)
        print(f"  {size:.0f} MB, pip included", flush=True)
        if size > CORE_MB:
            raise DistError(f"an installation takes {size:.0f} MB; the limit is {CORE_MB} MB: see `dependencies`")
        print("running the demo in an empty folder ...", flush=True)
        print("".join(f"  {line}\n" for line in demo(commands, version, scratch).splitlines()), end="")
        print(f"ready: {wheel.name} and {sdist.name} in dist/")
    except DistError as error:
        print(f"\nmake dist: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
