"""A fine-tuning audit for people: Markdown and one HTML file, from its JSON. No completion is in either."""

import json
from pathlib import Path

from withstand import api
from withstand.audits import files
from withstand.audits.files import without_paths
from withstand.audits.finetune.figures import figures
from withstand.audits.finetune.tables import tables
from withstand.core import Json
from withstand.core.text import count, rate
from withstand.report.shell import render
from withstand.report.write import save

MEASURES = {
    "attacks": "the same under attack", "refusals": "lost refusals", "coherence": "incoherent answers",
    "over_refusal": "refused harmless prompts", "right": "wrong answers", "loss": "losses",
}  # fmt: skip


def write(audit: Json, folder: Path, store: Path | None = None) -> None:
    """audit.json, audit.md and audit.html in the folder; with a store also completions.jsonl, which holds texts.

    Files about another base, tuned model, data or training are kept beside.
    """
    files.write(folder, "audit", audit, markdown(audit), html(audit), _about)
    if store is not None:
        rows = (
            json.dumps({"arm": arm["name"], **case}) + "\n"
            for arm in audit["arms"]
            for run in arm["runs"]
            for case in api.load(run, store).cases()
        )
        save(folder / "completions.jsonl", "".join(rows))


def _about(audit: Json) -> Json:
    """The models, the data and the training."""
    models = [audit[side] and audit[side]["hash"] for side in ("base", "tuned")]
    return [*models, audit["data"] and audit["data"]["path_hash"], audit["train"] and audit["train"]["stage"]]


def markdown(audit: Json) -> str:
    """One page: verdict, why, how sure, what next, then the figures, and what was not tested."""
    panels = [("What was not tested", list(map(without_paths, audit["limits"])))]
    title = f"Fine-tuning audit: {audit['headline']}"
    answers = [*audit["reasons"], *audit["sure"], *(f"Next: {step}" for step in next_steps(audit))]
    return files.markdown(title, answers, facts(audit), tables(audit), panels)


def next_steps(audit: Json) -> list[str]:
    """What to do next, without a local path."""
    return [without_paths(step) for step in audit["next"]]


def facts(audit: Json) -> list[tuple[str, str]]:
    """What was audited and how, in lines."""
    eval_ = audit["eval"]
    system = "the system message of the rows" if audit["templates"]["eval_system"] else "no system message"
    version = f"version {eval_['suite_version']}" if eval_["suite_version"] else ""
    lines = [
        ("Base", f"{audit['base']['id']} ({audit['base']['hash'][:12]})"),
        ("Tuned model", _tuned(audit["tuned"])),
        ("Data", _data(audit["data"])),
        ("Training", _training(audit["train"], bool(audit["tuned"]))),
        ("Evaluation", f"{eval_['suite']}, greedy, {eval_['max_tokens']} tokens, {system} before and after"),
        ("Suite", ", ".join(filter(None, [eval_["suite"], version, eval_["license"], eval_["citation"]]))),
        ("Judge", _judge(eval_["judge"])),
        ("Limits", _limits(audit["thresholds"])),
    ]  # fmt: skip
    return [(name, without_paths(text)) for name, text in lines]


def _tuned(tuned: Json) -> str:
    """The tuned model that was given, and how far it could be looked into."""
    if not tuned:
        return "trained here"
    box = "" if tuned["white_box"] else "; black box: only its answers were tested"
    return f"{tuned['id']} ({tuned['hash'][:12]}), as it was given{box}"


def _data(data: Json) -> str:
    if not data:
        return "not given: what depends on it was not tested"
    held = f"{data['held_out']} held out"
    return f"{data['name']}, {data['n']} rows of {data['format']}, {held}, SHA-256 {data['path_hash'][:12]}"


def _training(train: Json, given: bool) -> str:
    if not train:
        return "none: the tuned model was given"
    why = ", for the damage curve and the mitigations alone" if given else ""
    size = f"{count(train['steps'], 'step')}, {count(len(train['seed']), 'seed')}"
    return f"{train['method']}, learning rate {train['lr']:g}, batch {train['batch']}, {size}{why}"


def _limits(limits: Json) -> str:
    """The limits of every measure, FAIL and WARN."""
    texts = [f"harmful answers +{limits['fail']:g} and +{limits['warn']:g} points"]
    for name, bound in limits.items():
        if isinstance(bound, dict):
            unit = "nats" if name == "loss" else "points"
            texts.append(f"{MEASURES[name]} +{bound['fail']:g} and +{bound['warn']:g} {unit}")
    if limits.get("max_harm") is not None:
        texts.append(f"harmful answers at most {limits['max_harm']:g}% after training")
    return f"FAIL and WARN: {', '.join(texts)}"


def _judge(judge: Json) -> str:
    name = f"{judge['id']}, version {judge['version']}, {judge['method']}"
    if judge["kappa"] is None:
        return f"{name}; {judge['why']}"
    low, high = judge["kappa_interval"] or (None, None)
    between = "" if low is None else f" ({low:.2f} to {high:.2f})"
    labels = f"labels {judge.get('annotators', '')} on {judge['n']} answers of {judge['labels']}"
    return (
        f"{name}; compared with {labels}: kappa {judge['kappa']:.2f}{between}, "
        f"sensitivity {rate(judge['sensitivity'])}, specificity {rate(judge['specificity'])}"
    )


def html(audit: Json) -> str:
    """One file without scripts."""
    return render(
        Path(__file__).with_name("finetune.html.j2"),
        audit=audit,
        facts=[(name, [text]) for name, text in facts(audit)],
        parts=list(tables(audit)),
        figures=figures(audit),
        steps=next_steps(audit),
        limits=[without_paths(text) for text in audit["limits"]],
    )
