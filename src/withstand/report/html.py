"""The report as one HTML file that opens anywhere and asks the network for nothing.

`html` turns the summary of a run (report/summary.py) and its cases into a page: the answer in a sentence, what to
doubt, rates with intervals, the cases with their texts hidden, and all that is needed to check and repeat them. The
words and the layout are in `report.html.j2`; here is what they are computed from.

Everything that came from a model, a data file or a person is text, never markup: jinja2 escapes it, control and
invisible characters are made visible, and a content security policy lets no script run but the page's own, by hash.
"""

import base64
import hashlib
import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from withstand.core import digest

Record: TypeAlias = Mapping[str, Any]
"""A JSON object of the summary or of the cases."""

MOST_CHARACTERS = 20_000
"""Of each text; the rest is in the exported cases."""

OUTCOMES = {
    "success": "broken",
    "failure": "held",
    "refused": "refused",
    "filtered": "filtered",
    "unscored": "unscored",
    "error": "error",
}
"""Outcome -> the word that people read. On benign prompts success and failure both mean "answered"."""

CUTS = {"success": "ended at the first success"}
"""What ended an attack early, other than a budget."""

INVISIBLE = re.compile(
    r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff"
    r"\ufe00-\ufe0e\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
"""Controls, direction marks, zero widths, tags, lone surrogates: what can hide text or turn it around.

U+FE0F stays: it only makes an emoji colored."""

DASH = "\u2013"


def html(
    summary: Record, cases: Sequence[Record], cases_total: int, reveal: bool = False, with_text: bool = True
) -> str:
    """The report as one self-contained page.

    summary: what report/summary.py says of the run; rates in [0, 1] or None.   cases: the first rows, of `cases_total`.
    reveal: show prompts and completions from the start; else they are in the file, blurred until a person asks.
    with_text: False leaves the texts out and puts their length and a short hash in their place.
    """
    cells: list[Record] = summary["cells"]
    warnings = _warnings(summary)
    settings = _settings(cells, warnings)
    views = [_case(case, cells, with_text) for case in cases]
    provenance, spec = summary["provenance"], summary["run"].get("spec") or ""
    page: str = _template().render(
        run=summary["run"],
        spec=spec if isinstance(spec, str) else json.dumps(spec, indent=2),
        provenance=provenance,
        version=provenance.get("version") or metadata.version("withstand"),
        question=_question(cells),
        answers=_answers(settings),
        warnings=warnings,
        limits=_limits(cells, settings, warnings),
        settings=settings,
        overview=_overview(settings),
        reused=summary.get("reused") or {},
        categories=any(len(cell.get("by_category") or []) > 1 for cell in cells if not cell["benign"]),
        at_k=_at_k(settings),
        cases=views,
        filters=_filters(views),
        omitted=max(0, cases_total - len(cases)),
        cases_total=cases_total,
        export=f"withstand report {shlex.quote(str(summary['run'].get('name') or 'RUN'))} --format csv",
        reveal=reveal,
        with_text=with_text,
        outcomes=OUTCOMES,
        cost=sum(cell.get("cost") or 0 for cell in cells),
    )
    return page.lstrip()


@cache
def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else visible(value),
    )
    environment.filters.update(percent=percent, interval=interval, whole=whole, short=short, clock=clock)
    environment.filters.update(facts=facts, prose=_prose, csp_hash=_csp_hash)
    environment.globals["curve"] = _curve
    return environment.get_template("report.html.j2")


def _csp_hash(text: Markup) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _prose(text: Any) -> Markup:
    """`text` escaped, with code between backticks and no line break inside a rate."""
    safe = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(visible(text))))
    return Markup(re.sub(rf"(?:ASR |&[lg]t;)?[0-9.]+(?:{DASH}[0-9.]+)? %", r'<span class="nowrap">\g<0></span>', safe))


# --- numbers and texts as people read them ---------------------------------------------------------------------


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


def short(count: float | None) -> str:
    """A large count in four characters or so: 9,120, 48.1 k, 3.20 M."""
    if count is None or abs(count) < 10_000:
        return whole(count)
    size = next(s for s in (1e12, 1e9, 1e6, 1e3) if abs(count) >= s * 0.9995)
    number = count / size
    digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:.{digits}f} {({1e3: 'k', 1e6: 'M', 1e9: 'G', 1e12: 'T'})[size]}"


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


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _series(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _unique(items: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(items))


# --- the run, in the order it is read --------------------------------------------------------------------------


def _settings(cells: Sequence[Record], warnings: Sequence[str]) -> list[dict[str, Any]]:
    """Cells that may stand in one table (same suite, judge and sampling), each split by target and defense.

    A benign cell stands beside the harmful cells of its target and defense.
    """
    tables: dict[Any, list[Record]] = {}
    benign = [cell for cell in cells if cell["benign"]]
    for cell in [cell for cell in cells if not cell["benign"]] or benign:
        tables.setdefault(_setting(cell), []).append(cell)
    return [
        {
            **{name: members[0].get(name) for name in ("suite", "suite_version", "split", "judge", "judge_method")},
            "judge_by": _by(members[0]["judge_method"]),
            "sampling": facts({"temperature": 0.0} | dict(members[0].get("sampling") or {})),
            "samples": members[0].get("samples"),
            "behaviors": max(cell["behaviors"] for cell in members),
            "groups": _groups(members, [] if members[0]["benign"] else benign, warnings),
        }
        for members in tables.values()
    ]


def _overview(settings: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """Suite, judge and sampling of the run, each said once."""
    suites, judges, samplings = [], [], []
    for setting in settings:
        version = f" {setting['suite_version']}" if setting["suite_version"] else ""
        split = f", {setting['split']} split" if setting["split"] else ""
        suites.append(f"{setting['suite']}{version}{split}, {_count(setting['behaviors'], 'behavior')}")
        judges.append(f"{setting['judge']} ({setting['judge_by']})")
        drawn = [f"{name} {value}" for name, value in setting["sampling"]]
        samplings.append(", ".join([*drawn, f"{setting['samples']} per test case"]))
    return [("suite", _unique(suites)), ("judge", _unique(judges)), ("sampling", _unique(samplings))]


def _by(method: str) -> str:
    return {"rule": "a rule", "model": "a model", "string matching": "by string matching"}.get(method, method)


def _setting(cell: Record) -> tuple[Any, ...]:
    names = ("suite", "suite_version", "split", "judge", "judge_method", "samples")
    return (*[cell.get(name) for name in names], json.dumps(cell.get("sampling"), sort_keys=True))


def _groups(members: Sequence[Record], benign: Sequence[Record], warnings: Sequence[str]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[Record]] = {}
    for cell in members:
        groups.setdefault((cell["target"], _defense(cell)), []).append(cell)
    views = []
    for (target, defense), rows in groups.items():
        common = [note for note in _notes(rows[0]) if len(rows) > 1 and all(note in _notes(row) for row in rows)]
        said = [note for row in rows for note in _notes(row)] + [line for line in warnings if defense in line]
        static = bool(defense) and any("static" in line for line in said)
        top = max((row["asr"] or 0 for row in rows), default=0)
        twins = [cell for cell in benign if (cell["target"], _defense(cell)) == (target, defense)]
        views.append(
            {
                "target": target,
                "defense": defense,
                "notes": common,
                "static": static,
                "marked": static and not any("static" in note for note in common),
                "rows": [_row(row, common, top) for row in rows],
                "refusals": [_refusals(twin) for twin in twins] or [_refusals(r) for r in _copied(rows)],
            }
        )
    return views


def _defense(cell: Record) -> str:
    """The name of the defense, "" for none."""
    name = cell.get("defense") or ""
    return "" if name == "none" else str(name)


def _notes(cell: Record) -> list[str]:
    return list(cell.get("notes") or [])


def _copied(rows: Sequence[Record]) -> list[Record]:
    """Over-refusal as a harmful cell tells it, where the benign cell itself is not in the summary."""
    return [row for row in rows if row.get("over_refusal") is not None][:1]


def _row(cell: Record, common: Sequence[str], top: float) -> dict[str, Any]:
    """One line of the main table: the cell and what is said of it."""
    notes = [note for note in _notes(cell) if note not in common]
    benign = cell["benign"]
    return {
        **cell,
        "scored": _scored(cell),
        "rate": cell["over_refusal"] if benign else cell["asr"],
        "ends": cell["over_refusal_interval"] if benign else cell["asr_interval"],
        "bounds": None if benign else _bounds(cell),
        "hits": cell["refused"] + cell["filtered"] if benign else cell["success"],
        "matching": cell["judge_method"] == "string matching",
        "top": bool(top) and cell["asr"] == top,
        "notes": notes,
        "reason": _reason(cell),
        "categories": cell.get("by_category") or [],
    }


def _refusals(cell: Record) -> dict[str, Any]:
    """Over-refusal of one target and defense; `own`: the counts are of benign prompts."""
    own = bool(cell["benign"])
    return {
        **cell,
        "own": own,
        "scored": _scored(cell),
        "rate": cell["over_refusal"],
        "ends": cell["over_refusal_interval"],
        "matching": own and cell["judge_method"] == "string matching",
        "reason": _reason(cell),
    }


def _scored(cell: Record) -> int:
    return int(cell["success"] + cell["failure"] + cell["refused"] + cell["filtered"])


def _bounds(cell: Record) -> Sequence[float] | None:
    """The bounds, where they say more than the rate does."""
    bounds: Sequence[float] | None = cell.get("asr_bounds")
    return bounds if bounds is not None and not math.isclose(bounds[0], bounds[1], abs_tol=1e-9) else None


def _reason(cell: Record) -> str:
    """Why a rate is missing."""
    notes = _notes(cell)
    return "; ".join(notes) if notes else "no case was scored" if not _scored(cell) else "not computed"


def _question(cells: Sequence[Record]) -> str:
    harmful = [cell for cell in cells if not cell["benign"]]
    targets = _unique(cell["target"] for cell in harmful or cells)
    whom = targets[0] if len(targets) == 1 else f"these {len(targets)} targets"
    if not cells:
        return "What did this run find?"
    if not harmful:
        return f"How often {'does' if len(targets) == 1 else 'do'} {whom} refuse benign requests?"
    attacks = _unique(cell["attack"] for cell in harmful)
    return f"How often {f'does {attacks[0]}' if len(attacks) == 1 else f'do {len(attacks)} attacks'} break {whom}?"


def _answers(settings: Sequence[Record]) -> list[dict[str, Any]]:
    """For each target (and suite and judge, if there are several) a sentence, and one more for each defense."""
    answers: dict[tuple[int, str], dict[str, Any]] = {}
    for number, setting in enumerate(settings):
        where = f"{setting['suite']}, judge {setting['judge']}" if len(settings) > 1 else ""
        for group in setting["groups"]:
            says = [sentence(group["rows"], group["target"], group["defense"])]
            says += [_refusal_sentence(r) for r in group["refusals"] if not group["rows"][0]["benign"]]
            entry = answers.setdefault((number, group["target"]), {"where": where, "first": says[0], "more": []})
            if entry["first"] is says[0]:
                entry["more"] += says[1:]
            else:
                entry["more"].append(" ".join(says))
    return list(answers.values())


def sentence(cells: Sequence[Record], target: str, defense: str = "") -> str:
    """The answer for one target behind one defense ("" for none), from its cells."""
    whom = f"{target} behind {defense}" if defense else target
    if cells[0]["benign"]:
        return f"Of {whom}: {_refusal_sentence(cells[0])}"
    rated = [cell for cell in cells if cell["asr"] is not None]
    if not rated:
        return f"No attack success rate can be given for {whom}: {_reason(cells[0])}."
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
    equal = [c for c in rated if (c["asr"], c["success"], _scored(c)) == (best["asr"], best["success"], _scored(best))]
    names = _series([cell["attack"] for cell in equal]) + ", equally," * (len(equal) > 1)
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
    scored = _scored(cell)
    unit = ("behavior", "behaviors") if cell["cases"] <= cell["behaviors"] else ("case", "cases")
    phrase = f"broken {cell['success']:,} of {_count(scored, *unit)}, ASR {percent(cell['asr'])}"
    if cell["judge_method"] == "string matching":
        phrase += " by string matching"
    phrase += f" (95 % interval {interval(cell['asr_interval'])})" if cell["asr_interval"] else " (no interval)"
    bounds = _bounds(cell)
    return phrase + (f", {interval(bounds)} whichever way the {_open(cell)} would fall" if bounds else "")


def _open(cell: Record) -> str:
    parts = [f"{cell['unscored']:,} unscored"] if cell["unscored"] else []
    parts += [_count(cell["error"], "failed", "failed")] if cell["error"] else []
    return f"{' and '.join(parts) or 'missing'} {'case' if cell['unscored'] + cell['error'] == 1 else 'cases'}"


def _refusal_sentence(cell: Record) -> str:
    if cell["over_refusal"] is None:
        return f"No over-refusal rate can be given: {_reason(cell)}."
    ends = cell["over_refusal_interval"]
    span = f"95 % interval {interval(ends)}" if ends else "no interval"
    if not cell["benign"]:
        return f"Its over-refusal on benign requests: {percent(cell['over_refusal'])} ({span})."
    by = " by string matching" if cell["judge_method"] == "string matching" else ""
    refused = cell["refused"] + cell["filtered"]
    of = _count(_scored(cell), "benign request")
    return f"It refused {refused:,} of {of}: over-refusal {percent(cell['over_refusal'])}{by} ({span})."


def _warnings(summary: Record) -> list[str]:
    state = summary["run"].get("state") or "complete"
    first = [] if state == "complete" else [f"This run is {state}. Rates may change when the rest is computed."]
    return _unique([*first, *(summary.get("warnings") or [])])


def _limits(cells: Sequence[Record], settings: Sequence[Record], warnings: Sequence[str]) -> list[str]:
    """What the numbers do not say, less what a warning says already."""
    limits = []
    said = " ".join(warnings)
    matching = _unique(cell["judge"] for cell in cells if cell["judge_method"] == "string matching")
    if matching:
        limits.append(
            f"Rates of {_series(matching)} are by string matching: it looks for phrases and cannot tell "
            "whether an answer really shows the behavior."
        )
    unscored, errors = sum(cell["unscored"] for cell in cells), sum(cell["error"] for cell in cells)
    errors = 0 if "rows are missing" in said else errors
    if unscored or errors:
        parts = [_count(unscored, "case is unscored", "cases are unscored")] if unscored else []
        parts += [_count(errors, "case ended in an error", "cases ended in an error")] if errors else []
        limits.append(
            f"{' and '.join(parts)}, of {sum(cell['cases'] for cell in cells):,}. They count neither as held nor as "
            "broken; pale bars and bounds show how far they could move a rate."
        )
    groups = [group for setting in settings for group in setting["groups"]]
    static = _unique(group["defense"] for group in groups if group["static"])
    if static and "static" not in said:
        limits.append(
            f"{_series(static)} met static attacks only. No attack adapted to it, so its effect is an upper bound."
        )
    bare = [group for group in groups if not group["refusals"] and not group["rows"][0]["benign"]]
    if bare and "benign" not in said:
        names = [f"{g['target']} behind {g['defense']}" if g["defense"] else g["target"] for g in bare]
        limits.append(
            f"Over-refusal was not tested for {_series(_unique(names))}: a model that refuses all looks safe."
        )
    harmful = [cell for cell in cells if not cell["benign"]]
    own = _unique([c["attack"] for c in harmful if any("own draws" in note for note in c["notes"])])
    if harmful and all(c["samples"] == 1 and (c.get("sampling") or {}).get("temperature", 0) == 0 for c in harmful):
        but = f", but for the draws of {_series(own)}" if own else ""
        limits.append(f"Each case was answered once, greedily (temperature 0){but}; other sampling was not tested.")
    return limits


def _at_k(settings: Sequence[Record]) -> dict[str, Any]:
    """ASR@k of the cells that have more than one k: the columns, and the rows with their values."""
    rows = [
        {"group": group, "row": row, "many": len(settings) > 1, "setting": setting, "at": row["asr_at_k"]}
        for setting in settings
        for group in setting["groups"]
        for row in group["rows"]
        if len(row.get("asr_at_k") or {}) > 1
    ]
    return {"ks": sorted({int(k) for row in rows for k in row["at"]}), "rows": rows}


def _curve(at: Mapping[str, float | None], ks: Sequence[int]) -> list[tuple[float, float]]:
    """ASR@k as points in a box of 100 by 20, k on a logarithmic axis."""
    span = math.log(ks[-1] / ks[0]) or 1.0
    rates = sorted((int(k), rate) for k, rate in at.items() if rate is not None)
    return [(round(100 * math.log(k / ks[0]) / span, 1), round(20 - 20 * rate, 1)) for k, rate in rates]


# --- cases -----------------------------------------------------------------------------------------------------


def _case(case: Record, cells: Sequence[Record], with_text: bool) -> dict[str, Any]:
    """One row of the table of cases. `prompt` and `answer` are what is hidden until a person asks."""
    cell = cells[case["cell"]]
    chat = case.get("chat") or []
    spoken = [message["text"] for message in chat]
    prompt = [("behavior", case.get("text"))] if not any((case.get("text") or "") in text for text in spoken) else []
    if case.get("context") and not any(case["context"] in text for text in spoken):
        prompt.append(("context", case["context"]))
    prompt += [("" if len(chat) == 1 and m["role"] == "user" else m["role"], m["text"]) for m in chat]
    answer = [("reasoning", case["reasoning"])] if case.get("reasoning") else []
    if case.get("completion") is not None:
        answer.append(("answer" if answer else "", case["completion"]))
    why = case.get("why") or ""
    outcome = case["outcome"]
    secrets = [text for _, text in (*prompt, *answer) if text and len(text) > 3]
    spent = case.get("spent") or {}
    return {
        "outcome": outcome,
        "word": "answered" if cell["benign"] and outcome in ("success", "failure") else OUTCOMES[outcome],
        "id": case["behavior"],
        "category": case.get("category") or "",
        "suite": cell["suite"],
        "target": cell["target"],
        "defense": _defense(cell) or "none",
        "attack": cell["attack"],
        "draw": case.get("sample"),
        "draws": cell["samples"],
        "finish": case.get("finish") or "",
        "facts": [
            *([_count(spent["asks"], "ask")] if spent.get("asks") else []),
            *([f"{short(spent['tokens'])} tokens"] if spent.get("tokens") else []),
            *([CUTS.get(case["cut"], f"cut by {case['cut']}")] if case.get("cut") else []),
            *([f"score {case['score']:.2f}"] if case.get("score") is not None else []),
        ],
        "prompt": [_part(label, text, with_text) for label, text in prompt],
        "answer": [_part(label, text, with_text) for label, text in (*answer, *([("judge says", why)] if why else []))],
        "answered": case.get("completion") is not None,
        "error": _without(case.get("error"), secrets),
        "hint": _without(case.get("hint"), secrets),
    }


def _part(label: str, text: str | None, with_text: bool) -> dict[str, Any]:
    text = text or ""
    if not with_text:
        note = f"{_count(len(text), 'character')}, hash {digest(text)[:12]}"
        return {"label": label, "text": "", "note": note, "length": len(text)}
    cut = len(text) > MOST_CHARACTERS
    note = f"First {MOST_CHARACTERS:,} of {len(text):,} characters." if cut else "" if text else "(empty)"
    return {"label": label, "text": text[:MOST_CHARACTERS], "note": note, "length": len(text)}


def _without(message: str | None, secrets: Sequence[str]) -> str:
    """An error message, less the prompt or completion that it may quote."""
    message = message or ""
    for secret in secrets:
        message = message.replace(secret, "[text hidden]")
    return message[:MOST_CHARACTERS]


def _filters(views: Sequence[Record]) -> list[dict[str, Any]]:
    """The drop-down lists over the cases that have more than one choice."""
    filters = []
    for name in ("target", "defense", "attack", "outcome", "category", "suite"):
        values = _unique(view[name] for view in views)
        if name == "outcome":
            values = [outcome for outcome in OUTCOMES if outcome in values]
        if len(values) > 1 or (values and name in ("target", "attack", "outcome", "category")):
            labels = [OUTCOMES[value] if name == "outcome" else value for value in values]
            filters.append({"name": name, "options": list(zip(values, labels, strict=True))})
    return filters
