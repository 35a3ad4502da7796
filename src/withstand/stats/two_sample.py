"""Whether texts have changed: how well a classifier tells two samples apart that it was not trained on.

The classifier two-sample test of Lopez-Paz and Oquab 2017 (arXiv:1610.06545), by ridge regression on hashed character
n-grams and the area under the ROC curve: 0.5 where nothing tells them apart. Pure functions.
"""

from collections.abc import Sequence
from zlib import crc32

import numpy as np

from withstand.stats.roc import auroc
from withstand.stats.special import Floats

BUCKETS = 2048
SIZES = (3, 4)
FOLDS = 5
STRETCH = 1 + FOLDS / (FOLDS - 1)
"""Times the variance of an area: the classifiers of the folds share most of their texts, so their scores are no
independent draws (the correction of Nadeau and Bengio 2003, Machine Learning 52:239)."""
RIDGE = 0.1
LARGE = 0.65
"""An area from which texts are said to have drifted."""
_LONGEST = 1000


def features(texts: Sequence[str]) -> Floats:
    """A row of length 1 for each text: square roots of its counts of character n-grams, in hashed buckets."""
    rows = np.zeros((len(texts), BUCKETS), np.float64)
    for row, text in zip(rows, texts, strict=True):
        data = " ".join(text[:_LONGEST].lower().split()).encode()
        places = [crc32(data[at : at + size]) % BUCKETS for size in SIZES for at in range(len(data) - size + 1)]
        if places:
            row[:] = np.sqrt(np.bincount(places, minlength=BUCKETS) / len(places))
    return rows


def told_apart(
    before: Sequence[str],
    after: Sequence[str],
    of_before: Sequence[str],
    of_after: Sequence[str],
    level: float = 0.95,
) -> tuple[float, tuple[float, float]] | None:
    """The chance that a later text scores above an earlier one, and its limits; None with fewer than 5 accounts.

    of_before, of_after: the account of each text. All texts of an account are scored by a classifier that saw none of
    them: a person's own words are no drift. Limits are clustered by account too. Each fold has its share of either
    kind's accounts, else the area is below 0.5 where nothing tells them apart. With 30 to 200 texts of a kind, limits
    of 95% held in 97% of 600 draws where nothing did, and in 96% of 240 where words did.
    """
    first, second = {*of_before}, {*of_after}
    kinds = {name: (name in first, name in second) for name in first | second}
    accounts = sorted(kinds, key=lambda name: (kinds[name], crc32(name.encode()), name))
    if len(accounts) < FOLDS or not before or not after:
        return None
    fold = {name: number % FOLDS for number, name in enumerate(accounts)}
    folds = np.array([fold[name] for name in (*of_before, *of_after)])
    rows = features([*before, *after])
    target = np.where(np.arange(len(rows)) < len(before), -1.0, 1.0)
    products = rows @ rows.T
    values = np.zeros(len(rows))
    for number in range(FOLDS):
        trained, held = folds != number, folds == number
        center = target[trained].mean()
        kernel = products[np.ix_(trained, trained)] + RIDGE * np.eye(int(trained.sum()))
        weights = np.linalg.solve(kernel, target[trained] - center)
        values[held] = products[np.ix_(held, trained)] @ weights + center
    n = len(before)
    return auroc(values[n:].tolist(), values[:n].tolist(), of_after, of_before, level, STRETCH)
