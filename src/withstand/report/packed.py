"""The cases in an HTML report: packed in blocks, of which a browser unpacks those that a person looks at.

A block is JSON, compressed (zlib) and in base64, so that nothing in a text can end the element that holds it. The first
says of every case what the filters need; each further one holds the texts of `SIZE` cases.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from withstand.core import digest
from withstand.core.text import count, short, unique, visible
from withstand.results.cases import CaseResult
from withstand.results.cells import OUTCOME_WORDS, WORDS, CellResult

SIZE = 500
"""Cases in a block: one is unpacked in a few milliseconds."""

MOST_BYTES = 64 * 2**20
"""Of all blocks; what lies beyond is in the exported cases."""

MOST_CHARACTERS = 20_000
"""Of each text; the rest is in the exported cases."""

CUTS = {"success": "ended at the first success"}
"""What ended an attack early, other than a budget."""

Break: TypeAlias = tuple[float, int, str, int]
"""A case that broke its behavior: minus the score, asks, attack, place among the cases. The worst is the least."""


@dataclass
class Packed:
    """The blocks, how many cases they hold, and what the drop-down lists over them offer."""

    blocks: list[str] = field(default_factory=list)
    total: int = 0
    filters: list[dict[str, Any]] = field(default_factory=list)
    worst: int = 0
    """How many cases the first screen shows: see `_worst`."""


def pack(cases: Iterable[CaseResult], cells: Sequence[CellResult], with_text: bool) -> Packed:
    """Every case, up to `MOST_BYTES`. Without `with_text` a text is its length and a short hash."""
    where = [
        [cell.target, cell.defense, cell.attack, cell.suite, cell.samples, list(WORDS).index(cell.measures)]
        for cell in cells
    ]
    index: dict[str, list[int]] = {"cell": [], "outcome": [], "category": []}
    categories: dict[str, int] = {}
    outcomes = list(OUTCOME_WORDS)
    texts: list[str] = []
    rows: list[list[Any]] = []
    broken: dict[tuple[str, str], list[Break]] = {}
    size = 0
    for case in cases:
        if case.outcome == "success" and cells[case.cell].measures == "harm":
            asks = (case.spent or {}).get("asks") or 0
            place = (-(case.score or 0.0), asks, cells[case.cell].attack, len(index["cell"]))
            broken.setdefault((cells[case.cell].suite, case.behavior), []).append(place)
        index["cell"].append(case.cell)
        index["outcome"].append(outcomes.index(case.outcome))
        index["category"].append(categories.setdefault(visible(case.category), len(categories)))
        rows.append(_row(case, with_text))
        if len(rows) == SIZE:
            texts.append(_block(rows))
            size += len(texts[-1])
            rows = []
            if size > MOST_BYTES:
                break
    if rows:
        texts.append(_block(rows))
    shown = [[visible(value) if isinstance(value, str) else value for value in cell] for cell in where]
    words = [list(words.values()) for words in WORDS.values()]
    head = {"size": SIZE, "cells": shown, "categories": list(categories), "outcomes": outcomes, **index}
    worst = _worst(broken, len({cell.attack for cell in cells if cell.measures == "harm"}))
    head |= {"measures": list(WORDS), "words": words, "worst": worst}
    return Packed(
        [_block(head), *texts], len(index["cell"]), list(_filters(shown, index, list(categories))), len(worst)
    )


def _worst(broken: Mapping[tuple[str, str], Sequence[Break]], attacks: int) -> list[tuple[int, str]]:
    """The place of a case of each of the three behaviors that most attacks broke, and by how many; the worst first.

    Of a behavior's cases it is the one of the highest score, then the one that took the fewest asks.
    """
    ranked = []
    for breaks in broken.values():
        score, asks, _, at = min(breaks)
        ranked.append((-len({attack for *_, attack, _ in breaks}), -len(breaks), score, asks, at))
    return [(at, f"broken by {-by} of {count(attacks, 'attack')}") for by, _, _, _, at in sorted(ranked)[:3]]


def _block(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode())).decode()


def unpack(block: str) -> Any:
    """What a block holds."""
    return json.loads(zlib.decompress(base64.b64decode(block)))


def _row(case: CaseResult, with_text: bool) -> list[Any]:
    """One case as report.js draws it: id, draw, facts, prompt, answer, how it ended, why it was not reached.

    A reason, an error and a hint from outside are texts of the answer: they may quote.
    """
    sent = [turn.text for turn in case.chat]
    prompt = [("behavior", case.text)] if not any(case.text in text for text in sent) else []
    if case.context and not any(case.context in text for text in sent):
        prompt.append(("context", case.context))
    lone = len(case.chat) == 1 and case.chat[0].role == "user"
    prompt += [("" if lone else turn.role, turn.text) for turn in case.chat]
    answer = [("reasoning", case.reasoning)] if case.reasoning else []
    if case.completion is not None:
        answer.append(("answer" if answer else "", case.completion))
    answer += [("judge says", case.why)] if case.why else []
    answer += case.failure
    error, hint = ("", "") if case.failure else (case.error, case.hint)
    return [
        visible(case.behavior),
        case.sample,
        _facts(case),
        [_part(label, text, with_text) for label, text in prompt],
        [_part(label, text, with_text) for label, text in answer],
        [*case.stopped, *([] if case.completion is not None else ["no completion"])],
        error,
        hint,
    ]


def _facts(case: CaseResult) -> list[str]:
    spent = case.spent or {}
    return [
        *([count(spent["asks"], "ask")] if spent.get("asks") else []),
        *([f"{short(spent['tokens'])} tokens"] if spent.get("tokens") else []),
        *([CUTS.get(case.cut, f"cut by {case.cut}")] if case.cut else []),
        *([f"score {case.score:.2f}"] if case.score is not None else []),
    ]


def _part(label: str, text: str, with_text: bool) -> list[Any]:
    """Label, text, a note on it, and its length in characters."""
    if not with_text:
        note = f"{count(len(text), 'character')}, hash {digest(text)[:12]}"
        return [visible(label), "", note, len(text)]
    cut = len(text) > MOST_CHARACTERS
    note = f"First {MOST_CHARACTERS:,} of {len(text):,} characters." if cut else "" if text else "(empty)"
    return [visible(label), visible(text[:MOST_CHARACTERS]), note, len(text)]


def _filters(
    cells: Sequence[Sequence[Any]], index: Mapping[str, Sequence[int]], categories: Sequence[str]
) -> Iterable[dict[str, Any]]:
    """The drop-down lists over the cases that have more than one choice."""
    used = [cells[place] for place in dict.fromkeys(index["cell"])]
    for name in ("target", "defense", "attack", "outcome", "category", "suite"):
        if name == "outcome":
            groups = _outcomes(cells, index)
        elif name == "category":
            groups = [("", [(value, value) for value in categories])]
        else:
            values = unique(cell[("target", "defense", "attack", "suite").index(name)] for cell in used)
            groups = [("", [(value, value) for value in values])]
        choices = sum(len(options) for _, options in groups)
        if choices > 1 or (choices and name in ("target", "attack", "outcome", "category")):
            yield {"name": name, "groups": groups}


def _outcomes(
    cells: Sequence[Sequence[Any]], index: Mapping[str, Sequence[int]]
) -> list[tuple[str, list[tuple[str, str]]]]:
    """What was measured, and under it the outcomes that cases have, each as the words for it."""
    met = set(zip((cells[place][-1] for place in index["cell"]), index["outcome"], strict=True))
    groups = []
    for at, (measure, words) in enumerate(WORDS.items()):
        seen = unique(word for place, word in enumerate(words.values()) if (at, place) in met)
        if seen:
            groups.append((measure, [(f"{measure}:{word}", word) for word in seen]))
    return groups
