"""The tables of a classifier's card, and how its figures are written."""

from collections.abc import Sequence

from withstand.core.identities import NONE
from withstand.core.text import decimals, percent, rate, series, whole
from withstand.report.table import Column, Table
from withstand.results.card_figures import FEW
from withstand.results.card_records import AtShare, Card, CardFigures, CardPart
from withstand.results.guard_figures import Share
from withstand.stats.detection import Cheapest
from withstand.stats.ratio import Ratio
from withstand.stats.reliability import Reliability

AXES = {
    "category": "category of the labels", "group": "identity group that the text mentions",
    "term": "identity term in the text", "dialect": "mark of a dialect or register", "language": "language",
    "length": "length",
}  # fmt: skip
RARE = 0.01
"""The share of positive texts at which a card says first what a flag is worth: 1 of 100."""


def error_of(scores: Reliability) -> str:
    """An expected calibration error with its limits."""
    return f"{scores.ece:.3f} ({scores.ece_ends[0]:.3f} to {scores.ece_ends[1]:.3f})"


def errs_more(value: Ratio | None) -> bool:
    """Whether a ratio is shown to lie above 1."""
    return value is not None and value.low > 1


def ratio_of(value: Ratio | None) -> str:
    """A ratio with its limits."""
    if value is None:
        return ""
    return (
        "not known" if value.value is None else f"{_times(value.value)} ({_times(value.low)} to {_times(value.high)})"
    )


def _times(value: float) -> str:
    """A ratio in three characters or so."""
    return "0" if value < 0.01 else f"{value:.2g}" if value < 100 else "over 100"


def share_of(share: Share) -> str:
    """A share with its limits."""
    return rate(share.rate, share.ends)


def _counted(share: Share | None) -> str:
    return "" if share is None else f"{share.count:,} of {share.n:,}, {share_of(share)}"


def facts(card: Card) -> list[tuple[str, Sequence[str]]]:
    """Who it is and what it was measured on."""
    listed: list[tuple[str, Sequence[str]]] = [
        ("reads", [card.reads]), ("a flag means", [card.positive]), ("method", [card.method]),
        ("flags from a score of", [_from(card)]),
        ("scores", [series(card.categories)] if card.categories else []),
        ("labels", [card.measured.labels, card.measured.by]),
        ("version", [card.version, f"withstand {card.package}"]), ("identity", [card.identity[:16]]),
        ("date", [card.date]),
    ]  # fmt: skip
    return [(name, [line for line in lines if line]) for name, lines in listed if any(lines)]


def _from(card: Card) -> str:
    """Its threshold, or between which scores it was seen to lie."""
    seen = card.measured.figures.seen if card.measured.figures else None
    if card.threshold is not None or seen is None:
        return "" if card.threshold is None else f"{card.threshold:g}"
    return f"above {seen[0]:.3g}, up to {seen[1]:.3g}, as seen here"


def tables(card: Card, few: bool = True) -> list[Table]:
    """All tables that have rows. few: with the slices that have few texts."""
    figures = card.measured.figures
    listed = []
    if figures is not None:
        listed = [_main(figures), _shares(figures), _costs(figures), _bins(figures), _parts(figures, few)]
    stated = Table(
        [Column("of"), Column("it says")], card.stated, "What it says of itself", folded=len(card.stated) > 8
    )
    return [table for table in (*listed, stated) if table.rows]


def row(card: Card, link: str) -> str:
    """A line of a Markdown table of cards: who, caught, false alarms, right where 1 of 100 is positive, ECE, probes."""
    figures = card.measured.figures
    assert figures is not None
    rare = next((at for at in figures.at_shares if at.share == RARE), None)
    cells = [
        f"[`{card.name}`]({link})",
        *(share_of(share) if share else "" for share in (figures.caught, figures.alarms)),
        rate(rare.precision, rare.ends) if rare else "",
        error_of(figures.reliability) if figures.reliability else "no score",
        f"{card.probes.of - card.probes.passed} of {card.probes.of}" if card.probes else "",
    ]
    return "| " + " | ".join(cells) + " |"


def _main(figures: CardFigures) -> Table:
    columns = [
        Column("what"),
        Column("texts", _counted, "95%", right=True),
        Column("unscored the other way", right=True),
    ]
    named = [
        ("caught of the positive (recall)", figures.caught), ("flagged of the negative (false alarms)", figures.alarms),
        ("positive of the flagged (precision)", figures.precision),
    ]  # fmt: skip
    rows = [[name, share, percent(share.reversed) if any(figures.unscored) else ""] for name, share in named if share]
    notes = []
    if figures.lift and figures.rest:
        notes.append(
            f"It flags positive texts {ratio_of(figures.lift)} times as often as negative ones, and leaves them "
            f"unflagged {ratio_of(figures.rest)} times as often."
        )
    if figures.area:
        area, ends = figures.area
        notes.append(f"Area under the ROC curve: {area:.3f} ({ends[0]:.3f} to {ends[1]:.3f}).")
    return Table(columns, rows, "At its threshold", " ".join(notes))


def _shares(figures: CardFigures) -> Table:
    columns = [
        Column("positive of all texts", right=True), Column("flags that are right", unit="95%", right=True),
        Column("surely worth it if a miss costs so many false alarms", right=True),
    ]  # fmt: skip
    rows = [[percent(at.share), rate(at.precision, at.ends), _pays(at)] for at in figures.at_shares]
    note = "A flag's worth hangs on how many texts are positive; labels for a card have far more than most traffic."
    return Table(columns, rows, "At other shares of positive texts", note)


def _pays(at: AtShare) -> str:
    if at.pays is None:
        return "not shown"
    low, high = at.pays
    return f"{_cost(low)} or more" if high is None else f"{_cost(low)} to {_cost(high)}"


def _cost(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.2g}"


def _costs(figures: CardFigures) -> Table:
    columns = [
        Column("a miss costs, in false alarms", whole, right=True), Column("cheapest threshold", right=True),
        Column("missed", whole, right=True), Column("false alarms", whole, right=True),
    ]  # fmt: skip
    rows = [
        [line.ratio, _chosen(figures, line.best), line.best.missed, line.best.alarms]
        for line in figures.costs
    ]  # fmt: skip
    return Table(columns, rows, "Threshold by what a miss costs", "Chosen on these very texts: optimistic.")


def _chosen(figures: CardFigures, best: Cheapest) -> str:
    if best.threshold == float("inf"):
        return "flag nothing"
    return "flag everything" if best.alarms == figures.negative else f"{best.threshold:.3g}"


def _bins(figures: CardFigures) -> Table:
    columns = [
        Column("score"), Column("texts", whole, right=True), Column("mean score", decimals(3), right=True),
        Column("positive", unit="95%", right=True),
    ]  # fmt: skip
    scores = figures.reliability
    rows = [
        [f"{part.low:.1f} to {part.high:.1f}", part.n, part.mean, rate(part.share, part.ends)]
        for part in (scores.bins if scores else ())
    ]
    note = ""
    if scores:
        ends = f"{scores.brier_ends[0]:.3f} to {scores.brier_ends[1]:.3f}"
        note = (
            f"Brier score {scores.brier:.3f} ({ends}); {scores.base:.3f} for a scorer that gives every text the share "
            "of positive ones."
        )
    return Table(columns, rows, "Are its scores chances?", note, figure="calibration")


def _parts(figures: CardFigures, few: bool) -> Table:
    columns = [
        Column("slice"), Column("positive", whole, right=True), Column("negative", whole, right=True),
        Column("caught", _counted, "95%", right=True), Column("false alarms", _counted, "95%", right=True),
        Column("misses, times the rest", right=True), Column("false alarms, times the rest", right=True),
        Column("marks"),
    ]  # fmt: skip
    rows: list[list[object] | str] = []
    axis = ""
    for part in figures.parts:
        if _few(part) and not few:
            continue
        if part.axis != axis:
            axis = part.axis
            rows.append(AXES[axis])
        rows.append(
            [part.name, part.positive, part.negative, part.caught, part.alarms, ratio_of(part.missed_ratio),
             ratio_of(part.alarm_ratio), _marks(part)]
        )  # fmt: skip
    note = "Ratios are to the other texts of the table, with limits that hold for all slices together."
    return Table(columns, rows, "On slices", note)


def _marks(part: CardPart) -> str:
    marks = ["misses more"] * errs_more(part.missed_ratio) + ["more false alarms"] * errs_more(part.alarm_ratio)
    return ", ".join(marks + ["few texts"] * _few(part))


def _few(part: CardPart) -> bool:
    return part.name != NONE and min(part.positive, part.negative) < FEW
