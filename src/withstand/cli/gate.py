"""`withstand gate`: may this run pass?"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import click

from withstand.cli import console
from withstand.cli.grouping import read_grouping
from withstand.cli.options import Result, command, options, run_argument
from withstand.core import SpecError
from withstand.stats.statistic import Statistic

if TYPE_CHECKING:
    from withstand.core.taxonomy import Grouping
    from withstand.results.decide import Decided
    from withstand.results.limits import Limits
    from withstand.store.store import Store

SHARE = click.FloatRange(0, 1)
LIMITS = options(
    click.option("--max-asr", type=SHARE, metavar="R", help="Highest attack success rate, 0 to 1; see --statistic."),
    click.option("--max-over-refusal", type=SHARE, metavar="R", help="Highest over-refusal of any benign cell."),
    click.option("--max-errors", type=SHARE, metavar="R", help="Highest share of cases without a row."),
    click.option("--max-broken", type=click.IntRange(min=0), metavar="N",
                 help="Most behaviors that any draw broke: a count of these behaviors, such as mended findings."),
    click.option("--max-worse", type=SHARE, metavar="D", help="Most that a cell's ASR may be above the baseline's."),
    click.option("--min-held", type=SHARE, metavar="R",
                 help="With --statistic all_of_k: lowest share of behaviors that hold in all of k draws."),
    click.option("--statistic", type=click.Choice(get_args(Statistic)), default=None,
                 help="What --max-asr is about: behaviors broken by any attack (the default), the mean over draws of "
                 "each attack, or behaviors broken by any of k draws of an attack."),
    click.option("--k", type=click.IntRange(min=1), default=None, metavar="K",
                 help="Draws per behavior, for at_k and all_of_k (default: all)."),
    click.option("--pooled", is_flag=True, default=None,
                 help="With --statistic mean: decide each cell by one model of all cells."),
    click.option("--history", metavar="PREFIX",
                 help="RUN is one of many builds, all runs whose names begin so: decide over all of them."),
    click.option("--max-asr-of", multiple=True, metavar="CATEGORY=R",
                 help="Highest rate of a category of --policy, over all suites; repeats."),
    click.option("--by", type=click.Choice(["policy"]), default=None,
                 help="Hold --max-asr and --max-worse for each category of --policy too."),
    click.option("--policy", metavar="FILE", help="The policy (default: that of [gate.policy] in the run's spec)."),
    click.option("--allow-static", is_flag=True, default=None,
                 help="Let a defended target pass though no attack of the run knew its defense."),
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


@command(store=True, json=True)
@run_argument
@LIMITS
@BASELINE
@FILES
def gate(
    name: str, baseline: str | None, write_to: str | None, undecided: Literal["pass", "fail"] | None,
    allow: tuple[str, ...], junit: str | None, sarif: str | None, markdown: str | None, store: "Store",
    as_json: bool, history: str | None, policy: str | None, **given: Any,
) -> Result:  # fmt: skip
    """Pass or fail a run by its limits.

    RUN defaults to the last run, and limits to the table [gate] of its spec. PASS: the 95% interval lies within the
    limit, every unscored and missing case counted against the target. FAIL: it lies above. Otherwise UNDECIDED, with
    the number of behaviors that would decide it.

    Exit codes: 0 pass, 1 fail, 3 undecided or too many errors, 2 wrong usage.
    """
    from withstand import __version__
    from withstand.report import gate as page
    from withstand.report import write
    from withstand.results import decide, summary
    from withstand.results import gate as gates
    from withstand.results.cells import plain
    from withstand.results.limits import limits_of

    row = summary.find_run(store, name)
    table = row.plan.get("gate", {})
    limits, baseline = limits_of(table, given), baseline or table.get("baseline")
    undecided = undecided or table.get("undecided")
    limits.check(baseline, bool(write_to), bool(as_json or junit or sarif or markdown))
    grouping = _policy(limits, policy or (table.get("policy") or {}).get("file"), history, bool(policy))
    decided = decide.decide(store, row, limits, baseline, allow, bool(write_to), history or "", grouping)
    code = gates.exit_code(decided.lines, undecided) if not limits.empty else 0
    overall = page.verdict(decided.lines, code)
    value = {
        "schema": 1, "run": row.name, "baseline": decided.baseline, "verdict": overall, "exit_code": code,
        "lines": plain(decided.lines), "notes": list(decided.notes), "names": decided.names,
        "policy": grouping.label if grouping else "",
    }  # fmt: skip
    files = {write_to: decided.frozen} if write_to else {}
    if junit:
        files[junit] = page.junit(decided, undecided)
    if sarif:
        files[sarif] = page.sarif(__version__, decided, "withstand.toml", undecided)
    if markdown:
        files[markdown] = page.markdown(decided, overall)
    for path, text in files.items():
        write.save(Path(path), text)
        console.say(f"wrote {path}")
    return Result(value, lambda: _show(decided.shown(), overall), code)


def _policy(limits: "Limits", path: str | None, history: str | None, named: bool) -> "Grouping | None":
    """The policy of limits of categories, None where there are none. Raises `SpecError` where they do not fit."""
    if not (limits.categories or limits.every):
        if named:
            raise SpecError("--policy, but no limit of its categories", hint="--by policy, or --max-asr-of CATEGORY=R")
        return None
    if history:
        raise SpecError("--history decides over whole cells", hint="gate the categories without it")
    if not path:
        raise SpecError("limits of categories, but no policy", hint="--policy policy.toml")
    return read_grouping(path)


def _show(gated: "Decided", overall: str) -> None:
    from withstand.report import gate as page

    if not gated.lines:
        return
    table = page.table(gated.lines)
    console.table(table.texts(), table.heads())
    for line in gated.lines:
        for text in filter(None, (page.by_attack(line), line.why)):
            console.put(f"{page.head(line)}: {text}")
        if line.p is not None:
            console.put(f"{line.cell}: {page.changed(line)}")
            for text in page.moved(line, page.MOST):
                console.put(f"  {text}")
    for note in gated.notes:
        console.say(f"note: {note}")
    console.put(f"{gated.run}: {overall}")
