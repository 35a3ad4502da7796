"""`withstand gate`: may this run pass?"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from withstand.cli.options import CONTEXT, json_option, store_option
from withstand.core import SpecError

if TYPE_CHECKING:
    from withstand.results.compare import Pair
    from withstand.results.graded import Graded

SHARE = click.FloatRange(0, 1)


@click.command(context_settings=CONTEXT)
@click.argument("name", metavar="[RUN]", default="")
@click.option("--max-asr", type=SHARE, metavar="R", help="Highest attack success rate of any cell, 0 to 1.")
@click.option("--max-over-refusal", type=SHARE, metavar="R", help="Highest over-refusal of any benign cell.")
@click.option("--max-errors", type=SHARE, metavar="R", help="Highest share of cases without a row.")
@click.option("--max-worse", type=SHARE, metavar="D", help="Most that a cell's ASR may be above the baseline's.")
@click.option("--baseline", metavar="FILE|RUN", help="A file that --write-baseline wrote, or a run in the store.")
@click.option("--write-baseline", "write_to", metavar="FILE", help="Freeze outcomes and test cases of RUN, by hash.")
@click.option("--undecided", type=click.Choice(["pass", "fail"]), default=None,
              help="What an undecided cell counts as; default: exit code 3.")  # fmt: skip
@click.option("--allow", multiple=True, type=click.Choice(["judge", "suite", "sampling", "template"]),
              help="Compare with the baseline although this differs; repeats.")  # fmt: skip
@click.option("--junit", metavar="FILE", help="Write JUnit XML, a test case per gated cell.")
@click.option("--sarif", metavar="FILE", help="Write SARIF 2.1.0.")
@click.option("--markdown", metavar="FILE", help='Write a table, e.g. to "$GITHUB_STEP_SUMMARY".')
@store_option
@json_option
def gate(
    name: str, max_asr: float | None, max_over_refusal: float | None, max_errors: float | None,
    max_worse: float | None, baseline: str | None, write_to: str | None, undecided: Literal["pass", "fail"] | None,
    allow: tuple[str, ...], junit: str | None, sarif: str | None, markdown: str | None, store: str, as_json: bool,
) -> int:  # fmt: skip
    """Pass or fail a run by its limits. RUN defaults to the last run.

    PASS: the 95% interval lies within the limit, every unscored and missing case counted against the target. FAIL: it
    lies above. Else UNDECIDED, with the number of behaviors that would decide it.

    Exit codes: 0 pass, 1 fail, 3 undecided or too many errors, 2 wrong usage.
    """
    import json

    from withstand import __version__, api
    from withstand.cli import console
    from withstand.report import gate, write
    from withstand.results import gate as gates
    from withstand.results.counts import iso
    from withstand.results.graded import graded

    limits = gates.Limits(max_asr, max_worse, max_over_refusal, max_errors)
    _check(limits, baseline, write_to, (junit, sarif, markdown), as_json)
    with api.open_store(store, create=False) as opened:
        row = api.load(name, opened).row
        cells = graded(opened, row)
        gates.check_pinned(cells)
        pairs: list[Pair] = []
        lost: list[Graded] = []
        notes: list[str] = []
        label = ""
        if baseline:
            before = gates.side_of(opened, baseline)
            pairs, lost, notes = gates.paired_with(before, cells, allow)
            notes += gates.same_cases(opened, pairs)
            label = before.label
        lines = gates.lines(cells, limits, pairs, lost)
        frozen = gates.baseline_of(opened, row, iso(row.created)) if write_to else ""
    code = gates.exit_code(lines, undecided) if limits != gates.Limits() else 0
    listed = [line.json() for line in lines]
    found = {
        "schema": 1, "run": row.name, "baseline": label, "verdict": gate.verdict(listed, code), "exit_code": code,
        "lines": listed, "notes": notes,
    }  # fmt: skip
    files = {}
    if junit:
        files[junit] = gate.junit(row.name, listed, undecided)
    if sarif:
        files[sarif] = gate.sarif(__version__, listed, "withstand.toml")
    if markdown:
        files[markdown] = gate.markdown(found)
    if write_to:
        files[write_to] = frozen
    for path, text in files.items():
        write.save(Path(path), text)
        console.say(f"wrote {path}")
    if as_json:
        click.echo(json.dumps(found))
    elif lines:
        _print(found)
    return code


def _check(
    limits: Any, baseline: str | None, write_to: str | None, files: tuple[str | None, ...], as_json: bool
) -> None:
    gating = any(getattr(limits, each) is not None for each in ("asr", "worse", "over_refusal", "errors"))
    if not gating and (not write_to or baseline or as_json or any(files)):
        raise SpecError(
            "no limit is given: nothing to gate", hint="--max-asr, --max-worse, --max-over-refusal or --max-errors"
        )
    if limits.worse is not None and not baseline:
        raise SpecError(
            "--max-worse, but no baseline",
            hint="--baseline RUN, or FILE from `withstand gate RUN --write-baseline FILE`",
        )


def _print(found: dict[str, Any]) -> None:
    from withstand.cli import console
    from withstand.report import gate

    columns = ["", "gate", "cell", "n", "rate", "95%", "limit"]
    rows = [[line["verdict"], line["gate"], line["cell"], *gate.numbers(line)] for line in found["lines"]]
    console.out.print(console.fields_table(rows, columns))
    for line in found["lines"]:
        if line["why"]:
            console.put(f"{line['gate']} of {line['cell']}: {line['why']}")
        if line["p"] is not None:
            console.put(f"{line['cell']}: {gate.changed(line)}")
            for direction, what in (("worse", "newly broken"), ("better", "newly mended")):
                if line[direction]:
                    console.put(f"  {what}: {gate.listed(line[direction])}")
    for note in found["notes"]:
        console.say(f"note: {note}")
    console.put(f"{found['run']}: {found['verdict']}")
