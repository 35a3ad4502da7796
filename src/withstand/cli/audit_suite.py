"""`withstand audit suite`: are these suites fit for their purpose?"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.grouping import read_grouping
from withstand.cli.options import Result, command
from withstand.core import SpecError

if TYPE_CHECKING:
    from withstand.audits.suite.audit import Audited
    from withstand.audits.suite.logs import Reader
    from withstand.audits.suite.records import Logs

ROWS = 50_000
"""Exchanges of a monitor that are read at once."""
CODES = {"FAIL": 1, "UNDECIDED": 3, "WARN": 0, "PASS": 0}


@command(json=True)
@click.argument("suites", nargs=-1, required=True, metavar="SUITE...")
@click.option("--policy", "policy_file", default="", metavar="FILE",
              help="Policy whose categories must be covered (default: the starter).")  # fmt: skip
@click.option("--category", "categories", multiple=True, metavar="ID",
              help="Category of the policy that the suites are meant for; repeats (default: all).")  # fmt: skip
@click.option("--logs", multiple=True, metavar="LOG",
              help="Log of the service, or the folder of a monitor; repeats.")  # fmt: skip
@click.option("--form", default="auto", metavar="F", help="Form of the logs; told from their first lines by default.")
@click.option("--column", "columns", multiple=True, metavar="FIELD=COLUMN",
              help="Where a field is in a log of no form; repeats.")  # fmt: skip
@click.option("--out", "-o", default="suite-audit", show_default=True, metavar="DIR", help="Folder of the audit.")
def suite(
    suites: tuple[str, ...], policy_file: str, categories: tuple[str, ...], logs: tuple[str, ...], form: str,
    columns: tuple[str, ...], out: str,
) -> Result:  # fmt: skip
    """Check whether SUITEs, taken as one, are fit for their purpose.

    Seven faults, E1 to E7: too narrow, too broad, without use and context, not generative, unlike real prompts, without
    constraints, without what the log flags; then copies, and items in two splits. No model is asked, and no prompt is
    in the report. What is not known passes nothing. Exit code: 1 where a check fails, 3 where one is not known, 0 else.
    """
    from withstand.audits.suite import audit, page
    from withstand.redteam.policy import records
    from withstand.registry.grammar import parse
    from withstand.results.cells import plain

    starter = Path(records.__file__).with_name("starter.toml")
    grouping = read_grouping(policy_file or str(starter))
    assert grouping is not None
    read = _logs(logs, form, columns, policy_file or str(starter)) if logs else None
    audited = audit.audit([parse(text) for text in suites], grouping, read, categories)
    folder = Path(out)
    page.write(audited, folder)
    return Result(plain(audited), lambda: _show(audited, folder), CODES[audited.verdict])


def _logs(names: tuple[str, ...], form: str, columns: tuple[str, ...], policy_file: str) -> "Logs":
    from withstand.audits.suite.logs import Reader, read
    from withstand.monitor.intake.columns import FLAGS, categories_by_name, plain_name
    from withstand.monitor.run import pairs_of
    from withstand.redteam.policy.records import read_policy

    by_name = categories_by_name(read_policy(policy_file))

    def category_of(label: str) -> str | None:
        return by_name.get(plain_name(label))

    folders = [name for name in names if Path(name).is_dir()]
    if folders and len(names) > 1:
        raise SpecError(f"{folders[0]} is the folder of a monitor, which holds its logs", hint="name it alone")
    if folders:
        return _of_monitor(folders[0], Reader(category_of, FLAGS))
    return read(names, form, pairs_of(columns), category_of, FLAGS)


def _of_monitor(folder: str, reader: "Reader") -> "Logs":
    """The exchanges of a monitor with what its screeners, or the log's own labels, flagged."""
    from withstand.monitor.traffic import PERSON_STAGE, Traffic

    with Traffic(folder, read_only=True) as traffic:
        [(last,)] = traffic.rows("SELECT coalesce(max(seq), 0) FROM exchange")
        for start in range(0, last, ROWS):
            flags: dict[int, dict[str, float]] = {}
            span = [start, start + ROWS]
            for seq, category, flagged in traffic.rows(
                "SELECT seq, category, bool_or(flagged) FROM label WHERE seq > ? AND seq <= ? "
                f"AND (stage <> {PERSON_STAGE} OR flagged) GROUP BY ALL",  # people look at few exchanges
                span,
            ):
                flags.setdefault(seq, {})[category] = float(bool(flagged))
            for seq, account, prompt in traffic.rows(
                "SELECT seq, coalesce(account, ''), coalesce(prompt, '') FROM exchange WHERE seq > ? AND seq <= ?", span
            ):
                reader.add(prompt, account, str(seq), flags.get(seq, {}))
    return reader.logs([folder])


def _show(audited: "Audited", folder: Path) -> None:
    from withstand.audits.suite import page

    table = page.summary(audited)
    rows = [[finding.id, finding.fault, finding.state, finding.answer] for finding in audited.findings]
    console.table(rows, table.heads()[:4])
    for finding in audited.findings:
        if finding.todo:
            console.put(f"{finding.id}: {finding.todo}")
    console.put(f"{audited.verdict}: {audited.headline}")
    console.say(f"open {folder / 'suite.html'}; suite.md and suite.json hold the same")
