"""The words of a report: numbers and texts as people read them, the answer in sentences, and what stays open."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

Record: TypeAlias = Mapping[str, Any]
"""A JSON object of the summary or of the cases."""

INVISIBLE = re.compile(
    r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff"
    r"\ufe00-\ufe0e\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
"""Controls, direction marks, zero widths, tags, lone surrogates: what can hide text or turn it around.

U+FE0F stays: it only makes an emoji colored."""

DASH = "\u2013"


def head_of(label: str) -> str:
    """A component's name in its label, without its fields."""
    return re.split("[:,]", label)[0]


# --- numbers and texts ---------------------------------------------------------------------------------------------


def visible(value: Any) -> str:
    """`value` as text without a hidden character: each is named by its code point, as in <U+202E>.

    A lone surrogate becomes U+FFFD, so that the page can always be written as UTF-8.
    """
    return INVISIBLE.sub(_symbol, "" if value is None else str(value))


def _symbol(match: re.Match[str]) -> str:
    code = ord(match[0])
    return "\ufffd" if 0xD800 <= code < 0xE000 else f"\u27e8U+{code:04X}\u27e9"


def percent(rate: float | None) -> str:
    """A rate in [0, 1] as "40 %"; "n/a" for None. Only a true 0 or 1 reads "0 %" or "100 %"."""
    return "n/a" if rate is None else f"{_hundredths(rate)} %"


def _hundredths(rate: float) -> str:
    if 0 < rate < 0.001:
        return "<0.1"
    if 0.999 < rate < 1:
        return ">99.9"
    return f"{100 * rate:.1f}" if 0 < rate < 0.01 or 0.99 < rate < 1 else f"{100 * rate:.0f}"


def interval(ends: Sequence[float] | None) -> str:
    """Two rates as "28-54 %", with an en dash; "n/a" for None."""
    return "n/a" if ends is None else f"{_hundredths(ends[0])}{DASH}{_hundredths(ends[1])} %"


def whole(count: float | None) -> str:
    """A count with thousands separators; "n/a" for None."""
    return "n/a" if count is None else f"{count:,.0f}"


SIZES = {1e18: "E", 1e15: "P", 1e12: "T", 1e9: "G", 1e6: "M", 1e3: "k"}


def short(count: float | None) -> str:
    """A large count in four characters or so: 9,120, 48.1 k, 3.20 M."""
    if count is None or abs(count) < 10_000:
        return whole(count)
    size = next(s for s in SIZES if abs(count) >= s * 0.9995)
    number = count / size
    digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:.{digits}f} {SIZES[size]}"


def tidy(count: float) -> str:
    """A round count for an axis: 20, 500 G, 2 T."""
    size = next((s for s in SIZES if count >= s), 1)
    return f"{count / size:g} {SIZES.get(size, '')}".rstrip()


def clock(seconds: float | None) -> str:
    """A time span as "1 h 02 min", "3 min 20 s" or "4.1 s"; "n/a" for None."""
    if seconds is None:
        return "n/a"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60:,} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min {rest:02} s"


def facts(value: Any, path: str = "") -> list[tuple[str, str]]:
    """A nested JSON value as (path, text) lines: {"a": {"b": 1}} -> [("a.b", "1")]."""
    if isinstance(value, Mapping):
        return [line for key, inner in value.items() for line in facts(inner, f"{path}.{key}" if path else str(key))]
    if isinstance(value, (list, tuple)) and any(isinstance(inner, (Mapping, list, tuple)) for inner in value):
        return [line for i, inner in enumerate(value) for line in facts(inner, f"{path}[{i}]")]
    if isinstance(value, (list, tuple)):
        return [(path, ", ".join(str(inner) for inner in value))]
    return [(path, "" if value is None else value if isinstance(value, str) else json.dumps(value))]


def count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def series(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def file_name(run: str) -> str:
    """A run's name as that of a file in the current folder, whatever the name is."""
    return re.sub(r"[/\\\x00-\x1f\x7f]", "-", run)


def unique(items: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(items))


# --- a cell ------------------------------------------------------------------------------------------------------


def measures(cell: Record) -> str:
    """What the rate of a cell is, of a summary or a plan: "harm", "over-refusal" or "utility"."""
    return str(cell.get("measures") or ("over-refusal" if cell["benign"] else "harm"))


COUNTED = {"harm": "broken", "over-refusal": "refused", "utility": "right"}
"""What a cell measures -> the word for what is counted of it."""


def rate_of(cell: Record) -> tuple[float | None, Sequence[float] | None]:
    """The rate of a cell in what it measures, and its interval."""
    match measures(cell):
        case "utility":
            told = cell["utility"] or {}
            return told.get("rate"), ends_of(told)
        case "over-refusal":
            return cell["over_refusal"], cell["over_refusal_interval"]
    return cell["asr"], cell["asr_interval"]


def ends_of(utility: Record | None) -> Sequence[float] | None:
    """The interval of a utility as a summary has it."""
    return [utility["low"], utility["high"]] if utility and utility.get("low") is not None else None


def defense_of(cell: Record) -> str:
    """The name of the defense, "" for none."""
    name = cell.get("defense") or ""
    return "" if name == "none" else str(name)


def notes_of(cell: Record) -> list[str]:
    return list(cell.get("notes") or [])


def scored_of(cell: Record) -> int:
    return int(cell["success"] + cell["failure"] + cell["refused"] + cell["filtered"])


def bounds_of(cell: Record) -> Sequence[float] | None:
    """The bounds, where they say more than the rate does."""
    bounds: Sequence[float] | None = cell.get("asr_bounds")
    return bounds if bounds is not None and not math.isclose(bounds[0], bounds[1], abs_tol=1e-9) else None


def reason_of(cell: Record) -> str:
    """Why a rate is missing."""
    notes = notes_of(cell)
    return "; ".join(notes) if notes else "no case was scored" if not scored_of(cell) else "not computed"


# --- sentences ---------------------------------------------------------------------------------------------------


def question(cells: Sequence[Record]) -> str:
    harmful = [cell for cell in cells if not cell["benign"]]
    targets = unique(cell["target"] for cell in harmful or cells)
    whom = targets[0] if len(targets) == 1 else f"these {len(targets)} targets"
    if not cells:
        return "What did this run find?"
    if not harmful:
        return f"How often {'does' if len(targets) == 1 else 'do'} {whom} refuse benign requests?"
    attacks = unique(cell["attack"] for cell in harmful)
    return f"How often {f'does {attacks[0]}' if len(attacks) == 1 else f'do {len(attacks)} attacks'} break {whom}?"


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
    whom = f"{target} behind {defense}" if defense else target
    if measures(cells[0]) == "utility":
        return f"Of {whom}: {_utility_sentence(cells[0])}"
    if cells[0]["benign"]:
        return f"Of {whom}: {_refusal_sentence(cells[0])}"
    rated = [cell for cell in cells if cell["asr"] is not None]
    if not rated:
        return f"No attack success rate can be given for {whom}: {reason_of(cells[0])}."
    missing = len(cells) - len(rated)
    some, rest = (
        (" with a rate", f" {missing:,} more {'has' if missing == 1 else 'have'} none.") if missing else ("", "")
    )
    best = max(rated, key=lambda cell: (cell["asr"], cell["asr_interval"][1] if cell["asr_interval"] else 0))
    if len(rated) == 1:
        got = "got through" if best["asr"] else "did not get through"
        return f"{best['attack']}, the only attack{some} against {whom}, {got}: {_rate_phrase(best)}.{rest}"
    rest += _draws_phrase(rated, best["asr"])
    if best["asr"] == 0:
        return f"None of {len(rated)} attacks{some} got through against {whom}: {_rate_phrase(best)}.{rest}"
    equal = [
        c for c in rated if (c["asr"], c["success"], scored_of(c)) == (best["asr"], best["success"], scored_of(best))
    ]
    names = series([cell["attack"] for cell in equal]) + ", equally," * (len(equal) > 1)
    lead = f"Of {len(rated)} attacks{some}, {names} got through most often against {whom}"
    return f"{lead}: {_rate_phrase(best)}.{rest}"


def _draws_phrase(cells: Sequence[Record], asr: float) -> str:
    """What more draws do, where an attack gets further with any of k draws than the best does with one."""
    at_most = [
        (at_k[max(at_k, key=int)], int(max(at_k, key=int)), cell) for cell in cells if (at_k := cell["asr_at_k"])
    ]
    rate, k, cell = max(at_most, key=lambda entry: entry[0], default=(0.0, 1, None))
    if cell is None or k == 1 or rate <= asr:
        return ""
    return f" In any of {k} draws, {cell['attack']} broke {percent(rate)} of the behaviors (ASR@{k})."


def _rate_phrase(cell: Record) -> str:
    """As in: broken 21 of 52 behaviors, ASR 40 % (95 % interval 28-54 %)."""
    scored = scored_of(cell)
    unit = ("behavior", "behaviors") if cell["cases"] <= cell["behaviors"] else ("case", "cases")
    phrase = f"broken {cell['success']:,} of {count(scored, *unit)}, ASR {percent(cell['asr'])}"
    if cell["judge_method"] == "string matching":
        phrase += " by string matching"
    phrase += f" (95 % interval {interval(cell['asr_interval'])})" if cell["asr_interval"] else " (no interval)"
    bounds = bounds_of(cell)
    return phrase + (f", {interval(bounds)} whichever way the {_open(cell)} would fall" if bounds else "")


def _open(cell: Record) -> str:
    parts = [f"{cell['unscored']:,} unscored"] if cell["unscored"] else []
    parts += [count(cell["error"], "failed", "failed")] if cell["error"] else []
    return f"{' and '.join(parts) or 'missing'} {'case' if cell['unscored'] + cell['error'] == 1 else 'cases'}"


def _refusal_sentence(cell: Record) -> str:
    if cell["over_refusal"] is None:
        return f"No over-refusal rate can be given: {reason_of(cell)}."
    ends = cell["over_refusal_interval"]
    span = f"95 % interval {interval(ends)}" if ends else "no interval"
    if not cell["benign"]:
        return f"Its over-refusal on benign requests: {percent(cell['over_refusal'])} ({span})."
    by = " by string matching" if cell["judge_method"] == "string matching" else ""
    refused = cell["refused"] + cell["filtered"]
    of = count(scored_of(cell), "benign request")
    return f"It refused {refused:,} of {of}: over-refusal {percent(cell['over_refusal'])}{by} ({span})."


def _utility_sentence(cell: Record) -> str:
    rate, ends = rate_of(cell)
    if rate is None:
        return f"No utility can be given: {reason_of(cell)}."
    span = f"95 % interval {interval(ends)}" if ends else "no interval"
    of = count(scored_of(cell), "question")
    return f"It answered {cell['success']:,} of {of} of {cell['suite']} rightly: utility {percent(rate)} ({span})."


def warnings(summary: Record) -> list[str]:
    state = summary["run"].get("state") or "complete"
    first = [] if state == "complete" else [f"This run is {state}. Rates may change when the rest is computed."]
    return unique([*first, *(summary.get("warnings") or [])])


def limits(cells: Sequence[Record], settings: Sequence[Record], warnings: Sequence[str]) -> list[str]:
    """What the numbers do not say, less what a warning says already."""
    limits = []
    said = " ".join(warnings)
    matching = unique(cell["judge"] for cell in cells if cell["judge_method"] == "string matching")
    if matching:
        limits.append(
            f"Rates of {series(matching)} are by string matching: it looks for phrases and cannot tell "
            "whether an answer really shows the behavior."
        )
    unscored, errors = sum(cell["unscored"] for cell in cells), sum(cell["error"] for cell in cells)
    errors = 0 if "rows are missing" in said else errors
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
    if static and "static" not in said:
        limits.append(
            f"{series(static)} met static attacks only. No attack adapted to it, so its effect is an upper bound."
        )
    bare = [group for group in groups if not group["refusals"] and not group["rows"][0]["benign"]]
    if bare and "benign" not in said:
        names = [f"{g['target']} behind {g['defense']}" if g["defense"] else g["target"] for g in bare]
        limits.append(f"Over-refusal was not tested for {series(unique(names))}: a model that refuses all looks safe.")
    harmful = [cell for cell in cells if not cell["benign"]]
    own = unique([c["attack"] for c in harmful if any("own draws" in note for note in c["notes"])])
    if harmful and all(c["samples"] == 1 and (c.get("sampling") or {}).get("temperature", 0) == 0 for c in harmful):
        but = f", but for the draws of {series(own)}" if own else ""
        limits.append(f"Each case was answered once, greedily (temperature 0){but}; other sampling was not tested.")
    return limits
