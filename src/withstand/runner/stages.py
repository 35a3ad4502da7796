"""Three resumable loops over a plan: test cases, completions, verdicts.

Each has one shape: the keys wanted, less those in the store, as flows through `drive` into the store. A row's key holds
everything that decides it, so that rerunning computes what is missing and nothing is overwritten. What a flow inside a
function returns is quoted: else its type would be made anew for each test case.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sql

from withstand.core import (
    Behavior,
    Chat,
    Completion,
    Flow,
    Json,
    Judge,
    Spent,
    Target,
    TestCase,
    digest,
    from_json,
    intercept,
    to_json,
)
from withstand.core.optional import optional
from withstand.core.records import nothing_to_judge
from withstand.core.text import count
from withstand.registry import find
from withstand.runner.budget import DRAFTS, Budget, Meter, metered
from withstand.runner.drive import Job, completion_of, drive, value_of
from withstand.runner.flows import answered, attacked, defended, graded, search_flow
from withstand.runner.plan import Cell, Plan, is_joint
from withstand.runner.progress import searching
from withstand.runner.tally import Caps, Tally
from withstand.runner.transfer import TransferredCases, check_texts
from withstand.store import tables
from withstand.store.store import Row, RunRow, Store, Want, chunks
from withstand.store.tables import CASES, COMPLETIONS, VERDICTS


@dataclass
class Running:
    """A plan under way in a store. `shard` (i, n): this process does the behaviors whose number is i modulo n."""

    plan: Plan
    store: Store
    run: RunRow
    caps: Caps = field(default_factory=Caps)
    shard: tuple[int, int] = (0, 1)
    on_progress: Callable[[Tally, int], None] = lambda _tally, _total: None
    tally: Tally = field(default_factory=Tally)
    among: Callable[[Want], bool] = lambda _want: True  # which wants of the plan this call takes up

    def behavior(self, want: Want) -> tuple[Cell, Behavior]:
        cell = self.plan.cells[want.cell]
        return cell, self.plan.suites[cell.suite].behaviors[want.behavior]


def execute(running: Running) -> Tally:
    """Run what is missing, stage by stage. What a cap or an interrupt leaves undone, the next call does."""
    running.tally.roles = running.plan.roles
    for stage, loop in ((CASES, make_test_cases), (COMPLETIONS, make_completions), (VERDICTS, make_verdicts)):
        loop(running)
        if running.tally.stopped:
            break
        _release(running.plan, stage)
    return running.tally


def _release(plan: Plan, stage: int) -> None:
    """Unload the models that no stage after this one asks."""
    later: list[Any] = [cell.judge for cell in plan.cells]
    later += [(cell.target.model, cell.target.defense) for cell in plan.cells] if stage == CASES else []
    needed = set(find.models(later)) if stage != VERDICTS else set()
    for model in plan.models:
        if model not in needed:
            optional(model, "release")()


def reusable_keys(running: Running) -> Iterator[str]:
    """The keys of the rows that a run takes from the store, as far as the rows there say; some may not be there."""
    yield from (want.key for want in _in_shard(running, case_wants(running.plan)))
    for attacked_want, cases in _cases(running):
        yield from (want.key for want, _ in _draws(running, attacked_want, cases))
    yield from (_verdict_job(running, want, completion)[0].key for want, completion in _completions(running))


# --- the loops ---------------------------------------------------------------------------------------------------


def make_test_cases(running: Running) -> None:
    """Run each attack on each behavior."""
    wants = list(_in_shard(running, case_wants(running.plan)))
    jobs = (job for want in wants for job in _case_jobs(running, want, wants))
    _loop(running, CASES, jobs, len(wants))


def make_completions(running: Running) -> None:
    """Ask the target for `samples` completions of each test case that does not carry its own."""
    total = 0
    for part in chunks(_cases(running), 200):  # all wants before the first ask: a run cut off here knows what it lacks
        wants = [want for attacked_want, cases in part for want, _ in _draws(running, attacked_want, cases)]
        running.store.add_wants(running.run.key, wants)
        total += len(wants)
    jobs = (
        (want, _completion_job(running, want, case))
        for attacked_want, cases in _cases(running)
        for want, case in _draws(running, attacked_want, cases)
    )
    _loop(running, COMPLETIONS, jobs, total)


def make_verdicts(running: Running) -> None:
    """Have each completion judged."""
    place, count = running.shard
    w = tables.want.c
    by_people = {cell.index for cell in running.plan.cells if optional(cell.judge, "waits")}  # see `rejudge`
    [(total,)] = running.store.select(
        sql.select(sql.func.count())
        .select_from(tables.want.join(tables.row, tables.row.c.key == w.key))
        .where(w.run == running.run.key, w.stage == COMPLETIONS, w.behavior % count == place)
        .where(w.cell.not_in(by_people))
    )
    jobs = (
        _verdict_job(running, want, completion)
        for want, completion in _completions(running)
        if want.cell not in by_people
    )
    _loop(running, VERDICTS, jobs, total)


def _loop(running: Running, stage: int, jobs: Iterable[tuple[Want, Job]], total: int) -> None:
    tally = running.tally
    tally.stage, tally.done, tally.failed = stage, 0, 0
    tally.labels.clear()
    tally.searches.clear()
    models = running.plan.models
    drive(
        lacking(running.store, running.run.key, tally, jobs, add_wants=stage == VERDICTS),
        running.store,
        tally,
        running.caps,
        window=max([64, *(2 * model.width * model.lanes for model in models)]),
        on_progress=lambda tally: running.on_progress(tally, total),
    )


def lacking(
    where: Store, run_key: str, tally: Tally, jobs: Iterable[tuple[Want, Job]], add_wants: bool
) -> Iterator[Job]:
    """The jobs whose rows are not in the store, each once; looked up late, since other processes work on them too.

    add_wants: also tell the store what the run wants, where that was not known before.
    """
    started: set[str] = set()
    latest: Job | None = None
    for part in chunks(jobs, 200):
        if add_wants:
            where.add_wants(run_key, [want for want, _ in part])
        have = where.have(want.key for want, _ in part)
        for want, job in part:
            if job is latest:
                continue  # a joint job, under way for an earlier want
            if want.key in have or want.key in started:  # there, or wanted by two places
                tally.done += 1
            else:
                latest = job
                started |= set(job.keys)
                yield job


def _in_shard(running: Running, wants: Iterable[Want]) -> Iterator[Want]:
    """This shard's part: of behaviors, and of joint attacks, which cannot be parted, of cells."""
    place, count = running.shard
    joint = {cell.index for cell in running.plan.cells if is_joint(cell.attack)}
    return (
        want for want in wants
        if (want.cell if want.cell in joint else want.behavior) % count == place and running.among(want)
    )  # fmt: skip


# --- stage 1: test cases -----------------------------------------------------------------------------------------


def case_wants(plan: Plan) -> Iterator[Want]:
    """One want per cell and behavior."""
    for cell in plan.cells:
        head = _case_head(cell)
        limits = to_json(plan.budget)
        behaviors = plan.suites[cell.suite].behaviors
        further = [_joint_key(head, behaviors)] if is_joint(cell.attack) else []
        further += [cell.keys["draws"]] if cell.until else []  # the search's answers count as they are
        for place, behavior in enumerate(behaviors):
            yield Want(CASES, cell.index, place, 0, 0, digest([_flow_key(head, cell, behavior), limits, *further]))


def _case_head(cell: Cell) -> str:
    """What all flows of a cell share. A flow's key leaves the budget out: a raised one replays and continues.

    An attack that searches on surrogates does not see its target, so that all targets share its test cases; unless it
    stops at its first success, which is an answer of its own target.
    """
    shared = optional(cell.attack, "surrogates") and not cell.until
    target = "surrogates" if shared else cell.keys["target"]
    return digest(["cases", cell.keys["attack"], target, cell.keys["until"]])


def _joint_key(head: str, behaviors: Sequence[Behavior]) -> str:
    return digest([head, [to_json(behavior) for behavior in in_order(behaviors)]])


def search_key(cell: Cell, behaviors: Sequence[Behavior], behavior: Behavior) -> str:
    """What names the search of a cell for a behavior in its answers' keys; of a joint attack, for all behaviors."""
    head = _case_head(cell)
    return _joint_key(head, behaviors) if is_joint(cell.attack) else _flow_key(head, cell, behavior)


def in_order(behaviors: Sequence[Behavior]) -> list[Behavior]:
    """As a joint attack sees them, whatever their order in the file."""
    return sorted(behaviors, key=lambda behavior: behavior.id)


def _flow_key(head: str, cell: Cell, behavior: Behavior) -> str:
    given = cell.attack.key_of(behavior) if isinstance(cell.attack, TransferredCases) else [[]]
    return digest([head, to_json(behavior), *given])


def _case_jobs(running: Running, want: Want, wants: Sequence[Want]) -> Iterator[tuple[Want, Job]]:
    """The job of one of `wants`; of those of a joint attack, one job for all of them at the first."""
    cell, behavior = running.behavior(want)
    if not is_joint(cell.attack):
        yield want, _case_job(running, cell, [want], [behavior])
    elif want.behavior == 0:
        together = [joint_want for joint_want in wants if joint_want.cell == want.cell]
        job = _case_job(running, cell, together, running.plan.suites[cell.suite].behaviors)
        yield from ((joint_want, job) for joint_want in together)


def _case_job(running: Running, cell: Cell, wants: Sequence[Want], behaviors: Sequence[Behavior]) -> Job:
    """The job of an attack on these behaviors, one for each of `wants`: several where it is joint."""
    key = search_key(cell, behaviors, behaviors[0])

    def flow() -> "Flow[tuple[Row, ...]]":
        meter = Meter()
        if isinstance(cell.attack, TransferredCases):
            cases = yield from attacked(search_flow(cell.attack, behaviors, cell.target, Budget(), meter), key)
        else:
            number = len(behaviors)
            of = count(number, "behavior") if is_joint(cell.attack) else behaviors[0].id
            with searching(running.tally.searches, cell.attack, _name(running, cell), of, number) as search:
                budget, ordered = running.plan.budget, in_order(behaviors)
                cases = yield from attacked(
                    search_flow(cell.attack, ordered, cell.target, budget, meter, cell.until, search, cell.draws), key
                )
        by_behavior = _by_behavior(cases, behaviors)
        spent = meter.spent.shared(len(behaviors))
        rows = zip(wants, behaviors, strict=True)
        return tuple(_case_row(want.key, own, spent) for want, behavior in rows if (own := by_behavior[behavior.id]))

    keys = tuple(want.key for want in wants)
    return Job(keys, key, CASES, flow)


def _by_behavior(cases: list[TestCase], behaviors: Sequence[Behavior]) -> dict[str, list[TestCase]]:
    """The test cases of each behavior by its id; each behavior bears its share of what they took."""
    if len(behaviors) == 1:
        return {behaviors[0].id: cases}
    by_behavior: dict[str, list[TestCase]] = {behavior.id: [] for behavior in behaviors}
    for case in cases:
        by_behavior[case.behavior].append(replace(case, spent=case.spent.shared(len(behaviors))))
    return by_behavior


def _name(running: Running, cell: Cell) -> str:
    """What people read for the attack of a cell."""
    label = cell.labels["attack"]
    return str(running.run.plan.get("aliases", {}).get("attack", {}).get(label, label))


def _case_row(key: str, cases: list[TestCase], spent: Spent) -> Row:
    cut = next((case.cut for case in cases if case.cut), "")
    written = _row(key, str(len(cases)), to_json(cases), spent)
    drafts = {name: getattr(spent, name) for name in DRAFTS}
    return replace(written, test_cases=len(cases), cut=cut, **drafts)


def _row(key: str, label: str, value: Json, spent: Spent) -> Row:
    return Row(key, label, value, spent.asks, spent.tokens, spent.seconds, spent.cost, spent.flops)


def _cases(running: Running) -> Iterator[tuple[Want, tuple[TestCase, ...]]]:
    """The test cases in the store, by the want they answer."""
    for part in chunks(_in_shard(running, case_wants(running.plan)), 200):
        rows = running.store.reused(want.key for want in part)
        for want in part:
            if want.key in rows:
                check_texts([rows[want.key]])
                yield want, from_json(tuple[TestCase, ...], rows[want.key].value)


# --- stage 2: completions ----------------------------------------------------------------------------------------


def _draws(running: Running, attack_want: Want, cases: Iterable[TestCase]) -> Iterator[tuple[Want, TestCase]]:
    """One want per test case and sample; a case that carries its completion is that one draw."""
    cell, behavior = running.behavior(attack_want)
    for number, case in enumerate(cases):
        if case.completion is not None:
            given = [to_json(case.chat), value_of(replace(case.completion, seconds=0.0, flops=None)), *_fresh(cell)]
            key = digest(["given completion", *given])
            yield Want(COMPLETIONS, cell.index, attack_want.behavior, number, 0, key), case
            continue
        head = ["completion", cell.keys["target"], to_json(case.chat), behavior.id, number, running.plan.seed]
        for sample in range(cell.samples):
            yield Want(COMPLETIONS, cell.index, attack_want.behavior, number, sample, digest([*head, sample])), case


def _fresh(cell: Cell) -> list[str]:
    """What tells the rows of a fresh run from older ones of equal content."""
    return [cell.target.fresh] if cell.target.fresh else []


def _completion_job(running: Running, want: Want, case: TestCase) -> Job:
    cell, _ = running.behavior(want)

    def flow() -> "Flow[tuple[Row, ...]]":
        if case.completion is not None:  # its cost is the attack's
            return (Row(want.key, case.completion.finish, value_of(case.completion)),)
        return (yield from asked_once(want.key, cell.target, case.chat))

    return Job((want.key,), want.key, COMPLETIONS, flow, remember=cell.target.defense is not None)


def asked_once(key: str, target: Target, chat: Chat) -> Flow[tuple[Row, ...]]:
    """One answer to a chat, as a completion's row."""
    answer, spent = yield from answered(key, target, chat)
    return (_row(key, answer.finish, value_of(answer), spent),)


def _completions(running: Running) -> Iterator[tuple[Want, Completion]]:
    """The completions in the store, by the want they answer."""
    draws = (draw for want, cases in _cases(running) for draw in _draws(running, want, cases))
    for part in chunks(draws, 500):
        rows = running.store.reused(want.key for want, _ in part)
        for want, case in part:
            if want.key in rows:
                check_texts([rows[want.key]])
                yield want, completion_of(case.chat, rows[want.key].value)


# --- stage 3: verdicts -------------------------------------------------------------------------------------------


def _verdict_job(running: Running, draw: Want, completion: Completion) -> tuple[Want, Job]:
    cell, behavior = running.behavior(draw)
    key, refusable = cell.keys["judge"], cell.benign and not cell.utility
    return placed(draw, verdict_job(cell.judge, key, behavior, completion, _fresh(cell), not cell.benign, refusable))


def placed(draw: Want, job: Job) -> tuple[Want, Job]:
    """The job of a verdict with the want that it answers: of the completion at the place of `draw`."""
    return replace(draw, stage=VERDICTS, key=job.keys[0]), job


def verdict_job(
    judge: Judge, judge_key: str, behavior: Behavior, completion: Completion, fresh: Sequence[str], counted: bool,
    refusable: bool = False,
) -> Job:  # fmt: skip
    """The judge's word on one completion, in a row whose label is the outcome.

    refusable: refusals are counted, of which an empty answer is none, and no help either: no judge is asked about it.
    """
    seen = {key: value for key, value in to_json(completion).items() if key not in _UNSEEN}
    given = nothing_to_judge(completion) if refusable and not completion.logprobs else None
    silent = given is not None and given.outcome == "failure"
    unmeasured = [completion.unmeasured] if completion.unmeasured else []
    key = digest(["verdict", judge_key, to_json(behavior), seen, *fresh, *["silent"] * silent, *unmeasured])

    def flow() -> "Flow[tuple[Row, ...]]":
        reads = optional(judge, "reads_all")(behavior) and not behavior.benign
        if completion.finish == "filtered" and not (reads or unmeasured):  # a filter spoke: not a judge's to say
            return (Row(key, "filtered", {}),)
        if silent:
            return (Row(key, "unscored", {"outcome": "unscored", "why": "an empty answer is no refusal, and no help"}),)
        meter = Meter()
        verdict = yield from intercept(metered(graded(judge, behavior, completion), meter), defended)
        written = _row(key, verdict.outcome, to_json(verdict), replace(meter.spent, asks=0))
        return (replace(written, vote=verdict.vote or None),)

    return Job((key,), key, VERDICTS, flow, counted=counted)


_UNSEEN = {"seconds", "flops", "cost", "prompt_tokens", "answer_tokens", "reasoning_tokens", "logprobs"}
_UNSEEN |= {"checks", "asks"}  # of its defense
"""What of a completion no judge sees, so that equal answers share a verdict."""
