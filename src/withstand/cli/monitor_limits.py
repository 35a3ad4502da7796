"""`withstand monitor limits`."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from withstand.cli import console
from withstand.cli.options import Result, command, options
from withstand.core.text import clock, count, percent, short

if TYPE_CHECKING:
    from withstand.monitor.limits.simulate import Candidate, Cut, Simulation

KINDS = ("fixed", "sliding", "bucket")
GRID = ("2/min", "5/min", "10/min", "20/min", "60/min", "5/day", "10/day", "20/day", "50/day", "100/day", "200/day",
        "500/day", "1000/day")  # fmt: skip
TOKEN_GRID = ("2000/min", "10000/min", "50000/min", "10000/day", "50000/day", "200000/day", "1000000/day")
OPTIONS = options(
    click.option("--limit", "limits", multiple=True, metavar="N/UNIT",
                 help="A limit to try, such as 20/day, or 100/min+1000/day for two at once; several times for a table. "
                 "By default a grid."),
    click.option("--per", type=click.Choice(["account", "key", "app", "end_user"]), default="account",
                 show_default=True, help="Whom the limit is for."),
    click.option("--tokens", is_flag=True, help="Limit tokens instead of requests."),
    click.option("--window", "windows", type=click.Choice(KINDS), multiple=True,
                 help="How it is enforced: windows aligned to UTC, the time before each request, or a token bucket. By "
                 "default all for --limit, and sliding for the grid."),
    click.option("--category", default="", metavar="C", help="Category that counts as violating; by default any."),
    click.option("--price", nargs=2, type=click.FloatRange(min=0), default=None, metavar="IN OUT",
                 help="Prices of a million tokens of prompts and of answers, for the money that is cut."),
)  # fmt: skip


@command(json=True)
@click.argument("folder", metavar="[DIR]", default="monitor")
@OPTIONS
def limits(
    folder: str, limits: tuple[str, ...], per: str, tokens: bool, windows: tuple[str, ...], category: str,
    price: tuple[float, float] | None,
) -> Result:  # fmt: skip
    """Say what a limit would have stopped in the traffic that DIR holds: of violating requests, and of the others.

    Two ends are shown. If stopped requests never come again, all that is listed is gone; if they queue, only what still
    waits at the end. Marked rows are those that no other beats in both violating and benign requests.
    """
    from dataclasses import asdict

    from withstand.monitor.limits.simulate import simulate
    from withstand.monitor.traffic import Traffic

    tried = _candidates(
        limits or (TOKEN_GRID if tokens else GRID), windows or (KINDS if limits else ("sliding",)), tokens
    )
    with Traffic(folder, read_only=True) as traffic:
        result = simulate(traffic, tried, per, category, price)  # type: ignore[arg-type]
    return Result({"schema": 1, **asdict(result)}, lambda: _show(result))


def _candidates(texts: Sequence[str], kinds: Sequence[str], tokens: bool) -> "list[Candidate]":
    from withstand.monitor.limits.limit import Limit
    from withstand.monitor.limits.simulate import Candidate

    return [Candidate(text, Limit.read(text), kind, tokens) for text in texts for kind in kinds]  # type: ignore[arg-type]


def _show(result: "Simulation") -> None:
    columns = ["", "limit", "window", "requests", "violating", "benign", "accounts: violating", "others",
               "heavy users", "tokens", "waiting", "delay"]  # fmt: skip
    first = result.cuts[0]
    if first.money:
        columns.append("money")
    console.table([_row(cut) for cut in result.cuts], columns, "What would have been cut, in shares")
    unit = "tokens" if first.candidate.tokens else "requests"
    console.put(
        f"Of {count(int(first.requests.total), 'request')}: {short(first.violating.total)} violating, "
        f"{short(first.benign.total)} benign. Limits are on {unit} per {result.per}. Violating: {result.counted}."
    )
    console.put(
        "Shares cut hold if stopped requests never come again. If they queue, all are answered after all but those "
        "still waiting at the end; delay is the mean of the others that had to wait. Who is stopped may also change "
        "accounts, which no log of the past shows."
    )
    console.put("Heavy users: the 5% of accounts that ask most, of them those flagged no more often than all.")
    for line in _left_out(result):
        console.put(line)


def _left_out(result: "Simulation") -> Iterator[str]:
    if result.uncovered:
        yield f"{count(result.uncovered, 'exchange')} without {result.per}: no limit touches them."
    if unscreened := result.cuts[0].unscreened.total:
        yield f"{count(int(unscreened), 'exchange')} that no screener saw: neither violating nor benign."
    if result.outside:
        yield f"{count(result.outside, 'exchange')} with a wrong clock: left out."
    if result.guessed:
        yield f"{count(result.guessed, 'exchange')} without a count of tokens: a quarter of the characters is taken."


def _row(cut: "Cut") -> list[str]:
    shares = (
        cut.requests, cut.violating, cut.benign, cut.violating_accounts, cut.benign_accounts, cut.heavy, cut.tokens,
        cut.waiting,
    )  # fmt: skip
    row = [
        "*" if cut.on_front else "",
        cut.candidate.text,
        cut.candidate.kind,
        *(percent(part.share) for part in shares),
    ]
    row.append(clock(cut.delay) if cut.delay else "")
    return [*row, f"{cut.money.cut:,.2f} of {cut.money.total:,.2f}"] if cut.money else row
