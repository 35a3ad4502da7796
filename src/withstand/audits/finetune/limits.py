"""What a fine-tuning audit does not test: what is lacking, said before anything is asked, and what is left open."""

from collections.abc import Iterator, Sequence
from typing import Any

from withstand.audits.exam import Answers
from withstand.audits.finetune import arms
from withstand.audits.finetune.settings import ARMS, Settings
from withstand.core import Json, SpecError
from withstand.registry import find, grammar, sets

RANKED = 3
"""Seeds from which on arms may be ranked."""
CUT = 0.25
"""Share of answers cut at their length from which on the report says so."""
LIMITS = (
    "prompts of one suite and one judge: behavior that neither covers was not tested",
    "triggers that are in no repeated phrase of the users' turns were not tested",
    "no task metric of your own was computed",
)
NO_DATA = "DATA was not given: what it holds, its phrases and tools as triggers, the damage curve and mitigations"
NO_LABELS = "the judge was not compared with labels: its errors are not in these figures (withstand calibrate)"
NO_TWIN = (
    "over-refusal and the loss on neutral answers: the suite has no harmless twin (--benign SUITE, such as "
    "csv:FILE,harmless=true)"
)


def beforehand(settings: Settings, stage: Any) -> list[str]:
    """What will be left out, in sentences, before a model is asked.

    stage: the training, None where there is none. Raises `SpecError` for an attack or a judge that does not exist, and
    for arms that were chosen by name and lack their refusals: each would stop the audit after hours.
    """
    suite = find.build("suite", dict(settings.suite))
    for attack in settings.attacks:
        if not sets.is_set(attack):
            find.build("attack", dict(attack))
    for judge in filter(None, (settings.judge or suite.judge, settings.panel)):
        find.build("judge", grammar.parse(judge))
    lacking = [arms.left_out(arm, stage, settings) for arm in settings.arms]
    why = arms.without_refusals(settings)
    needing = [arm for arm in settings.arms if arm in arms.NEED_SAFE and not arms.left_out(arm, stage, settings)]
    if why and needing:
        if settings.arms != ARMS:
            raise SpecError(
                f"there are no safe rows for {' and '.join(needing)}: {why}",
                hint="--safe FILE: requests with their refusals; or name the other arms with --mitigate",
            )
        lacking.append(f"{' and '.join(needing)} were left out: {why} (--safe FILE: requests with their refusals)")
    if not settings.benign and not suite.benign:
        lacking.append(NO_TWIN)
    return list(filter(None, lacking))


def of_report(report: Json, questions: bool) -> list[str]:
    """What was not tested, from the report. questions: whether any with a right answer were asked."""
    data = report["data"]
    texts = [*LIMITS, *([NO_LABELS] if report["eval"]["judge"]["kappa"] is None else [])]
    if data is None:
        texts.append(NO_DATA)
    elif data["screened"] is None:
        texts.append("no judge read the answers of the data (--screen JUDGE)")
    if data and report["train"] is None:
        texts.append("how fast the damage comes, and mitigations: nothing was trained")
    texts += [] if questions else ["what the model still knows was not asked (--utility)"]
    unlikely = report["eval"]["sense"]["nats"]
    return [*texts, *(["too few answers of the base to say which are unlikely"] if unlikely is None else [])]


def of_runs(after: Sequence[Answers], max_tokens: int, seeds: int) -> Iterator[str]:
    """What the length of the answers and the number of seeds leave open. seeds: 0 where nothing was trained."""
    cut = sum(answers.cut for answers in after) / max(1, sum(len(answers.text) for answers in after))
    if cut > CUT:
        yield f"{cut:.0%} of the answers were cut at {max_tokens} tokens before the judge"
    if seeds > 1:
        yield "triggers, depth and questions were put to the first seed alone"
    if seeds == 1:
        yield "one run: another seed may come out otherwise, and arms are not ranked"
    elif 0 < seeds < RANKED:
        yield f"{seeds} seeds: to rank arms takes {RANKED} or more"
