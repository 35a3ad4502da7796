"""`withstand report`: a run as a file."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from withstand.cli import console
from withstand.cli.grouping import check_policy, policy_option, read_grouping
from withstand.cli.options import command, options, run_argument
from withstand.core import SpecError
from withstand.core.text import file_name, visible

if TYPE_CHECKING:
    from withstand.api import Run
    from withstand.core.taxonomy import Grouping
    from withstand.results.taxonomy import By
    from withstand.store.store import Store

Within = Literal["asks", "tokens", "seconds", "flops"]

FORM = options(
    click.option("--format", "-f", "form", default=None,
                 type=click.Choice(["html", "pdf", "json", "csv", "md", "latex", "toml"]),
                 help="Format (default: what the file's name ends in, else html)."),
    click.option("-o", "--output", metavar="FILE",
                 help="File to write (default: RUN.html; other formats go to stdout)."),
    click.option("--reveal", is_flag=True, help="Show prompts and completions without a click."),
    click.option("--with-text/--without-text", default=None,
                 help="Keep the texts in the file (default: yes in html, no in csv)."),
    click.option("--by", type=click.Choice(["category", "mlcommons", "owasp", "policy"]), default=None,
                 help="Add rates by category, hazard of MLCommons, OWASP id or category of --policy, over all suites, "
                 "in html, json and md."),
    policy_option,
)  # fmt: skip
OTHER = options(
    click.option("--within", type=click.Choice(["asks", "tokens", "seconds", "flops"]), default=None,
                 help="Write success against budget as CSV: behaviors broken by the time so much was spent."),
    click.option("--methods", is_flag=True,
                 help="Write a paragraph for a paper: what was measured, with what, and how."),
    click.option("--learned", is_flag=True,
                 help="Write what the attacks learned as JSON, for the field library of autodan_turbo."),
)  # fmt: skip


def _suffix(output: str | None) -> str:
    return Path(output).suffix.removeprefix(".").lower() if output else ""


def _check(given: Mapping[str, Any]) -> None:
    from withstand.report import write

    suffix = _suffix(given["output"])
    form = {"latex": "tex", None: suffix or "html"}.get(given["form"], given["form"])
    check_policy(given["by"], given["policy"])
    if given["by"] and (form not in write.GROUPED or any(given[name] for name in ("within", "learned", "methods"))):
        raise SpecError("--by adds to the reports html, pdf, json and md", hint="name one of them with --format")
    if not any(given[name] for name in ("form", "within", "learned", "methods")) and suffix not in ("", *write.FORMATS):
        raise SpecError(
            f"no report format is called {suffix!r}",
            hint=f"name the file .{', .'.join(write.FORMATS)}, or say --format",
        )


@command(store=True, check=_check)
@run_argument
@FORM
@OTHER
def report(
    name: str, store: "Store", form: str | None, output: str | None, reveal: bool, with_text: bool | None,
    by: "By | None", policy: str | None, within: Within | None, methods: bool, learned: bool,
) -> None:  # fmt: skip
    """Write a report as HTML, PDF, JSON, CSV, Markdown or LaTeX.

    An HTML or PDF file for people, the numbers as JSON, the cases as CSV, a Markdown or LaTeX table, or the spec as
    TOML. RUN defaults to the last run.
    """
    from withstand import api
    from withstand.report import write

    grouping = read_grouping(policy)
    run = api.load(name, store)
    form = form or _suffix(output) or "html"
    if within or learned or methods:
        _write(_special(run, within, learned), output)
    elif form == "pdf":
        _write_pdf(run, output, reveal, with_text, by, grouping)
    else:
        text = write.render(store, run.row, "tex" if form == "latex" else form, reveal, with_text, by, grouping)
        default = f"{file_name(run.name)}.html" if form == "html" else None
        _write(text, output or default)


def _special(run: "Run", within: Within | None, learned: bool) -> str:
    import json

    from withstand.report import words, write
    from withstand.report.methods import methods

    if within:
        curves = run.within(within)
        if not curves and within == "flops":
            console.say(
                "No curve: operations are counted in local models, and each attack of this run either computed nothing "
                "or asked a model that does not count them."
            )
        for index in dict.fromkeys(point["cell"] for point in curves):
            own = [point for point in curves if point["cell"] == index]
            if text := words.forecast(own):
                console.say(f"{own[0]['attack']} on {own[0]['target']}: {text}")
        return write.points(curves)
    return json.dumps(run.learned(), indent=1) if learned else methods(run.result)


def _write_pdf(
    run: "Run", output: str | None, reveal: bool, with_text: bool | None, by: "By | None",
    policy: "Grouping | None",
) -> None:  # fmt: skip
    from withstand.report import write
    from withstand.report.pdf import pdf

    if output == "-":
        raise SpecError("a PDF is not for the terminal", hint="name a file with -o")
    page = write.render(run.store, run.row, "html", reveal, with_text, by, policy)
    path = Path(output or f"{file_name(run.name)}.pdf")
    write.save(path, pdf(page, os.environ.get("CHROMIUM", "")))
    console.say(f"wrote {path}")


def _write(text: str, output: str | None) -> None:
    from withstand.report import write

    if output is None or output == "-":
        click.echo(visible(text) if sys.stdout.isatty() else text, nl=not text.endswith("\n"))
        return
    write.save(Path(output), text)
    console.say(f"wrote {output}")
