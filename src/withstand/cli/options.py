"""What the commands share: the decorator of a command, its common options, and groups that suggest near matches."""

import functools
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TextIO, TypeVar

import click

from withstand.core import Json, SpecError, did_you_mean

F = TypeVar("F", bound=Callable[..., Any])

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class Commands(click.Group):
    """A group that suggests near matches of a command and never cuts a summary."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            hint = did_you_mean(args[0], self.commands, f"commands: {', '.join(self.commands)}")
            raise SpecError(f"{ctx.command_path} has no command {args[0]!r}", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self._write(formatter, "Commands", self.list_commands(ctx))

    def _write(self, formatter: click.HelpFormatter, title: str, names: Sequence[str]) -> None:
        width = max(map(len, self.commands))
        rows = [(f"{name:<{width}}", self.commands[name].get_short_help_str(limit=1_000)) for name in names]
        with formatter.section(title):
            formatter.write_dl(rows)


class Sections(Commands):
    """A group whose help lists its commands under headings."""

    sections: Mapping[str, Sequence[click.Command]] = {}

    def add_sections(self, sections: Mapping[str, Sequence[click.Command]]) -> None:
        """Add commands under their headings."""
        self.sections = {**self.sections, **sections}
        for commands in sections.values():
            for command in commands:
                self.add_command(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in self.sections.items():
            self._write(formatter, title, [command.name or "" for command in commands])


store_option = click.option(
    "--store", envvar="WITHSTAND_STORE", default="withstand.db", show_default=True, metavar="DB",
    help="Store of the runs: a file, or a postgresql:// URL.",
)  # fmt: skip


def store_file_option(help: str) -> Callable[[F], F]:
    """`--store` as the name `store_file`, of a store that the command makes where there is none."""
    return click.option(
        "--store", "store_file", envvar="WITHSTAND_STORE", default="withstand.db", show_default=True, metavar="DB",
        help=help,
    )  # fmt: skip


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
run_argument = click.argument("name", metavar="[RUN]", default="")
offline_option = click.option("--offline", is_flag=True, help="Refuse every host except this machine.")
reuse_option = click.option(
    "--reuse", type=click.Choice(["own", "all"]), default="own", show_default=True,
    help="Rows to count: yours and those of writers you trust, or all."
)  # fmt: skip
max_asks_option = click.option(
    "--max-asks", type=click.IntRange(min=1), default=None, metavar="N", help="Cap on the chats that this call sends."
)


def options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, in the order in which the help lists them."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


_results: ContextVar[TextIO | None] = ContextVar("results", default=None)
"""Where JSON goes; None for stdout. A command with `--json` prints all else, also what a target prints, on stderr."""


@dataclass(frozen=True)
class Result:
    """How a command ends: the value that `--json` prints, how it is shown to people, and the exit code."""

    value: Json
    show: Callable[[], None]
    code: int = 0

    def finish(self, as_json: bool) -> int:
        """Print the value as JSON, or show it; the exit code."""
        if as_json:
            click.echo(json.dumps(self.value), file=_results.get())
        else:
            self.show()
        return self.code


def command(
    name: str | None = None, *, group: click.Group | None = None, store: bool = False, json: bool = False,
    check: Callable[[Mapping[str, Any]], None] | None = None,
) -> Callable[[Callable[..., Result | int | None]], click.Command]:  # fmt: skip
    """Make a command of a function that returns its exit code (None: 0) or a `Result`.

    store: adds `--store` and passes the open store, which must exist. json: adds `--json`, with which a `Result` is
    printed as JSON; the function gets `as_json` if it names it. check: looks for mistakes in the parameters before the
    store is opened.
    """

    def decorate(function: Callable[..., Result | int | None]) -> click.Command:
        takes_json = {"as_json", "given"} & {*inspect.signature(function).parameters}

        @functools.wraps(function)
        def run(**given: Any) -> int:
            if check is not None:
                check(given)
            as_json = json and (given["as_json"] if takes_json else given.pop("as_json"))
            with ExitStack() as stack:
                if as_json:
                    before = _results.set(sys.stdout)
                    stack.callback(_results.reset, before)
                    stack.enter_context(redirect_stdout(sys.stderr))
                if store:
                    from withstand import api

                    given["store"] = stack.enter_context(api.open_store(given["store"], create=False))
                result = function(**given)
                return result.finish(as_json) if isinstance(result, Result) else result or 0

        new = click.command(name, context_settings=CONTEXT)(_last(run, [json_option] * json + [store_option] * store))
        if group is not None:
            group.add_command(new)
        return new

    return decorate


def _last(function: F, decorators: Sequence[Callable[[F], F]]) -> F:
    """Add options behind those that the function has. Click reads the list from its end."""
    own = getattr(function, "__click_params__", [])
    function.__click_params__ = []  # type: ignore[attr-defined]
    for decorator in decorators:
        function = decorator(function)
    function.__click_params__ += own  # type: ignore[attr-defined]
    return function


def typed_store() -> str:
    """The value of `--store` of the running command, as typed."""
    return str(click.get_current_context().params["store"])
