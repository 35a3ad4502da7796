"""Code of the user in the working folder: it can be imported only where the command itself names it.

A folder may come from somebody else, and so may a store or a bundle. So Python never looks there by itself, and what a
store names is looked for among installed packages and on PYTHONPATH alone.
"""

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

HEAD = re.compile(r"(?<![\w.])([A-Za-z_]\w*)[\w.]*(?=:[A-Za-z_])")
"""The package of `module:name`; of "function:my_app:answer" also my_app."""

LARGEST = 1_000_000
"""Bytes of a spec file that are looked through."""


_named_by: list[str] = []
"""The arguments of the command that named code in the working folder; empty where none did."""


def append_working_folder(args: Sequence[str]) -> None:
    """Append the working folder to `sys.path` if an argument, or a spec file among them, names a module in it.

    It comes last, so that no file there takes the place of an installed module.
    """
    folder = Path.cwd()
    heads = {match[1] for text in _texts(args) for match in HEAD.finditer(text)}
    _named_by[:] = args if any(_is_module(folder, head) for head in heads) else []
    if _named_by and str(folder) not in sys.path:
        sys.path.append(str(folder))


def leave_working_folder() -> None:
    """Drop the working folder that `python -m` puts before all else, for what is imported from here on."""
    if not sys.flags.safe_path and sys.path[:1] in ([""], [str(Path.cwd())]):
        del sys.path[0]


def to_continue(run: str) -> str:
    """The command that continues a run of the command `run`. Where it has code of the user, all that was typed: the
    run's name alone does not let a store import from the working folder.
    """
    again, words = ["run", "--name", run], iter(_named_by[1:])
    for word in words:
        if word in ("--name", "--store"):
            next(words, None)
        elif word != "--fresh" and not word.startswith(("--name=", "--store=")):
            again.append(word)
    return shlex.join(again)


def _texts(args: Sequence[str]) -> Iterator[str]:
    """The arguments, and the TOML files among them; without a file `withstand run` reads ./withstand.toml."""
    yield from args
    named = [arg.rpartition("=")[2].lstrip("@") for arg in args if arg.endswith(".toml")]
    for name in named or ["withstand.toml"]:
        path = Path(name).expanduser()
        if path.is_file() and path.stat().st_size <= LARGEST:  # no device, and nothing that waits for a writer
            yield path.read_text(encoding="utf-8", errors="replace")


def _is_module(folder: Path, head: str) -> bool:
    """Whether the folder has a module or package of that name which is no component of ours."""
    if not (any(folder.glob(f"{head}.*")) or (folder / head).is_dir()):
        return False
    from withstand.registry import find  # here, so that looking around stays fast

    return not any(find.entry_of(kind, head) for kind in find.ROOMS)
