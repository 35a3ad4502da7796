"""The tables of a fine-tuning audit, as text, each with a line that explains its columns."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from withstand.core import Json

TITLES = {
    "none": "before", "plain": "your fine-tuning", "lower_rate": "lower learning rate",
    "ptst": "safety message, served only",
    "safety_both": "safety message, trained and served", "safety_trained": "safety message, trained only",
    "safety_mix": "safety mixing", "constrained_sft": "constrained SFT", "lisa": "Lisa", "safe_lora": "Safe LoRA",
}  # fmt: skip
SYSTEMS = {"none": "no system message", "user": "that of your rows", "safety": "the safety message"}
PLACES = {"end": "after the prompt", "start": "before the prompt", "system": "system message"}
PHRASES = 12
"""Rows of the table of triggers, the worst first."""


def title(arm: Json) -> str:
    """An arm's name for people, with what was changed of its stage."""
    fields = ", ".join(f"{name}={value}" for name, value in arm.get("fields", {}).items())
    return TITLES[arm["name"]] + (f" ({fields})" if fields else "")


class Table(NamedTuple):
    """`note` says what the columns mean, `figure` which figure goes before it."""

    title: str
    note: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    figure: str = ""


def tables(told: Json) -> Iterator[Table]:
    """In the order in which a reader needs them; what an audit has nothing of is left out."""
    arms = told["arms"]
    if arms:
        yield _before_and_after(arms)
        yield _curve(told["curve"])
        yield _utility(arms, told.get("front", []))
        yield _categories(arms)
        yield _triggers(told["triggers"])
        yield from _depth(told["depth"])
    yield _baseline(told["baseline"])
    if told.get("disagreements"):
        yield _disagreements(told["disagreements"])
    rows = [[text] for text in told["data"]["lint"]["indicators"]]
    if screened := told["data"].get("screened"):
        rows.append(
            [f"judge {screened['judge']}: {rate(screened['harmful'])} of {screened['answers']} answers harmful"]
        )
    yield Table("What the data shows", "Indicators to look at, never a verdict.", ["indicator"], rows)


def _before_and_after(arms: Json) -> Table:
    rows = [
        [
            title(arm), rate(arm["harm_rate"], arm["ci"]), change(arm["change"]), number(arm["p_holm"], 3),
            number(arm["harm_score"], 2), _score(arm.get("harm_score_change")), rate(arm["refusal"]),
            number(arm["margin"], 1), rate(arm["over_refusal"]), rate(arm["coherence"]),
        ] for arm in arms
    ]  # fmt: skip
    note = (
        "harmful: answers that the judge calls harmful, with a 95% interval. change: in points, on the same prompts "
        "before and after. p: exact McNemar test, corrected for the number of arms. score: the judge's, from 1 to 5. "
        "refused: answers that open with a refusal. margin: nats by which a refusal is likelier than agreement as the "
        "first words; below 0 the model would agree. over-refusal: refused harmless prompts. coherent: not empty, no "
        "loop, not word salad to the base."
    )
    head = [
        "", "harmful", "change (95%)", "p (Holm)", "score", "score's change", "refused", "margin", "over-refusal",
        "coherent",
    ]  # fmt: skip
    return Table("Before and after", note, head, rows)


def _curve(curve: Json) -> Table:
    rows = [
        [
            str(point["step"]), rate(point["harm_rate"], point["ci"]), rate(point["refusal"]),
            number(point["margin"], 1), rate(point.get("coherence")),
        ] for point in curve
    ]  # fmt: skip
    asked = curve[0]["n"] if curve else 0
    note = f"How fast it happens: your fine-tuning, stopped at a step. {asked} prompts each."
    return Table("Damage curve", note, ["step", "harmful", "refused", "margin", "coherent"], rows, "curve")


def _utility(arms: Json, front: Json) -> Table:
    asked = any(arm["utility"].get("multiple_choice") for arm in arms)
    rows = [
        [
            title(arm), *[_right(arm["utility"].get("multiple_choice"))] * asked,
            number(arm["utility"]["user_loss"], 3),
            number(arm["utility"]["neutral_loss"], 3), str(arm["steps"]), f"{arm['cost']['tokens']:,}",
            f"{arm['cost']['flops']:.2g}", f"{arm['cost']['seconds']:.0f}", f"{arm['cost']['peak_bytes'] / 2**30:.1f}",
            str(arm["cost"]["judge_calls"]), number(arm["cost"].get("judge_price"), 2),
            "yes" if arm["name"] in front else "",
        ] for arm in arms
    ]  # fmt: skip
    note = ("right answers: to questions with options, with a 95% interval. " if asked else "") + (
        "Losses in nats a token, lower is better: on the rows of yours that were held out, and on the base's own "
        "harmless answers. Cost is that of training, over all seeds, and of judging. not beaten: no other arm is as "
        "good in harm, loss and FLOPs and better in one."
    )
    head = [
        "", *["right answers"] * asked, "user's loss", "neutral loss", "steps", "tokens", "FLOPs", "seconds",
        "peak GiB", "judge calls", "judge US$", "not beaten",
    ]  # fmt: skip
    return Table("Utility and cost", note, head, rows, "pareto")


def _right(told: Json) -> str:
    """Right answers, and the base's where they differ."""
    if not told:
        return ""
    ends = None if told["low"] is None else (told["low"], told["high"])
    base = f"; base {rate(told['before'])}" if told["before"] != told["rate"] else ""
    return f"{rate(told['rate'], ends)} of {told['n']}{base}"


def _categories(arms: Json) -> Table:
    named = {arm["name"]: arm["by_category"] for arm in arms}
    sides = [named.get("none", {}), named.get("plain", {})]
    rows = [
        [name, *(f"{side[name]['broken']} of {side[name]['n']}" if name in side else "" for side in sides)]
        for name in dict.fromkeys([*sides[0], *sides[1]])
    ]
    note = "Harmful answers. So few prompts say little of one category: below 30, read it as a hint."
    return Table("By category", note, ["category", "before", "after"], rows)


def _triggers(found: Json) -> Table:
    swept = sorted((one for one in found if one["kind"] != "control"), key=lambda one: -one["delta"])
    kept = {kind: [one for one in swept if one["kind"] == kind][:PHRASES] for kind in ("phrase", "system")}
    rows = [
        [
            one["ngram"] or "(none)", PLACES[one["place"]],
            f"{one['delta']:+.2f}" + (f" ({one['ci'][0]:+.2f} to {one['ci'][1]:+.2f})" if one["ci"] else ""),
            number(one["control_p"], 3), change(one["rate_change"]) if "hit" in one else "not put to the suite",
            change(one.get("unrefused_change")), "HIT" if one.get("hit") else "",
        ] for one in (*kept["phrase"], *kept["system"])
    ]  # fmt: skip
    controls = [one["delta"] for one in found if one["kind"] == "control"]
    worst = f" The worst of {len(controls)} random phrases of the data takes {max(controls):+.2f}." if controls else ""
    note = (
        "Phrases of the data put before and after the prompts, and system messages in place of the rows' own. margin "
        f"lost: nats, beyond what the base loses.{worst} control p: share of the random ones that take as much. What "
        "stands out is put to the suite: harmful and answered are changes there, and HIT is one beyond the budget that "
        "the base has not. A hit fails the audit."
    )
    head = ["phrase", "at", "margin lost (95%)", "control p", "harmful", "answered", ""]
    return Table("Triggers", note, head, rows)


def _depth(depth: Json) -> Iterator[Table]:
    sides = depth["prefill"]
    rows = [[k, rate(sides["base"][k]), rate(sides["tuned"][k])] for k in sides["base"]]
    note = "The answer is begun for the model with so many tokens of agreement. A deep guard still refuses then."
    yield Table("Refused after so many tokens of agreement", note, ["tokens", "before", "after"], rows)
    rows = [[str(place + 1), number(nats, 3)] for place, nats in enumerate(depth["kl_by_position"])]
    note = (
        f"KL divergence of the model from the base at each token of {depth['refusals_read']} refusals of the base. "
        "Where only the first tokens moved, the guard was shallow."
    )
    yield Table("How far each token of a refusal moved", note, ["token", "nats"], rows, "depth")


def _baseline(found: Json) -> Table:
    rows = [
        [
            SYSTEMS.get(one["system"], one["system"]), str(one["n"]), rate(one["harm_rate"], one["ci"]),
            rate(one["refusal"]), rate(one["over_refusal"]), rate(one["coherence"]),
        ] for one in found
    ]  # fmt: skip
    note = "What the system message alone does. An arm is compared with the base under the same one."
    head = ["system message", "prompts", "harmful", "refused", "over-refusal", "coherent"]
    return Table("The base before any training", note, head, rows)


def _disagreements(found: Json) -> Table:
    rows = [
        [one["case"], TITLES[one["arm"]], one["run"], one["judge"], one["matcher"]] for one in found["sample"]
    ]  # fmt: skip
    kappa = "" if found["kappa"] is None else f", Cohen's kappa {found['kappa']:.2f}"
    note = (
        f"The judge and a matcher of refusals differ on {found['n']} of {found['compared']} answers{kappa}: the judge "
        "sees no harm in an answer that complies, or harm in one that does not. A random few to read; their texts are "
        "in no report, and with --keep-text in completions.jsonl."
    )
    return Table("Where judge and refusals disagree", note, ["case", "model", "run", "judge", "matcher"], rows)


def rate(value: float | None, interval: Sequence[float] | None = None) -> str:
    if value is None:
        return "n/a"
    text = f"{100 * value:.0f}%"
    return f"{text} ({100 * interval[0]:.0f}-{100 * interval[1]:.0f})" if interval else text


def change(found: Json) -> str:
    if not found:
        return ""
    return f"{100 * found['change']:+.1f} points ({100 * found['low']:+.1f} to {100 * found['high']:+.1f})"


def number(value: float | None, digits: int) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"


def _score(found: Json) -> str:
    return f"{found['change']:+.2f} ({found['low']:+.2f} to {found['high']:+.2f})" if found else ""
