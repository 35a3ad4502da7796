"""`withstand target`."""

import click

from withstand.cli import console
from withstand.cli.options import CONTEXT, Commands, Result, command
from withstand.core import Json


@click.group(cls=Commands, context_settings=CONTEXT)
def target() -> None:
    """Check targets."""


@command(group=target, json=True)
@click.argument("spec", metavar="TARGET|SPEC.toml")
def check(spec: str, as_json: bool) -> Result:
    """Send a target three harmless prompts and show what works.

    Of a spec file, the first target is checked. Exit code 3 where it does not answer at all.
    """
    from withstand.runner.target_check import check_target, target_of

    model = target_of(spec)
    if model.hosts and not as_json:
        console.say(f"Sending prompts to {', '.join(model.hosts)}")
    rows = [row.json() for row in check_target(model)]
    return Result({"target": spec, "checks": rows}, lambda: _show(rows), 0 if rows[0]["works"] == "yes" else 3)


def _show(rows: list[Json]) -> None:
    console.table([[row["what"], row["works"], row["note"]] for row in rows], ["what", "works", ""])
