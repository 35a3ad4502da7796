"""What the screeners say of a side of an exchange while it is held, and whether that stops it."""

import asyncio
import functools
import hashlib
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from withstand.monitor.proxy.lanes import Lanes, LateError, by_model
from withstand.monitor.screen.labelers import Labeler, Side

Failure: TypeAlias = tuple[str, str]
"""A screener that said nothing, and why."""
REMEMBERED = 20_000
"""Verdicts on prompts that are kept, since each request of a conversation says all of it again."""
STOPS = ("block", "suspend", "escalate")
"""Actions of a policy's category for which a request is stopped."""


@dataclass(frozen=True, slots=True)
class Screened:
    """What was said of one side. scores: by screener.   flagged: ids at or above their threshold.

    stops: categories for which it may not pass.   failures: why a screener said nothing, in words for the log;
    unsaid: those of screeners whose word decides.
    passed_on: the scores, and 0 for those that the cascade left out: what later screeners go by.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    flagged: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()
    passed_on: Mapping[str, float] = field(default_factory=dict)


class Screens:
    """The screeners at work. actions: category -> the policy's action.   timeout: seconds for all that one side needs.

    A screener that another one of its side comes `after` only passes on: the later one has the word. So in a cascade
    the last ones decide. What one of them leaves unsaid (an error, no time, an unscored text, no budget) is a failure.
    """

    def __init__(self, labelers: Sequence[Labeler], actions: Mapping[str, str], lanes: Lanes, timeout: float) -> None:
        self.labelers = {labeler.screener.id: labeler for labeler in labelers}
        self.timeout = timeout
        self._lanes = lanes
        self._asked: Counter[str] = Counter()
        self._memory: OrderedDict[tuple[str, bytes], float] = OrderedDict()
        passed_on = {
            before
            for labeler in labelers
            for before in labeler.screener.after
            if self.labelers[before].screener.reads == labeler.screener.reads
        }
        self._stopping = {
            labeler.screener.id
            for labeler in labelers
            if labeler.screener.id not in passed_on and actions.get(labeler.screener.category, "log") in STOPS
        }

    def of(self, side: Side) -> list[Labeler]:
        return [labeler for labeler in self.labelers.values() if labeler.screener.reads == side]

    def stops(self, side: Side) -> list[Labeler]:
        """The screeners of a side whose flag stops a request."""
        return [labeler for labeler in self.of(side) if labeler.screener.id in self._stopping]

    async def screen(
        self, side: Side, texts: Sequence[str], prompt: str = "", before: Screened | None = None, again: bool = False
    ) -> Screened:
        """Ask the screeners of a side about texts, of which one suffices to flag.

        prompt: what was asked, for a completion.   before: what was said of the prompt.   again: of the same exchange
        as before, so that no budget is used.
        """
        if not texts:
            return Screened()
        deadline = asyncio.get_running_loop().time() + self.timeout
        goes_by = {**before.passed_on} if before else {}
        scores: dict[str, float] = {}
        failures: list[Failure] = []
        waiting = self.of(side)
        while waiting:
            ids = {labeler.screener.id for labeler in waiting}
            now = [labeler for labeler in waiting if not ids & {*labeler.screener.after}]
            waiting = [labeler for labeler in waiting if labeler not in now]
            due = [labeler for labeler in now if self._due(labeler, goes_by, failures, again)]
            for name, score in (await self._scores(due, texts, prompt, deadline, failures)).items():
                goes_by[name] = scores[name] = score
        flagged = tuple(name for name, score in scores.items() if score >= self.labelers[name].screener.threshold)
        stops = (self.labelers[name].screener.category for name in flagged if name in self._stopping)
        return Screened(
            scores,
            flagged,
            tuple(dict.fromkeys(stops)),
            tuple(": ".join(failure) for failure in failures),
            tuple(": ".join(failure) for failure in failures if failure[0] in self._stopping),
            goes_by,
        )

    def _due(self, labeler: Labeler, goes_by: dict[str, float], failures: list[Failure], again: bool) -> bool:
        """Whether a screener is asked: none before it, or one that flagged, was unsure, or said nothing."""
        screener = labeler.screener
        if screener.after:
            passed = [self.labelers[name].screener for name in screener.after]
            if not any(goes_by.get(early.id, 1.0) >= min(early.uncertain, early.threshold) for early in passed):
                goes_by[screener.id] = 0.0
                return False
        if screener.budget and not again and self._asked[screener.id] >= screener.budget:
            failures.append((screener.id, f"its budget of {screener.budget:,} is used up"))
            return False
        self._asked[screener.id] += not again
        return True

    async def _scores(
        self, due: Sequence[Labeler], texts: Sequence[str], prompt: str, deadline: float, failures: list[Failure]
    ) -> dict[str, float]:
        """The highest score of each screener over the texts; a text without one is a failure."""
        rules = [labeler for labeler in due if labeler.is_rule]
        calls = [self._rules(rules, texts, prompt, deadline)] if rules else []
        calls += [self._model(labeler, texts, prompt, deadline) for labeler in due if not labeler.is_rule]
        highest: dict[str, float] = {}
        for values, errors in await asyncio.gather(*calls):
            failures += errors
            for name, listed in values.items():
                numbers = [value for value in listed if value is not None]
                if len(numbers) < len(listed):
                    why = f"it could not judge {len(listed) - len(numbers)} of {len(listed)} texts"
                    failures.append((name, why))
                if numbers:
                    highest[name] = max(numbers)
        return highest

    async def _rules(
        self, rules: Sequence[Labeler], texts: Sequence[str], prompt: str, deadline: float
    ) -> tuple[dict[str, list[float | None]], list[Failure]]:
        names = [labeler.screener.id for labeler in rules]
        pairs = _pairs(rules[0], texts, prompt)
        try:
            values = await self._lanes.score(names, pairs, deadline)
        except LateError as error:
            return {}, [(name, str(error)) for name in names]
        return dict(zip(names, values, strict=True)), []

    async def _model(
        self, labeler: Labeler, texts: Sequence[str], prompt: str, deadline: float
    ) -> tuple[dict[str, list[float | None]], list[Failure]]:
        name, reads_prompt = labeler.screener.id, labeler.screener.reads == "prompt"
        keys = [(name, hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()) for text in texts]
        remembered = {key: self._memory[key] for key in keys if reads_prompt and key in self._memory}
        lacking = [text for key, text in zip(keys, texts, strict=True) if key not in remembered]
        if lacking:
            work = functools.partial(by_model, labeler, _pairs(labeler, lacking, prompt))
            try:
                async with asyncio.timeout_at(deadline):
                    values = await asyncio.get_running_loop().run_in_executor(self._lanes.models, work)
            except TimeoutError:
                return {}, [(name, "no verdict in time")]
            except Exception as error:  # noqa: BLE001 - whatever a judge raises is no verdict; texts stay out of the log
                return {}, [(name, type(error).__name__)]
        else:
            values = []
        came = iter(values)
        scores = [remembered[key] if key in remembered else next(came) for key in keys]
        if reads_prompt:
            for key, score in zip(keys, scores, strict=True):
                if score is not None:
                    self._memory[key] = score
                    self._memory.move_to_end(key)
            while len(self._memory) > REMEMBERED:
                self._memory.popitem(last=False)
        return {name: scores}, []


def _pairs(labeler: Labeler, texts: Sequence[str], prompt: str) -> list[tuple[str, str]]:
    """The texts as a labeler reads them."""
    if labeler.screener.reads == "prompt":
        return [(text, "") for text in texts]
    return [(prompt, text) for text in texts]
