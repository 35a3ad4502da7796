"""What the commands share: groups that know near matches, and the options that most of them take."""

import difflib
from typing import Any

import click

from withstand.core import SpecError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class Commands(click.Group):
    """A group that knows near matches of a command."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            near = difflib.get_close_matches(args[0], self.commands, n=2, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"commands: {', '.join(self.commands)}"
            raise SpecError(f"{ctx.command_path} has no command {args[0]!r}", hint=hint)
        return super().resolve_command(ctx, args)


store_option = click.option(
    "--store", envvar="WITHSTAND_STORE", default="withstand.db", show_default=True, metavar="DB",
    help="A file, or a postgresql:// URL.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
