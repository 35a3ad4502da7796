"""Items that say the same: groups of them, copies inside a suite, and items of one split that stand in another.

Two items are copies if letters and digits of text and context are the same, or each shares more than 90% of the
three-word runs of the shorter one (`audits.overlap`). A context alone makes no copies: many questions may share one.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from withstand.audits.overlap import LEAST_RUNS
from withstand.audits.suite.records import Evidence, Finding, Item, share
from withstand.core import Behavior
from withstand.core.likeness import ALIKE, runs, squeezed
from withstand.core.text import count, percent, series

HOLDERS = 200
"""Items that are looked at for one run of words: of a run in more, as of a template, the first ones."""
WARNS = 0.05
"""Share of items with a copy from which a suite fails."""
SHOWN = 5
COPIES = "counts one prompt several times"
SPLITS = "tests what was trained on"


class _Text:
    """A text as it is compared."""

    __slots__ = ("letters", "runs")

    def __init__(self, text: str) -> None:
        self.letters, self.runs = squeezed(text), runs(text)

    def copies(self, text: "_Text") -> bool:
        if self.letters == text.letters:
            return True
        least = min(len(self.runs), len(text.runs))
        return least >= LEAST_RUNS and len(self.runs & text.runs) > ALIKE * least


def pairs(behaviors: Sequence[Behavior]) -> list[tuple[int, int]]:
    """The places of items that say the same as an earlier one, each pair once."""
    texts = [(_Text(behavior.text), _Text(behavior.context)) for behavior in behaviors]
    same: dict[tuple[str, str], int] = {}
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    result: list[tuple[int, int]] = []
    for place, (text, context) in enumerate(texts):
        first = same.setdefault((text.letters, context.letters), place)
        if first != place:
            result.append((first, place))
            continue
        shared = Counter(earlier for run in text.runs for earlier in holders[run])
        least = ALIKE * min(LEAST_RUNS, len(text.runs))
        result += [
            (earlier, place)
            for earlier, number in sorted(shared.items())
            if number > least and text.copies(texts[earlier][0]) and context.copies(texts[earlier][1])
        ]
        for run in text.runs:
            if len(holders[run]) < HOLDERS:
                holders[run].append(place)
    return result


def grouped(items: Sequence[Item]) -> tuple[list[Item], list[tuple[int, int]]]:
    """The items with their groups, and the pairs of copies that no cluster holds together."""
    parents = list(range(len(items)))

    def root(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    firsts: dict[tuple[str, str], int] = {}
    for place, item in enumerate(items):
        if item.behavior.cluster:
            parents[root(place)] = root(firsts.setdefault((item.suite, item.behavior.cluster), place))
    loose = [pair for pair in pairs([item.behavior for item in items]) if root(pair[0]) != root(pair[1])]
    for first, second in loose:
        parents[root(second)] = root(first)
    return [replace(item, group=root(place)) for place, item in enumerate(items)], loose


def copies(items: Sequence[Item], loose: Sequence[tuple[int, int]]) -> Finding:
    """Whether intervals count one prompt several times: copies that no cluster holds together."""
    places = {place for pair in loose for place in pair}
    if not places:
        return Finding("copies", COPIES, "pass", "No item says the same as another outside its cluster.", value=0.0)
    value = share(len(places), len(items))
    rows = [(items[first].name, items[second].name) for first, second in loose[:SHOWN]]
    return Finding(
        "copies", COPIES, "warn" if value <= WARNS else "fail",
        f"{len(places)} of {count(len(items), 'item')} ({percent(value)}) say the same as another, or nearly, and are "
        "in no cluster with it.",
        "Delete them, or give them one `cluster`: intervals then take them together.", value,
        evidence=(Evidence("Copies", ("item", "says the same as"), rows, f"The first {SHOWN}."),),
    )  # fmt: skip


def splits(parts: Sequence[tuple[str, str, Sequence[Behavior]]]) -> Finding | None:
    """Whether an item of one split stands in another, of suites given split by split; None where none has two."""
    listed: dict[str, list[tuple[str, Sequence[Behavior]]]] = defaultdict(list)
    for suite, split, behaviors in parts:
        listed[suite].append((split, behaviors))
    by_suite = {suite: named for suite, named in listed.items() if len(named) > 1}
    if not by_suite:
        return None
    rows: list[tuple[str, str]] = []
    worst = 0.0
    for suite, named in by_suite.items():
        owned = [(split, behavior) for split, behaviors in named for behavior in behaviors]
        leaks = [pair for pair in _alike([behavior for _, behavior in owned]) if len({owned[at][0] for at in pair}) > 1]
        rows += [_named(suite, *(owned[at] for at in pair)) for pair in leaks]
        for split, behaviors in named:
            held = {at for pair in leaks for at in pair if owned[at][0] == split}
            worst = max(worst, share(len(held), len(behaviors)))
    tested = series([f"{suite} ({series([split for split, _ in named])})" for suite, named in by_suite.items()])
    if not rows:
        return Finding("splits", SPLITS, "pass", f"No item of a split stands in another: {tested}.", value=0.0)
    answer = (
        f"{count(len(rows), 'pair')} of items of two splits say the same or share a cluster, up to {percent(worst)}"
    )
    evidence = Evidence("Items in two splits", ("item", "stands also as"), rows[:SHOWN], f"The first {SHOWN}.")
    return Finding(
        "splits", SPLITS, "warn" if worst <= WARNS else "fail", f"{answer} of a split: {tested}.",
        "Leave them out of one split: what was trained on or tuned to is no test.", worst, evidence=(evidence,),
    )  # fmt: skip


def _alike(behaviors: Sequence[Behavior]) -> list[tuple[int, int]]:
    """The pairs that are copies, or the first of a cluster with each later one of it."""
    firsts: dict[str, int] = {}
    of_cluster = [
        (first, place)
        for place, behavior in enumerate(behaviors)
        if behavior.cluster and (first := firsts.setdefault(behavior.cluster, place)) != place
    ]
    return sorted({*pairs(behaviors), *of_cluster})


def _named(suite: str, first: tuple[str, Behavior], second: tuple[str, Behavior]) -> tuple[str, str]:
    return f"{suite}, {first[0]}: {first[1].id}", f"{second[0]}: {second[1].id}"
