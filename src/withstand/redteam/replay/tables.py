"""A replay in sentences and tables, for a terminal and the report."""

from collections.abc import Iterator, Sequence

from withstand.core.text import count, interval, percent, series
from withstand.redteam.replay.figures import ALL, HarmLine, LayerPair, MeasuredRate, ReplayResult, harm_lines, pairs
from withstand.report.comparison import p
from withstand.report.table import Column, Table


def sentences(result: ReplayResult) -> Iterator[str]:
    """What became of the findings, layer by layer, in counts."""
    one_harm = len({row.harm for row in result.rows}) == 1
    for line in harm_lines(result.rows):
        if line.harm == ALL or one_harm:
            yield _sentence(line)


def _sentence(line: HarmLine) -> str:
    asked = line.findings - line.not_asked
    if not asked:
        return f"At {line.layer} no finding could be asked."
    still = count(line.still, "still happens", "still happen")
    rest = [f"{line.once:,} more gave harm at least once"] if line.once else []
    rest += [count(line.undecided, "is undecided", "are undecided")] if line.undecided else []
    rest += [count(line.not_asked, "was not asked", "were not asked")] if line.not_asked else []
    return f"At {line.layer}, of {count(asked, 'finding')} {still}{f'; {series(rest)}' if rest else ''}."


def tables(result: ReplayResult) -> Iterator[Table]:
    """Findings by harm and layer, the layers beside each other, and what could not be asked or judged."""
    names = versions(result)
    counts = ("findings", "still happen", "harm at least once", "no longer", "undecided", "not asked")
    columns = [Column("harm", _harm), Column("layer"), *(Column(name, right=True) for name in counts)]
    columns += [Column("harmful answers", right=True), Column("mean (95%), of these findings alone", right=True)]
    body = [
        [line.harm, names.get(line.layer, line.layer), line.findings, line.still, line.once or "", line.gone,
         line.undecided or "", line.not_asked or "", f"{line.harmful} of {line.samples}" if line.samples else "",
         f"{percent(line.share)} ({interval(line.interval)})" if line.interval else "n/a"]
        for line in harm_lines(result.rows)
    ]  # fmt: skip
    yield Table(columns, body, "Findings sent again")
    if compared := pairs(result.rows):
        yield pair_table(compared, "The same findings at two layers")
    if gaps := [row for row in result.rows if row.why]:
        rows = [[row.finding, row.layer, row.state, row.why] for row in gaps]
        yield Table([*map(Column, ("finding", "layer", "state", "why"))], rows, "Not asked, or not judged")


def versions(result: ReplayResult) -> dict[str, str]:
    """Layer -> its id with its version."""
    return {layer.id: " ".join(filter(None, (layer.id, layer.version))) for layer in result.layers}


def measured_table(rates: Sequence[MeasuredRate], names: dict[str, str]) -> Table:
    """What runs measured at the layers. names: of the layers."""
    columns = [*map(Column, ("measured", "layer", "suite")), Column("n", right=True), Column("rate (95%)", right=True)]
    rows = [[rate.measures, names.get(rate.layer, rate.layer), rate.suite, rate.n, written(rate)] for rate in rates]
    return Table(columns, rows, "Measured on prompts that were not selected")


def written(rate: MeasuredRate) -> str:
    """The rate with its interval."""
    if rate.low is None or rate.high is None:
        return "n/a"
    return f"{percent(rate.rate)} ({interval((rate.low, rate.high))})"


def pair_table(compared: Sequence[LayerPair], title: str) -> Table:
    """Pairs of layers or versions, with the exact test."""
    columns = [
        Column("harm", _harm), Column("from"), Column("to"), Column("pairs", right=True),
        Column("no longer", right=True), Column("newly", right=True), Column("unclear", right=True),
        Column("p (exact McNemar)", p, right=True), Column("p, corrected", p, right=True),
    ]  # fmt: skip
    rows = [[c.harm, c.a, c.b, c.pairs, c.better, c.worse, c.unclear or "", c.p, c.corrected] for c in compared]
    return Table(columns, rows, title)


def _harm(name: str) -> str:
    return name or "all"
