"""A classifier's card in words: a page, Markdown and JSON."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from withstand.core import SpecError
from withstand.core.save import save
from withstand.core.text import count, decimals, percent, rate, series, whole
from withstand.report.card_plot import diagram
from withstand.report.shell import HERE, render
from withstand.report.table import Column, Table
from withstand.report.table import markdown as escaped
from withstand.results.card_figures import FEW, NONE
from withstand.results.card_records import AtShare, Card, CardFigures, CardPart
from withstand.results.guard_figures import Share
from withstand.stats.detection import Cheapest
from withstand.stats.ratio import Ratio
from withstand.stats.reliability import Reliability

ENDINGS = (".html", ".md", ".json")
AXES = {
    "category": "category of the labels", "group": "identity group that the text mentions",
    "term": "identity term in the text", "dialect": "mark of a dialect or register", "language": "language",
    "length": "length",
}  # fmt: skip
RARE = 0.01
"""The share of positive texts at which a card says first what a flag is worth: 1 of 100."""
HOW = (
    "Shares have Wilson's limits, in clusters of texts that stand or fall together the outer ones of these and of "
    "Clopper and Pearson's on the effective number of texts. A text without an answer is missed where it is positive "
    "and a false alarm where it is negative. ECE: ten bins of equal width; its limits hold by the triangle inequality. "
    "Ratios of slices: Koopman's and exact limits at a level at which all of the card hold together. At another share "
    "of positive texts: Bayes' theorem, on the rates of this card. A cost is that of one missed positive text in false "
    "alarms; the cheapest threshold was chosen on these very texts, and looks better than it is."
)


def write(card: Card, path: Path) -> None:
    """Write a card as its ending says. Raises `SpecError` for another ending."""
    forms = dict(zip(ENDINGS, (html, markdown, _json), strict=True))
    check_ending(path)
    save(path, forms[path.suffix](card))


def check_ending(path: Path) -> None:
    """Raise `SpecError` for a file that is no page, Markdown or JSON."""
    if path.suffix not in ENDINGS:
        raise SpecError(f"{path}: a card cannot be written so", hint=f"name a file that ends in {series(ENDINGS)}")


def _json(card: Card) -> str:
    return json.dumps(card.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


# --- sentences ---------------------------------------------------------------------------------------------------


def headline(card: Card) -> str:
    """Whose card it is."""
    return f"Card of the {card.kind} {card.name}"


def sentences(card: Card) -> Iterator[str]:
    """What is to be said of a classifier, the answer first."""
    figures = card.measured.figures
    if figures is None:
        measured = card.measured
        yield f"Nothing is measured on {measured.labels}: {measured.why}. To measure it: `{measured.command}`."
    else:
        yield from _of_figures(card, figures)
    if card.probes and card.probes.failed:
        failed = card.probes.of - card.probes.passed
        yield f"It failed {failed} of {card.probes.of} probes of what often fools judges: {series(card.probes.failed)}."
    elif card.probes:
        yield f"It passed all {card.probes.of} probes of what often fools judges."
    if not card.stated:
        yield "What it was made from is not stated, beyond what its documentation says."


def _of_figures(card: Card, figures: CardFigures) -> Iterator[str]:
    parts = []
    if figures.caught:
        parts.append(f"catches {_rate(figures.caught)} of {count(figures.positive, 'positive text')}")
    if figures.alarms:
        parts.append(f"flags {_rate(figures.alarms)} of {count(figures.negative, 'negative one')}")
    if figures.precision:
        parts.append(f"is right in {_rate(figures.precision)} of its flags here")
    yield f"{card.name} {series(parts)}."
    if open_ := sum(figures.unscored):
        yield (
            f"It could not say of {count(open_, 'text')} ({figures.unscored[0]:,} positive): these count as missed and "
            "as false alarms."
        )
    if not figures.caught or not figures.alarms:
        lacking = "negative" if figures.caught else "positive"
        yield f"The labels have no {lacking} text: half of its errors are not measured."
    elif figures.caught.rate <= figures.alarms.rate:
        yield "It is worth nothing on these texts: to flag nothing, or everything, costs as little."
    elif figures.lift is None or figures.lift.low <= 1:
        yield "It is not shown to flag positive texts more often than negative ones."
    here = figures.positive / (figures.positive + figures.negative)
    if rare := next((at for at in figures.at_shares if at.share == RARE and at.precision is not None), None):
        yield (
            f"Here {percent(here)} of the texts are positive. Where 1 of 100 is, {rate(rare.precision, rare.ends)} of "
            "its flags would be right."
        )
    yield _calibration(figures)
    if figures.follows is False:
        yield f"Its flags are not those of its threshold of {card.threshold:g} on its scores."
    yield from _slices(figures)


def _calibration(figures: CardFigures) -> str:
    scores = figures.reliability
    if scores is None:
        return f"Whether its scores are chances is not measured: {figures.no_reliability}."
    error = f"expected calibration error {_error(scores)}, of which a perfect scorer would show {scores.chance:.3f}"
    if sum(figures.unscored):
        error += f", on the {scores.n:,} texts that it could say of"
    gap = f"{100 * abs(scores.gap):.1f} points ({_gap(scores)})"
    if scores.gap_ends[1] < 0:
        return f"Its scores understate: they lie {gap} below the share of positive texts; {error}."
    if scores.gap_ends[0] > 0:
        return f"Its scores overstate: they lie {gap} above the share of positive texts; {error}."
    if scores.ece_ends[0] > scores.chance:
        return f"Its scores are no chances, though right on average: {error}."
    return f"Its scores are not shown to be off, nor shown to be chances: {error}."


def _gap(scores: Reliability) -> str:
    return f"{100 * scores.gap_ends[0]:+.1f} to {100 * scores.gap_ends[1]:+.1f}"


def _error(scores: Reliability) -> str:
    return f"{scores.ece:.3f} ({scores.ece_ends[0]:.3f} to {scores.ece_ends[1]:.3f})"


def _slices(figures: CardFigures) -> Iterator[str]:
    """The slices on which it errs more, or less, than elsewhere; or that none is shown to, which is no proof."""
    parts = [part for part in figures.parts if part.name != NONE]
    shown = [
        f"it {what} {_ratio(value)} times as often on {part.name} ({part.axis})"
        for part in parts
        for what, value in (("misses", part.missed_ratio), ("gives false alarms", part.alarm_ratio))
        if _more(value)
    ]
    if shown:
        yield f"It errs more on some texts than on the others: {series(shown)}."
    elif parts:
        slices = count(len(parts), "slice")
        yield f"On none of {slices} is it shown to err more than on the other texts: no proof that it does not."


def _more(value: Ratio | None) -> bool:
    return value is not None and value.low > 1


def _ratio(value: Ratio | None) -> str:
    if value is None:
        return ""
    return (
        "not known" if value.value is None else f"{_times(value.value)} ({_times(value.low)} to {_times(value.high)})"
    )


def _times(value: float) -> str:
    """A ratio in three characters or so."""
    return "0" if value < 0.01 else f"{value:.2g}" if value < 100 else "over 100"


def keep_in_mind(card: Card) -> list[str]:
    """What a reader must know."""
    lines = list(card.measured.notes)
    if card.measured.figures is not None:
        lines += [
            f"Figures are of {card.measured.labels}, labeled {card.measured.by}, and of no other texts, models or "
            "languages: measure on labels of your own, `--labels FILE`.",
            "Slices are by lists of words: they miss texts, and take some for others. Few texts show little.",
        ]
    if card.kind == "defense":
        lines.append("Attacks that do not know the defense flatter it: put it before a target, and attack that.")
    if card.kind == "screener":
        lines.append("People see redacted texts, and the screener may have seen other ones.")
    return lines


def not_measured(card: Card) -> list[str]:
    """What nothing is known of, and the command that measures it."""
    lines = []
    if card.measured.figures is None:
        lines.append(f"How well it does: {card.measured.why}. `{card.measured.command}`")
    else:
        lines += [f"{gap[0].upper()}{gap[1:]}." for gap in card.measured.figures.gaps]
        if card.measured.figures.reliability is None:
            lines.append(f"Calibration: {card.measured.figures.no_reliability}.")
    if card.probe_command:
        lines.append(f"What often fools judges: `{card.probe_command}`")
    return lines


# --- tables ------------------------------------------------------------------------------------------------------


def _rate(share: Share) -> str:
    return rate(share.rate, share.ends)


def _counted(share: Share | None) -> str:
    return "" if share is None else f"{share.count:,} of {share.n:,}, {_rate(share)}"


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
        *(_rate(share) if share else "" for share in (figures.caught, figures.alarms)),
        rate(rare.precision, rare.ends) if rare else "",
        _error(figures.reliability) if figures.reliability else "no score",
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
    note = ""
    if figures.area:
        area, ends = figures.area
        note = f"Area under the ROC curve: {area:.3f} ({ends[0]:.3f} to {ends[1]:.3f})."
    return Table(columns, rows, "At its threshold", note)


def _shares(figures: CardFigures) -> Table:
    columns = [
        Column("positive of all texts", right=True), Column("flags that are right", unit="95%", right=True),
        Column("worth it if a miss costs so many false alarms", right=True),
    ]  # fmt: skip
    rows = [[percent(at.share), rate(at.precision, at.ends), _pays(at)] for at in figures.at_shares]
    note = "A flag's worth hangs on how many texts are positive; labels for a card have far more than most traffic."
    return Table(columns, rows, "At other shares of positive texts", note)


def _pays(at: AtShare) -> str:
    if at.pays is None:
        return "never"
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
            [part.name, part.positive, part.negative, part.caught, part.alarms, _ratio(part.missed_ratio),
             _ratio(part.alarm_ratio), _marks(part)]
        )  # fmt: skip
    note = "Ratios are to the other texts of the table, with limits that hold for all slices together."
    return Table(columns, rows, "On slices", note)


def _marks(part: CardPart) -> str:
    marks = ["misses more"] * _more(part.missed_ratio) + ["more false alarms"] * _more(part.alarm_ratio)
    return ", ".join(marks + ["few texts"] * _few(part))


def _few(part: CardPart) -> bool:
    return part.name != NONE and min(part.positive, part.negative) < FEW


# --- forms -------------------------------------------------------------------------------------------------------


def html(card: Card) -> str:
    """One file that opens anywhere."""
    figures = card.measured.figures
    return render(
        HERE / "card.html.j2",
        headline=headline(card),
        answers=list(sentences(card)),
        facts=facts(card),
        parts=tables(card),
        diagram=diagram(figures.reliability) if figures and figures.reliability else None,
        gaps=not_measured(card),
        notes=keep_in_mind(card),
        about=card.about,
        how=HOW if figures else "",
    )


def markdown(card: Card) -> str:
    """For a terminal, a ticket or a wiki."""
    parts = [f"# {escaped(headline(card))}", escaped(" ".join(sentences(card)))]
    parts.append("\n".join(f"- {name}: {escaped('; '.join(texts))}" for name, texts in facts(card)))
    parts += ["\n".join(part.section(2)).strip() for part in tables(card)]
    for title, lines in (("Not measured", not_measured(card)), ("What to keep in mind", keep_in_mind(card))):
        if lines:
            parts.append(f"## {title}\n\n" + "\n".join(f"- {escaped(line)}" for line in lines))
    return "\n\n".join(parts) + "\n"
