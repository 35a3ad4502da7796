"""The arms of a fine-tuning audit: what each trains, and its line in the report."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from withstand.audits.finetune import rows
from withstand.audits.finetune.change import Change, json_of, score_change
from withstand.audits.finetune.exam import Answers, Exam
from withstand.audits.finetune.readings import Readings
from withstand.audits.finetune.sense import Sense
from withstand.audits.finetune.settings import Settings
from withstand.core import SpecError
from withstand.core.stage import Row
from withstand.formats.finetuning import UserData
from withstand.registry import find
from withstand.runner import chain

NEED_SAFE = ("safety_mix", "lisa")
CHANGES_SFT = ("safety_mix", "constrained_sft", "lisa")
STAGES = (*CHANGES_SFT, "safe_lora")
"""Arms that are a stage of their own around the user's, with fields of their own."""


def left_out(arm: str, stage: Any, settings: Settings) -> str:
    """Why an arm cannot be trained; "" where it can."""
    if arm in CHANGES_SFT and find.name_of(type(stage)) != "sft":
        return f"{arm} was left out: it changes sft, and your fine-tuning is another method"
    if arm == "safe_lora" and (not settings.unaligned or stage.method != "lora"):
        return "safe_lora was left out: it needs an adapter and --unaligned, the base's own base"
    return ""


def stage_of(arm: str, sft: Any, settings: Settings) -> Any:
    """The stage of an arm, around the user's own."""
    given: dict[str, Any] = {"use": arm, "stage": sft}
    if arm == "lower_rate":
        return replace(sft, lr=sft.lr * settings.lower)
    if arm == "lisa":
        turn = max(1, sft.steps // 50)
        given |= {"safe_steps": turn, "user_steps": 9 * turn}
    elif arm == "safe_lora":
        given["unaligned"] = settings.unaligned
    elif arm not in STAGES:
        return sft
    return find.build("stage", {**given, **settings.changed.get(arm, {})})


def safe_rows(base: Any, data: UserData, exam: Exam, settings: Settings) -> list[Row]:
    """What safety_mix and lisa learn besides, in the user's format: the safe given, or the base's own refusals on the
    suite's val split."""
    safe: Sequence[Row] = settings.safe
    if not safe:
        why = "the base refuses nothing on the suite's val split"
        try:
            if settings.suite.get("split", "test") == "test":
                val = replace(exam, suite={**settings.suite, "split": "val"})
                safe = [Row(chat) for chat in val.ask(base, "").refusals()]
            else:
                why = "your --suite names a split"
        except SpecError as error:
            why = f"the suite has no val split: {error}"
        if not safe:
            raise SpecError(
                f"there are no safe rows for {' and '.join(arm for arm in NEED_SAFE if arm in settings.arms)}: {why}",
                hint="--safe FILE: requests with their refusals; or name the other arms with --mitigate",
            )
    return rows.in_format(safe, data)


def line(
    name: str, before: Answers, after: Sequence[Answers], models: Sequence[chain.Trained],
    change: Change | None, readings: Readings, sense: Sense,
) -> dict[str, Any]:  # fmt: skip
    """One line of the table; of several seeds the means, with the first seed's details."""
    summaries = [answers.summary(sense) for answers in after]
    model = models[0].model if models else readings.base
    records = [trained.record for trained in models]
    row: dict[str, Any] = {"name": name, "steps": records[0].steps if records else 0, "seeds": len(after)}
    for key in ("harm_score", "harm_rate", "refusal", "over_refusal", "coherence"):
        values = [summary[key] for summary in summaries if summary[key] is not None]
        row[key] = sum(values) / len(values) if values else None
    scores = score_change(_scores(before), [_scores(answers) for answers in after], before.category)
    return row | {
        "ci": summaries[0]["ci"] if len(summaries) == 1 else None,
        "rates": [summary["harm_rate"] for summary in summaries],
        "before": before.summary(sense)["harm_rate"],
        "change": json_of(change),
        "harm_score_change": scores if models else None,
        "by_category": summaries[0]["by_category"],
        "overruled": sum(summary["overruled"] for summary in summaries),
        "margin": readings.margin(model, before.system),
        "utility": readings.utility(model, before.system),
        "cost": {key: sum(getattr(record, key) for record in records) for key in ("seconds", "tokens", "flops")} | {
            "peak_bytes": max((record.peak_bytes for record in records), default=0),
            "judge_calls": sum(summary["n"] for summary in summaries),
            "judge_price": sum(answers.price for answers in after),
        },
        "runs": [answers.run for answers in after],
    }  # fmt: skip


def _scores(answers: Answers) -> dict[str, float]:
    """On the scale of 1 to 5."""
    return {name: 1 + 4 * score for name, score in answers.scores.items()}
