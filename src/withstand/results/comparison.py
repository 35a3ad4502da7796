"""Two runs, or the parts of one, side by side: `withstand compare`."""

from collections.abc import Collection

from withstand.core import Json
from withstand.results import compare
from withstand.results.compare import Correct, Pair
from withstand.store.store import Store


def compare_runs(
    store: Store, a: str, b: str, *, by: str = "", margin: float = 0.05, correct: Correct = "holm",
    allow: Collection[str] = (), reveal: bool = False,
) -> Json:  # fmt: skip
    """The comparison of run A with run B, or of the parts of A that `by` (target, defense, attack) splits it into.

    All rows of all sides are one family for the correction. Raises `SpecError` where the sides cannot be compared.
    """
    sides = compare.split_by(store, a, by) if by else [(compare.side(store, a), compare.side(store, b))]
    pairs: list[Pair] = []
    notes: list[str] = []
    for first, second in sides:
        matches, unmatched = compare.matched(first.cells, second.cells)
        pairs += matches
        notes += [*unmatched, *compare.check(matches, allow)]
    texts = store.behaviors({key for pair in pairs for key in pair.keys})
    rows = compare.compare(pairs, texts, margin, correct, reveal)
    for row in rows:
        varied = [row["b"][name] for name in row["varied"]] if len(sides) > 1 else []
        row["name"] = " ".join([row["label"], *(f"({value})" for value in varied)])
    return {
        "schema": 1,
        "a": sides[0][0].label,
        "b": [second.label for _, second in sides],
        "margin": margin,
        "correction": compare.CORRECTIONS[correct][0],
        "revealed": reveal,
        "rows": rows,
        "notes": list(dict.fromkeys(notes)),
    }
