"""How far the judge of an audit can be believed: beside labels, and beside a matcher of refusals."""

from collections.abc import Mapping
from typing import Any

from withstand.api import open_store
from withstand.audits.exam import Answers, Exam, complied
from withstand.core import Behavior, Completion, Json, Judge, rng
from withstand.core.outcomes import is_hit
from withstand.core.refusal import refusal_in
from withstand.formats.finetuning import UserData
from withstand.formats.labels import Labeled, read_labels
from withstand.registry import find
from withstand.results.calibrate import calibrate, verdicts
from withstand.results.judge_error import annotators_of
from withstand.stats import agreement

SHIPPED = {"kitchen": ("kitchen", ("kitchen,split=all", "kitchen-benign,split=all"))}
"""By suite, the labels that ship, and where the behaviors of these are."""


def judge_facts(exam: Exam, asked: Json) -> Json:
    """The judge for the report, with Cohen's kappa to labels, or null and `why`.

    Labels that ship with the suite are put to a judge that asks no model, here and now; else what `withstand calibrate`
    has stored in the audit's store counts, of several the one with the most labels.
    """
    judge: Any = find.build("judge", exam.judge or find.build("suite", dict(exam.suite)).judge)
    key, labels = asked["judge"]["key"], SHIPPED.get(exam.suite["use"])
    with open_store(exam.store) as store:
        stored = store.calibrations([key]).get(key, [])
        if labels and not judge.asks and not any(old["labels"] == labels[0] for old in stored):
            behaviors = {behavior.id: behavior for suite in labels[1] for behavior in find.build("suite", suite).load()}
            calibrate(judge, asked["judge"]["id"], read_labels(labels[0], behaviors)[0], labels[0], store)
            stored = store.calibrations([key])[key]
    calibration: dict[str, Any] = max(stored, key=lambda old: old["n"], default={})
    entry = {**asked["judge"], "version": find.version_of(type(judge))}
    if not calibration:
        how = f"withstand calibrate --judge {entry['id']} --labels FILE --store {exam.store}"
        return {**entry, "kappa": None, "why": f"no labels for this judge: {how}"}
    names = ("kappa", "kappa_interval", "sensitivity", "specificity", "n", "labels")
    return {
        **entry,
        **{name: calibration[name] for name in names},
        "annotators": annotators_of(calibration),
        "why": "" if calibration["kappa"] is not None else "undefined",
    }


def disagreements(sides: Mapping[str, Answers], seed: int, most: int = 10) -> Json:
    """Where the judge and a matcher of refusals say different things of an answer: harm, against one that does not open
    with a refusal and makes sense. Too short an answer is such a case, and a refusal that goes on to comply. `kappa` of
    the two; a random sample without texts, which `completions.jsonl` holds (--keep-text)."""
    pairs, apart = list[tuple[bool, bool]](), list[dict[str, str]]()
    for arm, answers in sides.items():
        for name, text in answers.text.items():
            harm = answers.harm[name]
            if harm is None:
                continue
            pairs.append((harm, complied(text)))
            if harm != complied(text):
                matcher = "complied" if complied(text) else "refused" if refusal_in(text) else "no sense"
                apart.append(
                    {"arm": arm, "run": answers.run, "case": name, "judge": answers.outcome[name], "matcher": matcher}
                )
    sample = rng(seed, "disagreements").sample(apart, min(most, len(apart)))
    table = agreement.table([harm for harm, _ in pairs], [matched for _, matched in pairs])
    return {
        "compared": len(pairs),
        "n": len(apart),
        "kappa": agreement.kappa(table) if pairs else None,
        "sample": sample,
    }


def screened(judge: Judge, data: UserData, exam: Exam) -> Json:
    """What a judge says of every answer of the data: `harmful` is the share that it calls a success, `numbers` the
    first rows of these, `unscored` what it could not say."""
    answers = [(row, place) for row in data.rows for place in row.learned]
    labeled = [
        Labeled(
            Behavior(id=f"row {row.number}", text=row.chat[place - 1].text),
            Completion(row.chat[:place], row.chat[place].text), (),
        ) for row, place in answers
    ]  # fmt: skip
    with open_store(exam.store) as store:
        _, rows, _ = verdicts(judge, labeled, store)
    labels = [None if verdict is None else verdict.label for verdict in rows]
    harmful = [row.number for (row, _), verdict in zip(answers, labels, strict=True) if verdict == "success"]
    unscored = sum(is_hit(verdict or "error") is None for verdict in labels)
    scored = len(labels) - unscored
    return {
        "judge": find.name_of(type(judge)), "answers": len(labels), "unscored": unscored,
        "harmful": len(harmful) / scored if scored else None, "numbers": list(dict.fromkeys(harmful))[:20],
    }  # fmt: skip
