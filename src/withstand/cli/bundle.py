"""`withstand bundle`: a run to hand over without its texts, and `withstand bundle verify`."""

from typing import Any

import click

from withstand.cli.options import CONTEXT, Commands, json_option, store_option


class _RunOr(Commands):
    """A group whose first word may be a run's name: `bundle RUN` is `bundle make RUN`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["make", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_RunOr, context_settings=CONTEXT, subcommand_metavar="[RUN] | verify PATH")
def bundle() -> None:
    """Make a folder or zip file of a run to share: numbers, hashes and provenance, no texts. Or check one.

    `withstand bundle RUN -o FILE.zip` makes one; RUN defaults to the last run. `withstand bundle verify PATH` checks.
    """


@bundle.command(context_settings=CONTEXT)
@click.argument("name", metavar="[RUN]", default="")
@click.option("-o", "--output", metavar="PATH", help="A folder, or a file that ends in .zip. Default: RUN.zip.")
@store_option
@json_option
def make(name: str, output: str | None, store: str, as_json: bool) -> int:
    """Make a bundle of RUN, by default the last run. `withstand bundle RUN` is short for it."""
    import json

    from withstand import __version__, api
    from withstand.cli import console
    from withstand.core.text import file_name
    from withstand.report import bundle as bundles

    with api.open_store(store, create=False) as opened:
        row = api.load(name, opened).row
        files = bundles.files_of(opened, row, __version__)
    path = output or f"{file_name(row.name)}.zip"
    bundles.write(files, path)
    if as_json:
        click.echo(json.dumps({"path": path, "run": row.name, "sha256": bundles.digest_of(files)}))
        return 0
    console.say(f"wrote {path}")
    console.put(f"{row.name}: SHA-256 of the manifest {bundles.digest_of(files)}")
    return 0


@bundle.command(context_settings=CONTEXT)
@click.argument("path")
@click.option("--store", envvar=None, default=None, metavar="DB", help="Compare every case with this store too.")
@json_option
def verify(path: str, store: str | None, as_json: bool) -> int:
    """Check a bundle's hashes, and compute its figures anew from its cases. Exit code 1 where something is wrong."""
    import json
    from contextlib import ExitStack

    from withstand import api
    from withstand.cli import console
    from withstand.report import bundle as bundles

    files = bundles.read(path)
    with ExitStack() as stack:
        opened = stack.enter_context(api.open_store(store, create=False)) if store else None
        checks = bundles.verify(files, opened)
    good = not any(wrong for _, wrong in checks)
    told: dict[str, Any] = {"path": path, "sha256": bundles.digest_of(files), "good": good}
    if as_json:
        click.echo(json.dumps(told | {"checks": [{"check": name, "wrong": wrong} for name, wrong in checks]}))
        return 0 if good else 1
    for name, wrong in checks:
        console.put(f"{name}: {'good' if not wrong else 'WRONG'}")
        for each in wrong[:20]:
            console.put(f"  {each}")
    console.put(f"SHA-256 of the manifest {told['sha256']}: compare it with what its maker told")
    return 0 if good else 1
