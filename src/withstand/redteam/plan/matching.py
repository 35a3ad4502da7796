"""Which members work on which harms in a guided round.

A member works on harms in blocks of half an hour or more. The needs of the harms are met in the order of their weight:
an expert, a benign and an adversarial tester; in a round that rotates, first somebody who did not have the harm before.
A block moves to another member where that meets one more need, as along the augmenting paths of a matching. Opt-outs,
hours and the two rounds that a person may keep a critical harm are never traded.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Literal, TypeAlias

from withstand.core import draw
from withstand.redteam.plan.records import MINDSETS, Harm, Member, Plan, Round

BLOCK = 0.5
"""Hours of a member on a harm in a guided round, at least, without getting into it."""
CRITICAL, KEPT = 4, 2
"""In rounds that rotate nobody has a harm of severity `CRITICAL` in more than `KEPT` rounds."""
SLACK = 1e-9
Kind: TypeAlias = Literal["expert", "fresh", "benign", "adversarial"]


@dataclass(frozen=True, slots=True)
class Task:
    """What a member does in a round. harm: "" in an open round.   feature, persona: "" where the plan has none.

    minutes: of work, without ramp_up, the minutes to get into a harm that is new to them.
    """

    member: str
    layer: str
    minutes: float
    harm: str = ""
    feature: str = ""
    persona: str = ""
    mindset: str = ""
    ramp_up: float = 0.0


Before: TypeAlias = Mapping[str, Sequence[Task]]
"""Round -> its tasks, of the rounds before."""


Skipped: TypeAlias = frozenset[tuple[str, str]]
"""(member, harm) that a member left to others."""
Plays: TypeAlias = Callable[[Member, str, str], bool]
"""Whether a member can play a persona of a mindset ("": of one of theirs) against a harm."""


def latin_square(size: int) -> list[list[int]]:
    """A balanced Latin square, after Williams (1949): each number follows each other one equally often.

    Rows are orders of 0..size-1: `size` of them, for an odd size twice as many, the second half mirrored.
    """
    first = [(place + 1) // 2 if place % 2 else (size - place // 2) % size for place in range(size)]
    rows = [[(number + shift) % size for number in first] for shift in range(size)]
    return rows + [row[::-1] for row in rows] if size % 2 else rows


@dataclass(eq=False)
class Block:
    """Half an hour or more of somebody on a harm, and the needs that it meets."""

    harm: Harm
    needs: set[Kind] = field(default_factory=set)

    @property
    def mindset(self) -> str:
        return next((mindset for mindset in MINDSETS if mindset in self.needs), "")


class Board:
    """The blocks that the members of a guided round have; no rule is ever broken on it.

    harms: the heaviest first.   had: (member, harm) -> in how many rounds before.   mindsets: harm -> of who had it
    before.   met: needs that are met in this round.
    """

    def __init__(
        self, plan: Plan, of: Round, harms: Sequence[Harm], seed: int, before: Before, skipped: Skipped, plays: Plays
    ) -> None:  # fmt: skip
        self.of, self.members, self.skipped, self.plays = of, plan.members_of(of), skipped, plays
        self.blocks: dict[str, list[Block]] = {member.id: [] for member in self.members}
        self.had: Counter[tuple[str, str]] = Counter()
        self.mindsets: dict[str, set[str]] = defaultdict(set)
        self.met: set[tuple[str, Kind]] = set()
        self.harms = sorted(harms, key=lambda harm: (-weight(of, harm), draw("assign", seed, "order", harm.id)))
        for tasks in before.values():
            self.had.update({(task.member, task.harm) for task in tasks if task.harm})
            for task in tasks:
                self.mindsets[task.harm].add(task.mindset)
        self.ranks: dict[tuple[str, str], int] = {}
        shuffled = sorted(self.members, key=lambda member: draw("assign", seed, member.id))
        rows = latin_square(len(shuffled))
        turn = plan.in_order.index(of)
        for place, harm in enumerate(sorted(harms, key=lambda harm: draw("assign", seed, harm.id))):
            for rank, number in enumerate(rows[(place + turn) % len(rows)] if rows else ()):
                self.ranks[harm.id, shuffled[number].id] = rank

    def cost(self, member: Member, harm: Harm) -> float:
        """Hours that a block of a harm takes from a member, with getting into it."""
        return BLOCK + (0.0 if self.had[member.id, harm.id] else self.of.ramp_up_hours)

    def left(self, member: Member) -> float:
        """Hours that a member has left."""
        taken = sum(self.cost(member, block.harm) for block in self.blocks[member.id])
        return (member.hours_per_round or 0.0) - taken

    def refusal(self, member: Member, harm: Harm) -> str:
        """Why a member may not have a harm, whatever their hours; "" where they may."""
        if member.opts_out(harm):
            return "opted out"
        if (member.id, harm.id) in self.skipped:
            return "skipped it"
        if self.of.rotate and harm.severity == CRITICAL and self.had[member.id, harm.id] >= KEPT:
            return f"had it in {KEPT} rounds already"
        return "" if self.plays(member, harm.id, "") else "without a persona to play"

    def fits(self, member: Member, harm: Harm, need: Kind) -> bool:
        """Whether a member is what a need of a harm asks for."""
        if need == "expert":
            return harm.id in member.expertise
        if need == "fresh":
            return not self.had[member.id, harm.id]
        return need in member.mindset and self.plays(member, harm.id, need)

    def may(self, member: Member, block: Block) -> bool:
        """Whether a block may be this member's, if they had the hours."""
        if self.refusal(member, block.harm) or any(own.harm == block.harm for own in self.blocks[member.id]):
            return False
        return all(self.fits(member, block.harm, need) for need in block.needs)

    def preferred(self, harm: Harm) -> list[Member]:
        """The members in the order in which they are asked for a harm."""

        def order(member: Member) -> tuple[object, ...]:
            had, expert = self.had[member.id, harm.id], harm.id in member.expertise
            return (had if self.of.rotate else not had, not expert, self.ranks[harm.id, member.id])

        return sorted(self.members, key=order)

    def place(self, block: Block, tried: set[str] | None = None) -> bool:
        """Give a block to somebody, moving others' where that makes room; False, and no change, if nobody can."""
        tried = set() if tried is None else tried
        able = [member for member in self.preferred(block.harm) if self.may(member, block)]
        for member in able:
            if self.left(member) + SLACK >= self.cost(member, block.harm):
                self.blocks[member.id].append(block)
                return True
        for member in able:
            if member.id in tried:
                continue
            tried.add(member.id)
            for own in list(self.blocks[member.id]):
                if self.left(member) + self.cost(member, own.harm) + SLACK < self.cost(member, block.harm):
                    continue
                self.blocks[member.id].remove(own)
                self.blocks[member.id].append(block)
                if self.place(own, tried):
                    return True
                self.blocks[member.id].remove(block)
                self.blocks[member.id].append(own)
        return False

    def testers(self, harm: Harm) -> list[tuple[Member, Block]]:
        """Who has a harm in this round, with their blocks of it."""
        return [(m, block) for m in self.members for block in self.blocks[m.id] if block.harm == harm]

    def meet(self, harm: Harm, need: Kind) -> bool:
        """Meet a need of a harm by a block that there is, or by a new one; False where neither can."""
        for member, block in self.testers(harm):
            taken = need in MINDSETS and block.mindset not in ("", need)
            if self.fits(member, harm, need) and not taken:
                block.needs.add(need)
                return True
        return self.place(Block(harm, {need}))


def guided(
    plan: Plan, of: Round, harms: Sequence[Harm], seed: int, before: Before, skipped: Skipped, plays: Plays
) -> Board:  # fmt: skip
    """The blocks of a guided round. harms: that it asks for."""
    board = Board(plan, of, harms, seed, before, skipped, plays)
    for kinds in _passes(of):
        for harm in board.harms:
            missing_first = sorted(kinds, key=lambda kind: (kind in board.mindsets[harm.id], kind))
            board.met |= {(harm.id, kind) for kind in missing_first if board.meet(harm, kind)}
    _fill(board, plan)
    return board


def unmet(board: Board) -> list[str]:
    """What harms need and nobody has the hours or the leave for, the heaviest first; then who has nothing to do."""
    idle = [member for member in board.members if not board.blocks[member.id]]
    hours = sum(member.hours_per_round or 0.0 for member in board.members)
    least = 2 * len(board.harms) * BLOCK
    short = (
        [f"two testers for each harm take {least:g} h or more, and the members have {hours:g}"] if least > hours else []
    )
    return [
        *short,
        *(text for harm in board.harms for text in _unmet(board, harm)),
        *(f"{member.id} has nothing to do: {_why(board, member)}" for member in idle),
    ]


def weight(of: Round, harm: Harm) -> int:
    """How much a harm counts in a round, by its priority."""
    return {"severity": harm.severity, "likelihood": harm.likelihood}.get(of.priority, harm.weight)


def _passes(of: Round) -> tuple[tuple[Kind, ...], ...]:
    """The needs of all harms in the order in which they are met."""
    mindsets: tuple[Kind, ...] = MINDSETS
    return (("fresh",), mindsets, ("expert",)) if of.rotate else (("expert",), mindsets)


def _fill(board: Board, plan: Plan) -> None:
    """Give the hours that are left to the harms of most weight for each tester, without using up who comes later."""
    rounds = sum(peer.mode == "guided" for peer in plan.rounds)
    rotates = any(peer.rotate for peer in plan.rounds)
    most = max(2, ceil(len(board.members) / rounds)) if rotates and rounds else len(board.members)
    by_id = {harm.id: harm for harm in board.harms}
    while True:
        testers = Counter(block.harm.id for blocks in board.blocks.values() for block in blocks)
        left = {member.id: board.left(member) + SLACK for member in board.members}
        options = [
            (bool(board.blocks[member.id]), -weight(board.of, harm) / (1 + testers[harm.id]),
             len(board.blocks[member.id]), board.ranks[harm.id, member.id], harm.id, member.id)
            for harm in board.harms for member in board.members
            if left[member.id] >= board.cost(member, harm) and board.may(member, Block(harm))
            and (testers[harm.id] < most or not board.blocks[member.id])
        ]  # fmt: skip
        if not options:
            break
        *_, harm_id, member_id = min(options)
        board.blocks[member_id].append(Block(by_id[harm_id]))
    for member in board.members:
        for block in board.blocks[member.id]:
            if not block.mindset:
                of_harm = Counter(peer.mindset for _, peer in board.testers(block.harm))
                playable = [mindset for mindset in member.mindset if board.plays(member, block.harm.id, mindset)]
                block.needs.add(min(playable, key=lambda mindset: (of_harm[mindset], mindset)))


def _unmet(board: Board, harm: Harm) -> Iterator[str]:
    """The needs of a harm that are met neither in this round nor, but for fresh eyes, in one before."""
    testers = board.testers(harm)
    if not testers:
        yield f"nobody tests {harm.id} in {board.of.id}: {_reasons(board, harm, None)}"
        return
    for mindset in MINDSETS:
        if mindset not in board.mindsets[harm.id] and not any(block.mindset == mindset for _, block in testers):
            yield f"no {mindset} tester for {harm.id}: {_reasons(board, harm, mindset)}"
    if len(testers) == 1:
        yield f"only {testers[0][0].id} tests {harm.id} in {board.of.id}: a cell is covered by two testers or more"
    having = {member.id for member, _ in testers}
    experts = [member.id for member in board.members if board.fits(member, harm, "expert")]
    if experts and not any(name in having or board.had[name, harm.id] for name in experts):
        yield f"no expert tests {harm.id}: {_reasons(board, harm, 'expert')}"
    new = any(board.fits(m, harm, "fresh") and not board.refusal(m, harm) for m in board.members)
    if board.of.rotate and new and (harm.id, "fresh") not in board.met:
        yield f"nobody new for {harm.id}: {_reasons(board, harm, 'fresh')}"


def _reasons(board: Board, harm: Harm, need: Kind | None) -> str:
    """Why those whom a need asks for do not meet it, or nobody tests a harm."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for member in board.members:
        asked = need is None or (need in member.mindset if need in MINDSETS else board.fits(member, harm, need))
        if asked:
            by_reason[board.refusal(member, harm) or _busy(board, member, harm, need)].append(member.id)
    listed = "; ".join(f"{', '.join(names)} {reason}" for reason, names in by_reason.items())
    return listed or "no member of the round is one"


def _busy(board: Board, member: Member, harm: Harm, need: Kind | None) -> str:
    if need is not None and need in MINDSETS and not board.plays(member, harm.id, need):
        return f"without a {need} persona to play"
    has = any(block.harm == harm for block in board.blocks[member.id])
    return "with the other mindset" if has else "without hours left"


def _why(board: Board, member: Member) -> str:
    """Why a member has no block."""
    open_to = [harm for harm in board.harms if not board.refusal(member, harm)]
    if not open_to:
        return "no harm is left that they may have"
    least = min(board.cost(member, harm) for harm in open_to)
    return f"a harm takes {least:g} h, and they have {member.hours_per_round or 0:g}"
