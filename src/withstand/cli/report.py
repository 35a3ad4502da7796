"""`withstand report`, `withstand cite`: a run as a file."""

import os
import sys
from pathlib import Path
from typing import Literal

import click

from withstand.cli.options import CONTEXT, store_option
from withstand.core import SpecError
from withstand.core.text import file_name, visible


@click.command(context_settings=CONTEXT)
@click.argument("name", metavar="[RUN]", default="")
@store_option
@click.option("--format", "-f", "form", default=None,
              type=click.Choice(["html", "pdf", "json", "csv", "md", "latex", "toml"]),
              help="Default: html, or what the file's name ends in.")  # fmt: skip
@click.option("-o", "--output", metavar="FILE", help="Default: RUN.html; the other formats go to stdout.")
@click.option("--reveal", is_flag=True, help="Show prompts and completions without a click.")
@click.option("--with-text/--without-text", default=None, help="Keep texts in the file; default: html yes, csv no.")
@click.option("--within", type=click.Choice(["asks", "tokens", "seconds", "flops"]), default=None,
              help="Success against budget, as CSV: behaviors broken by the time so much was spent.")  # fmt: skip
@click.option("--methods", is_flag=True, help="A paragraph for a paper: what was measured, with what, how.")
@click.option("--learned", is_flag=True,
              help="What its attacks learned, as JSON: for the field library of autodan_turbo.")  # fmt: skip
def report(
    name: str, store: str, form: str | None, output: str | None, reveal: bool, with_text: bool | None,
    within: Literal["asks", "tokens", "seconds", "flops"] | None, methods: bool, learned: bool,
) -> int:  # fmt: skip
    """Write a report: an HTML or PDF file, the numbers as JSON, the cases as CSV, a Markdown or LaTeX table, or the
    spec as TOML."""
    import json

    from withstand import api
    from withstand.cli import console
    from withstand.report import write
    from withstand.report.methods import methods as describe
    from withstand.report.pdf import pdf as print_

    suffix = Path(output).suffix.removeprefix(".").lower() if output else ""
    if not (form or within or learned or methods) and suffix and suffix not in write.FORMATS:
        raise SpecError(
            f"no report format is called {suffix!r}",
            hint=f"name the file .{', .'.join(write.FORMATS)}, or say --format",
        )
    form = "csv" if within else "json" if learned else "txt" if methods else form or suffix or "html"
    found = api.load(name, store)
    if within:
        curves = found.within(within)
        if not curves and within == "flops":
            console.say(
                "no curve: operations are counted in local models, and each attack of this run either computed nothing "
                "or asked a model that does not say"
            )
        text = write.points(curves)
    elif learned:
        text = json.dumps(found.learned(), indent=1)
    elif methods:
        text = describe(found.summary)
    elif form == "pdf":
        if output == "-":
            raise SpecError("a PDF is not for the terminal", hint="name a file with -o")
        page = write.render(found.store, found.row, "html", reveal, with_text)
        path = Path(output or f"{file_name(found.name)}.pdf")
        write.save(path, print_(page, os.environ.get("CHROMIUM", "")))
        console.say(f"wrote {path}")
        return 0
    else:
        text = write.render(found.store, found.row, "tex" if form == "latex" else form, reveal, with_text)
    if output == "-" or (output is None and form != "html"):
        click.echo(visible(text) if sys.stdout.isatty() else text, nl=not text.endswith("\n"))
        return 0
    path = Path(output or f"{file_name(found.name)}.html")
    write.save(path, text)
    console.say(f"wrote {path}")
    return 0


@click.command(context_settings=CONTEXT)
@click.argument("name", metavar="[RUN]", default="")
@store_option
@click.option("-o", "--output", metavar="FILE", help="Default: stdout.")
def cite(name: str, store: str, output: str | None) -> int:
    """BibTeX of the suites, attacks, defenses and judges of a run. RUN defaults to the last run."""
    from withstand import api
    from withstand.cli import console
    from withstand.core.text import visible
    from withstand.report import write
    from withstand.report.cite import cite as entries

    text = entries(api.load(name, store).summary)
    if output is None or output == "-":
        click.echo(visible(text) if sys.stdout.isatty() else text, nl=False)
        return 0
    write.save(Path(output), text)
    console.say(f"wrote {output}")
    return 0
