"""Items that say the same: groups of them, copies inside a suite, and items of one split that stand in another.

Two items are copies if letters and digits of text and context are the same, or each shares more than 90% of the
three-word runs of the shorter one (`audits.overlap`). A context alone makes no copies: many questions may share one.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from withstand.audits.overlap import LEAST_RUNS
from withstand.audits.suite.records import Evidence, Finding, Item, State
from withstand.core import Behavior
from withstand.core.likeness import ALIKE, folded, runs, squeezed
from withstand.core.text import count, percent, series

HOLDERS = 200
"""Items that are looked at for one run of words: of a run in more, as of a template, the first ones."""
WARNS = 0.05
"""Share of items with a copy from which a suite fails."""
SHOWN = 5
TEMPLATES = 0.2
"""Share of items that are one word apart from another, from which a suite does not pass."""
WORD = re.compile(r"\w+")
MASKED = range(5, 61)
"""Words of a text in which one is masked: in a shorter text one word says it all, and no longer one is a template's."""
COPIES = "counts one prompt several times"
SPLITS = "tests what was trained on"


class _Text:
    """A text as it is compared."""

    __slots__ = ("letters", "runs")

    def __init__(self, text: str) -> None:
        self.letters = squeezed(text)
        latin = sum(letter.isascii() for letter in self.letters) * 2 >= len(self.letters)
        self.runs = runs(text) if latin else _characters(self.letters)

    def copies(self, text: "_Text") -> bool:
        if self.letters == text.letters:
            return True
        least = min(len(self.runs), len(text.runs))
        return least >= LEAST_RUNS and len(self.runs & text.runs) > ALIKE * least


def _characters(letters: str) -> frozenset[tuple[str, ...]]:
    """The runs of three characters of a text in letters that are no words of `core.likeness`."""
    return frozenset(tuple(letters[at : at + 3]) for at in range(max(1, len(letters) - 2)))


def both_halves(items: Sequence[Item]) -> list[tuple[int, int]]:
    """The places of a harmful item and a benign one of the same words: one of the two is labeled wrong."""
    first: tuple[dict[tuple[str, str], int], dict[tuple[str, str], int]] = ({}, {})
    for place, item in enumerate(items):
        key = squeezed(item.behavior.text), squeezed(item.behavior.context)
        first[item.behavior.benign].setdefault(key, place)
    return sorted((first[False][key], first[True][key]) for key in first[False].keys() & first[True].keys())


def templates(items: Sequence[Item]) -> int:
    """How many items are another one but for one word, outside their group: as a template and a list of words give."""
    holders: dict[int, tuple[int, int]] = {}
    near: set[int] = set()
    for place, item in enumerate(items):
        words = tuple(WORD.findall(folded(item.behavior.text)))
        context = squeezed(item.behavior.context)
        for at in range(len(words)) if len(words) in MASKED else ():
            earlier, group = holders.setdefault(hash((context, *words[:at], "", *words[at + 1 :])), (place, item.group))
            if group != item.group:
                near |= {earlier, place}
    return len(near)


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


def inside(tests: Sequence[str]) -> Callable[[str], bool]:
    """Whether a text is one of the tests, or holds one but for a word or two, as where something was put around it."""
    texts = [_Text(test) for test in {*tests}]
    letters = {text.letters for text in texts}
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, text in enumerate(texts):
        for run in text.runs if len(text.runs) >= LEAST_RUNS else ():
            if len(holders[run]) < HOLDERS:
                holders[run].append(place)

    def holds(prompt: str) -> bool:
        text = _Text(prompt)
        shared = Counter(place for run in text.runs for place in holders.get(run, ()))
        return text.letters in letters or any(
            number > ALIKE * len(texts[place].runs) for place, number in shared.items()
        )

    return holds


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
    """Whether intervals count one prompt several times: copies that no cluster holds together, and whether an item is
    in both halves."""
    places = {place for pair in loose for place in pair}
    both = both_halves(items)
    alike = templates(items)
    value = len(places) / len(items)
    answers, todo = [], []
    if places:
        answers.append(
            f"{len(places)} of {count(len(items), 'item')} ({percent(value)}) say the same as another, or nearly, and "
            "are in no cluster with it."
        )
        todo.append("Delete them, or give them one `cluster`: intervals then take them together.")
    if both:
        answers.append(f"{count(len(both), 'text')} {'is' if len(both) == 1 else 'are'} harmful and benign at once.")
        todo.append("Say of each text whether a model should answer it.")
    templated = alike / len(items) > TEMPLATES
    if templated:
        answers.append(f"{alike} are another item but for one word, as a template makes them.")
        todo.append("Count what a template made as one: give it one `cluster`.")
    if not answers:
        return Finding("copies", COPIES, "pass", "No item says the same as another outside its cluster.", value=0.0)
    rows = [(items[first].name, items[second].name) for first, second in [*both, *loose][:SHOWN]]
    state: State = "fail" if max(value, 2 * len(both) / len(items)) > WARNS else "warn"
    shown = (Evidence("Copies", ("item", "says the same as"), rows, f"The first {SHOWN}."),) if rows else ()
    return Finding("copies", COPIES, state, " ".join(answers), " ".join(todo), value, evidence=shown)


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
            worst = max(worst, len(held) / len(behaviors))
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
