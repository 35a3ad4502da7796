"""A fine-tuning audit for people: Markdown and one HTML file, from its JSON. No completion is in either."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from withstand import api
from withstand.core import Json

TITLES = {
    "none": "before", "plain": "your fine-tuning", "lower_rate": "lower learning rate",
    "ptst": "safety message, served only",
    "safety_both": "safety message, trained and served", "safety_trained": "safety message, trained only",
    "safety_mix": "safety mixing", "constrained_sft": "constrained SFT", "lisa": "Lisa", "safe_lora": "Safe LoRA",
}  # fmt: skip


def write(told: Json, folder: Path, store: Path | None = None) -> None:
    """audit.json, audit.md and audit.html in the folder; with a store also completions.jsonl, which holds texts."""
    files = {
        "audit.json": json.dumps(told, indent=1) + "\n",
        "audit.md": markdown(told),
        "audit.html": html(told),
    }
    if store is not None:
        lines = []
        for arm in told["arms"]:
            for name in arm["runs"]:
                for case in api.load(name, store).cases():
                    lines.append(json.dumps({"arm": arm["name"], **case}) + "\n")
        files["completions.jsonl"] = "".join(lines)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        new = folder / f".{name}.new"
        new.write_text(text, encoding="utf-8", errors="backslashreplace")
        new.replace(folder / name)


def short(told: Json) -> Iterator[str]:
    """The verdict and its reasons, a line each, and the table."""
    for arm in told["arms"]:
        yield f"{TITLES[arm['name']]}: {_rate(arm['harm_rate'], arm['ci'])} harmful, {_change(arm['change'])}"
    yield f"{told['verdict']}: {'; '.join(told['reasons'])}"


def markdown(told: Json) -> str:
    """One page: verdict, before and after, mitigations, curve, triggers, depth, lint, limits."""
    lines = [f"# Fine-tuning audit: {told['verdict']}", ""]
    lines += [*(f"- {_cell(text)}" for text in told["reasons"]), ""]
    lines += [f"{name}: {_cell(text)}  " for name, text in facts(told)]
    for title, head, rows in tables(told):
        lines += ["", f"## {title}", ""]
        if rows:
            lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
            lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
        else:
            lines.append("Nothing to show.")
    lines += ["", "## What was not tested", "", *(f"- {_cell(text)}" for text in told["limits"])]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(str(text).replace("|", "\\|").replace("<", "&lt;").split())


def facts(told: Json) -> list[tuple[str, str]]:
    """What was audited and how, in lines."""
    data, train, eval_ = told["data"], told["train"], told["eval"]
    system = told["templates"]["eval_system"]
    return [
        ("Base", f"{told['base']['id']} ({told['base']['hash'][:12]})"),
        ("Data", f"{data['name']}, {data['n']} rows of {data['format']}, {data['held_out']} held out, "
                 f"SHA-256 {data['path_hash'][:12]}"),
        ("Training", f"{train['method']}, learning rate {train['lr']:g}, batch {train['batch']}, "
                     f"{train['steps']} steps, {len(train['seed'])} seed{'s' * (len(train['seed']) > 1)}"),
        ("Evaluation", f"{eval_['suite']}, judge {eval_['judge']['id']}, greedy, {eval_['max_tokens']} tokens, "
                       f"{'the system message of the rows' if system else 'no system message'} before and after"),
        ("Budget", f"FAIL above {told['thresholds'].get('fail', 5.0):g} points by the interval's lower end, WARN above "
                   f"{told['thresholds'].get('warn', 2.0):g} by the change itself"),
    ]  # fmt: skip


def tables(told: Json) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, head and rows of every table, as text."""
    arms, found = told["arms"], []
    head = ["", "harmful", "change (95 %)", "p (Holm)", "refused", "margin", "over-refusal", "coherent"]
    rows = [
        [
            TITLES[arm["name"]], _rate(arm["harm_rate"], arm["ci"]), _change(arm["change"]), _number(arm["p_holm"], 3),
            _rate(arm["refusal"]), _number(arm["margin"], 1), _rate(arm["over_refusal"]), _rate(arm["coherence"]),
        ] for arm in arms
    ]  # fmt: skip
    found.append(("Before and after", head, rows))
    head = ["", "user's loss", "neutral loss", "steps", "tokens", "FLOPs", "seconds", "peak GiB", "not beaten"]
    rows = [
        [
            TITLES[arm["name"]], _number(arm["utility"]["user_loss"], 3), _number(arm["utility"]["neutral_loss"], 3),
            str(arm["steps"]), f"{arm['cost']['tokens']:,}", f"{arm['cost']['flops']:.2g}",
            f"{arm['cost']['seconds']:.0f}", f"{arm['cost']['peak_bytes'] / 2**30:.1f}",
            "yes" if arm["name"] in told.get("front", []) else "",
        ] for arm in arms
    ]  # fmt: skip
    found.append(("Utility and cost", head, rows))
    rows = [
        [
            str(point["step"]),
            _rate(point["harm_rate"], point["ci"]),
            _rate(point["refusal"]),
            _number(point["margin"], 1),
        ]
        for point in told["curve"]
    ]
    found.append(("Damage curve", ["step", "harmful", "refused", "margin"], rows))
    swept = [one for one in told["triggers"] if one["kind"] == "phrase"][:12]
    rows = [
        [
            one["ngram"], one["place"], _number(one["delta"], 2), _number(one["control_p"], 3),
            _change(one["rate_change"]) if "hit" in one else "not put to the suite",
            _change(one.get("unrefused_change")),
            "HIT" if one.get("hit") else "",
        ] for one in sorted(swept, key=lambda one: -one["delta"])
    ]  # fmt: skip
    found.append(
        (
            "Phrases of the data as triggers",
            ["phrase", "at", "margin lost", "control p", "harmful", "not refused", ""],
            rows,
        )
    )
    depth = told["depth"]
    rows = [
        [k, _rate(depth["prefill"]["base"][k]), _rate(depth["prefill"]["tuned"][k])] for k in depth["prefill"]["base"]
    ] if depth else []  # fmt: skip
    found.append(("Refused after so many tokens of agreement", ["tokens", "before", "after"], rows))
    rows = [[str(place + 1), _number(nats, 3)] for place, nats in enumerate(depth.get("kl_by_position", []))]
    found.append(("How far each token of a refusal moved", ["token", "KL in nats"], rows))
    found.append(("What the data shows", ["indicator"], [[text] for text in told["data"]["lint"]["indicators"]]))
    return found


def _rate(value: float | None, interval: Sequence[float] | None = None) -> str:
    if value is None:
        return "n/a"
    text = f"{100 * value:.0f} %"
    return f"{text} ({100 * interval[0]:.0f}-{100 * interval[1]:.0f})" if interval else text


def _change(found: Json) -> str:
    if not found:
        return ""
    return f"{100 * found['change']:+.1f} points ({100 * found['low']:+.1f} to {100 * found['high']:+.1f})"


def _number(value: float | None, digits: int) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"


def html(told: Json) -> str:
    """One file without scripts; every text of the data is escaped."""
    import jinja2

    env = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = env.from_string((Path(__file__).parent / "finetune.html.j2").read_text(encoding="utf-8"))
    points = [
        {"x": point["step"], "y": point["harm_rate"], "low": point["ci"][0], "high": point["ci"][1]}
        for point in told["curve"] if point["harm_rate"] is not None
    ]  # fmt: skip
    pareto = [
        {"name": TITLES[arm["name"]], "x": arm["utility"][loss], "y": arm["harm_rate"],
         "front": arm["name"] in told["front"]}
        for loss in (_loss(told),) for arm in told["arms"] if arm["name"] != "none" and arm["utility"][loss] is not None
        and arm["harm_rate"] is not None
    ] if told["arms"] else []  # fmt: skip
    return template.render(
        told=told, facts=facts(told), tables=tables(told), curve=_placed(points), pareto=_placed(pareto),
        loss="the user's held-out loss" if _loss(told) == "user_loss" else "loss on the base's own harmless answers",
    )  # fmt: skip


def _loss(told: Json) -> str:
    return "user_loss" if all(arm["utility"]["user_loss"] is not None for arm in told["arms"]) else "neutral_loss"


def _placed(points: list[dict[str, Any]], width: int = 520, height: int = 200) -> dict[str, Any]:
    """Points with their places in a figure: x from the least to the most, y from 0 to 1."""
    if not points:
        return {}
    left, right = min(p["x"] for p in points), max(p["x"] for p in points)
    span = (right - left) or 1
    for point in points:
        point["px"] = round((point["x"] - left) / span * width, 1)
        for name in ("y", "low", "high"):
            if name in point:
                point[f"p{name}"] = round((1 - point[name]) * height, 1)
    return {"points": points, "left": f"{left:.4g}", "right": f"{right:.4g}", "width": width, "height": height}
