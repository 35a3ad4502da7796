"""How many kinds were not seen yet, and how evenly work is shared: pure functions on counts."""

from collections.abc import Iterable


def chao1(counts: Iterable[int]) -> float:
    """A lower bound of the number of kinds, S + f1 (f1 - 1) / (2 (f2 + 1)); 0 is a kind that was not seen.

    S kinds were seen, f1 of them once and f2 twice. The form without bias of Chao (1984), Scandinavian Journal of
    Statistics 11:265, which needs no kind that was seen twice. It takes each sighting as drawn at random.
    """
    seen = [count for count in counts if count > 0]
    once, twice = seen.count(1), seen.count(2)
    return len(seen) + once * (once - 1) / (2 * (twice + 1))


def gini(amounts: Iterable[float]) -> float | None:
    """How unevenly amounts >= 0 are shared: 0 where all are equal, (n - 1) / n where one of n has all. None for no sum.

    The mean difference of all pairs over twice the mean (Gini 1912).
    """
    ordered = sorted(amounts)
    total, n = sum(ordered), len(ordered)
    if not total:
        return None
    return sum((2 * rank - n - 1) * amount for rank, amount in enumerate(ordered, 1)) / (n * total)
