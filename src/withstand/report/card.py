"""A classifier's card in words: a page, Markdown and JSON."""

from collections.abc import Iterator
from pathlib import Path

from withstand.core.identities import NONE
from withstand.core.text import count, percent, rate, series
from withstand.report import forms
from withstand.report.card_plot import diagram
from withstand.report.card_tables import RARE, error_of, errs_more, facts, ratio_of, share_of, tables
from withstand.report.shell import HERE, render
from withstand.report.table import markdown as escaped
from withstand.results.card_records import Card, CardFigures
from withstand.stats.reliability import Reliability

WHAT = "a card"
HOW = (
    "Shares have Wilson's limits, in clusters of texts that stand or fall together the outer ones of these and of "
    "Clopper and Pearson's on the effective number of texts. A text without an answer is missed where it is positive "
    "and a false alarm where it is negative. ECE: ten bins of equal width; its limits hold by the triangle inequality. "
    "Ratios of slices: Koopman's and exact limits at a level at which all of the card hold together. At another share "
    "of positive texts: Bayes' theorem, on the rates of this card. A cost is that of one missed positive text in false "
    "alarms; the cheapest threshold was chosen on these very texts, and looks better than it is."
)


def write(card: Card, path: Path) -> None:
    """Write a card as its ending says. Raises `SpecError` for another ending, and where there is no folder."""
    forms.write(path, WHAT, lambda: html(card), lambda: markdown(card), card.to_json())


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
        parts.append(f"catches {share_of(figures.caught)} of {count(figures.positive, 'positive text')}")
    if figures.alarms:
        parts.append(f"flags {share_of(figures.alarms)} of {count(figures.negative, 'negative one')}")
    if figures.precision:
        parts.append(f"is right in {share_of(figures.precision)} of its flags here")
    yield f"{card.name} {series(parts)}."
    if card.measured.warning:
        yield card.measured.warning
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
    elif not (errs_more(figures.lift) or (figures.rest is not None and figures.rest.high < 1)):
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
    error = f"expected calibration error {error_of(scores)}, of which a perfect scorer would show {scores.chance:.3f}"
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


def _slices(figures: CardFigures) -> Iterator[str]:
    """The slices on which it errs more, or less, than elsewhere; or that none is shown to, which is no proof."""
    parts = [part for part in figures.parts if part.name != NONE]
    shown = [
        f"it {what} {ratio_of(value)} times as often on {part.name} ({part.axis})"
        for part in parts
        for what, value in (("misses", part.missed_ratio), ("gives false alarms", part.alarm_ratio))
        if errs_more(value)
    ]
    if shown:
        yield f"It errs more on some texts than on the others: {series(shown)}."
    elif parts:
        slices = count(len(parts), "slice")
        yield f"On none of {slices} is it shown to err more than on the other texts: no proof that it does not."


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
