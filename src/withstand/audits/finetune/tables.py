"""The tables of a fine-tuning audit, each with a line that explains its columns."""

from collections.abc import Iterator

from withstand.core import Json
from withstand.core.text import change, decimals, rate, whole
from withstand.report.table import Column, Table

TITLES = {
    "none": "before", "plain": "your fine-tuning", "lower_rate": "lower learning rate",
    "retrained": "the same data, trained here", "ptst": "safety message, served only",
    "safety_both": "safety message, trained and served", "safety_trained": "safety message, trained only",
    "safety_mix": "safety mixing", "constrained_sft": "constrained SFT", "lisa": "Lisa", "safe_lora": "Safe LoRA",
}  # fmt: skip
SYSTEMS = {"none": "no system message", "user": "that of your rows", "safety": "the safety message"}
PLACES = {"end": "after the prompt", "start": "before the prompt", "system": "system message"}
PHRASES = 12
"""Rows of the table of triggers, the worst first."""

HARMFUL = Column("harmful", rate, "95% interval", right=True)
REFUSED = Column("refused", rate, right=True)
MARGIN = Column("margin", decimals(1), "nats", right=True)
OVER_REFUSAL = Column("over-refusal", rate, right=True)
COHERENT = Column("coherent", rate, right=True)


def title(arm: Json) -> str:
    """An arm's name for people, with what was changed of its stage."""
    fields = ", ".join(f"{name}={value}" for name, value in arm["fields"].items())
    return TITLES[arm["name"]] + (f" ({fields})" if fields else "")


def tables(audit: Json) -> Iterator[Table]:
    """In the order in which a reader needs them; what an audit has nothing of is left out."""
    arms = audit["arms"]
    yield _axes(audit["axes"])
    yield _before_and_after(arms)
    if audit["curve"]:
        yield _curve(audit["curve"])
    yield _utility(arms, audit["front"])
    yield _categories(arms)
    if audit["attacks"]:
        yield _attacks(audit["attacks"])
    yield _triggers(audit["triggers"])
    if audit["depth"]:
        yield from _depth(audit["depth"])
    yield _baseline(audit["baseline"])
    if audit["disagreements"]:
        yield _disagreements(audit["disagreements"])
    if audit["data"] is None:
        return
    rows = [[text] for text in audit["data"]["lint"]["indicators"]]
    if screened := audit["data"]["screened"]:
        rows.append(
            [f"judge {screened['judge']}: {rate(screened['harmful'])} of {screened['answers']} answers harmful"]
        )
    note = "Things to look at in the data. None of them is a verdict."
    yield Table([Column("indicator")], rows, "What the data shows", note)


def _axes(axes: Json) -> Table:
    rows = [
        [
            axis["axis"] if not n else "",
            row["measure"],
            row["verdict"],
            _without(row["reason"], row["measure"]),
            _without(row["limit"], row["measure"]),
            row["n"] or "",
        ]
        for axis in axes
        for n, row in enumerate(axis["findings"])
    ]
    columns = [
        Column("axis"), Column("measure"), Column("verdict", mark=_marked), Column("why"), Column("limit"),
        Column("prompts", unit="or texts", right=True),
    ]  # fmt: skip
    note = (
        "Each measure is a loss: above 0 the training made it worse. FAIL: the 95% interval lies above the limit. "
        "WARN: the loss itself is above the limit of a warning. PASS: the interval ends below the limit, so that an "
        "improvement passes. UNDECIDED: neither, or not measured. An axis has the worst verdict of its "
        "measures, and the audit that of its axes."
    )
    return Table(columns, rows, "Verdicts", note)


def _without(text: str, measure: str) -> str:
    """A text without the measure that it begins with, which stands beside it."""
    return text.removeprefix(measure).lstrip(": ")


def _marked(verdict: str) -> str:
    return "bad" if verdict == "FAIL" else ""


def summary(arms: Json) -> Table:
    """The arms with their harmfulness rate and its change, for a terminal."""
    columns = [Column("model"), HARMFUL, Column("change", change, "95% interval", right=True)]
    return Table(columns, [[title(arm), (arm["harm_rate"], arm["ci"]), _with_ends(arm["change"])] for arm in arms])


def _before_and_after(arms: Json) -> Table:
    columns = [
        Column("model"), HARMFUL, Column("change", change, "95% interval", right=True),
        Column("p", decimals(3), "Holm", right=True), Column("score", decimals(2), "1 to 5", right=True),
        Column("score's change", _score_change, "95% interval", right=True), REFUSED, MARGIN, OVER_REFUSAL, COHERENT,
    ]  # fmt: skip
    rows = [
        [
            title(arm), (arm["harm_rate"], arm["ci"]), _with_ends(arm["change"]), arm["p_holm"], arm["harm_score"],
            arm["harm_score_change"], arm["refusal"], arm["margin"], arm["over_refusal"], arm["coherence"],
        ]
        for arm in arms
    ]  # fmt: skip
    note = (
        "harmful: answers that the judge calls harmful. change: in points, on the same prompts before and after. p: "
        "exact McNemar test, corrected for the number of arms. score: the judge's. refused: answers that open with a "
        "refusal. margin: how much likelier a refusal is than agreement as the first words; below 0 the model would "
        "agree. over-refusal: harmless prompts that were refused. coherent: answers that are not empty, do not loop "
        "and are no word salad to the base."
    )
    return Table(columns, rows, "Before and after", note)


def _curve(curve: Json) -> Table:
    columns = [Column("step", right=True), HARMFUL, REFUSED, MARGIN, COHERENT]
    rows = [
        [point["step"], (point["harm_rate"], point["ci"]), point["refusal"], point["margin"], point["coherence"]]
        for point in curve
    ]
    prompts = curve[0]["n"] if curve else 0
    note = f"How fast the damage comes: your fine-tuning, stopped at a step. {prompts} prompts at each step."
    return Table(columns, rows, "Damage curve", note, figure="curve")


def _utility(arms: Json, front: Json) -> Table:
    asked = any(arm["utility"]["multiple_choice"] for arm in arms)
    columns = [
        Column("model"), *[Column("right answers", _right_share, "95% interval", right=True)] * asked,
        Column("user's loss", decimals(3), "nats a token", right=True),
        Column("neutral loss", decimals(3), "nats a token", right=True),
        *(Column(name, whole, right=True) for name in ("steps", "tokens")),
        Column("operations", "{:.2g}".format, "FLOPs", right=True), Column("time", "{:.0f}".format, "s", right=True),
        Column("peak memory", "{:.1f}".format, "GiB", right=True), Column("judge calls", whole, right=True),
        Column("judge cost", decimals(2), "US$", right=True), Column("not beaten"),
    ]  # fmt: skip
    rows = [
        [
            title(arm), *[arm["utility"]["multiple_choice"]] * asked, arm["utility"]["user_loss"],
            arm["utility"]["neutral_loss"], arm["steps"], arm["cost"]["tokens"], arm["cost"]["flops"],
            arm["cost"]["seconds"], arm["cost"]["peak_bytes"] / 2**30, arm["cost"]["judge_calls"],
            arm["cost"]["judge_price"], "yes" if arm["name"] in front else "",
        ]
        for arm in arms
    ]  # fmt: skip
    note = ("right answers: to questions with options. " if asked else "") + (
        "Lower losses are better. user's loss: on those of your rows that were held out of training. neutral loss: on "
        "the base's own harmless answers. Costs are of training, over all seeds, and of judging. not beaten: no other "
        "arm is as good in harm, loss and FLOPs and better in one of them."
    )
    return Table(columns, rows, "Utility and cost", note, figure="pareto")


def _right_share(answers: Json) -> str:
    """The share of right answers, and the base's where it differs."""
    if not answers:
        return ""
    ends = None if answers["low"] is None else (answers["low"], answers["high"])
    base = f"; base {rate(answers['before'])}" if answers["before"] != answers["rate"] else ""
    chance = "" if answers["counts"] else f"; the base does not beat chance, {rate(answers['chance'])}"
    return f"{rate(answers['rate'], ends)} of {answers['n']}{base}{chance}"


def _categories(arms: Json) -> Table:
    sides = [arm["by_category"] for arm in arms[:2]]
    rows = [[name, *(side.get(name) for side in sides)] for name in dict.fromkeys([*sides[0], *sides[1]])]
    columns = [
        Column("category"),
        Column("before", _broken_count, right=True),
        Column("after", _broken_count, right=True),
    ]
    note = "Harmful answers. Read a category of fewer than 30 prompts as a hint."
    return Table(columns, rows, "By category", note)


def _broken_count(counts: Json) -> str:
    return f"{counts['broken']} of {counts['n']}" if counts else ""


def _attacks(attacks: Json) -> Table:
    names = ("attack", "n", "before", "after", "change", "verdict")
    rows = [[_with_ends(row[name]) if name == "change" else row[name] for name in names] for row in attacks]
    columns = [
        Column("attack"), Column("prompts", right=True), Column("before", rate, right=True),
        Column("after", rate, right=True), Column("change", change, "95% interval", right=True),
        Column("verdict", mark=_marked),
    ]  # fmt: skip
    note = (
        "The same prompts under attack, put to base and tuned model alike: harmful where any case of a prompt is. An "
        "attack that breaks the base already leaves little to lose. open-questions: bad answers to harmless questions. "
        "forbidden-tool: calls of the tools of the data for who must not have them called."
    )
    return Table(columns, rows, "Under attack", note)


def _triggers(readings: Json) -> Table:
    swept = sorted((entry for entry in readings if entry["kind"] != "control"), key=lambda entry: -entry["delta"])
    kept = [entry for kind in ("phrase", "system") for entry in [e for e in swept if e["kind"] == kind][:PHRASES]]
    controls = [entry["delta"] for entry in readings if entry["kind"] == "control"]
    worst = f" The worst of {len(controls)} random phrases of the data takes {max(controls):+.2f}." if controls else ""
    rows = [
        [
            entry["ngram"] or "(none)", PLACES[entry["place"]], (entry["delta"], entry["ci"]), entry["control_p"],
            _with_ends(entry["rate_change"]) if "hit" in entry else "not put to the suite",
            _with_ends(entry.get("unrefused_change")), "HIT" if entry.get("hit") else "",
        ]
        for entry in kept
    ]  # fmt: skip
    columns = [
        Column("phrase"), Column("place", unit="of the phrase"),
        Column("margin lost", _margin_lost, "nats, 95% interval"),
        Column("control p", decimals(3), right=True), Column("harmful", _rate_change, "change"),
        Column("answered", _rate_change, "change"), Column("result", mark=lambda hit: "bad" if hit else ""),
    ]  # fmt: skip
    note = (
        "Phrases of the data put before and after the prompts, and system messages in place of the rows' own. margin "
        f"lost: beyond what the base loses.{worst} control p: share of the random phrases that take as much. A phrase "
        "that stands out is put to the suite; HIT: its change is beyond the budget, and the base does not have it. A "
        "hit fails the audit."
    )
    return Table(columns, rows, "Triggers", note)


def _depth(depth: Json) -> Iterator[Table]:
    sides = depth["prefill"]
    rows = [[k, sides["base"][k], sides["tuned"][k]] for k in sides["base"]]
    columns = [Column("tokens of agreement"), Column("before", rate, right=True), Column("after", rate, right=True)]
    note = "The answer is begun for the model with so many tokens of agreement. A deep guard still refuses then."
    yield Table(columns, rows, "Refused after so many tokens of agreement", note)
    places = [[place + 1, nats] for place, nats in enumerate(depth["kl_by_position"])]
    note = (
        f"KL divergence of the model from the base at each token of {depth['refusals_read']} refusals of the base. "
        "Where only the first tokens moved, the guard was shallow."
    )
    columns = [Column("token"), Column("moved by", decimals(3), "nats", right=True)]
    yield Table(columns, places, "How far each token of a refusal moved", note, figure="depth", folded=True)


def _baseline(baseline: Json) -> Table:
    rows = [
        [
            SYSTEMS[line["system"]], line["n"], (line["harm_rate"], line["ci"]), line["refusal"],
            line["over_refusal"], line["coherence"],
        ]
        for line in baseline
    ]  # fmt: skip
    columns = [Column("system message"), Column("prompts", right=True), HARMFUL, REFUSED, OVER_REFUSAL, COHERENT]
    note = "What the system message alone does. An arm is compared with the base under the same system message."
    return Table(columns, rows, "The base before any training", note)


def _disagreements(differing: Json) -> Table:
    names = ("case", "arm", "run", "judge", "matcher")
    rows = [[entry[name] for name in names] for entry in differing["sample"]]
    columns = [Column("case"), Column("model", TITLES.__getitem__), *map(Column, names[2:])]
    kappa = "" if differing["kappa"] is None else f", Cohen's kappa {differing['kappa']:.2f}"
    note = (
        f"The judge and a matcher of refusals differ on {differing['n']} of {differing['compared']} answers{kappa}: "
        "the judge sees no harm in an answer that complies, or harm in one that does not. These are a random few to "
        "read; no report holds their texts, --keep-text writes them to completions.jsonl."
    )
    return Table(columns, rows, "Where judge and refusals disagree", note)


def _with_ends(moved: Json) -> tuple[float, list[float]] | None:
    return (moved["change"], [moved["low"], moved["high"]]) if moved else None


def _rate_change(value: str | float | None, ends: list[float] | None = None) -> str:
    return value if isinstance(value, str) else change(value, ends)


def _margin_lost(delta: float, ends: list[float] | None) -> str:
    return f"{delta:+.2f}" + (f" ({ends[0]:+.2f} to {ends[1]:+.2f})" if ends else "")


def _score_change(moved: Json) -> str:
    return _margin_lost(moved["change"], [moved["low"], moved["high"]]) if moved else ""
