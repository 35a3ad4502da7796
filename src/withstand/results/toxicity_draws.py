"""The scored draws of a run, by target, suite, style and version of the scorer: what `withstand toxicity` counts."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal, TypeAlias, get_args

from withstand.core import Behavior, Json, SpecError, from_json
from withstand.core.continuation import STYLES, Half, half_of, prompt_of
from withstand.core.identities import SwapMark, swap_of
from withstand.core.outcomes import OTHER_SCALE
from withstand.core.refusal import opening_refusal
from withstand.core.text import count, series
from withstand.results.cases import CaseResult, cases
from withstand.results.graded import suite_of
from withstand.results.names import shown_names
from withstand.results.toxicity_records import DrawCounts
from withstand.store.store import RunRow, Store

Fate: TypeAlias = Literal["scored", "empty", "filtered", "unscored", "elsewhere", "failed"]
"""What became of a draw, see `DrawCounts`."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One continuation. score: in [0, 1], None unless scored.   scores: by category of the scorer.   beyond: the scorer
    gave a number outside [0, 1].   scaled: it has a score, of a scorer that did so elsewhere.   text: "" where there is
    none."""

    fate: Fate
    score: float | None = None
    scores: Mapping[str, float] | None = None
    scored_by: str = ""
    why: str = ""
    beyond: bool = False
    text: str = ""
    scaled: bool = False


@dataclass(frozen=True, slots=True)
class PromptDraws:
    """A prompt and its draws. key: of its behavior.   text: the prompt alone.   swap: of a counterfactual, what was put
    in what place."""

    key: str
    id: str
    text: str
    category: str
    cluster: str
    half: Half
    swap: SwapMark | None
    draws: tuple[Draw, ...]

    @property
    def scores(self) -> list[float]:
        return [draw.score for draw in self.draws if draw.score is not None]

    def of_category(self, name: str) -> list[float]:
        """The scores that the scorer gave in one of its categories."""
        return [draw.scores[name] for draw in self.draws if draw.scores and name in draw.scores]

    @property
    def open(self) -> int:
        """Draws that said something and whose score is not there."""
        return counts_of([self]).open

    @property
    def alike(self) -> bool:
        """Whether two or more continuations are there, and all are one text."""
        texts = [draw.text for draw in self.draws if draw.text]
        return len(texts) > 1 and len({*texts}) == 1

    @property
    def repeated(self) -> int:
        """Continuations that say what an earlier one said."""
        texts = [draw.text for draw in self.draws if draw.text]
        return len(texts) - len({*texts})


@dataclass(frozen=True, slots=True)
class MeasuredDraws:
    """The prompts of one cell of a run, as one version of its scorer scored them. planned: the cell in the plan.
    versions: of the scorer, each with how many draws of the cell it scored.   names: kind -> what people read in place
    of a label.   untold: see `untold`."""

    run: str
    suite: str
    suite_version: str
    style: str
    scored_by: str
    versions: Mapping[str, int]
    planned: Json
    names: Mapping[str, str]
    untold: tuple[str, ...]
    prompts: tuple[PromptDraws, ...]

    @property
    def scorer(self) -> str:
        """As people read it, and as `--scorer` takes it."""
        return str(self.names.get("judge", self.planned["judge"]))

    @property
    def samples(self) -> int:
        return int(self.planned["samples"])

    @property
    def target(self) -> str:
        return str(self.planned["target"])

    @property
    def scorer_hash(self) -> str:
        return str(self.planned["keys"]["judge"])

    @property
    def sampling(self) -> tuple[float, float, int]:
        """Temperature, top_p and max_tokens."""
        sampling = self.planned["sampling"]
        return sampling["temperature"], sampling["top_p"], sampling["max_tokens"]


def counts_of(prompts: Iterable[PromptDraws]) -> DrawCounts:
    """What became of the draws of some prompts."""
    fates: Counter[str] = Counter(draw.fate for prompt in prompts for draw in prompt.draws)
    return DrawCounts(fates.total(), **{fate: fates[fate] for fate in get_args(Fate)})


def measured(store: Store, run: RunRow) -> list[MeasuredDraws]:
    """The draws of a run, in the order of its plan. Raises `SpecError` for a run whose draws are no sample of what its
    target says to the prompts as they are, and where nothing that was said has a score."""
    check(run)
    cells = run.plan["cells"]
    by_cell: dict[int, dict[str, list[Draw]]] = defaultdict(lambda: defaultdict(list))
    for case in cases(store, run):
        if cells[case.cell].get("measures") != "utility":
            _check_sent(run, cells[case.cell]["attack"], case)
            by_cell[case.cell][case.behavior].append(draw_of(case))
    _check_scored(run, [draw for listed in by_cell.values() for draw in _all(listed)])
    two_scales = {
        cells[index]["keys"]["judge"] for index, listed in by_cell.items() if any(draw.beyond for draw in _all(listed))
    }
    parts: list[MeasuredDraws] = []
    for index, listed in sorted(by_cell.items()):
        if cells[index]["keys"]["judge"] in two_scales:  # 0.4 may be 0.4 of 100
            listed = {name: [_unscaled(draw) for draw in draws] for name, draws in listed.items()}
        parts += _of_cell(store, run, index, listed)
    return parts


def _all(listed: Mapping[str, Sequence[Draw]]) -> Iterator[Draw]:
    return (draw for draws in listed.values() for draw in draws)


def check(run: RunRow) -> None:
    """Raise `SpecError` where the draws of a run were chosen by what they said."""
    hint = "make a run for it: `withstand toxicity TARGET --suite SUITE --scorer SCORER`"
    if run.plan.get("stop_when_decided") is not None:
        raise SpecError(f"{run.name} stopped by what it found: its prompts are no sample", hint=hint)
    if any(cell["until_success"] for cell in run.plan["cells"]):
        raise SpecError(f"{run.name} stopped each attack at its first success: its draws are no sample", hint=hint)


def _check_sent(run: RunRow, attack: str, case: CaseResult) -> None:
    """Raise `SpecError` where a prompt was sent otherwise than as it is: what is said to it then is something else."""
    hint = "`withstand toxicity TARGET --suite SUITE --scorer SCORER` sends each prompt as it is and draws k times"
    if case.case:
        raise SpecError(f"{run.name} sends several test cases for one prompt", hint=hint)
    prompt = Behavior(case.behavior, case.text, context=case.context).prompt()
    if attack != "direct" and case.chat and [turn.text for turn in case.chat] != [prompt]:
        raise SpecError(f"{run.name} sends its prompts in other words, by {attack}", hint=hint)


def _of_cell(store: Store, run: RunRow, index: int, listed: Mapping[str, Sequence[Draw]]) -> list[MeasuredDraws]:
    """The prompts of a cell for each version of its scorer, and for each style that its suite mixes."""
    planned = run.plan["cells"][index]
    suite, clusters = run.plan["suites"][planned["suite"]], run.plan.get("clusters", {})
    names = shown_names(run.plan)[index]
    texts = store.behaviors(suite["behaviors"])
    behaviors = {key: from_json(Behavior, texts[key]) for key in suite["behaviors"]}
    versions = Counter(draw.scored_by for draw in _all(listed) if draw.fate == "scored")
    styles = dict.fromkeys(style_of(behavior) for behavior in behaviors.values())
    return [
        MeasuredDraws(
            run.name, _name(suite), str(suite["version"]), style, version, dict(versions), planned, names,
            untold(run.plan.get("targets", {}).get(planned["target"], {})),
            tuple(
                _prompt(key, behavior, clusters.get(key, ""), of_version(listed.get(behavior.id, ()), version))
                for key, behavior in behaviors.items()
                if style_of(behavior) == style
            ),
        )
        for style in styles
        for version in sorted(versions, key=lambda name: -versions[name]) or [""]
    ]  # fmt: skip


SAMPLED = ("temperature", "top_p", "max_tokens")


def untold(target: Json) -> tuple[str, ...]:
    """What of a run's sampling never reaches a target, by its description in the plan: there it does as it likes."""
    use = target.get("use")
    if use == "http":
        request = f"{target.get('url')} {target.get('body')}"
        return tuple(name for name in SAMPLED if f"{{{name}}}" not in request)
    if use == "openai":  # whose `extra` stands over what is sent
        return tuple(name for name in SAMPLED if f'"{name}"' in str(target.get("extra", "")))
    return SAMPLED if use == "function" else ()


def _name(suite: Json) -> str:
    """As cells call it, without the split of all and the number that tells two styles of a suite apart."""
    return re.sub(r"( \(\d+\))?( \(all\))?$", "", suite_of(suite))


def style_of(behavior: Behavior) -> str:
    """How a prompt was sent; "" where its suite does not say."""
    return behavior.functional if behavior.functional in STYLES else ""


def _prompt(key: str, behavior: Behavior, cluster: str, draws: tuple[Draw, ...]) -> PromptDraws:
    half, swap = half_of(behavior.prompt_score), swap_of(behavior)
    return PromptDraws(key, behavior.id, prompt_of(behavior), behavior.category, cluster, half, swap, draws)


def of_version(draws: Iterable[Draw], version: str) -> tuple[Draw, ...]:
    """The draws, those that another version of the scorer scored without a score."""
    return tuple(
        draw if draw.fate != "scored" or draw.scored_by == version else Draw("elsewhere", text=draw.text)
        for draw in draws
    )


def _unscaled(draw: Draw) -> Draw:
    """The draw without the score, of a scorer that has two scales."""
    return replace(draw, fate="unscored", score=None, scores=None, scaled=True) if draw.fate == "scored" else draw


def draw_of(case: CaseResult) -> Draw:
    """What became of one draw. An empty answer is none, whatever a scorer says of it, unless it has reasoning: that was
    said, and no scorer read it."""
    answer = case.completion
    if case.outcome == "error":
        return Draw("failed", text=answer or "")
    if answer is not None and not answer.strip() and case.finish != "filtered" and not case.reasoning:
        return Draw("empty")
    score, text = number_of(case.score), (answer or "").strip()
    if score is not None and case.outcome != "unscored" and 0 <= score <= 1:
        numbers = {name: number_of(value) for name, value in case.scores}
        within = {name: value for name, value in numbers.items() if value is not None and 0 <= value <= 1}
        return Draw("scored", score, within, case.scored_by, text=text)
    if case.finish == "filtered" or case.outcome == "filtered":
        return Draw("filtered", text=text)
    beyond = case.why.startswith(OTHER_SCALE) or (score is not None and not 0 <= score <= 1)
    why = case.why if case.score is None or score is not None else f"{str(case.score)[:40]!r} is no number"
    return Draw("unscored", why=why, beyond=beyond, text=text)


def number_of(value: Json) -> float | None:
    """A score that a scorer gave as a finite number, which text, true and NaN are not; else None."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) else None


def _check_scored(run: RunRow, draws: Sequence[Draw]) -> None:
    """Raise `SpecError` where nothing that was said has a score: such a judge is no scorer."""
    unscored = [draw for draw in draws if draw.fate == "unscored"]
    if not unscored or any(draw.fate == "scored" for draw in draws):
        return
    beyond = sum(draw.beyond for draw in unscored)
    why = f"{beyond} of them outside 0 to 1" if beyond else next((draw.why for draw in unscored if draw.why), "")
    judges = series(sorted({str(cell["judge"]) for cell in run.plan["cells"]}))
    raise SpecError(
        f"{judges} gave no score in [0, 1] to any of {count(len(unscored), 'answer')}"
        + (f": {why[:120]}" if why else ""),
        hint=f"score the stored answers by another one: `withstand toxicity --rescore {run.name} --scorer SCORER`",
    )


def notes_of(part: MeasuredDraws, k: int) -> Iterator[str]:
    """What a reader must know of these draws before the figures."""
    shown = [prompt for prompt in part.prompts if prompt.swap is None]
    draws = counts_of(shown)
    if part.untold:
        yield (
            f"{part.names.get('target', part.target)} is not sent {series(part.untold)} of this run: its draws are as "
            "it samples by itself, perhaps all but alike"
        )
    scoreless = sum(prompt.half == "no score" for prompt in shown)
    if scoreless:
        yield f"{scoreless} of {count(len(shown), 'prompt')} have no toxicity score of their own: they are in no half"
    if {prompt.half for prompt in shown} in ({"non-toxic"}, {"non-toxic", "no score"}):
        yield "no prompt is in the toxic half: nothing shows what is said after toxic prompts"
    if draws.failed:
        yield f"{draws.failed} of {draws.wanted} draws have no answer or no verdict: give the command that asked again"
    if short := sum(len(prompt.scores) < k for prompt in shown):
        more = f"; more draws fill them: --samples {part.samples + max(5, part.samples // 4)}" * (not draws.failed)
        of = count(len(shown), "prompt")
        yield f"{short} of {of} have fewer than {k} scored draws and are in the bounds alone{more}"
    if draws.empty:
        yield f"{draws.empty} of {draws.wanted} draws said nothing: nothing is there to score, and they are no draws"
    if draws.filtered:
        yield f"{draws.filtered} of {draws.wanted} draws were filtered: what would have been said is open"
    if draws.unscored:
        yield f"{draws.unscored} of {draws.wanted} draws got no score: they are in the bounds, as 0 and as 1"
    ids, marks = {prompt.id for prompt in shown}, [prompt.swap for prompt in part.prompts if prompt.swap]
    if lonely := sum(mark.original not in ids for mark in marks):
        yield (
            f"{lonely} of {count(len(marks), 'counterfactual')} have no original in this run and are in no figure; the "
            "suite's field prompts=N leaves both in, where --limit does not"
        )
    scores = [score for prompt in shown for score in prompt.scores]
    if len(scores) > 1 and len({*scores}) == 1:
        yield (
            f"{part.scorer} gave all {len(scores):,} draws the same score, {scores[0]:g}: it may know nothing of such "
            "texts. See what it gives to a text that you find toxic"
        )
    texts = [draw.text for prompt in shown for draw in prompt.draws if draw.text]
    yield from _repeats(shown, len(texts), k)
    echoes = sum(draw.text.startswith(prompt.text.strip() or "\0") for prompt in shown for draw in prompt.draws)
    if 2 * echoes > len(texts):
        yield (
            f"{echoes:,} of {len(texts):,} continuations begin with their prompt: it is scored with them, in each draw "
            "alike. Let the target answer with what comes after it alone"
        )
    refused = sum(bool(opening_refusal(text)) for text in texts)
    if 2 * refused > len(texts):
        yield f"{refused} of {len(texts)} continuations open with a refusal: the figures say that, not how it writes"


def _repeats(shown: Sequence[PromptDraws], texts: int, k: int) -> Iterator[str]:
    """What to know where most draws repeat another one of their prompt: a maximum of equal draws does not grow.

    texts: continuations in all.
    """
    how = "Sample with a temperature, and see whether the target takes it"
    alike = sum(prompt.alike for prompt in shown)
    again = sum(prompt.repeated for prompt in shown)
    if k > 1 and alike > len(shown) / 2:
        yield (
            f"all draws are one text for {alike} of {count(len(shown), 'prompt')}: the maximum of {k} is that of one "
            f"draw. {how}"
        )
    elif k > 1 and again > texts / 2:
        yield (
            f"{again:,} of {texts:,} draws repeat another one of their prompt: the maximum of {k} is that of fewer. "
            f"{how}"
        )
