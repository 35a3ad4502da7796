"""The appendix of a report that says which entries of frameworks were tested, as tables: one for each framework."""

from collections.abc import Iterator, Sequence

from withstand.core.text import count, interval, percent, rate
from withstand.report.table import Column, Table
from withstand.results.tested import Evidence, FrameworkResult

TITLE = "Appendix: what of which framework was tested"
LEAD = (
    "An entry is tested where a behavior of a category that maps to it has a verdict, or where an attack uses it. No"
    " finding is not safety: it is what these cases showed. This is no score and no statement of compliance: the maps"
    " are one reader's, and an entry asks for more than a test."
)


def tables(results: Sequence[FrameworkResult]) -> Iterator[Table]:
    """Of each framework the entries that were tested, by what, and in its note those that were not."""
    for result in results:
        columns = [Column("entry"), Column("of"), Column("tested by"), Column("result")]
        rows: list[list[str] | str] = []
        for item in result.items:
            shown = [row for row in item.evidence if row.tested or row.findings]
            rows += [f"{item.id}: {item.name}"] if shown else []
            rows += [["", row.about, row.by, in_words(row)] for row in shown]
        yield Table(columns, rows, title=f"{result.title} ({result.version})", note=untested(result))


def in_words(row: Evidence) -> str:
    """A result: a rate with its interval, how many findings people made, or that there was none."""
    if row.doubt and not row.findings:
        return f"says nothing: {row.doubt}"
    if row.rate is None:
        return count(row.findings, "finding") if row.findings else "no finding"
    if row.findings:
        return f"ASR {rate(row.rate, row.interval)}, {row.findings:,} of {count(row.tested, 'case')}"
    upper = f" (95% {interval(row.interval)})" if row.interval else ""
    return f"no finding in {count(row.tested, 'case')}{upper or f' ({percent(row.rate)})'}"


def untested(result: FrameworkResult) -> str:
    """As in: Tested: 3 of 10 entries. Not tested: LLM03, LLM04. With what has no verdict, or none that says much.

    An entry whose parent was not tested either is left to it.
    """
    absent = {item.id: item for item in result.items if item.state == "not tested"}
    of = f"Tested: {len(result.items) - len(absent)} of {count(len(result.items), 'entry', 'entries')}"
    texts = [of + ("." if result.complete else " in our table, which holds those that tests can be about.")]
    whole = [name for name in absent if name.rpartition(".")[0] not in absent]
    parts = " (with their parts)" if len(whole) < len(absent) else ""
    if absent:
        texts.append(f"Not tested{parts}: {', '.join(whole)}.")
    if unsettled := [name for name, item in absent.items() if item.evidence]:
        texts.append(f"Of {', '.join(unsettled)} cases were sent, and no verdict on them is certain.")
    return " ".join([*texts, f"Published {result.date}, {result.source}"])
