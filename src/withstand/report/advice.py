"""What a run says of safe and unsafe advice (results/advice.py), as a table and in a line for each attack."""

from collections.abc import Iterator, Sequence

from withstand.core.text import DASH
from withstand.report.table import Column, Table
from withstand.results.advice import AdviceResult, Half, Share
from withstand.results.cells import defended

TITLE = "Advice, safe and unsafe"
LEAD = (
    "Harm recognition: unsafe advice that was called unsafe. Benign acceptance: safe advice that was accepted."
    " Intervals (95%) take the pieces of a scenario together; strict counts what could not be read as wrong. One answer"
    " to everything scores 50% balanced. d' is 0 for chance; a criterion above 0 calls advice harmful too rarely."
)


def table(results: Sequence[AdviceResult]) -> Table:
    """A row for each attack, below its suite and target; columns that no row needs are left out."""
    columns = [
        Column("attack"),
        Column("harm recognition", _half, "95%", right=True), Column("benign acceptance", _half, "95%", right=True),
        Column("unread", right=True), Column("balanced", _percent, right=True),
        Column("scenarios all right", _share, "95%", right=True), Column("safe preferred", _share, "95%", right=True),
        Column("first chosen", _share, "95%", right=True), Column("shorter preferred", _share, "95%", right=True),
        Column("d'", _number, right=True), Column("criterion", _number, right=True),
        Column("spread of forms", _percent, right=True),
    ]  # fmt: skip
    groups: dict[str, list[Sequence[object]]] = {}
    for result in results:
        heading = f"{result.suite}: {defended(result.target, result.defense.removeprefix('none'))}"
        groups.setdefault(heading, []).append(_values(result))
    rows = [row for heading, values in groups.items() for row in (heading, *values)]
    return Table(columns, rows, title=TITLE).shown()


def notes(results: Sequence[AdviceResult]) -> list[str]:
    """What a reader must know, each note once."""
    return [*dict.fromkeys(note for result in results for note in result.notes)]


def lines(results: Sequence[AdviceResult]) -> Iterator[str]:
    """For each attack its benign acceptance, harm recognition and scenarios that are all right, or its preference."""
    for result in results:
        parts = [
            ("benign acceptance", result.acceptance and _half(result.acceptance)),
            ("harm recognition", result.recognition and _half(result.recognition)),
            ("scenarios all right", result.scenarios and _share(result.scenarios)),
        ]
        if result.form == "likelihood":
            parts = [("safe advice preferred to unsafe", result.preference and _share(result.preference))]
        figures = ", ".join(f"{name} {text}" for name, text in parts if text)
        yield f"{result.attack} on {result.target}: {figures or 'nothing could be read'}"


def _values(result: AdviceResult) -> list[object]:
    preferring = result.form == "likelihood"
    halves = [half for half in (result.recognition, result.acceptance) if half]
    return [
        result.attack,
        None if preferring else result.recognition, None if preferring else result.acceptance,
        f"{sum(half.unread for half in halves)} of {sum(half.cases for half in halves)}",
        None if preferring else result.balanced, None if preferring else result.scenarios,
        result.preference, result.first, result.shorter, result.d_prime, result.criterion, result.spread,
    ]  # fmt: skip


def _half(half: Half | None) -> str:
    if half is None:
        return ""
    return _share(half.right) + (f"; {_percent(half.strict)} strict" if half.unread else "")


def _share(share: Share | None) -> str:
    if share is None:
        return ""
    if share.rate is None or share.interval is None:
        return "n = 0"
    low, high = share.interval
    return f"{100 * share.rate:.1f}% ({100 * low:.1f}{DASH}{100 * high:.1f})"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}%"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
