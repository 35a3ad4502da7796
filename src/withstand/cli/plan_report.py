"""`withstand plan report`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand import __version__
from withstand.cli import console
from withstand.cli.options import Result, command, options, store_option
from withstand.core import SpecError
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.redteam.plan.records import Plan
    from withstand.redteam.tables import Problem
    from withstand.store.store import Store

FORMS = ("md", "html", "json", "sarif")
WHAT = options(
    click.option("--round", "round_id", metavar="R", help="Report one round (default: all)."),
    click.option("--level", type=click.Choice(["limited", "moderate", "full"]), default="moderate",
                 show_default=True, help="Detail: limited is for outside readers (no ids, targets, members), "
                 "moderate has redacted examples, full has all findings, people and targets."),
    click.option("--reveal", is_flag=True, help="With --level full: texts that are not restricted; needs --by."),
    click.option("--by", metavar="NAME", help="Your name: the audit records who revealed texts."),
    click.option("-o", "--output", metavar="FILE", help="File to write: .md, .html, .json, or .sarif with the findings "
                 "alone (default: Markdown on stdout)."),
    click.option("--with-errors", is_flag=True, help="Write the report although its linter finds errors."),
    click.option("--lint", "lint_file", metavar="FILE", help="Check a report that somebody wrote or edited; with PLAN "
                 "also for words of restricted attempts."),
)  # fmt: skip


def _check(given: Mapping[str, Any]) -> None:
    if not given["path"] and not given["lint_file"]:
        raise SpecError("name a plan", hint="withstand plan report PLAN, or --lint FILE")
    if given["reveal"] and (given["level"] != "full" or not given["by"]):
        raise SpecError(
            "--reveal puts texts into the report", hint="it needs --level full and --by NAME, for the audit"
        )
    suffix = _suffix(given["output"])
    if suffix not in FORMS:
        raise SpecError(f"no report ends in .{suffix}", hint=f"name the file .{', .'.join(FORMS)}")


def _suffix(output: str | None) -> str:
    return Path(output).suffix.removeprefix(".").lower() if output else "md"


@command(json=True, check=_check)
@click.argument("path", metavar="[PLAN]", required=False)
@WHAT
@store_option
def report(path: str | None, **given: Any) -> Result | int:
    """Write the report of a red team, or check one.

    Its twelve sections say what was tested, what was found and what is open, and no rate: a rate of what people found
    by hand is an error of the linter, which checks every report before it is written. Exit code 1 for such errors.
    """
    from withstand import api
    from withstand.redteam.plan.records import read_plan

    if given["lint_file"]:
        return _lint(given["lint_file"], path, given["store"])
    plan = read_plan(str(path))
    with api.open_store(given["store"], create=False) as store:
        if _suffix(given["output"]) == "sarif":
            return _sarif(store, plan, given["output"])
        return _report(store, plan, given)


def _report(store: "Store", plan: "Plan", given: Mapping[str, Any]) -> Result | int:
    from withstand.core.save import save
    from withstand.redteam.report.document import as_json
    from withstand.redteam.report.page import checked
    from withstand.redteam.report.page import report as report_of
    from withstand.store.attempts import attempts

    level, output, reveal = given["level"], given["output"], given["reveal"]
    recorded = attempts(store, plan.id)
    document = report_of(plan, store, given["round_id"], level, reveal, recorded=recorded)
    text, problems = checked(document, _suffix(output), recorded)
    _show(problems)
    if problems and not given["with_errors"]:
        console.error(
            f"the report has {count(len(problems), 'error')} and was not written",
            "mend the words in the plan or the findings, or say --with-errors",
        )
        return 1
    if reveal:
        about = f"report of plan {plan.id}, {given['round_id'] or 'all rounds'}, with texts"
        store.add_audit(given["by"], "reveal", about)
    if output:
        save(Path(output), text)
        console.say(f"wrote {output} ({level})")

    def show() -> None:
        if not output:
            click.echo(text, nl=False)

    return Result(as_json(document), show, 1 if problems else 0)


def _sarif(store: "Store", plan: "Plan", output: str) -> Result:
    from withstand.core.save import save
    from withstand.redteam.findings.sarif import sarif
    from withstand.store.attempts import attempts

    artifact = os.path.relpath(plan.path).replace(os.sep, "/")
    text = sarif(__version__, plan, attempts(store, plan.id), artifact)
    save(Path(output), text)
    return Result({"file": output}, lambda: console.say(f"wrote {output}: the open findings, without texts"))


def _lint(file: str, path: str | None, where: str) -> Result:
    from withstand import api
    from withstand.cli.flags import exists
    from withstand.core.bounded import read_text
    from withstand.redteam.plan.records import read_plan
    from withstand.redteam.report.lint import lint
    from withstand.store.attempts import Attempt, attempts

    hidden: list[Attempt] = []
    if path:
        if not exists(where):
            raise SpecError(f"there is no store {where}", hint="name it with --store, or leave PLAN out")
        with api.open_store(where, create=False) as store:
            recorded = attempts(store, read_plan(path).id)
            hidden = [attempt for attempt in recorded if attempt.sensitivity != "normal"]
    try:
        text = read_text(file)
    except OSError as error:
        raise SpecError(f"cannot read {file}: {error.strerror}", hint="name a report that is there") from error
    problems = lint(text, _suffix(file), hidden)
    value = {
        "file": file,
        "errors": [{"rule": p.rule, "place": p.place, "message": p.message, "hint": p.hint} for p in problems],
    }

    def show() -> None:
        _show(problems)
        console.put(f"{file}: {count(len(problems), 'error')}")

    return Result(value, show, 1 if problems else 0)


def _show(problems: "Sequence[Problem]") -> None:
    for problem in problems:
        console.error(f"{problem.place}: {problem.message}", problem.hint)
