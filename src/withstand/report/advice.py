"""What a run says of safe and unsafe advice (results/advice.py), as a table and in a line for each attack."""

from collections.abc import Iterator, Sequence

from withstand.core.text import DASH, count, interval, percent
from withstand.report.table import Column, Table
from withstand.results.advice_records import READ, USABLE, AdviceResult, Endings, Half, Share, Turned
from withstand.results.cells import CellResult, defended

TITLE = "Advice, safe and unsafe"
LEAD = (
    "Harm recognition: unsafe advice that was called unsafe. Benign acceptance: safe advice that was accepted."
    " Intervals (95%) take the pieces of a scenario together; strict counts what could not be read as wrong. One answer"
    " to everything scores 50% balanced. d' is 0 for chance; a criterion above 0 calls advice harmful too rarely."
)


def alone(cells: Sequence[CellResult], results: Sequence[AdviceResult]) -> bool:
    """Whether every harmful cell asks about advice, so that nothing was attacked."""
    harmful = {cell.index for cell in cells if not cell.benign}
    return bool(harmful) and harmful <= {index for result in results for index in result.cells}


def table(results: Sequence[AdviceResult]) -> Table:
    """A row for each attack, below its suite and target; columns that no row needs are left out."""
    columns = [
        Column("attack"),
        Column("harm recognition", _half, "95%", right=True), Column("benign acceptance", _half, "95%", right=True),
        Column("unread", right=True), Column("balanced", _percent, right=True),
        Column("scenarios all right", _share, "95%", right=True), Column("safe preferred", _share, "95%", right=True),
        Column("first chosen", _share, "95%", right=True), Column("shorter preferred", _share, "95%", right=True),
        Column("d'", _number, right=True), Column("criterion", _number, right=True),
        Column("AUROC", _share, "95%", right=True), Column("says yes", _percent, right=True),
        Column("net harm", _turned, "95%", right=True),
        Column("safe turned down", _share, "95%", right=True), Column("turned back", _share, "95%", right=True),
        Column("unsafe of its own advice", _endings, "95%", right=True),
        Column("of all endings", _share, "95%", right=True), Column("scenarios with one", _any_of, "95%", right=True),
        Column("refused", right=True), Column("no advice", right=True),
        Column("judge: unsafe called so", _share, "95%", right=True),
        Column("safe called so", _share, "95%", right=True),
        Column("judge's AUROC", _share, "95%", right=True),
        Column("spread of forms", _percent, right=True),
    ]  # fmt: skip
    groups: dict[str, list[Sequence[object]]] = {}
    for result in results:
        heading = f"{result.suite}: {defended(result.target, result.defense.removeprefix('none'))}"
        groups.setdefault(heading, []).append(_values(result))
    rows = [row for heading, values in groups.items() for row in (heading, *values)]
    return Table(columns, rows, title=TITLE).shown()


def domains(results: Sequence[AdviceResult]) -> Table:
    """A row for each domain, below its attack and target."""
    columns = [
        Column("domain"), Column("harm recognition", _share, "95%", right=True),
        Column("benign acceptance", _share, "95%", right=True),
        Column("scenarios all right", _share, "95%", right=True),
    ]  # fmt: skip
    rows: list[Sequence[object] | str] = []
    for result in results:
        if result.by_domain:
            rows.append(f"{result.attack} on {result.target}")
            rows += [(part.name, part.recognition, part.acceptance, part.scenarios) for part in result.by_domain]
    return Table(columns, rows, title="By domain").shown()


def notes(results: Sequence[AdviceResult]) -> list[str]:
    """What a reader must know, each note once."""
    return [*dict.fromkeys(note for result in results for note in result.notes)]


def lines(results: Sequence[AdviceResult]) -> Iterator[str]:
    """For each attack its benign acceptance, harm recognition and scenarios that are all right, or its own figures."""
    for result in results:
        figures = ", ".join(f"{name} {text}" for name, text in _parts(result) if text)
        yield f"{result.attack} on {result.target}: {figures or 'nothing could be read'}"


def _parts(result: AdviceResult) -> list[tuple[str, str]]:
    if result.form == "likelihood":
        return [("safe advice preferred to unsafe", _share(result.preference))]
    if result.endings and not result.endings.finding:
        return [("similarity is no finding: its AUROC on written advice is unknown or below", str(USABLE))]
    if result.endings:
        any_of = f"scenarios with unsafe advice in any of {count(result.endings.k, 'draw')}"
        parts = [("unsafe of its own advice", _endings(result.endings)), (any_of, _any_of(result.endings))]
        return parts if result.endings.k > 1 else parts[:1]
    if result.written:
        written = result.written
        halves = [("unsafe", written.sensitivity), ("safe", written.specificity)]
        named = [(f"{name} written advice called so", _share(share)) for name, share in halves if share.n]
        return [*named, ("AUROC", _share(written.auroc))]
    return [
        ("benign acceptance", _half(result.acceptance)), ("harm recognition", _half(result.recognition)),
        ("scenarios all right", _share(result.scenarios)), ("AUROC", _share(result.auroc)),
        ("net harm (unsafe advice called so at first, and then not)", _turned(result.turned)),
    ]  # fmt: skip


def headline(results: Sequence[AdviceResult], target: str) -> Iterator[str]:
    """What a run says of a target in sentences: the scenarios that are all right in the form that it knew least, then
    both halves there, and what else was asked."""
    whole = [result for result in results if result.scenarios is not None and result.scenarios.rate is not None]
    if whole:
        least = min(whole, key=lambda result: (result.scenarios.rate, result.attack) if result.scenarios else (1, ""))
        assert least.scenarios is not None
        of, right = least.scenarios, round((least.scenarios.rate or 0) * least.scenarios.n)
        forms = f", the least of {count(len(whole), 'way')} to ask" if len(whole) > 1 else ""
        yield (
            f"{target} called every piece of advice what it is in {right:,} of {count(of.n, 'scenario')}"
            f" ({percent(of.rate)}, 95% interval {interval(of.interval)}), asked by {least.attack}{forms}."
        )
        halves = [("recognized", "unsafe", least.recognition), ("accepted", "safe", least.acceptance)]
        texts = [f"{did} {_share(half.right)} of the {what} advice" for did, what, half in halves if half]
        unread, cases = _unread(least)
        lost = f"; {unread:,} of {count(cases, 'answer')} could not be read" if unread else ""
        yield f"There it {' and '.join(texts)}{lost}."
    rest = [result for result in results if result not in whole]
    yield from (f"{text[:1].upper()}{text[1:]}." for text in lines(rest))


def _values(result: AdviceResult) -> list[object]:
    asked = result.form in (*READ, "choice")
    endings, written, turned = result.endings, result.written, result.turned
    unread, cases = _unread(result)
    return [
        result.attack,
        result.recognition if asked else None, result.acceptance if asked else None,
        "" if written else f"{unread} of {cases}",
        result.balanced if asked else None, result.scenarios if asked else None,
        result.preference, result.first, result.shorter, result.d_prime, result.criterion,
        result.auroc, result.says_yes,
        turned, turned and turned.safe_harm, turned and turned.back,
        endings, endings and endings.of_all if endings and endings.finding else None, endings,
        endings and endings.refused, endings and endings.no_advice,
        written and written.sensitivity, written and written.specificity, written and written.auroc,
        result.spread,
    ]  # fmt: skip


def _unread(result: AdviceResult) -> tuple[int, int]:
    """How many cases could not be read, and all."""
    parts = [part for part in (result.recognition, result.acceptance, result.endings) if part]
    return sum(part.unread for part in parts), sum(part.cases for part in parts)


def _turned(turned: Turned | None) -> str:
    if turned is None:
        return ""
    return _share(turned.harm) + (f"; {_percent(turned.strict)} strict" if turned.lost else "")


def _endings(endings: Endings | None) -> str:
    if endings is None:
        return ""
    if not endings.finding:
        return "no finding"
    corrected = f"; {_percent(endings.corrected)} without the judge's errors" if endings.corrected is not None else ""
    return _share(endings.unsafe) + corrected


def _any_of(endings: Endings | None) -> str:
    return _share(endings.any_of) if endings and endings.finding else ""


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
