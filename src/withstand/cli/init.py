"""`withstand init`."""

import shlex
from pathlib import Path

import click

from withstand.cli.options import command
from withstand.core import SpecError

HEAD = """\
# An application as target. `withstand show target http` explains the fields. `withstand target check FILE` tests them,
# and lists the paths of the texts in the answer if `text` is not the right one.
"""


@command()
@click.option("-o", "--output", default="withstand.toml", show_default=True, metavar="FILE", help="File to write.")
@click.option("--curl", metavar="'curl ...'", help="A curl call of your application, from which the target is written.")
def init(output: str, curl: str | None) -> None:
    """Write a commented spec to start from.

    With --curl, the spec's target is your application.
    """
    path = Path(output)
    template = Path(__file__).parent / "withstand.toml"
    text, steps = _from_curl(curl) if curl else (template.read_text(encoding="utf-8"), [])
    try:
        if path.exists():
            raise SpecError(f"{output} exists", hint="name another file with -o, or remove it")
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write {output}: {error.strerror}", hint="name another file with -o") from error
    click.echo(f"wrote {output}; try `withstand run {shlex.quote(output)} --dry-run`", err=True)
    for line in steps:
        click.echo(line, err=True)


def _from_curl(call: str) -> tuple[str, list[str]]:
    """A spec for the application that a call of curl asks, and what to do before it runs."""
    from withstand.cli import curl
    from withstand.models import _wire
    from withstand.registry import find
    from withstand.registry.grammar import to_toml

    fields = curl.fields(call)
    find.build("target", fields)  # raises now what does not fit
    variables = _wire.variables(str(fields.get("url")), str(fields.get("body")), *fields.get("headers", ()))
    target = to_toml({**fields, "text": "$", "revision": ""})
    text = f'{HEAD}suite = "kitchen"\nattack = ["direct", "role_play"]\nlimit = 20\n\n[target]\n{target}'
    return text, [f"export {name}=...  # before the run: secrets stay out of the file" for name in variables]
