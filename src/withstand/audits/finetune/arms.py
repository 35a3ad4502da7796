"""The arms of a fine-tuning audit: what each trains, and its figures in the report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from withstand.audits.change import Change, MeanChange, score_change
from withstand.audits.exam import Answers, CategoryCount, Exam, compared
from withstand.audits.finetune import rows
from withstand.audits.finetune.assess import MEASURED, Utility, findings
from withstand.audits.finetune.settings import Settings
from withstand.audits.sense import Sense
from withstand.audits.verdicts import AxisVerdict, Limits, by_axis
from withstand.core import SpecError
from withstand.core.stage import Record, Row
from withstand.formats.finetuning import UserData
from withstand.registry import find
from withstand.stats import multiple

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


NO_REFUSALS = "the base refuses nothing on the suite's val split"


def without_refusals(settings: Settings) -> str:
    """Why no refusals can be had for the arms that learn them, before any is asked for; "" where they can."""
    if settings.safe:
        return ""
    if settings.suite.get("split", "test") != "test":
        return "your --suite names a split"
    try:
        find.build("suite", {**settings.suite, "split": "val"}).load()
    except SpecError as error:
        return f"the suite has no val split: {error}"
    return ""


def safe_rows(base: Any, data: UserData, exam: Exam, settings: Settings) -> list[Row]:
    """What safety_mix and lisa learn besides, in the user's format: the safe given, or the base's own refusals on the
    suite's val split; none where it refuses nothing there."""
    safe: Sequence[Row] = settings.safe
    if not safe and not without_refusals(settings):
        val = replace(exam, suite={**settings.suite, "split": "val"}, benign=None)
        safe = [Row(chat) for chat in val.ask(base, "").refusals()]
    return rows.in_format(safe, data)


@dataclass(frozen=True, slots=True)
class Cost:
    """What an arm took, over all of its seeds: seconds, tokens and FLOPs of training, the most memory in bytes, and
    calls of the judge with their price in US$."""

    seconds: float
    tokens: int
    flops: float
    peak_bytes: int
    judge_calls: int
    judge_price: float


@dataclass(frozen=True, slots=True)
class ArmResult:
    """The figures of an arm: of several seeds the means, with the details of the first seed.

    steps: of training.   harm_score .. coherence: as in `Summary`; None where a seed has none at all.   ci: None of
    several seeds.   rates: the harmfulness rate of each seed.   before: that of the base under the arm's system
    message.   change, harm_score_change: None of the base itself.   margin: how much likelier a refusal is than
    agreement, in nats.   runs: names in the store.   fields: what the user changed of the stage.   p_holm: p of the
    change, corrected for the number of arms.   axes: verdicts on what plain prompts and texts show; none of the base.
    """

    name: str
    steps: int
    seeds: int
    harm_score: float | None
    harm_rate: float | None
    refusal: float | None
    over_refusal: float | None
    coherence: float | None
    ci: tuple[float, float] | None
    rates: Sequence[float | None]
    before: float | None
    change: Change | None
    harm_score_change: MeanChange | None
    by_category: Mapping[str, CategoryCount]
    overruled: int
    margin: float | None
    utility: Utility
    cost: Cost
    runs: Sequence[str]
    fields: Mapping[str, Any]
    axes: Sequence[AxisVerdict] = ()
    p_holm: float | None = None


def arm_result(
    name: str, before: Answers, after: Sequence[Answers], records: Sequence[Record], sense: Sense, margin: float | None,
    utility: Utility, fields: Mapping[str, Any], limits: Limits,
) -> ArmResult:  # fmt: skip
    """The figures of an arm from the answers of each seed. `records`: of its trainings, none of the base.

    Raises `SpecError` where the base and the arm were not asked alike.
    """
    summaries = [answers.summary(sense) for answers in after]
    scores = [{case: 1 + 4 * score for case, score in answers.scores.items()} for answers in (before, *after)]
    cost = Cost(
        seconds=sum(record.seconds for record in records), tokens=sum(record.tokens for record in records),
        flops=sum(record.flops for record in records),
        peak_bytes=max((record.peak_bytes for record in records), default=0),
        judge_calls=sum(summary.n for summary in summaries), judge_price=sum(answers.price for answers in after),
    )  # fmt: skip
    shown = findings(before, after, sense, utility, limits, salad=sense.most is not None)
    return ArmResult(
        name=name, steps=records[0].steps if records else 0, seeds=len(after),
        harm_score=_mean(summary.harm_score for summary in summaries),
        harm_rate=_mean(summary.harm_rate for summary in summaries),
        refusal=_mean(summary.refusal for summary in summaries),
        over_refusal=_mean(summary.over_refusal for summary in summaries),
        coherence=_mean(summary.coherence for summary in summaries),
        ci=summaries[0].ci if len(after) == 1 else None, rates=[summary.harm_rate for summary in summaries],
        before=before.summary(sense).harm_rate, change=compared(before, after) if records else None,
        harm_score_change=score_change(scores[0], scores[1:]) if records else None,
        by_category=summaries[0].by_category, overruled=sum(summary.overruled for summary in summaries),
        margin=margin, utility=utility, cost=cost, runs=[answers.run for answers in after], fields=fields,
        axes=by_axis(shown, MEASURED) if records else (),
    )  # fmt: skip


def points(results: Sequence[ArmResult], held: bool) -> dict[str, tuple[float, float, float]]:
    """Arm -> harmfulness rate, loss and operations, which an arm on the front has lower; of arms with all three.

    held: whether the loss is that of the user's rows. A model that was trained elsewhere took an unknown number.
    """
    axes = {}
    for arm in results:
        loss = arm.utility.user_loss if held else arm.utility.neutral_loss
        if arm.harm_rate is not None and loss is not None and arm.cost.flops:
            axes[arm.name] = (arm.harm_rate, loss, arm.cost.flops)
    return axes


def corrected(results: Sequence[ArmResult]) -> list[ArmResult]:
    """The arms with `p_holm`, the p of their change corrected over all arms that were trained (Holm 1979)."""
    ps = multiple.holm([arm.change.p if arm.change else None for arm in results])
    return [replace(arm, p_holm=p) for arm, p in zip(results, ps, strict=True)]


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None
