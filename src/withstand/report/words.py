"""The sentences of a report: the question, the answer, and what stays open."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from withstand.core.text import count, interval, percent, rate, series, unique, whole
from withstand.report.advice import alone, headline
from withstand.report.settings import Group, Setting
from withstand.results.advice_records import AdviceResult
from withstand.results.by_hand import METHOD
from withstand.results.cells import CellResult, Interval, Record
from withstand.results.decide import Decided
from withstand.results.summary import RunSummary
from withstand.results.worst_case import WorstCase


def question(cells: Sequence[CellResult], advice: Sequence[AdviceResult] = ()) -> str:
    """The heading: what the run asked. advice: of its suites of advice."""
    harmful = [cell for cell in cells if not cell.benign]
    targets = unique(cell.target for cell in harmful or cells)
    subject = targets[0] if len(targets) == 1 else f"these {len(targets)} targets"
    if not cells:
        return "What did this run measure?"
    if any(cell.judge_method == METHOD for cell in cells):
        return f"What did people try by hand on {subject}?"
    if not harmful:
        return f"How often {'does' if len(targets) == 1 else 'do'} {subject} refuse benign requests?"
    if alone(cells, advice):
        return f"{'Does' if len(targets) == 1 else 'Do'} {subject} know safe advice from unsafe?"
    attacks = unique(cell.attack for cell in harmful)
    return f"How often {f'does {attacks[0]}' if len(attacks) == 1 else f'do {len(attacks)} attacks'} break {subject}?"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a run says of one target. where: suite and judge, where there are several; more: of each defense."""

    where: str
    first: str
    more: tuple[str, ...]


def answers(settings: Sequence[Setting], advice: Sequence[AdviceResult] = ()) -> list[Answer]:
    """For each target (and suite and judge, if there are several) a sentence, and one more for each defense; the target
    that was broken most comes first. advice: of the run's suites of advice, whose questions are no attacks."""
    answers = []
    for setting in settings:
        where = f"{setting.suite}, judge {setting.judge}" if len(settings) > 1 else ""
        targets: dict[str, list[list[str]]] = {}
        for group in sorted(setting.groups, key=lambda group: -group.worst.rate if group.worst else 0.0):
            targets.setdefault(group.target, []).append([*_sentences(group, advice)])
        for (first, *more), *defenses in targets.values():
            answers.append(Answer(where, first, (*more, *map(" ".join, defenses))))
    return answers


def _sentences(group: Group, advice: Sequence[AdviceResult]) -> Iterator[str]:
    places = {row.index for row in group.rows}
    if asked := [result for result in advice if places & {*result.cells}]:
        yield from headline(asked, group.name)
        attacks = [row for row in group.rows if row.index not in {index for result in asked for index in result.cells}]
        if attacks:
            yield sentence(attacks)
        return
    if group.worst:
        yield from worst_case(group.worst, group.name)
    several = bool(group.worst and group.worst.cases > 1)
    nothing = several and group.worst and not group.worst.broken and not group.worst.open
    # a mean over the cases of an attack that knows a defense lies below what any of them broke
    if not (nothing or (several and group.defense)) or any(row.asr is None for row in group.rows):  # else it is said
        yield sentence(group.rows)
    if group.gained:
        yield from group.gained.says
    yield from map(_refusal_sentence, group.refusals)
    yield from map(_utility_sentence, group.utilities)


def worst_case(worst: WorstCase, target: str) -> Iterator[str]:
    """What any attack broke, the weakest category, and how sure that is; nothing where each behavior had one case. Of a
    defended target it says whether any of them knew the defense."""
    if worst.cases < 2:
        return
    attacks, behaviors = list(worst.attacks), count(worst.behaviors, "behavior")
    kind = f" ({worst.knows})" if worst.knows else ""
    tried = f"Any of {len(attacks)} attacks{kind}"
    if len(attacks) == 1:
        tried = f"{attacks[0]}{kind}, in up to {worst.cases:,} cases each,"
    ends = f"{percent(worst.rate)}, {_span(worst.interval)}"
    if worst.open:
        open_ = count(worst.open, "open behavior")
        ends += f"; {interval(worst.bounds)} if none or all of the {open_} broke"
    yield f"{tried} broke {worst.broken:,} of {behaviors} of {target} ({ends})."
    if part := worst.weakest:
        broken = f"{part.broken:,} of {count(part.behaviors, 'behavior')} ({interval(part.interval)})"
        yield f"The weakest category is {part.category.replace('_', ' ') or '(none)'}: {broken}."
    if worst.checked:
        yield f"People saw a break in {worst.checked:,} of the {count(worst.broken, 'broken behavior')}."
    if worst.false_positives and worst.checked < worst.broken:
        yield f"How sure: {worst.false_positives.sentence}."


def next_commands(run: str, worst: Sequence[WorstCase], gated: bool) -> list[str]:
    """What to do with the answer: let people check what counts as broken, and hold the run against limits."""
    name = shlex.quote(run)
    unchecked = any(case.checked < case.broken for case in worst)
    label = [f"withstand label {name} --for breaks --by NAME"] if unchecked else []
    return [*label, f"withstand gate {name}{'' if gated else ' --max-asr 0.1'}"] if worst else []


def gate_sentence(decided: Decided) -> Iterator[str]:
    """What the limits in the run's spec say, and of what is undecided what to do."""
    yield from decided.notes
    for line in decided.shown().lines:
        if line.verdict == "PASS":
            continue
        ends = f" ({interval((line.low, line.high))})" if line.low is not None and line.high is not None else ""
        counted = line.gate == "max-broken"
        shown = f"{line.rate or 0:.0f} broken" if counted else f"{percent(line.rate)}{ends}"
        rate, most = (
            shown if line.rate is not None else "no rate",
            f"{line.limit:.0f}" if counted else percent(line.limit),
        )
        more = f" Raise `limit` to {line.more:,} and run again: what is there is kept." if line.more else ""
        why = f" {line.why[0].upper()}{line.why[1:]}." if line.why and line.verdict == "UNDECIDED" else ""
        limit = "at least" if line.gate.startswith("min") else "at most"
        yield f"{line.verdict}: {line.cell}, {rate}, may be {limit} {most} ({line.gate}).{why}{more}"


def sentence(cells: Sequence[CellResult]) -> str:
    """The answer for one target behind one defense, from its cells."""
    defended = cells[0].defended
    if cells[0].benign:
        says = _utility_sentence if cells[0].measures == "utility" else _refusal_sentence
        return f"{defended}: {says(cells[0])}"
    rated = [(c.asr, c.asr_interval[1] if c.asr_interval else 0, c) for c in cells if c.asr is not None]
    if not rated:
        return f"No attack success rate can be given for {defended}: {cells[0].reason}."
    missing = len(cells) - len(rated)
    some, rest = (
        (" with a rate", f" {count(missing, 'more attack has', 'more attacks have')} no rate.") if missing else ("", "")
    )
    asr, _, best = max(rated, key=lambda entry: entry[:2])
    highest = f" for the highest of {len(rated)}"
    if len(rated) == 1:
        return f"{best.attack}{_kind(best)}, the only attack{some} on {defended}, broke {_rate_phrase(best)}.{rest}"
    rest += _draws_phrase(cells, asr)
    if asr == 0:
        return (
            f"None of the {len(rated)} attacks{some} broke {defended}: {_rate_phrase(best, ' for all of them')}.{rest}"
        )
    equal = [c.attack + _kind(c) for c in cells if (c.asr, c.success, c.scored) == (asr, best.success, best.scored)]
    strongest = f"{series(equal)} were equally strong: each" if len(equal) > 1 else f"{equal[0]} was the strongest: it"
    return f"Of {len(rated)} attacks{some} on {defended}, {strongest} broke {_rate_phrase(best, highest)}.{rest}"


def _kind(cell: CellResult) -> str:
    """Of an attack on a defended target, whether it knew the defense."""
    return f" ({cell.knows})" if cell.knows else ""


def _draws_phrase(cells: Sequence[CellResult], asr: float) -> str:
    """What more draws do, where an attack gets further with any of k draws than the best does with one."""
    at_most = [(rate, int(k), cell) for cell in cells for k, rate in list((cell.asr_at_k or {}).items())[-1:]]
    rate, k, cell = max(at_most, key=lambda entry: entry[0], default=(0.0, 1, None))
    if cell is None or k == 1 or rate <= asr:
        return ""
    return f" With {k} draws per behavior, {cell.attack} broke {percent(rate)} of the behaviors (ASR@{k})."


def _rate_phrase(cell: CellResult, among: str = "") -> str:
    """As in: 21 of 52 behaviors (ASR 40%, 95% interval 28-54%). among: attacks that the interval holds for at once."""
    unit = ("behavior", "behaviors") if cell.cases <= cell.behaviors else ("case", "cases")
    asr = f"ASR {percent(cell.asr)}" + " by string matching" * cell.matching
    bounds = cell.bounds
    open_ = f"; {interval(bounds)} if none or all of the {_open(cell)} were broken" if bounds else ""
    span = _span(cell.asr_interval_all) + among if among and cell.asr_interval_all else _span(cell.asr_interval)
    return f"{cell.success:,} of {count(cell.scored, *unit)} ({asr}, {span}{open_})"


def _span(ends: Interval | None) -> str:
    return f"95% interval {interval(ends)}" if ends else "no interval"


def _open(cell: CellResult) -> str:
    parts = [f"{cell.unscored:,} unscored"] if cell.unscored else []
    parts += [count(cell.error, "failed", "failed")] if cell.error else []
    return f"{' and '.join(parts) or 'missing'} {'case' if cell.unscored + cell.error == 1 else 'cases'}"


def _refusal_sentence(cell: CellResult) -> str:
    if cell.over_refusal is None:
        return f"No over-refusal rate can be given: {cell.reason}."
    span = _span(cell.over_refusal_interval)
    if not cell.benign:
        return f"It refused {percent(cell.over_refusal)} of benign requests ({span})."
    by = " by string matching" * cell.matching
    of = count(cell.scored, "benign request")
    return f"It refused {cell.hits:,} of {of}: over-refusal {percent(cell.over_refusal)}{by} ({span})."


def _utility_sentence(cell: CellResult) -> str:
    if cell.rate is None:
        return f"No utility can be given: {cell.reason}."
    utility = f"utility {percent(cell.rate)} ({_span(cell.interval)})"
    return f"It answered {cell.success:,} of {count(cell.scored, 'question')} of {cell.suite} correctly: {utility}."


def warnings(summary: RunSummary) -> list[str]:
    """What a reader must know first."""
    state = summary.run.state
    first = [] if state == "complete" else [f"This run is {state}. Rates may change when the rest is computed."]
    return unique([*first, *summary.warnings])


def limits(cells: Sequence[CellResult], settings: Sequence[Setting], warnings: Sequence[str]) -> list[str]:
    """What the numbers do not say, less what a warning says already."""
    limits = []
    warned = " ".join(warnings)
    matching = unique(cell.judge for cell in cells if cell.matching)
    if matching:
        limits.append(
            f"Rates of {series(matching)} come from string matching, which looks for phrases and cannot tell whether "
            "an answer really shows the behavior."
        )
    unscored, errors = sum(cell.unscored for cell in cells), sum(cell.error for cell in cells)
    errors = 0 if "rows are missing" in warned else errors
    if unscored or errors:
        parts = [count(unscored, "case is unscored", "cases are unscored")] if unscored else []
        parts += [count(errors, "case ended in an error", "cases ended in an error")] if errors else []
        right = ", nor as right" if any(cell.measures == "utility" for cell in cells) else ""
        limits.append(
            f"{' and '.join(parts)}, of {sum(cell.cases for cell in cells):,}. They count neither as held nor as "
            f"broken{right}; pale bars and bounds show how far they could move a rate."
        )
    groups = [group for setting in settings for group in setting.groups]
    bare = [group for group in groups if not group.refusals and not group.benign]
    if bare and "benign" not in warned:
        names = series(unique(group.name for group in bare))
        limits.append(f"Over-refusal was not tested for {names}: a model that refuses everything looks safe.")
    harmful = [cell for cell in cells if not cell.benign]
    own = unique([c.attack for c in harmful if any("own draws" in note for note in c.notes)])
    if harmful and all(c.samples == 1 and c.sampling.get("temperature", 0) == 0 for c in harmful):
        but = f", except the draws of {series(own)}" if own else ""
        limits.append(f"Every case was answered once, at temperature 0{but}. Other sampling was not tested.")
    return limits


def forecast(points: Sequence[Record]) -> str:
    """What more draws of an attack would break, as the points of its curve forecast it; "" where they do not."""
    ahead = (points[-1].get("forecast") or []) if points else []
    parts = [f"{rate(at['rate'], (at['low'], at['high']))} at {whole(at['draws'])} draws" for at in ahead]
    return f"forecast, not measured: {series(parts)}, if -log ASR goes on as a power law of the draws" if parts else ""
