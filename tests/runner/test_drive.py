"""Many flows, few models: batches, lanes, replay, first writers, caps and failures, on models that watch themselves."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import sqlalchemy as sql

from withstand.core import AskError, Chat, Completion, Json, Sampling, Work, ask, digest, user, work
from withstand.core.errors import DownError, FatalAskError
from withstand.runner import tally as tally_module
from withstand.runner.drive import Job, drive
from withstand.runner.tally import Caps, Tally
from withstand.store import tables
from withstand.store.store import Row, Store

HOT = Sampling(temperature=1.0)


class Watch:
    """What a model saw: chats of each call, in order, and how many calls were under way at once, by place."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.most: Counter[str] = Counter()
        self._now: Counter[str] = Counter()
        self._lock = threading.Lock()

    def enter(self, place: str, texts: list[str]) -> None:
        with self._lock:
            self.calls.append(texts)
            self._now[place] += 1
            self.most[place] = max(self.most[place], self._now[place])

    def leave(self, place: str) -> None:
        with self._lock:
            self._now[place] -= 1

    @property
    def sent(self) -> int:
        return sum(len(call) for call in self.calls)

    @property
    def sizes(self) -> list[int]:
        return [len(call) for call in self.calls]


HIDDEN: Any = {"compare": False, "metadata": {"key": False}}


@dataclass(frozen=True)
class Model:
    """Says the chat's text and its seed. `raises` and `gives_back` decide of a call that misbehaves."""

    version: ClassVar[int] = 1
    gives: ClassVar[frozenset[str]] = frozenset({"weights"})
    hosts: ClassVar[tuple[str, ...]] = ()
    name: str = "m"
    place: str = "cpu"
    width: int = field(default=4, metadata={"key": False})
    lanes: int = field(default=1, metadata={"key": False})
    seconds: float = field(default=0.0, **HIDDEN)
    watch: Any = field(default=None, **HIDDEN)
    raises: Callable[[list[str]], BaseException | None] = field(default=lambda texts: None, **HIDDEN)
    gives_back: Callable[[list[Completion]], Any] = field(default=lambda answers: answers, **HIDDEN)
    tokens: int = 10
    cost: float = 0.0

    def identity(self) -> Json:
        return {}

    def check(self) -> None:
        pass

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> Any:
        texts = [chat[-1].text for chat in chats]
        if self.watch:
            self.watch.enter(self.place, texts)
        try:
            time.sleep(self.seconds)
            if error := self.raises(texts):
                raise error
        finally:
            if self.watch:
                self.watch.leave(self.place)
        answers = [
            Completion(chat, f"{text}#{seed}", answer_tokens=self.tokens, cost=self.cost)
            for chat, text, seed in zip(chats, texts, seeds, strict=True)
        ]
        return self.gives_back(answers)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "store.db")) as opened:
        yield opened


def job(name: str, body: Callable[[], Any], remember: bool = True) -> Job:
    """A job whose row holds what `body` returns."""

    def flow() -> Any:
        value = yield from body()
        return (Row(digest(["row", name]), "made", value),)

    return Job((digest(["row", name]),), digest(["flow", name]), 1, flow, remember)


def asking(model: Any, *texts: str, sampling: Sampling = HOT) -> Callable[[], Any]:
    """A body of one ask per text."""

    def body() -> Any:
        answers = []
        for text in texts:
            answers += [answer.text for answer in (yield from ask(model, [user(text)], sampling))]
        return answers

    return body


def at_once(model: Any, *texts: str) -> Callable[[], Any]:
    """A body of one ask of all texts."""

    def body() -> Any:
        answers = yield from ask(model, [user(text) for text in texts], HOT)
        return [answer.text for answer in answers]

    return body


def run(store: Store, jobs: list[Job], caps: Caps | None = None, window: int = 256) -> Tally:
    tally = Tally()
    drive(jobs, store, tally, caps, window)
    return tally


def value(store: Store, name: str) -> Any:
    key = digest(["row", name])
    return store.rows([key])[key].value


def count(store: Store, table: sql.Table) -> int:
    return int(store.select(sql.select(sql.func.count()).select_from(table))[0][0])


def failures(store: Store) -> list[Any]:
    return store.select(sql.select(tables.failure).order_by(tables.failure.c.created))


# --- batches and lanes -------------------------------------------------------------------------------------------


def test_waiting_rows_of_all_flows_make_full_batches(store: Store) -> None:
    model = Model(width=8, watch=(watch := Watch()))
    tally = run(store, [job(f"j{n}", asking(model, "a", "b")) for n in range(16)])
    assert watch.sizes == [8, 8, 8, 8]
    assert (tally.done, tally.failed, tally.asks, tally.tokens) == (16, 0, 32, 320)


def test_an_ask_wider_than_the_model_is_split_and_stays_in_order(store: Store) -> None:
    texts = [f"t{n}" for n in range(10)]
    run(store, [job("j", at_once(Model(width=4, watch=(watch := Watch())), *texts))])
    assert watch.sizes == [4, 4, 2]
    assert [text.partition("#")[0] for text in value(store, "j")] == texts


def test_samplings_and_models_do_not_share_a_batch(store: Store) -> None:
    watch = Watch()
    first, second = Model("one", watch=watch), Model("two", watch=watch)
    cold = Sampling()
    jobs = [job("a", asking(first, "one hot")), job("b", asking(first, "one cold", sampling=cold))]
    run(store, [*jobs, job("c", asking(second, "two hot"))])
    assert watch.sizes == [1, 1, 1]


def test_lanes_answer_at_once_but_never_more_than_a_place_has(store: Store) -> None:
    model = Model(width=1, lanes=4, seconds=0.05, watch=(watch := Watch()))
    run(store, [job(f"j{n}", asking(model, "a")) for n in range(24)])
    assert watch.most["cpu"] == 4


def test_two_models_of_one_place_share_its_lanes(store: Store) -> None:
    watch = Watch()
    first, second = (Model(name, width=1, lanes=2, seconds=0.03, watch=watch) for name in ("one", "two"))
    third = Model("three", place="gpu", width=1, lanes=1, seconds=0.03, watch=watch)
    run(store, [job(f"{m.name}{n}", asking(m, "a")) for n in range(6) for m in (first, second, third)])
    assert watch.most == {"cpu": 2, "gpu": 1}
    assert watch.sent == 18


def test_the_longest_queue_of_a_place_goes_first(store: Store) -> None:
    watch = Watch()
    short, long = Model("short", width=4, watch=watch), Model("long", width=4, watch=watch)
    jobs = [job("s", asking(short, "s"))] + [job(f"l{n}", asking(long, "l")) for n in range(4)]
    run(store, jobs)
    assert watch.calls == [["l"] * 4, ["s"]]


def test_no_more_flows_live_than_the_window_holds(store: Store) -> None:
    live, most = set(), []

    def body(name: str) -> Callable[[], Any]:
        def flow() -> Any:
            live.add(name)
            most.append(len(live))
            answers = yield from ask(Model(width=2), [user(name)], HOT)
            live.discard(name)
            return answers[0].text

        return flow

    run(store, [job(f"j{n}", body(f"j{n}")) for n in range(20)], window=5)
    assert max(most) == 5
    assert len(most) == 20


def test_a_flow_that_asks_nothing_and_one_that_asks_for_no_chats(store: Store) -> None:
    def nothing() -> Any:
        yield from ()
        return 1

    def no_chats() -> Any:
        return len((yield from ask(Model(), [], HOT)))

    tally = run(store, [job("a", nothing), job("b", no_chats)])
    assert (value(store, "a"), value(store, "b"), tally.asks) == (1, 0, 0)


# --- failures ----------------------------------------------------------------------------------------------------


def test_a_batch_that_raises_is_tried_in_halves_and_only_the_bad_row_fails(store: Store) -> None:
    def raises(texts: list[str]) -> BaseException | None:
        return AskError("cannot say bad", hint="say good") if "bad" in texts else None

    model = Model(width=4, watch=(watch := Watch()), raises=raises)
    tally = run(store, [job(t, asking(model, t)) for t in ("a", "bad", "b", "c")])
    assert watch.calls == [["a", "bad", "b", "c"], ["a", "bad"], ["b", "c"], ["a"], ["bad"]]
    assert (tally.done, tally.failed) == (3, 1)
    assert tally.asks == 10  # what was sent, not what came back
    (entry,) = failures(store)
    assert (entry.key, entry.stage) == (digest(["row", "bad"]), 1)
    assert (entry.error, entry.hint) == ("cannot say bad", "say good")
    assert "AskError: cannot say bad" in entry.trace
    assert [f.key for f in tally.failures] == [entry.key]


def test_a_failed_row_is_tried_again_and_what_was_answered_is_not(store: Store) -> None:
    """Of four chats of one ask one fails: the flow fails, the rerun asks that one alone, with its seed."""
    broken = [True]
    model = Model(
        width=4,
        watch=(watch := Watch()),
        raises=lambda texts: AskError("down") if "x" in texts and broken[0] else None,
    )
    jobs = [job("j", at_once(model, "a", "x", "b", "c"))]
    assert run(store, jobs).failed == 1
    assert count(store, tables.row) == 0
    assert count(store, tables.answer) == 3
    broken[0] = False
    watch.calls.clear()
    assert run(store, jobs).done == 1
    assert watch.calls == [["x"]]
    with Store(store.where + ".whole") as whole:
        run(whole, [job("j", at_once(Model(), "a", "x", "b", "c"))])
        assert value(store, "j") == value(whole, "j")
    assert len(failures(store)) == 1  # a log: the old entry stays


def test_an_exception_ends_its_flow_only(store: Store) -> None:
    def body() -> Any:
        answers = yield from ask(Model(), [user("a")], HOT)
        raise KeyError(answers[0].text.partition("#")[0])

    tally = run(store, [job("bad", body), *(job(f"j{n}", asking(Model(), "a", "b")) for n in range(3))])
    assert (tally.done, tally.failed) == (3, 1)
    (entry,) = failures(store)
    assert entry.error == "KeyError: 'a'"
    assert "in body" in entry.trace


@pytest.mark.parametrize(
    "gives_back",
    [lambda answers: answers[:-1], lambda answers: [*answers, *answers], lambda answers: None],
    ids=["too few", "too many", "none"],
)
def test_a_wrong_number_of_answers_is_a_failure_of_those_rows(store: Store, gives_back: Any) -> None:
    tally = run(store, [job(t, asking(Model(gives_back=gives_back), t)) for t in "ab"])
    assert (tally.done, tally.failed) == (0, 2)
    assert count(store, tables.answer) == 0


@pytest.mark.parametrize("remember", [True, False])
@pytest.mark.parametrize(
    "answer",
    [
        "text",
        None,
        Completion(user("a"), None),  # type: ignore[arg-type]
        Completion(user("a"), "x", cost=float("nan")),
        Completion(user("a"), "x", logprobs=((("x", float("-inf")),),)),
        Completion(user("a"), "x", tool_calls=("call",)),  # type: ignore[arg-type]
        Completion(user("a"), "x", reasoning=object()),  # type: ignore[arg-type]
    ],
)
def test_an_answer_that_cannot_be_stored_is_a_failure_of_its_row(store: Store, answer: Any, remember: bool) -> None:
    good, bad = Model("good"), Model("bad", gives_back=lambda answers: [answer for _ in answers])
    tally = run(store, [job("g", asking(good, "a")), job("b", asking(bad, "a"), remember)])
    assert (tally.done, tally.failed) == (1, 1)
    assert count(store, tables.answer) == 1


@pytest.mark.parametrize("bad", [float("nan"), object(), {1, 2}])
def test_a_row_that_cannot_be_stored_is_a_failure_of_its_flow(store: Store, bad: Any) -> None:
    def body() -> Any:
        yield from ask(Model(), [user("a")], HOT)
        return {"score": bad}

    tally = run(store, [job("bad", body), job("good", asking(Model(), "a"))])
    assert (tally.done, tally.failed) == (1, 1)


def test_a_failure_may_say_anything(store: Store) -> None:
    """An answer with a lone surrogate or NUL, quoted by an error, must not end the run."""
    model = Model(
        raises=lambda texts: AskError(f"cannot read \ud800 and \0 of {texts}", hint="\udfff") if texts else None
    )
    assert run(store, [job("j", asking(model, "a"))]).failed == 1
    (entry,) = failures(store)
    assert entry.error == "cannot read \\ud800 and \\0 of ['a']"


@pytest.mark.parametrize("error", [SystemExit("bye"), KeyboardInterrupt(), StopIteration(), GeneratorExit()])
@pytest.mark.timeout(20)
def test_a_model_that_wants_to_end_the_process_fails_its_row(store: Store, error: BaseException) -> None:
    model = Model(width=1, raises=lambda texts: error if texts == ["bad"] else None)
    tally = run(store, [job(t, asking(model, t)) for t in ("a", "bad", "b")])
    assert (tally.done, tally.failed) == (2, 1)


@pytest.mark.parametrize("item", ["text", None, 3])
def test_a_flow_that_yields_something_else_fails(store: Store, item: Any) -> None:
    def body() -> Any:
        yield item

    assert run(store, [job("bad", body), job("good", asking(Model(), "a"))]).failed == 1
    assert "it may yield Ask, Work and TestCase" in failures(store)[0].error


@dataclass(frozen=True)
class Unhashable:
    version: ClassVar[int] = 1
    words: list[str]

    def do(self, model: Any, parts: Sequence[Json]) -> list[Json]:
        return list(parts)


def test_a_component_that_cannot_be_hashed_fails_its_flow_only(store: Store) -> None:
    def body() -> Any:
        return (yield from work(Model(), Unhashable(["a"]).do, 1))

    tally = run(store, [job("bad", body), job("good", asking(Model(), "a"))])
    assert (tally.done, tally.failed) == (1, 1)
    assert "unhashable" in failures(store)[0].error


# --- replay ------------------------------------------------------------------------------------------------------


def test_a_flow_that_was_answered_replays_without_a_model_call(store: Store) -> None:
    model = Model(watch=(watch := Watch()))
    run(store, [job("j", asking(model, "a", "b", "c"))])
    again = job("j", asking(model, "a", "b", "c"))
    assert watch.sent == 3
    run(store, [Job((digest("other row"),), again.flow_key, 1, again.flow)])
    assert watch.sent == 3


def test_what_a_live_flow_got_is_what_its_replay_gets(store: Store) -> None:
    """Tuples, an answer's own chat and int keys must not make a flow take another way the second time."""
    seen = []

    def body() -> Any:
        answers = yield from ask(
            Model(gives_back=lambda a: [Completion(user("other"), "x", tool_calls=[]) for _ in a]),  # type: ignore[arg-type]
            [user("a")],
            HOT,
        )
        state = yield from work(Model(), Loose().do, {"step": 0})
        seen.append((answers, state))
        return state

    for key in ("one", "two"):
        run(store, [Job((digest(key),), digest("flow"), 1, job(key, body).flow)])
    assert seen[0] == seen[1]
    assert seen[0][0][0].chat == user("a")
    assert seen[0][1] == {"1": [1, 2]}


@dataclass(frozen=True)
class Loose:
    """Work that answers with what is not quite JSON."""

    version: ClassVar[int] = 1

    def do(self, model: Any, parts: Sequence[Json]) -> list[Json]:
        return [{1: (1, 2)} for _ in parts]


def test_thirty_equal_asks_are_thirty_draws(store: Store) -> None:
    run(store, [job("j", at_once(Model(), *["same"] * 30)), job("k", asking(Model(), *["same"] * 30))])
    assert len(set(value(store, "j"))) == 30
    assert not set(value(store, "j")) & set(value(store, "k"))  # flows are apart
    assert count(store, tables.answer) == 60


def test_batches_and_turns_do_not_matter_to_a_draw(store: Store) -> None:
    """The n-th equal ask of a flow is the same draw, asked alone or beside others."""
    run(store, [job("j", at_once(Model(), "a", "a", "b"))])
    with Store(store.where + ".other") as elsewhere:
        run(elsewhere, [job("j", asking(Model(width=1), "a", "b", "a"))])
        a, b, second = value(elsewhere, "j")
    assert value(store, "j") == [a, second, b]


def test_another_ask_between_does_not_shift_the_answers(store: Store) -> None:
    model = Model(watch=(watch := Watch()))
    run(store, [job("j", asking(model, "a", "b", "a"))])
    old = value(store, "j")
    watch.calls.clear()
    changed = job("j", asking(model, "a", "new", "b", "a"))
    run(store, [Job((digest("row2"),), changed.flow_key, 1, job("j2", asking(model, "a", "new", "b", "a")).flow)])
    assert watch.calls == [["new"]]
    texts = value(store, "j2")
    assert [texts[0], texts[2], texts[3]] == old


def test_changed_content_is_asked_again(store: Store) -> None:
    watch = Watch()
    for model, sampling in (
        (Model("m", watch=watch), HOT),
        (Model("m", watch=watch), Sampling(temperature=0.5)),
        (Model("n", watch=watch), HOT),
        (Model("m", watch=watch, width=1), HOT),  # width is no content
    ):
        again = job("j", asking(model, "a", sampling=sampling))
        run(store, [Job((digest(["row", len(watch.calls), model.width]),), again.flow_key, 1, again.flow)])
    assert watch.sent == 3


def test_without_remember_only_the_row_is_kept(store: Store) -> None:
    run(store, [job("j", asking(Model(), "a"), remember=False)])
    assert count(store, tables.answer) == 0
    assert value(store, "j")[0].startswith("a#")


def test_the_first_writer_stands_and_the_flow_gets_what_stands(store: Store) -> None:
    """Another process answers the same ask first, while ours is under way."""
    reference = Store(store.where + ".ref")
    run(reference, [job("j", asking(Model(), "a", "b"))])
    ((first, _), *_) = sorted(
        (
            (key, json.loads(text))
            for key, text in reference.select(sql.select(tables.answer.c.key, tables.answer.c.value))
        ),
        key=lambda pair: not pair[1]["text"].startswith("a#"),
    )

    def overtaken(texts: list[str]) -> None:
        if texts == ["a"]:
            with Store(store.where) as rival:
                rival.add(answers={first: {"text": "theirs", "answer_tokens": 1}})

    model = Model(raises=overtaken, watch=(watch := Watch()))

    def body() -> Any:
        first = yield from ask(model, [user("a")], HOT)
        second = yield from ask(model, [user(f"after {first[0].text}")], HOT)
        return [first[0].text, first[0].answer_tokens, first[0].chat == user("a"), second[0].text.partition("#")[0]]

    run(store, [job("j", body)])
    assert value(store, "j") == ["theirs", 1, True, "after theirs"]
    assert watch.calls == [["a"], ["after theirs"]]
    reference.close()


# --- work --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Climb:
    """A toy white-box attack: `steps` moves towards `goal`, `every` a piece, random numbers from the step number."""

    version: ClassVar[int] = 1
    steps: int = 12
    every: int = 3
    goal: int = 1000
    parts_seen: Any = field(default=None, **HIDDEN)
    dies_at: int = field(default=-1, **HIDDEN)

    def run(self, model: Any, name: str) -> Any:
        state = {"name": name, "step": 0, "x": 0, "path": []}
        while state["step"] < self.steps:
            state = yield from work(model, self.advance, state)
        return state

    def advance(self, model: Any, parts: Sequence[Json]) -> list[Json]:
        self.parts_seen.append([part["name"] for part in parts])
        done = []
        for part in parts:
            state = json.loads(json.dumps(part))
            for _ in range(self.every):
                if state["step"] == self.dies_at:
                    raise MemoryError("the device is full")
                move = int(digest([state["name"], state["step"], state["x"]])[:4], 16) % 50
                state |= {"step": state["step"] + 1, "x": state["x"] + move, "path": [*state["path"], move]}
            done.append(state)
        return done


def climbs(attack: Climb, model: Any, names: str = "abc") -> list[Job]:
    return [job(name, lambda name=name: attack.run(model, name)) for name in names]  # type: ignore[misc]


def test_parts_of_several_flows_go_to_one_do(store: Store) -> None:
    seen: list[Any] = []
    model = Model(width=8)
    jobs = climbs(Climb(parts_seen=seen), model, "ab") + climbs(Climb(parts_seen=seen), model, "c")
    tally = run(store, jobs)  # two equal components share a queue
    assert seen == [["a", "b", "c"]] * 4
    assert tally.done == 3
    assert value(store, "a")["step"] == 12
    assert len(value(store, "a")["path"]) == 12


def test_parts_are_cut_to_the_width(store: Store) -> None:
    run(store, climbs(Climb(every=12, parts_seen=(seen := [])), Model(width=2)))
    assert seen == [["a", "b"], ["c"]]


def test_work_that_dies_goes_on_with_the_same_trajectory(store: Store) -> None:
    seen: list[Any] = []
    assert run(store, climbs(Climb(parts_seen=seen, dies_at=7), Model())).failed == 3
    assert [f.error for f in failures(store)] == ["MemoryError: the device is full"] * 3
    seen.clear()
    run(store, climbs(Climb(parts_seen=seen), Model()))
    assert seen == [["a", "b", "c"]] * 2  # steps 6 to 12: the first two pieces are replayed
    with Store(store.where + ".whole") as whole:
        run(whole, climbs(Climb(parts_seen=[]), Model()))
        for name in "abc":
            assert value(store, name) == value(whole, name)


def test_kill_in_the_middle_of_work_and_resume(store: Store) -> None:
    """Ctrl-C between two pieces, as the process would see it: what was saved is replayed."""
    seen: list[Any] = []

    class Interrupt(KeyboardInterrupt):
        pass

    def on_progress(tally: Tally) -> None:
        if len(seen) == 2:
            raise Interrupt

    with pytest.raises(Interrupt):
        drive(climbs(Climb(parts_seen=seen), Model()), store, Tally(), on_progress=on_progress)
    run(store, climbs(Climb(parts_seen=seen), Model()))
    assert seen == [["a", "b", "c"]] * 4
    with Store(store.where + ".whole") as whole:
        run(whole, climbs(Climb(parts_seen=[]), Model()))
        assert [value(store, name) for name in "abc"] == [value(whole, name) for name in "abc"]


def test_seconds_of_work_are_shared_by_its_parts(store: Store) -> None:
    @dataclass(frozen=True)
    class Slow:
        version: ClassVar[int] = 1

        def do(self, model: Any, parts: Sequence[Json]) -> list[Json]:
            time.sleep(0.1)
            return list(parts)

    seconds = []

    def body() -> Any:
        seconds.append((yield Work(Model(), Slow().do, 1)).seconds)

    run(store, [job("a", body), job("b", body)])
    assert seconds == [pytest.approx(0.05, abs=0.02)] * 2


# --- caps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cap", [1, 5, 7, 20])
def test_the_cap_on_asks_is_never_passed_and_the_rest_is_done_later(store: Store, cap: int) -> None:
    def jobs(watch: Watch) -> list[Job]:
        return [job(f"j{n}", at_once(Model(width=3, lanes=2, watch=watch), "a", "b")) for n in range(15)]

    tally = run(store, jobs(watch := Watch()), Caps(asks=cap))
    assert watch.sent == tally.asks == cap
    assert tally.stopped == "--max-asks"
    assert tally.failed == 0
    run(store, jobs(watch := Watch()))
    assert watch.sent == 30 - cap  # nothing is asked twice
    assert count(store, tables.row) == 15


def test_rows_tried_again_count_as_asks(store: Store) -> None:
    model = Model(width=4, watch=(watch := Watch()), raises=lambda texts: AskError("no") if len(texts) > 1 else None)
    tally = run(store, [job(f"j{n}", asking(model, "a")) for n in range(8)], Caps(asks=10))
    assert watch.sent == tally.asks == 10
    assert tally.stopped == "--max-asks"
    assert tally.failed == 0


def test_a_cap_that_suffices_does_not_stop(store: Store) -> None:
    tally = run(store, [job(f"j{n}", asking(Model(), "a")) for n in range(4)], Caps(asks=4))
    assert (tally.stopped, tally.done) == ("", 4)


def test_what_all_rows_would_meet_ends_the_call_at_the_first_answers(store: Store) -> None:
    """A judge that cannot read its model; the rows of other models stay, and one sound row makes it the row's own."""

    def reading(model: Model, text: str) -> Callable[[], Any]:
        def body() -> Any:
            (answer,) = yield from ask(model, [user(text)], HOT)
            if "odd" in answer.text:
                raise FatalAskError("it said 'odd'", hint="another template")
            return answer.text

        return body

    bad, good = Model("bad", width=2, watch=(watch := Watch())), Model("good", place="other", width=8)
    jobs = [job(f"g{n}", asking(good, "a")) for n in range(3)] + [job(f"b{n}", reading(bad, "odd")) for n in range(50)]
    tally = run(store, jobs)
    assert tally.stopped == "3 answers in a row: it said 'odd' -> another template"
    assert tally.done == 3
    assert 3 <= tally.failed == len(tally.failures) == watch.sent <= 6  # the calls in flight come back
    texts = ["fine", *["odd"] * 9]
    tally = run(store, [job(f"m{n}", reading(Model("mixed", width=1), text)) for n, text in enumerate(texts)])
    assert (tally.stopped, tally.done, tally.failed) == ("", 1, 9)


def test_a_connection_that_fails_from_the_start_ends_the_call_and_one_that_has_worked_does_not(store: Store) -> None:
    """Also where a model answered a flow that has not ended; what may be another's next time ends nothing."""

    def model(name: str, bad: Callable[[str], bool], kind: type[AskError]) -> Model:
        return Model(name, width=1, raises=lambda texts: kind("refused", hint="mend it") if bad(texts[0]) else None)

    def stopped(target: Model, *texts: str) -> tuple[str, int]:
        tally = run(store, [job(f"{target.name}{n}", asking(target, *texts)) for n in range(9)])
        return tally.stopped, tally.failed

    why, failed = stopped(model("down", lambda _: True, FatalAskError), "a")
    assert (why, failed <= 4) == ("3 answers in a row: refused -> mend it", True)
    assert stopped(model("late", lambda text: text == "b", FatalAskError), "a", "b") == ("", 9)
    assert stopped(model("busy", lambda _: True, AskError), "a") == ("", 9)
    why, failed = stopped(model("dead", lambda text: text == "b", DownError), "a", "b")
    assert why == "3 answers in a row failed after 9 that came: refused -> mend it"
    assert failed <= 4  # the call in flight comes back
    mixed = [*"ab" * 9, *"bb" * 9]  # it comes back nine times
    target = model("shaky", lambda text: text == "b", DownError)
    tally = run(store, [job(f"s{n}", asking(target, text)) for n, text in enumerate(mixed)])
    assert tally.done == 9
    assert 11 <= tally.failed <= 12
    assert "in a row failed after 9" in tally.stopped


def test_work_is_no_ask(store: Store) -> None:
    tally = run(store, climbs(Climb(parts_seen=[]), Model()), Caps(asks=1))
    assert (tally.stopped, tally.done, tally.asks) == ("", 3, 0)


def test_the_cap_on_cost_overshoots_by_the_calls_in_flight(store: Store) -> None:
    model = Model(width=1, lanes=2, cost=1.0, watch=(watch := Watch()))
    tally = run(store, [job(f"j{n}", asking(model, "a")) for n in range(10)], Caps(cost=3.0))
    assert tally.stopped == "--max-cost"
    assert 3 <= watch.sent <= 4
    assert tally.cost == watch.sent
    assert tally.done == watch.sent  # what came back is kept


def test_the_cap_on_time_ends_after_the_calls_in_flight(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(width=1, watch=(watch := Watch()))
    monkeypatch.setattr(
        tally_module, "time", SimpleNamespace(monotonic=lambda: watch.sent * 0.1)
    )  # each call takes 0.1 s
    tally = Tally(started=0.0)
    drive([job(f"j{n}", asking(model, "a")) for n in range(100)], store, tally, Caps(seconds=0.35))
    assert tally.stopped == "--max-time"
    assert 4 <= watch.sent <= 5
    assert tally.done == watch.sent


def test_progress_is_told_while_a_call_is_under_way(store: Store) -> None:
    done: list[int] = []
    thrice = threading.Event()

    def progress(tally: Tally) -> None:
        done.append(tally.done)
        if len(done) == 3:
            thrice.set()

    model = Model(raises=lambda texts: None if thrice.wait(60) else TimeoutError())
    drive([job("j", asking(model, "a"))], store, Tally(), on_progress=progress)
    assert done[:3] == [0, 0, 0]  # before the call, and twice in it
    assert done[-1] == 1


# --- interrupt ---------------------------------------------------------------------------------------------------

SLEEPER = """
import os, signal, sys, time
from withstand import api
from withstand.models.scripted import Scripted
spec = {"suite": {"use": "kitchen", "limit": 4}, "target": {"use": "scripted", "seconds": 600, "lanes": 3, "width": 1},
        "attack": "direct"}
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process inherits that it is ignored
slept = time.sleep
def sleep(seconds):
    os.write(1, b"asked\\n")  # at once, whatever the other lanes write
    slept(seconds)
time.sleep = sleep
api.run(spec, store=sys.argv[1])
"""


def test_an_interrupt_does_not_wait_for_lanes_that_sleep(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, str(tmp_path / "s.db")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)  # the lanes sleep ten times as long
    assert process.returncode != 0
    assert "KeyboardInterrupt" in error
    with Store(str(tmp_path / "s.db"), create=False) as store:
        assert count(store, tables.failure) == 0
