"""`withstand init`."""

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from withstand.cli.options import command
from withstand.core import SpecError, WithstandError

HEAD = """\
# An application as target. `withstand show target http` explains the fields. `withstand target check FILE` tests them,
# and lists the paths of the texts in the answer if `text` is not the right one.
"""

GATE = """
# What `withstand gate` holds the run against: behaviors that any attack broke, at most.
[gate]
max_asr = 0.1 # with fewer than 36 behaviors even 0 cannot pass
attacks = ["direct", "role_play"]
"""


@command()
@click.option("-o", "--output", default="withstand.toml", show_default=True, metavar="FILE", help="File to write.")
@click.option("--curl", metavar="'curl ...'", help="A curl call of your application, from which the target is written.")
@click.option(
    "--app",
    is_flag=False,
    flag_value="",
    metavar="[app.toml]",
    help="Behaviors for your application, from its description; without a file, questions at the terminal write it.",
)
@click.option(
    "--call/--no-call",
    default=None,
    help="Send the application one harmless question, to find where its answer stands. Asked for at a terminal.",
)
@click.option(
    "--max-asr",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="R",
    help="Highest share of behaviors broken, 0 to 1: the gate, with as many behaviors as can pass it (default: 0.1, or "
    "with --app the lowest that its behaviors can pass).",
)
def init(output: str, curl: str | None, app: str | None, call: bool | None, max_asr: float | None) -> None:
    """Write a commented spec to start from, with a gate that can pass.

    With --curl, the spec's target is your application; with --call, one call finds the path of its answer. With --app,
    the behaviors are about your application too: their file is written beside the spec.
    """
    path = Path(output)
    if call and not curl and app is None:
        raise SpecError("--call needs --curl", hint="give the call of your application: --curl 'curl ...'")
    if app is not None:
        from withstand.cli.init_app import from_app

        steps = from_app(path, app, curl, call, max_asr)
    else:
        new(path)
        text, steps = from_curl(curl, call) if curl else (_template(), [])
        write(path, limited(text, max_asr or 0.1))
    click.echo(f"wrote {output}; try `withstand run {shlex.quote(output)} --dry-run`", err=True)
    for line in steps:
        click.echo(line, err=True)


def _template() -> str:
    return (Path(__file__).parent / "withstand.toml").read_text(encoding="utf-8")


def limited(text: str, max_asr: float) -> str:
    """The text of a spec with this limit, and as many behaviors as can pass it."""
    from withstand.runner.gating import behaviors_for

    behaviors = behaviors_for(max_asr)
    for written, value in (
        ("limit = 36", f"limit = {behaviors}"),
        ("than 36", f"than {behaviors}"),
        ("max_asr = 0.1 ", f"max_asr = {max_asr:g} "),
    ):
        text = text.replace(written, value)
    return text


def new(path: Path) -> None:
    """Raise `SpecError` where the file is there: nothing is overwritten."""
    if path.exists():
        raise SpecError(f"{path} exists", hint="name another file with -o, or remove it")


def write(path: Path, text: str) -> None:
    """Write a file that is not there."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise SpecError(f"cannot write {path}: {error.strerror}", hint="name another file with -o") from error


def from_curl(command: str, call: bool | None) -> tuple[str, list[str]]:
    """A spec for the application that a call of curl asks, and what to do before it runs.

    call: whether the application may be asked once; None: ask the user, where there is one.
    """
    target, steps = target_of(command, call)
    text = f'{HEAD}suite = "kitchen"\nattack = ["direct", "role_play"]\nlimit = 36\n\n[target]\n{target}\n{GATE}'
    return text, steps


def target_of(command: str, call: bool | None) -> tuple[str, list[str]]:
    """The table of the target in TOML, and what to do before it is asked; see `from_curl`."""
    from withstand.cli import curl
    from withstand.models import _wire
    from withstand.registry import find
    from withstand.registry.grammar import to_toml

    fields = curl.fields(command)
    model = find.build("target", fields)  # raises now what does not fit
    variables = _wire.variables(str(fields.get("url")), str(fields.get("body")), *fields.get("headers", ()))
    if call is None and sys.stdin.isatty():
        where = ", ".join(model.hosts)
        call = click.confirm(f"Send one harmless question to {where}, to find where its answer stands?", err=True)
    paths, seen = _answer_of(model) if call else ({"text": "$"}, [])
    target = to_toml({**fields, **paths, "revision": ""})
    return target, [
        *seen,
        *(f"export {name}=...  # before the run: secrets stay out of the file" for name in variables),
    ]


def _answer_of(model: Any) -> tuple[dict[str, str], list[str]]:
    """Ask the application one question: the likeliest paths of its answer and calls, and what else may be the answer.

    Raises `AskError` where it does not answer, `SpecError` where a variable is not set.
    """
    from withstand.core import user
    from withstand.models import _paths
    from withstand.runner.target_check import QUESTION

    try:
        model.check()
        values = model.look(user(QUESTION))
    except WithstandError as error:
        error.hint = f"{error.hint}; or --no-call, which leaves text at $".removeprefix("; or ")
        raise
    candidates = _paths.answers(values, QUESTION)
    calls = {"tool_calls": path} if (path := _paths.named(values, "tool_calls")) else {}
    lines = [f'tool_calls = "{path}"' for path in calls.values()]
    if not candidates:
        lines.append(f"no text of the answer looks like one{_paths.where(values)}; set text by hand")
        return {"text": "$", **calls}, lines
    (path, _), *others = candidates
    lines.insert(0, f'text = "{path}"{"; if that is not the answer, write another" if others else ""}')
    return {"text": path, **calls}, [
        *lines,
        *(f"  {place}: {' '.join(text.split())[:80]!r}" for place, text in candidates[:8]),
    ]
