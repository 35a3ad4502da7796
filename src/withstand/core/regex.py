"""Whether a regular expression of a user can take for ever: `re` tries every way to divide a text among its repeats.

The automaton of a pattern (Glushkov 1961) is followed along two ways at once. Where both leave a place, differ, and
come back to it with the same text, each pass doubles the ways: (a+)+b takes 2^n steps on n letters. Weber and Seidl
1991, On the degree of ambiguity of finite automata: criterion EDA. What grows by a power of n alone is let through.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from re import _constants as code  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from withstand.core.errors import SpecError

SAMPLE = "".join(map(chr, range(256))) + "\u017f\u212a\u03a3\u03c3\u03c2\u0663\u2003\u2028\u4e2d\U0001f600"
"""Characters by which sets of characters are told apart."""
ENDLESS = 8
"""Repeats above it count as endless."""
MOST_PLACES = 300
"""Characters of a pattern within one repeat."""

REPEATS = (code.MAX_REPEAT, code.MIN_REPEAT)
CHARACTERS = (code.LITERAL, code.NOT_LITERAL, code.ANY, code.IN)


def check_regex(name: str, pattern: str) -> None:
    """Raise `SpecError` for what the field `name` gives as a regular expression and is none, or takes for ever."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        where = f"{error.msg} at position {error.pos} of {pattern!r}" if isinstance(error, re.error) else str(error)
        raise SpecError(
            f"{name} is not a regular expression: {where}",
            hint="put a backslash before each literal . * + ? ( ) [ ] { } | ^ $",
        ) from error
    if explodes(pattern):
        raise SpecError(
            f"{name} = {pattern!r} can take for ever: two of its repeats, one within the other, can share a text in "
            "many ways",
            hint="write the inner repeat as a possessive one, (?:a++)+b for (?:a+)+b, or leave one of them out",
        )


@cache
def explodes(pattern: str) -> bool:
    """Whether the steps that a match takes can double with each more character."""
    tree = parser.parse(pattern)
    patterns: list[Any] = [tree]
    while patterns:
        places = _Places(tree.state)
        places.sequence(patterns.pop())
        if places.explodes():
            return True
        patterns += places.apart
    return False


@dataclass
class _Part:
    """A part of a pattern: whether it takes the empty text, and the places where it may begin and end."""

    empty: bool = True
    first: set[int] = field(default_factory=set)
    last: set[int] = field(default_factory=set)


@dataclass
class _Places:
    """The places of a pattern: the characters that each takes, and how often each follows another."""

    state: Any
    sets: list[frozenset[str]] = field(default_factory=list)
    follow: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    apart: list[Any] = field(default_factory=list)  # what is matched by itself: look-arounds, atomic groups

    def place(self, characters: Iterable[str]) -> _Part:
        self.sets.append(frozenset(characters))
        at = {len(self.sets) - 1}
        return _Part(False, at, set(at))

    def join(self, last: Iterable[int], first: Sequence[int]) -> None:
        for place in last:
            for after in first:
                self.follow[place][after] += 1

    def sequence(self, items: Iterable[Any]) -> _Part:
        whole = _Part()
        for op, value in items:
            part = self.item(op, value)
            self.join(whole.last, [*part.first])
            whole.first |= part.first if whole.empty else set()
            whole.last = part.last | (whole.last if part.empty else set())
            whole.empty = whole.empty and part.empty
        return whole

    def either(self, branches: Iterable[Any]) -> _Part:
        parts = [self.sequence(branch or ()) for branch in branches]
        first, last = (set().union(*(getattr(part, end) for part in parts)) for end in ("first", "last"))
        return _Part(any(part.empty for part in parts), first, last)

    def item(self, op: Any, value: Any) -> _Part:
        if op in CHARACTERS:
            return self.place(self.characters(op, value))
        if op is code.SUBPATTERN:
            return self.sequence(value[-1])
        if op is code.BRANCH:
            return self.either(value[1])
        if op is code.GROUPREF_EXISTS:
            return self.either(value[1:])
        if op in REPEATS:
            return self.repeat(*value)
        if op in (code.ATOMIC_GROUP, code.POSSESSIVE_REPEAT):
            return self.atomic(value if op is code.ATOMIC_GROUP else value[2])
        if op in (code.ASSERT, code.ASSERT_NOT):
            self.apart.append(value[1])
        return self.place(SAMPLE) if op in (code.GROUPREF, code.GROUPREF_IGNORE) else _Part()

    def repeat(self, least: int, most: int, items: Any) -> _Part:
        if most > ENDLESS:
            part = self.sequence(items)
            self.join(part.last, [*part.first])
            return _Part(part.empty or not least, part.first, part.last)
        whole = _Part()
        for number in range(min(most, 2)):  # two are enough to see two ways
            part = self.sequence(items)
            self.join(whole.last, [*part.first])
            whole.first |= part.first if whole.empty else set()
            optional = part.empty or number >= least
            whole.last = part.last | (whole.last if optional else set())
            whole.empty = whole.empty and optional
        return whole

    def atomic(self, items: Any) -> _Part:
        """What gives nothing back is one place: from where it begins it has one end."""
        self.apart.append(items)
        inner = _Places(self.state)
        part = inner.sequence(items)
        whole = self.place(set().union(*(inner.sets[at] for at in part.first)))
        return _Part(part.empty, whole.first, whole.last)

    def characters(self, op: Any, value: Any) -> Iterable[str]:
        from re import _compiler  # type: ignore[attr-defined]

        single = _compiler.compile(parser.SubPattern(self.state, [(op, value)]), self.state.flags)
        taken = [character for character in SAMPLE if single.fullmatch(character)]
        return taken if op is not code.LITERAL else [*taken, chr(value)]

    def explodes(self) -> bool:
        reach = {place: _reached(self.follow, [*self.follow[place]]) for place in range(len(self.sets))}
        loops = {frozenset(after for after in reach[at] if at in reach[after]) for at in reach if at in reach[at]}
        return any(len(loop) > MOST_PLACES or self.doubles(loop) for loop in loops)

    def doubles(self, loop: frozenset[int]) -> bool:
        """Whether two ways through the places of a loop leave one place and come back to it with the same text."""
        if any(times > 1 and after in loop for at in loop for after, times in self.follow[at].items()):
            return True
        pairs: dict[tuple[int, int], dict[tuple[int, int], int]] = {}
        todo = [(at, at) for at in loop]
        while todo:
            pair = todo.pop()
            if pair in pairs:
                continue
            after = [[place for place in self.follow[at] if place in loop] for at in pair]
            pairs[pair] = {(a, b): 1 for a in after[0] for b in after[1] if self.sets[a] & self.sets[b]}
            todo += pairs[pair]
        back: dict[tuple[int, int], dict[tuple[int, int], int]] = defaultdict(dict)
        for pair, nexts in pairs.items():
            for after_pair in nexts:
                back[after_pair][pair] = 1
        for at in loop:
            ahead = _reached(pairs, [*pairs[at, at]])
            if any(a != b for a, b in ahead & _reached(back, [*back[at, at]])):
                return True
        return False


def _reached(follow: Any, start: Iterable[Any]) -> set[Any]:
    """What can be reached from some places, these included."""
    reached: set[Any] = set()
    todo = [*start]
    while todo:
        if (at := todo.pop()) not in reached:
            reached.add(at)
            todo += follow.get(at, ())
    return reached
