"""The cases of a run, one by one: what was sent, what came back, what the judge says."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, TypeAlias

import sqlalchemy as sql

from withstand.core import Chat, GuardCheck, Json, from_json, to_json
from withstand.core import TestCase as Case
from withstand.results.cells import CellResult
from withstand.store.store import Row, RunRow, Store, chunks
from withstand.store.tables import CASES, COMPLETIONS, VERDICTS, failure, want

Place: TypeAlias = tuple[int, int, int, str]
"""Behavior, number of the test case, sample, key of the row."""


NOT_REACHED = ("not reached", "run the same command again")
"""The error and the hint of a case that a run has not come to: the package's own words, and no text from outside."""

WAITING = "waiting for a person"
"""Why a case is unscored whose judge is people, and which too few have labeled."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case of a run: a test case, one completion of it, and its verdict.

    cell: its place in the plan.   behavior: id; category, text, context, cluster: of the behavior.
    case, sample: numbers from 0, of the attack's test case and of the draw.
    completion: None where there is no answer.   finish: "stop", "length", "filtered", or "" without an answer.
    checks: what the guards of the target's defense said of it.
    tokens: kind ("prompt", "answer", "reasoning") -> count.   score: as the judge has it, None without one.
    scores, scored_by: as `Verdict` has them.   prompt_score: of the behavior.
    why: the judge's reason.   vote: of an ensemble, "agreed" or "split"; else "".
    error, hint: why a row is missing, and what to do; `failure` is both as texts from outside, which may quote.
    spent: what the attack had used on the behavior by then: asks, tokens, seconds, flops (None: not known).
    cut: the budget that ended the attack, "success", or "".   chat: the turns sent.
    """

    cell: int
    behavior: str
    category: str
    text: str
    context: str
    case: int = 0
    sample: int = 0
    completion: str | None = None
    reasoning: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    finish: str = ""
    tokens: Mapping[str, int] | None = None
    outcome: str = "error"
    score: float | None = None
    why: str = ""
    vote: str = ""
    error: str = ""
    hint: str = ""
    spent: Mapping[str, Any] | None = None
    cut: str = ""
    chat: Chat = ()
    cluster: str = ""
    checks: tuple[GuardCheck, ...] = ()
    scores: tuple[tuple[str, float], ...] = ()
    scored_by: str = ""
    prompt_score: float | None = None

    @property
    def stopped(self) -> list[str]:
        """In words, what ended the answer early and what guards did about it."""
        cut = ["cut at max_tokens"] if self.finish == "length" else []
        own = self.finish == "filtered" and not any(check.blocked for check in self.checks)
        return [
            *cut,
            *(["stopped by the target's own filter"] if own else []),
            *(check.in_words for check in self.checks),
        ]

    @property
    def failure(self) -> list[tuple[str, str]]:
        """What a model, a judge or an application said when it failed, each text with what it is."""
        if (self.error, self.hint) == NOT_REACHED:
            return []
        return [(name, text) for name, text in (("error", self.error), ("hint", self.hint)) if text]

    def to_json(self) -> dict[str, Any]:
        """What `Run.cases()` yields. What only scorers and prompts of toxicity have is there where it is known."""
        scored = {
            **({"scores": dict(self.scores)} if self.scores else {}),
            **({"scored_by": self.scored_by} if self.scored_by else {}),
            **({"prompt_score": self.prompt_score} if self.prompt_score is not None else {}),
        }
        return (
            {name: getattr(self, name) for name in _FIELDS}
            | scored
            | {
                "tool_calls": [dict(call) for call in self.tool_calls],
                "checks": [to_json(check) for check in self.checks],
                "tokens": self.tokens or {},
                "spent": self.spent or {},
                "chat": [{"role": turn.role, "text": turn.text} for turn in self.chat],
            }
        )


_INSIDE = ("vote", "scores", "scored_by", "prompt_score")
_FIELDS = tuple(field.name for field in fields(CaseResult) if field.name not in _INSIDE)


def cases(store: Store, run: RunRow, per_cell: int | None = None) -> Iterator[CaseResult]:
    """Every case of a run, in the plan's order.

    `per_cell` keeps at most that many of each cell: the same number of draws of each behavior, as far as it goes.
    """
    plan = run.plan
    texts = _texts(store, run, {key for suite in plan["suites"] for key in suite["behaviors"]})
    for index, cell in enumerate(plan["cells"]):
        behaviors = [texts[key] for key in plan["suites"][cell["suite"]]["behaviors"]]
        places = _places(store, run, index, per_cell, len(behaviors))
        yield from islice(_cell_cases(store, index, places, behaviors, "waits" in cell), per_cell)


def labeled(cells: Sequence[CellResult], listed: Iterable[CaseResult]) -> Iterator[Json]:
    """Cases as JSON with the labels of their cell before them."""
    return ({**cells[case.cell].labels(), **case.to_json()} for case in listed)


def learned(store: Store, run: RunRow) -> list[Json]:
    """What the attacks of a run have learned for later ones to start from, as autodan_turbo its strategies."""
    lessons: list[Json] = []
    for index in range(len(run.plan["cells"])):
        for part in chunks(_places(store, run, index, None, 0)[CASES], 100):
            for row in store.rows([key for *_, key in part]).values():
                for case in from_json(tuple[Case, ...], row.value):
                    lessons += json.loads(case.learned) if case.learned else []
    return lessons


Spot: TypeAlias = tuple[int, int, int, int]
"""A case of a run: cell, behavior, number of the test case, sample."""


def picked(store: Store, run: RunRow, spots: Sequence[Spot]) -> list[CaseResult]:
    """These cases alone, in this order; those that the run does not have are left out."""
    w = want.c
    results: dict[Spot, CaseResult] = {}
    by_cell: dict[int, list[Spot]] = defaultdict(list)
    for spot in spots:
        if 0 <= spot[0] < len(run.plan["cells"]):
            by_cell[spot[0]].append(spot)
    for cell, asked in by_cell.items():
        places: dict[int, list[Place]] = {CASES: [], COMPLETIONS: [], VERDICTS: []}
        here = {spot[1:] for spot in asked}
        for part in chunks(sorted({behavior for behavior, _, _ in here}), 100):
            for stage, *place in store.select(
                sql.select(w.stage, w.behavior, w.number, w.sample, w.key)
                .where(w.run == run.key, w.stage.in_(places), w.cell == cell, w.behavior.in_(part))
                .order_by(w.behavior)
            ):
                if stage == CASES or tuple(place[:3]) in here:
                    places[stage].append(tuple(place))
        planned = run.plan["cells"][cell]
        keys = run.plan["suites"][planned["suite"]]["behaviors"]
        keys = {behavior: keys[behavior] for behavior, *_ in places[CASES]}
        texts = _texts(store, run, keys.values())
        behaviors = {behavior: texts[key] for behavior, key in keys.items()}
        place_of = {text["id"]: behavior for behavior, text in behaviors.items()}
        for case in _cell_cases(store, cell, places, behaviors, "waits" in planned):
            results[cell, place_of[case.behavior], case.case, case.sample] = case
    return [results[spot] for spot in spots if spot in results]


def _texts(store: Store, run: RunRow, keys: Iterable[str]) -> dict[str, Json]:
    """Behaviors by key, each with its cluster."""
    clusters = run.plan.get("clusters", {})
    return {key: text | {"cluster": clusters.get(key, "")} for key, text in store.behaviors(keys).items()}


def _places(store: Store, run: RunRow, cell: int, most: int | None, behaviors: int) -> dict[int, list[Place]]:
    """The wants of a cell by stage, as (behavior, number, sample, key) in order."""
    w = want.c
    kept = []
    if most is not None:
        draws = max(1, most // behaviors)
        kept = [w.number < draws, w.sample < draws, w.behavior < most]
    places: dict[int, list[Place]] = {CASES: [], COMPLETIONS: [], VERDICTS: []}
    for stage, *place in store.select(
        sql.select(w.stage, w.behavior, w.number, w.sample, w.key)
        .where(w.run == run.key, w.cell == cell, *kept)
        .order_by(w.stage, w.behavior, w.number, w.sample)
    ):
        places[stage].append(tuple(place))
    return places


def _cell_cases(
    store: Store,
    cell: int,
    places: Mapping[int, Sequence[Place]],
    behaviors: Sequence[Json] | Mapping[int, Json],
    waits: bool,
) -> Iterator[CaseResult]:
    """The cases of a cell, in the order of `places`. waits: people are the judge."""
    verdict_keys = {place[:3]: place[3] for place in places[VERDICTS]}
    draws: dict[int, list[Place]] = defaultdict(list)
    for place in places[COMPLETIONS]:
        draws[place[0]].append(place)
    for part in chunks(places[CASES], 100):
        wanted = [draw for behavior, *_ in part for draw in draws[behavior]]
        keys = [place[3] for place in [*part, *wanted]] + [verdict_keys.get(place[:3], "") for place in wanted]
        rows = store.rows(keys)
        errors = _errors(store, [key for key in keys if key not in rows])
        for behavior, _, _, key in part:
            text = behaviors[behavior]
            facts: dict[str, Any] = {
                "cell": cell,
                "behavior": text["id"],
                "category": text.get("category", ""),
                "text": text["text"],
                "context": text.get("context", ""),
                "cluster": text["cluster"],
                "prompt_score": text.get("prompt_score"),
            }
            test_cases = from_json(tuple[Case, ...], rows[key].value) if key in rows else ()
            if not draws[behavior]:
                yield CaseResult(**facts, **_missing(errors, key))
            for _, number, sample, completion in draws[behavior]:
                verdict = verdict_keys.get((behavior, number, sample), "")
                yield CaseResult(
                    **facts,
                    case=number,
                    sample=sample,
                    **_sent(test_cases[number]) if number < len(test_cases) else {},
                    **_answered(rows[completion]) if completion in rows else {},
                    **_judged(rows, errors, completion, verdict, waits),
                )


_SPENT = ("asks", "tokens", "seconds", "flops")
_TOKENS = ("prompt", "answer", "reasoning")


def _sent(case: Case) -> dict[str, Any]:
    spent = {name: getattr(case.spent, name) for name in _SPENT}
    return {"chat": case.chat, "spent": spent, "cut": case.cut}


def _answered(completion: Row) -> dict[str, Any]:
    value = completion.value
    return {
        "completion": value.get("text"),
        "reasoning": value.get("reasoning", ""),
        "tool_calls": tuple({"arguments": "", **call} for call in value.get("tool_calls", ())),
        "finish": value.get("finish", "stop"),
        "checks": from_json(tuple[GuardCheck, ...], value.get("checks", [])),
        "tokens": {kind: value.get(f"{kind}_tokens", 0) for kind in _TOKENS} if value else None,
    }


def _judged(
    rows: Mapping[str, Row], errors: Mapping[str, tuple[str, str]], completion: str, verdict: str, waits: bool
) -> dict[str, Any]:
    """What the judge says, that people are still to say it, or why there is nothing to say."""
    if verdict in rows:
        row = rows[verdict]
        scores = tuple((name, score) for name, score in row.value.get("scores", ()))
        return {
            "outcome": row.label, "score": row.value.get("score"), "why": row.value.get("why", ""),
            "vote": row.vote or "", "scores": scores, "scored_by": row.value.get("scored_by", ""),
        }  # fmt: skip
    if waits and completion in rows:
        return {"outcome": "unscored", "why": WAITING}
    return _missing(errors, completion, verdict)


def _missing(errors: Mapping[str, tuple[str, str]], *keys: str) -> dict[str, Any]:
    error, hint = next((errors[key] for key in keys if key in errors), NOT_REACHED)
    return {"outcome": "error", "error": error, "hint": hint}


def _errors(store: Store, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The newest failure of each key."""
    f = failure.c
    errors: dict[str, tuple[str, str]] = {}
    for part in chunks([key for key in keys if key], 500):
        for key, error, hint in store.select(
            sql.select(f.key, f.error, f.hint).where(f.key.in_(part)).order_by(f.created)
        ):
            errors[key] = (error, hint)
    return errors
