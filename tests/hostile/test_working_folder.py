"""The working folder may be a stranger's: nothing in it is imported unless the command names it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from withstand.cli import own_code

TRAP = "open('sprung', 'w').close()\n"
PARTS = """
open("imported", "w").close()
from dataclasses import dataclass
from withstand.core import Completion

def answer(messages):
    return "Heat the oven."
"""
WORDS = ["--suite", "kitchen", "--limit", "2", "--benign", "none", "--attack", "direct", "--judge", "contains:oven"]


def call(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-P", "-m", "withstand", *words]  # the path of the script `withstand`
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_a_module_in_the_folder_takes_the_place_of_none(tmp_path: Path) -> None:
    """The name of a module of ours, of Python and of packages that commands import."""
    for name in ("json", "rich", "click", "withstand", "jinja2", "secrets", "tomllib"):
        (tmp_path / f"{name}.py").write_text(TRAP)
    (tmp_path / "my_parts.py").write_text(PARTS)
    done = call(tmp_path, "run", *WORDS, "--target", "function:my_parts:answer")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "imported").exists()
    assert not (tmp_path / "sprung").exists()


def test_what_a_store_names_is_not_looked_for_in_the_folder(tmp_path: Path, withstand: Any) -> None:
    (tmp_path / "my_parts.py").write_text(PARTS)
    assert call(tmp_path, "run", *WORDS, "--target", "function:my_parts:answer", "--name", "mine").returncode == 0
    (tmp_path / "imported").unlink()
    done = call(tmp_path, "run", "--name", "mine")
    assert done.returncode != 0
    assert "names the function" in done.stderr
    for words in (["status"], ["report", "mine", "-o", "page.html"], ["export", "mine", "-o", "out"]):
        withstand(*words)
    assert not (tmp_path / "imported").exists()


def test_a_spec_file_names_code(tmp_path: Path) -> None:
    (tmp_path / "my_parts.py").write_text(PARTS)
    (tmp_path / "withstand.toml").write_text(
        'suite = "kitchen"\nlimit = 2\nbenign = "none"\nattack = "direct"\njudge = "contains:oven"\n'
        'target = [{use = "function", path = "my_parts:answer"}]\n'
    )
    assert call(tmp_path, "run").returncode == 0
    assert (tmp_path / "imported").exists()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    for name in ("my_parts.py", "openai.py", "hf.py", "bundle.py"):
        (tmp_path / name).write_text(TRAP)
    (tmp_path / "my_pack").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    "args",
    [
        ["run", "--target", "function:my_parts:answer"],
        ["run", "--target=my_parts:Echo,reply=x"],
        ["run", "--judge", 'ensemble:["kitchen","my_parts:Rule"]'],
        ["judge", "--judge", '{use="my_pack.rules:Rule"}'],
    ],
)
def test_an_argument_that_names_code_appends_the_folder(folder: Path, args: list[str]) -> None:
    own_code.append_working_folder(args)
    own_code.append_working_folder(args)
    assert sys.path[-1] == str(folder)
    assert sys.path.count(str(folder)) == 1


@pytest.mark.parametrize(
    "args",
    [
        ["serve", "--store", "stranger.db"],
        ["run", "--target", "openai:gpt-x"],  # a component of ours, whatever the folder holds
        ["run", "--target", "hf:my_parts"],
        ["bundle", "verify", "bundle.zip"],
        ["run", "--target", "http:https://my_parts/x"],
        ["run", "--name", "my_parts"],
        ["run", "/dev/zero.toml"],
    ],
)
def test_all_else_leaves_the_path_alone(folder: Path, args: list[str]) -> None:
    before = list(sys.path)
    own_code.append_working_folder(args)
    assert sys.path == before


def test_a_run_of_own_code_continues_by_what_was_typed(folder: Path) -> None:
    own_code.append_working_folder(
        ["run", "-t", "function:my_parts:answer", "--store", "a b.db", "--name=x", "--fresh"]
    )
    assert own_code.to_continue("my run") == "run --name 'my run' -t function:my_parts:answer"
    own_code.append_working_folder(["run", "-t", "openai:m"])
    assert own_code.to_continue("my run") == "run --name 'my run'"
