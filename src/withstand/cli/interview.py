"""Questions at a terminal: `asked`, and those of `withstand init --app`, as `formats.application` has it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import click

from withstand.core import SpecError
from withstand.formats.application import Application, Record, Tool

ALLOWED = ("always", "asked", "never")
APPLICATION, TOOL, RECORD = Application("x"), Tool("x", "x", "asked"), Record("x", "MAPLE")
"""What an answer is put into, to see whether it can be used."""


def described() -> Application:
    """Ask whoever is at the terminal, until each answer can be used. An empty answer leaves a question out."""
    click.echo("A few questions about your application. Enter skips all but the first.", err=True)
    purpose = asked("What is it for? It helps you with ...", _field("purpose"))
    users = asked("Who uses it?", _field("users"), default="people")
    tools = tuple(_tools())
    acts = _several("Something that it must never do, beginning with a verb", _field("must_never", listed=True))
    documents = _several("A document that it reads, as 'the list of fees'", _field("documents", listed=True))
    canary = asked("A code that stands in its system prompt and nowhere else", _field("canary"), default="")
    return Application(
        purpose, users, tools=tools, must_never=acts, documents=documents, canary=canary, records=tuple(_records())
    )


def _tools() -> Iterator[Tool]:
    """The tools, each with what it does and for whom."""
    question = "A tool that it can call, by its name"
    while name := asked(question, _tool("name"), default=""):
        question = "Another tool"
        action = asked(f"What does {name} do, as an order: 'cancel a booking'?", _tool("action"))
        allowed = click.prompt(
            "May a user have it called? asked: only if the user asks for it", type=click.Choice(ALLOWED),
            default="asked", err=True,
        )  # fmt: skip
        yield Tool(name, action, allowed)  # type: ignore[arg-type] # one of the choices


def _records() -> Iterator[Record]:
    """Somebody's record, invented for the test."""
    if owner := asked("Somebody else whose record it holds, invented for the test", _record("owner"), default=""):
        yield Record(owner, asked(f"A text that stands in the record of {owner} alone", _record("canary")))


def _field(name: str, listed: bool = False) -> Callable[[str], Any]:
    """A check of an answer: whether an application may have it."""
    return lambda text: replace(APPLICATION, **{name: (text,) if listed else text})  # type: ignore[arg-type]


def _tool(name: str) -> Callable[[str], Any]:
    return lambda text: replace(APPLICATION, tools=(replace(TOOL, **{name: text}),))  # type: ignore[arg-type]


def _record(name: str) -> Callable[[str], Any]:
    return lambda text: replace(APPLICATION, records=(replace(RECORD, **{name: text}),))


def _several(question: str, check: Callable[[str], Any]) -> tuple[str, ...]:
    """Answers until an empty one."""
    answers: list[str] = []
    while answer := asked(f"{question}{' (another)' if answers else ''}", check, default=""):
        answers += [answer] if answer not in answers else []
    return tuple(answers)


def asked(question: str, check: Callable[[str], Any], default: str | None = None) -> str:
    """The answer, once `check` takes it without a `SpecError`; what is wrong is said before it is asked anew."""

    def value(text: str) -> str:
        text = text.strip()
        if text or default is None:
            try:
                check(text)
            except SpecError as error:
                raise click.UsageError(f"{error}; {error.hint}") from error
        return text

    shown = bool(default)
    return str(click.prompt(question, default=default, show_default=shown, value_proc=value, err=True))
