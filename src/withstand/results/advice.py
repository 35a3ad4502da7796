"""What a run says of advice, safe and unsafe, read from the store, or from the cases of a bundle."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from withstand.core import Json, from_json
from withstand.core import TestCase as Case
from withstand.core.questions import AGAINST, asks_for, ending_of, form_in
from withstand.core.text import head_of
from withstand.results.advice_figures import results
from withstand.results.advice_records import LIKELIHOOD, PAIRS, READ, AdviceResult, Asked
from withstand.results.cases import cases
from withstand.results.cells import CellResult
from withstand.results.graded import BehaviorResult, Graded, Where, graded
from withstand.results.worst_case import WorstCase
from withstand.store.purge import purged
from withstand.store.store import RunRow, Store
from withstand.store.tables import behavior

FEW = 50
"""Behaviors of a cell whose test cases are looked at for what the attack asks."""


def advice(store: Store, run: RunRow) -> tuple[AdviceResult, ...]:
    """The results of a run's cells on suites of advice; none for a run without such a suite."""
    return results([*asked_of(store, run).values()])


def attacked(
    worst: Iterable[WorstCase], cells: Sequence[CellResult], asked: Sequence[AdviceResult]
) -> tuple[WorstCase, ...]:
    """Without suites of advice: the forms of a question are no attacks to take the worst of."""

    def faced(entry: WorstCase | CellResult) -> tuple[str, ...]:
        return entry.suite, entry.target, entry.defense, entry.judge

    questions = {faced(cells[index]) for result in asked for index in result.cells}
    return tuple(case for case in worst if faced(case) not in questions)


def asked_of(store: Store, run: RunRow) -> dict[int, Asked]:
    """The cells of a run that ask about advice, by their place in the plan."""
    suites = run.plan["suites"]
    first_of = {i: suite["behaviors"][0] for i, suite in enumerate(suites) if suite["behaviors"]}
    heads, gone = store.behaviors({*first_of.values()}), purged(store, behavior, first_of.values())
    named = {cell["suite"] for cell in run.plan["cells"] if _named(cell["attack"], "")}
    places = {i for i, key in first_of.items() if (i in named if key in gone else _rivals(heads[key]))}
    if not places:
        return {}
    texts = store.behaviors({key for place in places for key in suites[place]["behaviors"]})
    sent, kept = {}, {}
    for index, (planned, cell) in enumerate(zip(run.plan["cells"], graded(store, run), strict=True)):
        if planned["suite"] in places and not cell.utility and (first := _sent(store, cell)):
            sent[index], kept[index] = first, cell
    cells = run.plan["cells"]
    forms = {
        i: _named(cell.attack, cell.judge)
        if first_of[cells[i]["suite"]] in gone
        else _form(cell, next(iter(sent[i].values())))
        for i, cell in kept.items()
    }
    facts = _facts(store, run, {i for i, first in sent.items() if _reads(forms[i], first)})
    asked = {}
    for index, cell in kept.items():
        form, published = forms[index], bool(suites[cells[index]["suite"]]["citation"])
        asked[index] = Asked(
            index, cell, form, published, _follows(index, sent, kept),
            {key: len(_rivals(texts[key])) for key in cell.behaviors if "tags" in texts[key]},
            {(key, n): by for key in cell.behaviors for n, by in enumerate(_longer(texts[key]))}
            if form in PAIRS else {},
            *facts.get(index, ({}, {})),
        )  # fmt: skip
    return {index: entry for index, entry in asked.items() if entry.form}


def _sent(store: Store, cell: Graded) -> dict[str, Case]:
    """The first test case of the first behaviors that have one, by their keys."""
    frozen = {behavior.frozen: key for key, behavior in [*cell.behaviors.items()][:FEW] if behavior.frozen}
    return {
        frozen[name]: from_json(tuple[Case, ...], row.value)[0]
        for name, row in store.rows([*frozen]).items()
        if row.value
    }


def _form(cell: Graded, case: Case) -> str:
    """What the attack asked; "" for other attacks."""
    given = case.completion is not None
    asks = asks_for(case.chat)
    if form := form_in(case.chat) or (asks if given == (asks == "written") else ""):
        return form
    return LIKELIHOOD if head_of(cell.attack) == LIKELIHOOD else ""


def asks_otherwise(attack: str) -> bool:
    """Whether it turns the request into another question, so that its "yes" may be the refusal of a direct one."""
    return bool(_named(attack, ""))


def _named(attack: str, judge: str) -> str:
    """The form that an attack's label names, for runs whose texts were erased; "" for other attacks."""
    name, form = head_of(attack), re.search(r"^question:(\w+)|\bform=(\w+)", attack)
    if name in ("question", "follow_up"):
        return (form[1] or form[2]) if form else "harm"
    return "advisable" if name == "direct" and head_of(judge) == "yes_no" else name if name == LIKELIHOOD else ""


def _reads(form: str, sent: Mapping[str, Case]) -> bool:
    """Whether the scores or the texts of the answers count too."""
    case = next(iter(sent.values()))
    return form in ("finish", "written") or (
        form in READ and case.completion is not None and bool(case.completion.logprobs)
    )


def _follows(index: int, sent: Mapping[int, Mapping[str, Case]], cells: Mapping[int, Graded]) -> str | None:
    """The attack whose question a follow-up repeats, "" where the run has none; None for no follow-up."""
    own, cell = sent[index], cells[index]
    if not any(turn.role == "assistant" for case in own.values() for turn in case.chat[:-1]):
        return None
    for place, firsts in sent.items():
        alike = (cells[place].suite, cells[place].target, cells[place].defense) == (
            cell.suite,
            cell.target,
            cell.defense,
        )
        both = own.keys() & firsts.keys()
        if alike and both and all(firsts[key].chat == own[key].chat[:1] for key in both):
            return cells[place].attack
    return ""


Facts = tuple[dict[tuple[str, Where], float], dict[tuple[str, Where], str]]


def _facts(store: Store, run: RunRow, wanted: set[int]) -> dict[int, Facts]:
    """Of these cells the scores of the cases, and what the endings are."""
    facts: dict[int, Facts] = {index: ({}, {}) for index in wanted}
    keys = {
        index: {text["id"]: key for key, text in store.behaviors(set(_behaviors(run, index))).items()}
        for index in wanted
    }
    for case in cases(store, run) if wanted else ():
        if case.cell in wanted:
            at = (keys[case.cell][case.behavior], (case.case, case.sample))
            if case.score is not None:
                facts[case.cell][0][at] = case.score
            if case.completion is not None and asks_for(case.chat) == "finish":
                facts[case.cell][1][at] = ending_of(case.completion, case.context)[0]
    return facts


def _behaviors(run: RunRow, index: int) -> list[str]:
    keys: list[str] = run.plan["suites"][run.plan["cells"][index]["suite"]]["behaviors"]
    return keys


def _rivals(head: Mapping[str, Json]) -> list[str]:
    return [tag.removeprefix(AGAINST) for tag in head.get("tags", ()) if tag.startswith(AGAINST)]


def _longer(text: Mapping[str, Json]) -> list[int]:
    """By how many words the behavior's own advice is longer than each rival."""
    own = len(text.get("target_string", "").split())
    return [own - len(rival.split()) for rival in _rivals(text)]


# --- in a bundle --------------------------------------------------------------------------------------------------


def case_facts(entry: Asked, key: str, at: Where) -> dict[str, Any]:
    """What a bundle says of a case besides its outcome and score, so that the figures follow from its cases."""
    facts: dict[str, Any] = {"form": entry.form, "scored": bool(entry.scores), "rivals": entry.rivals.get(key, 0)}
    facts |= {"follows": entry.follows} if entry.follows is not None else {}
    facts |= {"longer": entry.longer[key, at[0]]} if (key, at[0]) in entry.longer else {}
    return facts | ({"ending": entry.endings[key, at]} if (key, at) in entry.endings else {})


def from_cases(summary: Json, rows: Mapping[int, Sequence[Json]]) -> tuple[AdviceResult, ...]:
    """The results from the cases of a bundle, by cell."""
    return results([*_asked_in(summary, rows)])


def _asked_in(summary: Json, rows: Mapping[int, Sequence[Json]]) -> Iterator[Asked]:
    cited = {suite["name"] for suite in summary["provenance"]["suites"] if suite["citation"]}
    for cell in summary["cells"]:
        own = [row for row in rows.get(cell["index"], ()) if "advice" in row]
        if not own:
            continue
        facts, outcomes = own[0]["advice"], dict[str, dict[Where, str]]()
        for row in own:
            outcomes.setdefault(row["key"], {})[row["case"], row["sample"]] = row["outcome"]
        named = {row["key"]: row for row in own}
        suite = f"{cell['suite']} ({cell['split']})" if cell["split"] else cell["suite"]
        labels = (suite, cell["target"], cell["defense"], cell["attack"], cell["judge"], cell["benign"])
        behaviors = {
            key: BehaviorResult(
                row["behavior"], row["category"], outcomes=outcomes[key], cluster=row.get("cluster", "")
            )
            for key, row in named.items()
        }
        yield Asked(
            cell["index"],
            Graded("", *labels, "", "", cell["judge"], "", {}, cell["samples"], False, {}, None, behaviors),
            facts["form"], cell["suite"] in cited, facts.get("follows"),
            {key: row["advice"]["rivals"] for key, row in named.items()},
            {(row["key"], row["case"]): row["advice"]["longer"] for row in own if "longer" in row["advice"]},
            {(row["key"], (row["case"], row["sample"])): row["score"] for row in own
             if facts["scored"] and row.get("score") is not None},
            {(row["key"], (row["case"], row["sample"])): row["advice"]["ending"] for row in own
             if "ending" in row["advice"]},
        )  # fmt: skip
