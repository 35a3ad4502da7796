"""The sentences of a report: the question, the answer, and what stays open."""

from collections.abc import Sequence
from typing import Any

from withstand.core.text import count, interval, percent, series, unique
from withstand.results.cells import Record, bounds_of, measures, rate_of, reason_of, scored_of


def question(cells: Sequence[Record]) -> str:
    """The heading: what the run asked."""
    harmful = [cell for cell in cells if not cell["benign"]]
    targets = unique(cell["target"] for cell in harmful or cells)
    subject = targets[0] if len(targets) == 1 else f"these {len(targets)} targets"
    if not cells:
        return "What did this run measure?"
    if not harmful:
        return f"How often {'does' if len(targets) == 1 else 'do'} {subject} refuse benign requests?"
    attacks = unique(cell["attack"] for cell in harmful)
    return f"How often {f'does {attacks[0]}' if len(attacks) == 1 else f'do {len(attacks)} attacks'} break {subject}?"


def answers(settings: Sequence[Record]) -> list[dict[str, Any]]:
    """For each target (and suite and judge, if there are several) a sentence, and one more for each defense."""
    answers: dict[tuple[int, str], dict[str, Any]] = {}
    for number, setting in enumerate(settings):
        where = f"{setting['suite']}, judge {setting['judge']}" if len(settings) > 1 else ""
        for group in setting["groups"]:
            says = [sentence(group["rows"], group["target"], group["defense"])]
            says += [_refusal_sentence(r) for r in group["refusals"] if not group["rows"][0]["benign"]]
            says += [_utility_sentence(cell) for cell in group["utilities"]]
            entry = answers.setdefault((number, group["target"]), {"where": where, "first": says[0], "more": []})
            if entry["first"] is says[0]:
                entry["more"] += says[1:]
            else:
                entry["more"].append(" ".join(says))
    return list(answers.values())


def sentence(cells: Sequence[Record], target: str, defense: str = "") -> str:
    """The answer for one target behind one defense ("" for none), from its cells."""
    defended = f"{target} behind {defense}" if defense else target
    if measures(cells[0]) == "utility":
        return f"{defended}: {_utility_sentence(cells[0])}"
    if cells[0]["benign"]:
        return f"{defended}: {_refusal_sentence(cells[0])}"
    rated = [cell for cell in cells if cell["asr"] is not None]
    if not rated:
        return f"No attack success rate can be given for {defended}: {reason_of(cells[0])}."
    missing = len(cells) - len(rated)
    some, rest = (
        (" with a rate", f" {count(missing, 'more attack has', 'more attacks have')} no rate.") if missing else ("", "")
    )
    best = max(rated, key=lambda cell: (cell["asr"], cell["asr_interval"][1] if cell["asr_interval"] else 0))
    if len(rated) == 1:
        return f"{best['attack']}, the only attack{some} on {defended}, broke {_rate_phrase(best)}.{rest}"
    rest += _draws_phrase(rated, best["asr"])
    if best["asr"] == 0:
        return f"None of the {len(rated)} attacks{some} broke {defended}: {_rate_phrase(best)}.{rest}"
    equal = [
        c for c in rated if (c["asr"], c["success"], scored_of(c)) == (best["asr"], best["success"], scored_of(best))
    ]
    names = series([cell["attack"] for cell in equal])
    strongest = f"{names} were equally strong: each" if len(equal) > 1 else f"{names} was the strongest: it"
    return f"Of {len(rated)} attacks{some} on {defended}, {strongest} broke {_rate_phrase(best)}.{rest}"


def _draws_phrase(cells: Sequence[Record], asr: float) -> str:
    """What more draws do, where an attack gets further with any of k draws than the best does with one."""
    at_most = [
        (at_k[max(at_k, key=int)], int(max(at_k, key=int)), cell) for cell in cells if (at_k := cell["asr_at_k"])
    ]
    rate, k, cell = max(at_most, key=lambda entry: entry[0], default=(0.0, 1, None))
    if cell is None or k == 1 or rate <= asr:
        return ""
    return f" With {k} draws per behavior, {cell['attack']} broke {percent(rate)} of the behaviors (ASR@{k})."


def _rate_phrase(cell: Record) -> str:
    """As in: 21 of 52 behaviors (ASR 40%, 95% interval 28-54%)."""
    unit = ("behavior", "behaviors") if cell["cases"] <= cell["behaviors"] else ("case", "cases")
    asr = f"ASR {percent(cell['asr'])}" + " by string matching" * (cell["judge_method"] == "string matching")
    ends = f"95% interval {interval(cell['asr_interval'])}" if cell["asr_interval"] else "no interval"
    bounds = bounds_of(cell)
    open_ = f"; {interval(bounds)} if none or all of the {_open(cell)} were broken" if bounds else ""
    return f"{cell['success']:,} of {count(scored_of(cell), *unit)} ({asr}, {ends}{open_})"


def _open(cell: Record) -> str:
    parts = [f"{cell['unscored']:,} unscored"] if cell["unscored"] else []
    parts += [count(cell["error"], "failed", "failed")] if cell["error"] else []
    return f"{' and '.join(parts) or 'missing'} {'case' if cell['unscored'] + cell['error'] == 1 else 'cases'}"


def _refusal_sentence(cell: Record) -> str:
    if cell["over_refusal"] is None:
        return f"No over-refusal rate can be given: {reason_of(cell)}."
    ends = cell["over_refusal_interval"]
    span = f"95% interval {interval(ends)}" if ends else "no interval"
    if not cell["benign"]:
        return f"It refused {percent(cell['over_refusal'])} of benign requests ({span})."
    by = " by string matching" if cell["judge_method"] == "string matching" else ""
    refused = cell["refused"] + cell["filtered"]
    of = count(scored_of(cell), "benign request")
    return f"It refused {refused:,} of {of}: over-refusal {percent(cell['over_refusal'])}{by} ({span})."


def _utility_sentence(cell: Record) -> str:
    rate, ends = rate_of(cell)
    if rate is None:
        return f"No utility can be given: {reason_of(cell)}."
    span = f"95% interval {interval(ends)}" if ends else "no interval"
    of = count(scored_of(cell), "question")
    return f"It answered {cell['success']:,} of {of} of {cell['suite']} correctly: utility {percent(rate)} ({span})."


def warnings(summary: Record) -> list[str]:
    """What a reader must know first."""
    state = summary["run"].get("state") or "complete"
    first = [] if state == "complete" else [f"This run is {state}. Rates may change when the rest is computed."]
    return unique([*first, *(summary.get("warnings") or [])])


def limits(cells: Sequence[Record], settings: Sequence[Record], warnings: Sequence[str]) -> list[str]:
    """What the numbers do not say, less what a warning says already."""
    limits = []
    warned = " ".join(warnings)
    matching = unique(cell["judge"] for cell in cells if cell["judge_method"] == "string matching")
    if matching:
        limits.append(
            f"Rates of {series(matching)} come from string matching, which looks for phrases and cannot tell whether "
            "an answer really shows the behavior."
        )
    unscored, errors = sum(cell["unscored"] for cell in cells), sum(cell["error"] for cell in cells)
    errors = 0 if "rows are missing" in warned else errors
    if unscored or errors:
        parts = [count(unscored, "case is unscored", "cases are unscored")] if unscored else []
        parts += [count(errors, "case ended in an error", "cases ended in an error")] if errors else []
        right = ", nor as right" if any(measures(cell) == "utility" for cell in cells) else ""
        limits.append(
            f"{' and '.join(parts)}, of {sum(cell['cases'] for cell in cells):,}. They count neither as held nor as "
            f"broken{right}; pale bars and bounds show how far they could move a rate."
        )
    groups = [group for setting in settings for group in setting["groups"]]
    static = unique(group["defense"] for group in groups if group["static"])
    if static and "static" not in warned:
        limits.append(
            f"Only static attacks were run against {series(static)}. No attack adapted to it, so its effect is an "
            "upper bound."
        )
    bare = [group for group in groups if not group["refusals"] and not group["rows"][0]["benign"]]
    if bare and "benign" not in warned:
        names = [f"{g['target']} behind {g['defense']}" if g["defense"] else g["target"] for g in bare]
        limits.append(
            f"Over-refusal was not tested for {series(unique(names))}: a model that refuses everything looks safe."
        )
    harmful = [cell for cell in cells if not cell["benign"]]
    own = unique([c["attack"] for c in harmful if any("own draws" in note for note in c["notes"])])
    if harmful and all(c["samples"] == 1 and (c.get("sampling") or {}).get("temperature", 0) == 0 for c in harmful):
        but = f", except the draws of {series(own)}" if own else ""
        limits.append(f"Every case was answered once, at temperature 0{but}. Other sampling was not tested.")
    return limits
