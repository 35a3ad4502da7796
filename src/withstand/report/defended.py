"""What the defenses of a run are worth (results/defended.py), as tables for a page, a file and a terminal."""

from collections.abc import Iterator, Sequence

from withstand.core.text import percent, rate
from withstand.report.table import Column, Table
from withstand.results.defended import Broken, DefenseResult
from withstand.stats.gains import LEFT

TITLE = "Defenses: adaptive beside static attacks"
LEAD = (
    "Adaptive: the attack knew the defense, or searched against it. Static: it did not; where it was transferred, its"
    " cases were found on the target without the defense. A behavior counts as broken if any case broke it, in every"
    " column; the number of cases stands beside it where it is not 1. An attacker takes the best of them: read a static"
    " rate only beside an adaptive one. Gains are of the same behaviors with and without the defense, what has no"
    f" verdict counted either way. A gain vanishes where none is shown against adaptive attacks and {percent(LEFT)} of"
    " the static gain, or more, is ruled out."
)


def tables(results: Sequence[DefenseResult]) -> list[Table]:
    """The attacks on each defended target; then what the defenses cost."""
    return [*map(attacks, results)]


def attacks(result: DefenseResult) -> Table:
    """A row for each attack; columns that no row needs are left out."""
    columns = [
        Column("attack"), Column("adaptive ASR", _broken, "95%", right=True),
        Column("static ASR", _broken, "95%", right=True), Column("static cases"),
        Column("without the defense", _broken, "95%", right=True), Column("run without it"),
    ]  # fmt: skip
    rows = [
        [
            row.attack,
            (row.adaptive, "none" if not row.knows else "nothing scored"),
            (row.static, "none"),
            "transferred" if row.transferred else "its own" if row.static else "",
            (row.bare, "not run"),
            row.run,
        ]
        for row in result.attacks
    ]
    return Table(columns, rows, title=f"{result.name} on {result.suite}: {result.word}").shown()


def _broken(share: Broken | None, absent: str) -> str:
    if share is None:
        return absent
    text = f"{share.broken:,} of {share.behaviors:,}, {rate(share.rate, share.interval)}"
    text += f", any of {share.cases:,}" if share.cases > 1 else ""
    return text + (f", {share.open:,} open" if share.open else "")


def sentences(results: Sequence[DefenseResult]) -> Iterator[str]:
    """What each defense is worth, for a terminal."""
    for result in results:
        yield " ".join(result.says)
