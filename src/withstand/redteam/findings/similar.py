"""Attempts like a text, before one more of them is saved: near-duplicates, and what others tried.

Likeness is the Jaccard index of the sets of runs of four letters within words (with a mark at their ends), which a
typing error, an inflection or another order of words changes little. An index from the runs to attempts, rarest first,
finds candidates: among 10,000 attempts a text takes 30 ms or less (`tests/redteam/test_similar.py` counts the work).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from withstand.core.likeness import folded
from withstand.store.attempts import Attempt, Turn

NEAR = 0.6
"""Likeness from which on an attempt is a near-duplicate."""
IDEA = 0.15
"""Likeness from which on an attempt may give an idea."""
RARE = 32
"""Runs of a text that are looked up, the rarest of those that any attempt has: what shares none is not like it."""
CANDIDATES = 300
"""Attempts, those that share most of the rarest runs, whose likeness is computed."""
LENGTH = 4
"""Letters of a run."""
LONGEST = 4_000
"""Characters of a text that are compared."""


@dataclass(frozen=True, slots=True)
class Match:
    """An attempt that is like a text. likeness: in [0, 1]."""

    attempt: Attempt
    likeness: float

    @property
    def near(self) -> bool:
        return self.likeness >= NEAR


def sent(turns: Sequence[Turn]) -> str:
    """What the person wrote, in order; the originals where a converter changed them."""
    return "\n".join(turn.original or turn.text for turn in turns if turn.role == "user")


def grams(text: str) -> frozenset[str]:
    """The runs of letters of a text."""
    words = "".join(c if c.isalnum() else " " for c in folded(text[:LONGEST])).split()
    return frozenset(
        padded[at : at + LENGTH]
        for padded in {f"_{word}_" for word in words}
        for at in range(max(1, len(padded) - LENGTH + 1))
    )


class Similar:
    """Attempts by their runs of letters. Building it reads all texts once: keep it, and `add` what comes later."""

    def __init__(self, attempts: Iterable[Attempt] = ()) -> None:
        self._attempts: dict[str, Attempt] = {}
        self._grams: dict[str, frozenset[str]] = {}
        self._at: dict[str, set[str]] = defaultdict(set)
        for attempt in attempts:
            self.add(attempt)

    def __len__(self) -> int:
        return len(self._attempts)

    def add(self, attempt: Attempt) -> None:
        """Take an attempt in, or its later revision. One whose texts were erased is like nothing."""
        for gram in self._grams.pop(attempt.id, ()):
            self._at[gram].discard(attempt.id)
        self._attempts[attempt.id] = attempt
        self._grams[attempt.id] = own = frozenset() if attempt.purged else grams(sent(attempt.turns))
        for gram in own:
            self._at[gram].add(attempt.id)

    def matches(self, text: str, most: int = 5, least: float = IDEA, without: str = "") -> list[Match]:
        """The attempts most like a text, at most `most`. without: an id that is left out, such as its own."""
        wanted = grams(text)
        here = [gram for gram in wanted if self._at.get(gram)]
        rarest = sorted(here, key=lambda gram: (len(self._at[gram]), gram))[:RARE]
        shared: Counter[str] = Counter()
        for gram in rarest:
            shared.update(self._at[gram])
        shared.pop(without, None)
        matches = []
        for name, _ in shared.most_common(CANDIDATES):
            own = self._grams[name]
            common = len(wanted & own)
            likeness = common / (len(wanted) + len(own) - common)
            if likeness >= least:
                matches.append(Match(self._attempts[name], likeness))
        matches.sort(key=lambda match: (-match.likeness, match.attempt.surfaced, match.attempt.id))
        return matches[:most]


def duplicates(attempts: Sequence[Attempt]) -> list[tuple[Attempt, Attempt, float]]:
    """Findings that are near-duplicates of an earlier one and are not marked so: (finding, earlier, likeness)."""
    index = Similar()
    pairs = []
    for finding in sorted(attempts, key=lambda attempt: (attempt.surfaced, attempt.id)):
        if not finding.is_finding or finding.duplicate_of:
            continue
        for match in index.matches(sent(finding.turns), 1, NEAR):
            pairs.append((finding, match.attempt, match.likeness))
        index.add(finding)
    return pairs
