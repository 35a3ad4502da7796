"""`withstand monitor`: misuse in logs."""

import click

from withstand.cli.options import CONTEXT, Commands


@click.group(cls=Commands, context_settings=CONTEXT)
def monitor() -> None:
    """Watch a model's traffic for misuse."""
