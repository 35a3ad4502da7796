"""`withstand bundle`: a run to hand over without its texts, and `withstand bundle verify`."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import CONTEXT, Commands, Result, command, run_argument
from withstand.core import Json, to_json
from withstand.core.text import file_name

if TYPE_CHECKING:
    from withstand.store.store import Store


class _RunOr(Commands):
    """A group whose first word may be a run's name: `bundle RUN` is `bundle make RUN`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["make", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_RunOr, context_settings=CONTEXT, subcommand_metavar="[RUN] | verify PATH")
def bundle() -> None:
    """Make or check a bundle: a run to share without its texts.

    A bundle is a folder or a zip file with numbers, hashes and provenance. `withstand bundle RUN -o FILE.zip` makes
    one; RUN defaults to the last run. `withstand bundle verify PATH` checks one.
    """


@command(group=bundle, store=True, json=True)
@run_argument
@click.option("-o", "--output", metavar="PATH", help="A folder, or a file that ends in .zip (default: RUN.zip).")
@click.option("--sign", metavar="KEY", envvar="WITHSTAND_SIGN",
              help="Sign with this SSH key, a file (default: $WITHSTAND_SIGN, else unsigned).")  # fmt: skip
def make(name: str, output: str | None, sign: str | None, store: "Store") -> Result:
    """Make a bundle of RUN, by default the last run. `withstand bundle RUN` is short for it."""
    from withstand import __version__
    from withstand.report import bundle as bundles
    from withstand.report import signature
    from withstand.results.summary import find_run
    from withstand.runner.foreign import MANIFEST

    row = find_run(store, name)
    files = bundles.files_of(store, row, __version__)
    if sign:
        files[bundles.SIGNATURE] = signature.sign(files[MANIFEST], sign)
    path = output or f"{file_name(row.name)}.zip"
    bundles.write(files, path)
    value = {"path": path, "run": row.name, "sha256": bundles.digest_of(files), "signed": bool(sign)}

    def show() -> None:
        console.say(f"wrote {path}, {'signed' if sign else 'unsigned'}")
        console.put(f"{row.name}: SHA-256 of the manifest {value['sha256']}")

    return Result(value, show)


@command(group=bundle, json=True)
@click.argument("path")
@click.option("--store", envvar=None, default=None, metavar="DB", help="Also compare every case with this store.")
@click.option("--signers", metavar="FILE", help="Who may have signed it: allowed signers, as ssh-keygen(1) reads them.")
def verify(path: str, store: str | None, signers: str | None) -> Result:
    """Check a bundle's hashes and signature, and recompute its figures from its cases.

    Exit code 1 where a check fails, and with --signers where none of them signed it.
    """
    from withstand import api
    from withstand.report import bundle as bundles
    from withstand.report import signature
    from withstand.runner.foreign import MANIFEST

    files = bundles.read(path)
    signed = signature.check(files[MANIFEST], files.get(bundles.SIGNATURE), signers or "")
    with ExitStack() as stack:
        opened = stack.enter_context(api.open_store(store, create=False)) if store else None
        checks = [{"check": name, "wrong": wrong} for name, wrong in bundles.verify(files, opened)]
    refused = signed.state == "bad" or (bool(signers) and signed.state != "good")
    good = not refused and not any(check["wrong"] for check in checks)
    value = {
        "path": path, "sha256": bundles.digest_of(files), "good": good, "checks": checks, "signature": to_json(signed),
    }  # fmt: skip
    return Result(value, lambda: _show_checks(value), 0 if good else 1)


def _show_checks(value: Json) -> None:
    for check in value["checks"]:
        console.put(f"{check['check']}: {'WRONG' if check['wrong'] else 'good'}")
        for text in check["wrong"][:20]:
            console.put(f"  {text}")
    console.put(f"signature: {_signature(**value['signature'])}")
    console.put(f"SHA-256 of the manifest {value['sha256']}: compare it with the one that its maker published")


def _signature(state: str, signer: str = "", key: str = "", why: str = "") -> str:
    if state == "unsigned":
        return "unsigned: whoever changed the bundle may have made it anew"
    if state == "bad":
        return f"WRONG: {why}"
    return f"good, of {signer} ({key})" if signer else f"good, by {key}: compare it with the key of its maker"
