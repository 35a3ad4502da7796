"""Whether what was trained on holds out what is tested: by text, nearly so too, and by cluster. Pure functions.

A request is in a text if their letters and digits are the same or one holds the other, and nearly so if 90% of the runs
of three words of the shorter one are in the other: a dish that is asked for inside a story is the same dish.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from withstand.core import Behavior, SpecError
from withstand.core.likeness import ALIKE, runs, squeezed
from withstand.core.stage import Row

LEAST_LETTERS = 12
"""Letters and digits of a text, at least, that counts as one inside another."""
LEAST_RUNS = 3
"""Runs of three words, at least, of the shorter text: a shorter one is in many by chance."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """A text as it is compared."""

    letters: str
    runs: frozenset[tuple[str, ...]]

    @staticmethod
    def of(text: str) -> "Likeness":
        return Likeness(squeezed(text), runs(text))

    def same(self, text: "Likeness") -> bool:
        """Whether two texts are one, one holds the other, or nearly so."""
        short, long = sorted((self.letters, text.letters), key=len)
        if short == long or (len(short) >= LEAST_LETTERS and short in long):
            return True
        least = min(len(self.runs), len(text.runs))
        return least >= LEAST_RUNS and len(self.runs & text.runs) > ALIKE * least


def check_rows(rows: Sequence[Row], tested: Iterable[Behavior]) -> None:
    """Raise `SpecError` where a turn of a row that the model reads is what a test asks, or nearly."""
    asked = [(behavior, Likeness.of(behavior.prompt())) for behavior in tested]
    seen: set[str] = set()
    for number, row in enumerate(rows, start=1):
        for turn in row.chat:
            if turn.role not in ("user", "system") or turn.text in seen:
                continue
            seen.add(turn.text)
            trained = Likeness.of(turn.text)
            for behavior, likeness in asked:
                if trained.same(likeness):
                    raise SpecError(
                        f"row {number} of the training holds what the test asks: {turn.text[:60]!r} is "
                        f"{behavior.id!r}, {behavior.text[:60]!r}, or nearly",
                        hint="leave it out of the training, or out of the test: what was trained on is not held out",
                    )


def check_rejected(texts: Iterable[str], tested: Sequence[Behavior]) -> None:
    """Raise `SpecError` where a text that must not be said holds what a test asks, or is the target string of one
    tested behavior, or nearly: a training away from it is one for the test. A target that several have, such as "Sure,
    here is how", names none of them."""
    targets = Counter(squeezed(behavior.target_string) for behavior in tested)
    marks = [(behavior, Likeness.of(behavior.prompt())) for behavior in tested]
    marks += [
        (behavior, Likeness.of(behavior.target_string))
        for behavior in tested
        if behavior.target_string and targets[squeezed(behavior.target_string)] == 1
    ]
    for text in dict.fromkeys(texts):
        trained = Likeness.of(text)
        for behavior, likeness in marks:
            if trained.same(likeness):
                raise SpecError(
                    f"the training must not say {text[:60]!r}, which is the target string or the request of the tested "
                    f"{behavior.id!r}, or nearly",
                    hint="leave the text out of the target strings or harmful answers: what was trained on is not held "
                    "out",
                )


def check_clusters(trained: Sequence[Behavior], tested: Sequence[Behavior]) -> None:
    """Raise `SpecError` where a training behavior is in the cluster of a tested one. One without a cluster is in that
    which its id names."""
    named = {behavior.cluster for behavior in (*trained, *tested)} - {""}
    here = {behavior.cluster or behavior.id: behavior for behavior in tested}
    for behavior in trained:
        cluster = behavior.cluster or behavior.id
        if cluster in named and cluster in here:
            raise SpecError(
                f"the training behavior {behavior.id!r} is in the cluster {cluster!r}, as the tested one "
                f"{here[cluster].id!r}",
                hint="leave the cluster out of one of the two suites: its behaviors stand or fall together",
            )
