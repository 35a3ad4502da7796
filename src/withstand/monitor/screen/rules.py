"""Labels of judges that ask no model, for a batch of exchanges at once: what intake does while it reads."""

from collections.abc import Sequence

from withstand.core import AskError, Completion, Verdict
from withstand.monitor.screen.labelers import Labeler, score_of


def scores(labeler: Labeler, texts: Sequence[tuple[str, str]]) -> list[float | None]:
    """The score in [0, 1] of each exchange, given as (prompt, completion); None where the judge could not say.

    A side without a text is none that a judge cleared: it is None too. So is a text at which the judge failed.
    """
    at = 0 if labeler.screener.reads == "prompt" else 1
    shown = [place for place, pair in enumerate(texts) if pair[at].strip()]
    result: list[float | None] = [None] * len(texts)
    completions = [labeler.completion(*texts[place]) for place in shown]
    for place, verdict in zip(shown, _verdicts(labeler, completions), strict=True):
        result[place] = score_of(verdict)
    return result


def _verdicts(labeler: Labeler, completions: Sequence[Completion]) -> Sequence[Verdict]:
    try:
        return _graded(labeler, completions)
    except Exception as error:  # noqa: BLE001 - one text must not take the labels of the others
        if len(completions) == 1:
            return [Verdict("unscored", why=f"{type(error).__name__}: {error}")]
        middle = len(completions) // 2
        return [*_verdicts(labeler, completions[:middle]), *_verdicts(labeler, completions[middle:])]


def _graded(labeler: Labeler, completions: Sequence[Completion]) -> Sequence[Verdict]:
    flow = labeler.judge.grade(labeler.behavior, completions)
    try:
        next(flow)
    except StopIteration as end:
        verdicts: Sequence[Verdict] = end.value
        if len(verdicts) != len(completions):
            raise AskError(f"{labeler.screener.judge} gave {len(verdicts)} verdicts on {len(completions)}") from None
        return verdicts
    flow.close()
    raise AskError(f"{labeler.screener.judge} asks a model: it is no rule")
