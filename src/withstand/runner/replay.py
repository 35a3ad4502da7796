"""How a search went, step by step, from the answers in the store: no model is asked and nothing is written.

A run keeps the best test case of a search alone, and what it was told at each step. The same attack, given the same
answers, takes the same steps: here they are written down.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from withstand.core import (
    Ask,
    Behavior,
    Completion,
    Flow,
    Json,
    Judge,
    Message,
    Sampling,
    SpecError,
    Target,
    TestCase,
    Work,
    Worked,
    from_json,
    intercept,
)
from withstand.core.optional import optional
from withstand.registry import find
from withstand.registry.grammar import spec_of
from withstand.registry.stored import stored
from withstand.runner import foreign
from withstand.runner.attack_sets import recorded
from withstand.runner.budget import Budget, Meter
from withstand.runner.drive import Job, replay
from withstand.runner.flows import attacked, search_flow
from withstand.runner.plan import Cell, DefendedTarget, is_joint
from withstand.runner.spec import RunSpec, run_spec
from withstand.runner.stages import in_order, search_key
from withstand.store.purge import purged
from withstand.store.store import RunRow, Store
from withstand.store.tables import CASES
from withstand.store.tables import behavior as behavior_table

MOST = 5_000
"""Steps that are written down."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened: `kind` is ask (a chat to `role` and the answer), work (on a device) or test case.

    `score`: of a test case, higher is better; None for a final one. `asks`: chats to the target so far.
    """

    kind: str
    role: str = ""
    chat: tuple[Message, ...] = ()
    answer: str = ""
    score: float | None = None
    asks: int = 0
    facts: tuple[tuple[str, str], ...] = ()


@dataclass
class Transcript:
    """The steps of a search. `complete` False: the store lacks an answer, as where the search is under way."""

    steps: list[Step] = field(default_factory=list)
    complete: bool = True
    stopped: str = ""
    loss: bool = False  # a score is the negative of a loss

    @property
    def curve(self) -> list[tuple[int, float]]:
        """(number of the test case, score) of all candidates."""
        scores = [step.score for step in self.steps if step.kind == "test case" and step.score is not None]
        return list(enumerate(scores, 1))


def transcript(store: Store, run: RunRow, cell: int, behavior: int, own_code: bool = False) -> Transcript:
    """The search of a cell for a behavior, by their places in the plan.

    own_code: import what the spec names by module:Class or function; else such a spec raises `SpecError`, since a
    store from somebody else must not run anything. Raises `SpecError` too where the components are not those that made
    the rows, and where there was no search.
    """
    planned = run.plan["cells"][cell]
    if not run.is_trusted:
        raise SpecError(
            "somebody else recorded this run, so nothing that it names is built",
            hint=f"if you trust who made it: withstand store trust {store.where}",
        )
    built = _cell(stored_spec(run.spec, own_code), run, cell)
    keys = run.plan["suites"][planned["suite"]]["behaviors"]
    texts = store.behaviors(keys)
    behaviors = [from_json(Behavior, texts[key]) for key in keys]
    if purged(store, behavior_table, keys):
        raise SpecError("the texts of this run were purged", hint="the verdicts are kept")
    wanted = behaviors[behavior]
    result = Transcript(loss="weights" in optional(built.attack, "needs"))
    meter = Meter()
    together = in_order(behaviors) if is_joint(built.attack) else [wanted]
    budget = Budget(**run.plan["budget"])
    flow = search_flow(built.attack, together, built.target, budget, meter, built.until, draws=built.draws)
    key = search_key(built, behaviors, wanted)
    kept = attacked(_recorded(flow, result, wanted, meter), key)

    def search() -> Flow[Any]:
        yield from kept
        return ()

    try:
        with store.reusing("all"):  # to show them
            result.complete = replay(Job(("",), key, CASES, search), store)
    except SpecError:
        raise
    except Exception as error:  # noqa: BLE001 - what the search itself raised, as in the run
        result.stopped = str(error)
    return result


def stored_spec(spec: Mapping[str, Any], own_code: bool = False) -> RunSpec:
    """The spec of a run as its store has it, without its suites: the behaviors of a search are in the store.

    Raises `SpecError` for what a store may not say.
    """
    kept = {name: value for name, value in spec.items() if name not in ("suite", "benign", "utility")}
    foreign.check({name: value for name, value in kept.items() if name != "cases_from"}, own_code)  # reads none
    return run_spec({**kept, "suite": "kitchen"})


def _cell(spec: RunSpec, run: RunRow, index: int) -> Cell:
    """The cell with its components, whose keys must be those of the plan."""
    planned = run.plan["cells"][index]
    named = {name: planned["keys"][name] for name in ("target", "attack", "until")}
    judge: Judge = find.build("judge", spec_of("refusal_words"))  # has no say in a search
    drawn = dict(planned["sampling"])
    draws = drawn.pop("draws", 1)
    sampling = from_json(Sampling, drawn)
    attacks = [a for a in [*recorded(spec, run.plan), {"use": "direct"}] if _is_called("attack", a, planned["attack"])]
    pairs = [pair for pair in spec.defended_targets() if _is_called("target", pair[0], planned["target"])]
    for attack, pair, until in itertools.product(attacks, pairs, _untils(spec, planned)):
        aim = DefendedTarget.of(*pair)
        target = Target(aim.model, aim.defense, sampling, spec.fresh)
        built = find.build("attack", attack, seed=spec.seed)
        samples, benign = planned["samples"], planned["benign"]
        cell = Cell(index, planned["suite"], target, built, judge, until, samples, benign, {}, draws=draws)
        if all(cell.keys[name] == key for name, key in named.items()):
            return cell
    if planned["attack"].startswith("cases:") or " found on " in planned["attack"]:
        raise SpecError(
            "its test cases came from another run or from a file: there was no search",
            hint="the store holds the conversation alone",
        )
    raise SpecError(
        "the components here are not those that made these rows: another version, other fields or another model",
        hint="open it where the run was made",
    )


def _is_called(kind: str, spec: Mapping[str, Any], label: str) -> bool:
    """Whether a label is of a spec. It has the fields in the order in which they were written, a store by name."""
    return sorted(find.label(kind, spec).split(",")) == sorted(label.split(","))


def _untils(spec: RunSpec, planned: Json) -> list[Judge | None]:
    """The judges that may have ended a search."""
    if not spec.until_success:
        return [None]
    if spec.until_success is not True:
        return [find.build("judge", spec.until_success)]
    return [find.build("judge", spec.judge or stored("judge", planned["judge"])), None]


def _recorded(flow: Flow[Any], result: Transcript, behavior: Behavior, meter: Meter) -> Flow[Any]:
    """Write down what a flow asks, is told and finds."""

    def write(step: Step) -> None:
        if len(result.steps) < MOST:
            result.steps.append(replace(step, asks=meter.spent.asks))

    def handle(item: Any) -> Flow[Any]:
        if isinstance(item, TestCase):
            if item.behavior == behavior.id:
                answer = item.completion.text if item.completion else ""
                write(Step("test case", "", item.chat, answer, item.score))
            return (yield item)
        answer = yield item
        if isinstance(item, Ask):
            for chat, completion in zip(item.chats, answer, strict=True):
                write(_asked(item, chat, completion))
        elif isinstance(item, Work) and isinstance(answer, Worked):
            write(Step("work", item.do.__name__, facts=tuple(_facts(answer.value))))
        return answer

    return intercept(flow, handle)


def _asked(item: Ask, chat: Sequence[Message], completion: Completion) -> Step:
    role = "target" if isinstance(item.model, Target) else f"{find.name_of(type(item.model))} of the attack"
    return Step("ask", role, tuple(chat), completion.text)


def _facts(value: Json) -> list[tuple[str, str]]:
    """The numbers and short texts of what a device gave back."""
    if not isinstance(value, Mapping):
        return []
    return [
        (str(name), f"{inner:.4g}" if isinstance(inner, float) else str(inner))
        for name, inner in value.items()
        if isinstance(inner, (int, float)) or (isinstance(inner, str) and len(inner) <= 400)
    ]
