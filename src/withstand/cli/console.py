"""What commands print: results on stdout, everything about the work on stderr. It imports nothing heavy.

Labels, ids and errors come from models and files: all that is printed goes through `line`.
"""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand.core import Json, SpecError
from withstand.core.errors import suggest
from withstand.core.text import count, visible

if TYPE_CHECKING:
    from withstand.runner.tally import Tally

WIDTH = 140
"""Columns of a table where there is no terminal."""

PASSWORD = re.compile(r"(://[^\s/:@]*:)\S*(?=@)|([?&](?:ssl)?password=)[^\s&]+")
"""The password in a URL, before its host or as a parameter."""


def line(text: Any) -> str:
    """One line for a terminal: control characters are named and do nothing, a URL has no password."""
    return hidden(re.sub(r"\s*\n\s*", " ", visible(text)))


def hidden(text: str) -> str:
    """The text with *** for the password of a URL."""
    return PASSWORD.sub(lambda match: f"{match[1] or match[2]}***", text)


def put(text: str) -> None:
    """A line of the result, on stdout."""
    print(line(text), flush=True)


def put_all(texts: Iterable[str]) -> None:
    """Lines of the result, on stdout."""
    for text in texts:
        put(text)


def teller(as_json: bool) -> Callable[[str], None]:
    """`say`, for a command that reports on its work; nothing is said beside JSON."""
    return (lambda _: None) if as_json else say


def say(text: str) -> None:
    """A line about the work, on stderr; above live lines where there are some.

    A reader that hung up (`2>&1 | head`, a closed terminal) ends no work: what is said later goes nowhere.
    """
    try:
        print(line(text), file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def write(output: str, forms: Mapping[str, Callable[[], str]], note: str = "") -> None:
    """Write a file in the form that its ending names, and say so. Raises `SpecError` for an ending without a form."""
    from withstand.core.save import save

    path = Path(output)
    if path.suffix not in forms:
        raise SpecError(f"{output} has no form that is known", hint=f"name a file that ends in {' or '.join(forms)}")
    save(path, forms[path.suffix]())
    say(f"wrote {output}{note}")


def stopped(tally: "Tally") -> None:
    """The cap or the failed device that stopped a call, where one did."""
    if tally.stopped.startswith("--"):
        say(f"stopped by {tally.stopped}; the same command without it continues")
    elif tally.stopped:
        say(f"stopped: {tally.stopped}; nothing that was saved is lost, and the same command continues")


def rate(value: float | None, interval: Sequence[float] | None = None) -> str:
    """A rate in percent with its interval; "n/a" where it cannot be computed."""
    if value is None:
        return "n/a"
    text = f"{100 * value:.0f}%"
    return text if interval is None else f"{text} ({100 * interval[0]:.0f}-{100 * interval[1]:.0f})"


def table(rows: Sequence[Sequence[str]], columns: Sequence[str], title: str = "") -> None:
    """A table of texts on stdout, as wide as the terminal."""
    from withstand.cli.table import TerminalTable

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
    heads, body = TerminalTable(columns, [[line(text) for text in row] for row in rows]).lines(width)
    if title:
        click.secho(line(title), italic=True)
    for text in heads:
        click.secho(text, bold=True)
    for text in body:
        click.echo(text)


def error(message: str, hint: str = "") -> None:
    """A mistake or a misfortune, on stderr. Of a file that has several, each indented line stays a line."""
    head, *others = re.split(r"\n(?=  )", message)
    click.secho(line(f"error: {head}"), bold=True, err=True)
    for text in others:
        click.echo(f"  {line(text.strip())}", err=True)
    if hint:
        click.echo("  -> " + line(hint), err=True)


def usage(problem: click.ClickException) -> None:
    """A mistake on the command line, as click found it."""
    context = problem.ctx if isinstance(problem, click.UsageError) else None
    near = (getattr(problem, "possibilities", None) or [])[:2]
    message = problem.message if near else problem.format_message()  # this form names the argument or near matches
    where = context.command_path if context else "withstand"
    error(message.rstrip("."), suggest(near, f"`{where} --help` explains it"))


def failed_rows(tally: "Tally") -> None:
    """The first failures of a call, one line each."""
    failures([{"rows": 1, "error": failure.error, "hint": failure.hint} for failure in tally.failures[:5]])


def failures(entries: Sequence[Json]) -> None:
    """What went wrong with rows that are missing, most frequent first, and how to see the first traceback."""
    for entry in entries:
        error(f"{count(entry['rows'], 'row')}: {entry['error'].partition(chr(10))[0][:300]}", entry["hint"])
    if trace := next((entry["trace"] for entry in entries if entry.get("trace")), ""):
        say(f"trace: withstand status --trace {trace}")


def is_usual(store: str) -> bool:
    """Whether a command finds this store without being told."""
    return store == (os.environ.get("WITHSTAND_STORE") or "withstand.db")


def then(lead: str, command: str, store: str) -> Iterator[str]:
    """The command to type next, in lines. It names the store unless that is the default, or a URL with a password."""
    usual = is_usual(store)
    secret = hidden(store) != store
    yield f"{lead}: withstand {command}" + ("" if usual or secret else f" --store {shlex.quote(store)}")
    if secret and not usual:
        yield "  -> first put the store's URL in WITHSTAND_STORE: it holds a password, so it is not printed"
