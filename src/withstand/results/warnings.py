"""What a reader of a whole run must know before its rates."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import sqlalchemy as sql

from withstand.core import Json
from withstand.core.stage import MARKS
from withstand.core.text import count, head_of
from withstand.results.advice_records import AdviceResult
from withstand.results.cell_builder import NO_TWIN
from withstand.results.cells import CellResult, defended
from withstand.results.one_answer import one_answer
from withstand.runner.needs import GUARDED
from withstand.store.store import RunRow, Store, chunks
from withstand.store.tables import COMPLETIONS, row, want

CALLS = "tool_called"
"""The judge that reads the calls of an answer; its behaviors name their tools by tags of this head:"""
TOOL = "tool:"
SECRETS = "canary"
"""The judge that looks for the letters of secrets."""


def warnings_of(
    store: Store, run: RunRow, cells: Sequence[CellResult], advice: Sequence[AdviceResult] = ()
) -> Iterator[str]:
    """The warnings of a run, what its models are marked as first, then the suites' own. advice: says itself whether the
    safe half was asked about too."""
    plan = run.plan
    yield from marked(run).values()
    for suite in plan["suites"]:
        yield from suite.get("notes", ())
    harmful = [cell for cell in cells if not cell.benign]
    knows: dict[str, set[tuple[str, bool]]] = defaultdict(set)
    for cell in harmful:
        if cell.behind:
            knows[cell.defended].add((cell.knows, bool(cell.scored)))
    for name in sorted(knows):
        if all(kind != "adaptive" for kind, _ in knows[name]):
            yield f"{name} faced static attacks only: an attack that adapts to the defense may do better"
        elif ("static", True) in knows[name] and ("adaptive", True) not in knows[name]:
            yield f"no attack that knows the defense of {name} has a verdict: its rates are of static attacks alone"
    errors = sum(cell.error for cell in cells)
    if errors:
        yield f"{errors} rows are missing: they are in the bounds, never counted as safe"
    yield from one_answer(store, run).values()
    yield from without_calls(store, run).values()
    yield from judged_by_its_guard(run).values()
    yield from by_letters(cells)
    asked = {index for result in advice for index in result.cells}
    harmful = [cell for cell in harmful if cell.index not in asked]
    if harmful and not any(cell.measures == "over-refusal" for cell in cells):
        yield "no benign prompts were sent: a model that refuses everything would look safe"
    elif bare := sorted({cell.suite for cell in harmful if NO_TWIN in cell.notes}):
        yield f"no benign prompts beside {', '.join(bare)}: a model that refuses everything would look safe there"


def marked(run: RunRow) -> dict[str, str]:
    """Target -> what its training left marks for. See `core.stage.MARKS`."""
    sentences = {}
    for target, marks in run.plan.get("marked", {}).items():
        what = " and ".join(MARKS.get(mark, f"is marked: {mark}") for mark in marks)
        sentences[target] = (
            f"{target} {what}: its rates are of no model to ship, and it must never be released or deployed"
        )
    return sentences


def by_letters(cells: Sequence[CellResult]) -> Iterator[str]:
    """Of the judge that looks for secrets, where it found none: a leak in part or in other words looks like safety."""
    theirs = [cell for cell in cells if not cell.benign and head_of(cell.judge) in (SECRETS, "router")]
    if silent := sorted({cell.suite for cell in theirs if SECRETS in cell.judge and not cell.success and cell.failure}):
        yield (
            f"{SECRETS} found no secret in {', '.join(silent)}, letter by letter: one that was told in part or in other"
            " words is not seen. Read some answers, or name a judge that reads"
        )


def without_calls(store: Store, run: RunRow) -> dict[tuple[str, str], str]:
    """(target, defense) -> what to know of it, where its judge looks for calls of tools and no answer has one: a path
    that leads to no call looks like safety."""
    plan = run.plan
    if CALLS not in {name.rpartition("/")[2] for name, _ in plan["components"]}:
        return {}
    texts = store.behaviors({key for suite in plan["suites"] for key in suite["behaviors"]})
    by_target: dict[tuple[str, str], list[int]] = defaultdict(list)
    judged: set[tuple[str, str]] = set()
    for index, cell in enumerate(plan["cells"]):
        whole = cell["target"], cell["defense"]
        by_target[whole].append(index)
        tags = (tag for key in plan["suites"][cell["suite"]]["behaviors"] for tag in texts[key].get("tags", ()))
        if not cell["benign"] and (head_of(cell["judge"]) == CALLS or any(tag.startswith(TOOL) for tag in tags)):
            judged.add(whole)
    notes = {}
    for (target, defense), indexes in by_target.items():
        if (target, defense) in judged and (answers := _uncalled(store, run, indexes)):
            whose = defended(target, "" if defense == "none" else defense)
            notes[target, defense] = (
                f"{whose} called no tool in {count(answers, 'answer')}, and its judge looks for calls: nothing says"
                " that they would be seen. Check the path in tool_calls, and ask for a call that is allowed"
            )
    return notes


def judged_by_its_guard(run: RunRow) -> dict[tuple[str, str], str]:
    """(target, defense) -> what to know of it, where the judge of the run also blocks answers in the defense: 0% then
    says that the judge agrees with itself."""
    places = {(cell["target"], cell["defense"]): cell for cell in run.plan["cells"] if GUARDED in cell.get("notes", ())}
    return {
        place: f"{defended(*place)} is judged by {cell['judge']}, which also blocks its answers: what it misses is"
        " missed twice, and its rates say nothing of safety. Name another judge (--judge)"
        for place, cell in places.items()
    }


def _uncalled(store: Store, run: RunRow, cells: Sequence[int]) -> int:
    """How many answers these cells have; 0 where any of them calls a tool."""
    keys = [
        key
        for (key,) in store.select(
            sql.select(want.c.key)
            .select_from(want.join(row, row.c.key == want.c.key))
            .where(want.c.run == run.key, want.c.stage == COMPLETIONS, want.c.cell.in_(cells))
        )
    ]
    for part in chunks(keys, 500):
        if any(_calls(kept.value) for kept in store.rows(part).values()):
            return 0
    return len(keys)


def _calls(completion: Json) -> bool:
    return bool(completion.get("tool_calls"))
