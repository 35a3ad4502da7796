"""Who tests what in a round, drawn by a seed: `plan assign`. The last table of a round in the store stands.

In a guided round each block of a member on a harm (see `matching`) becomes tasks on layers, features and personas that
were handed out least. An open round hands out layers, features and personas, and never harms.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import ceil

from withstand.core import StoreError, draw, from_json, to_json
from withstand.redteam.coverage.cells import Cell, Space, asks_for_harms, opened
from withstand.redteam.plan.matching import BLOCK, SLACK, Block, Board, Skipped, Task, guided, unmet
from withstand.redteam.plan.opted import with_choices
from withstand.redteam.plan.past import skipped, tested
from withstand.redteam.plan.records import MINDSETS, Member, Plan, Round
from withstand.store.revisions import Record, add_record, records
from withstand.store.store import Store

LONGEST = 0.75
"""Hours of a member on a harm in a guided round, at most, without getting into it."""
SHORTEST = 10.0
"""Minutes on one layer, at least: a block has no more layers than that allows."""
KIND = "assignment"
OPEN_BLOCK = 0.5
"""Hours of a task in an open round, at least."""


@dataclass(frozen=True, slots=True)
class Table:
    """The tasks of a round, by member. unmet: what no assignment of these people and hours meets, in words.

    free: member -> hours that are left.
    """

    round: str
    seed: int
    tasks: tuple[Task, ...]
    unmet: tuple[str, ...] = ()
    free: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assigned:
    """A table as it was stored. revision: its number.   is_new: whether it differs from the one before.

    added, removed: tasks, against the revision before.
    """

    table: Table
    revision: int
    is_new: bool
    added: tuple[Task, ...]
    removed: tuple[Task, ...]


class Deal:
    """Hands out the cells of a round, those first that were handed out least; ties by the seed."""

    def __init__(self, plan: Plan, of: Round, cells: Sequence[Cell], seed: int) -> None:
        self.of, self.seed = of, seed
        self.languages = {persona.id: persona.language for persona in plan.personas}
        self.pages = {layer.id for layer in plan.layers if layer.endpoint == "ui"}
        self.cells: dict[str, list[Cell]] = {}
        for cell in cells:
            if cell.state not in ("blocked", "n/a"):
                self.cells.setdefault(cell.harm, []).append(cell)
        self.used: Counter[tuple[str, ...]] = Counter()
        self.plays = cache(lambda member, harm, mindset: bool(self.options(member, harm, mindset)))

    def options(self, member: Member, harm: str, mindset: str) -> list[Cell]:
        """The cells of a harm that a member can play, with the personas of a mindset ("": of any of theirs)."""
        mindsets = ("", mindset) if mindset else ("", *member.mindset)
        return [
            cell for cell in self.cells.get(harm, ())
            if cell.mindset in mindsets and self.languages.get(cell.persona, "") in ("", *member.languages)
        ]  # fmt: skip

    def speaks(self, member: Member, harm: str, mindset: str, language: str) -> bool:
        """Whether a member with this mindset can play a persona of a language against a harm."""
        return any(self.languages.get(cell.persona) == language for cell in self.options(member, harm, mindset))

    def take(self, member: Member, options: Sequence[Cell], number: int) -> list[Cell]:
        """That many cells, on different layers while there are any."""
        taken: list[Cell] = []
        while len(taken) < number and len(taken) < len(options):
            cell = min(
                (cell for cell in options if cell not in taken), key=lambda cell: self._order(member, cell, taken)
            )
            taken.append(cell)
            self.used.update(self._traits(cell))
        return taken

    def _order(self, member: Member, cell: Cell, taken: Sequence[Cell]) -> tuple[object, ...]:
        page = cell.layer in self.pages
        return (
            sum(peer.layer == cell.layer for peer in taken),
            self.used["harm-layer", cell.harm, cell.layer],
            bool(self.used["language", self.languages.get(cell.persona, "")]),
            self.used["layer-feature", cell.layer, cell.feature] if page else 0,  # of a page every feature (W5)
            self.used["harm-persona", cell.harm, cell.persona],
            self.used["persona", cell.persona],
            self.used["layer-feature", cell.layer, cell.feature],
            self.used["harm-feature", cell.harm, cell.feature],
            draw("deal", self.seed, self.of.id, member.id, *cell.spot),
        )

    def _traits(self, cell: Cell) -> list[tuple[str, ...]]:
        return [
            ("harm-layer", cell.harm, cell.layer), ("harm-persona", cell.harm, cell.persona), ("persona", cell.persona),
            ("layer-feature", cell.layer, cell.feature), ("harm-feature", cell.harm, cell.feature),
            ("language", self.languages.get(cell.persona, "")),
        ]  # fmt: skip


# --- a table ------------------------------------------------------------------------------------------------------


def table(
    plan: Plan, round_id: str, seed: int, before: Mapping[str, Sequence[Task]], cells: Sequence[Cell] | None = None,
    left: Skipped = frozenset(),
) -> Table:  # fmt: skip
    """The assignment of a round. before: the tasks of rounds, of which those before this one count.

    cells: of the round; None: all that the plan asks for.   left: to others, harms that members are not asked for.
    Raises `SpecError` for a round that the plan has not.
    """
    of = plan.round(round_id)
    earlier = plan.in_order[: plan.in_order.index(of)]
    before = {one_round.id: before[one_round.id] for one_round in earlier if one_round.id in before}
    deal = Deal(plan, of, tuple(Space(plan, (of,), {}).cells({})) if cells is None else cells, seed)
    if asks_for_harms(of):
        harms = [harm for harm in plan.active if harm.id in deal.cells]  # of a blocked layer `_untouched` speaks
        board = guided(plan, of, harms, seed, before, left, deal.plays)
        _spread_languages(board, deal)
        tasks, free = _tasks_of(board, deal)
        needs = unmet(board)
    else:
        tasks, needs, free = *_open(plan, of, seed, deal), {}
    return Table(round_id, seed, tuple(tasks), (*needs, *_untouched(plan, of, tasks)), free)


def _spread_languages(board: Board, deal: Deal) -> None:
    """See that somebody plays each language of a persona, where a speaker can turn a block to it or has hours left."""
    for language in dict.fromkeys(deal.languages.values()):
        if any(deal.speaks(m, b.harm.id, b.mindset, language) for m in board.members for b in board.blocks[m.id]):
            continue
        for member in board.members:
            if _turned(board, deal, member, language) or _added(board, deal, member, language):
                break


def _turned(board: Board, deal: Deal, member: Member, language: str) -> bool:
    """Give a block the other mindset, where that plays the language and somebody else keeps the first one."""
    for block in board.blocks[member.id]:
        kept = {peer.mindset for _, peer in board.testers(block.harm) if peer is not block}
        for mindset in member.mindset:
            if block.mindset in kept and deal.speaks(member, block.harm.id, mindset, language):
                block.needs = block.needs - {*MINDSETS} | {mindset}
                return True
    return False


def _added(board: Board, deal: Deal, member: Member, language: str) -> bool:
    for harm in board.harms:
        for mindset in member.mindset:
            block = Block(harm, {mindset})
            fits = board.left(member) + SLACK >= board.cost(member, harm) and board.may(member, block)
            if fits and deal.speaks(member, harm.id, mindset, language):
                board.blocks[member.id].append(block)
                return True
    return False


def _tasks_of(board: Board, deal: Deal) -> tuple[list[Task], dict[str, float]]:
    """The tasks of all blocks, with the hours left spread over them, and those that are still left."""
    tasks: list[Task] = []
    free = {}
    for member in board.members:
        blocks, left = board.blocks[member.id], max(0.0, board.left(member))
        longer = min(LONGEST - BLOCK, left / len(blocks)) if blocks else 0.0
        free[member.id] = round(left - longer * len(blocks), 2)
        for block in blocks:
            ramp_up = board.cost(member, block.harm) - BLOCK
            tasks += _tasks(member, block, BLOCK + longer, ramp_up, deal)
    return tasks, free


def _tasks(member: Member, block: Block, hours: float, ramp_up: float, deal: Deal) -> list[Task]:
    """The tasks of a block, its time shared evenly among its layers."""
    options = deal.options(member, block.harm.id, block.mindset)
    layers = len({cell.layer for cell in options})
    cells = deal.take(member, options, min(layers, max(1, int(60 * hours / SHORTEST))))
    return [_task(member, cell, hours / len(cells), ramp_up / len(cells), block.mindset) for cell in cells]


def _task(member: Member, cell: Cell, hours: float, ramp_up: float, mindset: str) -> Task:
    minutes = round(60 * hours, 1), round(60 * ramp_up, 1)
    return Task(
        member.id, cell.layer, minutes[0], cell.harm, cell.feature, cell.persona, cell.mindset or mindset, minutes[1]
    )


def _open(plan: Plan, of: Round, seed: int, deal: Deal) -> tuple[list[Task], list[str]]:
    """The tasks of a round without harms, and who has none."""
    members = sorted(plan.members_of(of), key=lambda member: draw("open", seed, member.id))
    layers = len({cell.layer for cell in deal.cells.get("", ())})
    most = max(layers, ceil(layers * len(plan.personas) / max(1, len(members))))
    tasks: dict[str, list[Task]] = {}
    idle = []
    for member in members:
        hours = member.hours_per_round or 0.0
        options = deal.options(member, "", "")
        cells = deal.take(member, options, max(1, min(most, int(hours / OPEN_BLOCK))))
        tasks[member.id] = [_task(member, cell, hours / len(cells), 0.0, "") for cell in cells]
        if not cells:
            idle.append(f"{member.id} has nothing to do: no layer can be reached with a persona that they can play")
    return [task for member in plan.members for task in tasks.get(member.id, ())], idle


def _untouched(plan: Plan, of: Round, tasks: Sequence[Task]) -> list[str]:
    """Layers, personas with their languages, and features of pages that nobody was given."""
    needs = []
    layers = [layer for layer in plan.layers if layer.id in of.layers]
    for layer in layers:
        if layer.blocked:
            needs.append(f"nobody tests {layer.id}: it is blocked: {layer.blocked}")
        elif not any(task.layer == layer.id for task in tasks):
            needs.append(f"nobody tests {layer.id}")
        elif layer.endpoint == "ui":
            given = {task.feature for task in tasks if task.layer == layer.id}
            needs += [
                f"nobody tests the feature {feature.id} on {layer.id}"
                for feature in plan.features
                if feature.id not in given and (not feature.layers or layer.id in feature.layers)
            ]
    played = {task.persona for task in tasks}
    needs += [f"nobody plays {p.id}, in {p.language}" for p in plan.personas if p.id not in played]
    return needs


# --- in the store -------------------------------------------------------------------------------------------------


def tables(store: Store, plan: Plan) -> dict[str, Table]:
    """The last table of each round of a plan that was assigned."""
    stored: list[Table] = [from_json(Table, record.value) for record in records(store, KIND, plan.id)]
    return {last.round: last for last in stored}


def assign(store: Store, plan: Plan, round_id: str, now: float, seed: int | None = None) -> Assigned:
    """Assign a round and keep its table as the next revision, unless it says what the last one says.

    What members recorded in rounds before counts as what they were assigned, and who skipped a harm does not get it.

    now: seconds since 1970.   seed: None: that of the last table, or 0. Raises `StoreError` where somebody else assigns
    the same round at the same moment.
    """
    stored, plan = tables(store, plan), with_choices(store, plan)
    last = stored.get(round_id)
    seed = seed if seed is not None else last.seed if last else 0
    cells = tuple(Space(plan, (plan.round(round_id),), opened(store, plan)).cells({}))
    before = tested(store, plan)
    names = {*stored, *before}
    had = {name: (*(stored[name].tasks if name in stored else ()), *before.get(name, ())) for name in names}
    new = table(plan, round_id, seed, had, cells, skipped(store, plan))
    own = f"{plan.id}/{round_id}"  # a store may hold several plans, whose rounds have the same names
    revision = max((r.revision for r in records(store, KIND, plan.id) if r.id == own), default=0)
    added = tuple(task for task in new.tasks if last is None or task not in last.tasks)
    removed = tuple(task for task in last.tasks if task not in new.tasks) if last else ()
    if new == last:
        return Assigned(new, revision, False, added, removed)
    if not add_record(store, Record(KIND, own, revision + 1, plan.id, now, to_json(new))):
        raise StoreError(f"somebody else assigned {round_id} at the same moment", hint="look at theirs, then try again")
    return Assigned(new, revision + 1, True, added, removed)


def assignment(store: Store, plan: Plan, round_id: str) -> tuple[Task, ...]:
    """The tasks of a round as they were assigned last; none where it was not.

    What the plan has ruled out since then is left out: an opt-out, a harm that is no longer active, a member, layer,
    feature or persona that is gone.
    """
    last, plan = tables(store, plan).get(plan.round(round_id).id), with_choices(store, plan)
    return tuple(task for task in last.tasks if _stands(plan, task)) if last else ()


def _stands(plan: Plan, task: Task) -> bool:
    """Whether a task fits the plan as it is now."""
    member = next((m for m in plan.members if m.id == task.member), None)
    harm = next((h for h in plan.active if h.id == task.harm), None)
    if member is None or (task.harm and (harm is None or member.opts_out(harm))):
        return False
    named = ((task.layer, plan.layers), (task.feature, plan.features), (task.persona, plan.personas))
    return all(not own or any(record.id == own for record in entries) for own, entries in named)
