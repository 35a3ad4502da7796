"""`withstand gate`: may this run pass?"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from withstand.cli import console
from withstand.cli.options import Result, command, options, run_argument

if TYPE_CHECKING:
    from withstand.results.decide import Decided
    from withstand.results.gate import Limits
    from withstand.store.store import Store

SHARE = click.FloatRange(0, 1)
LIMITS = options(
    click.option("--max-asr", type=SHARE, metavar="R", help="Highest attack success rate of any cell, 0 to 1."),
    click.option("--max-over-refusal", type=SHARE, metavar="R", help="Highest over-refusal of any benign cell."),
    click.option("--max-errors", type=SHARE, metavar="R", help="Highest share of cases without a row."),
    click.option("--max-worse", type=SHARE, metavar="D", help="Most that a cell's ASR may be above the baseline's."),
    click.option("--undecided", type=click.Choice(["pass", "fail"]), default=None,
                 help="Count an undecided cell as this (default: exit code 3)."),
)  # fmt: skip
BASELINE = options(
    click.option("--baseline", metavar="FILE|RUN", help="A file that --write-baseline wrote, or a run in the store."),
    click.option("--write-baseline", "write_to", metavar="FILE",
                 help="Freeze the outcomes and test cases of RUN, by hash."),
    click.option("--allow", multiple=True, type=click.Choice(["judge", "suite", "sampling", "template"]),
                 help="Compare with the baseline although this differs; repeats."),
)  # fmt: skip
FILES = options(
    click.option("--junit", metavar="FILE", help="Write JUnit XML with a test case per gated cell."),
    click.option("--sarif", metavar="FILE", help="Write SARIF 2.1.0."),
    click.option("--markdown", metavar="FILE", help='Write a table, such as to "$GITHUB_STEP_SUMMARY".'),
)  # fmt: skip


def _check(given: Mapping[str, Any]) -> None:
    from withstand.results.decide import check_limits

    reports = given["as_json"] or given["junit"] or given["sarif"] or given["markdown"]
    check_limits(_limits(given), given["baseline"], bool(given["write_to"]), bool(reports))


def _limits(given: Mapping[str, Any]) -> "Limits":
    from withstand.results.gate import Limits

    return Limits(given["max_asr"], given["max_worse"], given["max_over_refusal"], given["max_errors"])


@command(store=True, json=True, check=_check)
@run_argument
@LIMITS
@BASELINE
@FILES
def gate(
    name: str, baseline: str | None, write_to: str | None, undecided: Literal["pass", "fail"] | None,
    allow: tuple[str, ...], junit: str | None, sarif: str | None, markdown: str | None, store: "Store", **given: Any,
) -> Result:  # fmt: skip
    """Pass or fail a run by its limits.

    RUN defaults to the last run. PASS: the 95% interval lies within the limit, every unscored and missing case counted
    against the target. FAIL: it lies above. Otherwise UNDECIDED, with the number of behaviors that would decide it.

    Exit codes: 0 pass, 1 fail, 3 undecided or too many errors, 2 wrong usage.
    """
    from withstand import __version__
    from withstand.report import gate as page
    from withstand.report import write
    from withstand.results import decide, summary
    from withstand.results import gate as gates
    from withstand.results.cells import plain

    limits = _limits(given)
    row = summary.find_run(store, name)
    decided = decide.decide(store, row, limits, baseline, allow, freeze=bool(write_to))
    code = gates.exit_code(decided.lines, undecided) if limits != gates.Limits() else 0
    overall = page.verdict(decided.lines, code)
    value = {
        "schema": 1, "run": row.name, "baseline": decided.baseline, "verdict": overall, "exit_code": code,
        "lines": plain(decided.lines), "notes": list(decided.notes), "names": decided.names,
    }  # fmt: skip
    files = {write_to: decided.frozen} if write_to else {}
    if junit:
        files[junit] = page.junit(row.name, decided.lines, undecided)
    if sarif:
        files[sarif] = page.sarif(__version__, decided.lines, "withstand.toml")
    if markdown:
        files[markdown] = page.markdown(decided, overall)
    for path, text in files.items():
        write.save(Path(path), text)
        console.say(f"wrote {path}")
    return Result(value, lambda: _show(decided.shown(), overall), code)


def _show(gated: "Decided", overall: str) -> None:
    from withstand.report import gate as page

    if not gated.lines:
        return
    table = page.table(gated.lines)
    console.table(table.texts(), table.heads())
    for line in gated.lines:
        if line.why:
            console.put(f"{line.gate} of {line.cell}: {line.why}")
        if line.p is not None:
            console.put(f"{line.cell}: {page.changed(line)}")
            for text in page.moved(line, page.MOST):
                console.put(f"  {text}")
    for note in gated.notes:
        console.say(f"note: {note}")
    console.put(f"{gated.run}: {overall}")
