"""Near-duplicates among many short texts: MinHash and LSH (Broder 1997; Leskovec et al., "Mining of Massive Datasets",
chapter 3), then the exact Jaccard index of the sets of four bytes in a row.

In numpy, for all texts at once: 50,000 skeletons take 3 s of CPU (bench/README.md compares rensa and datasketch).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

ALIKE = 0.7
"""Jaccard index from which on two texts are near-duplicates."""
COHERENT = 0.5
"""Jaccard index to the middle of a group that its members keep: chains of near-duplicates are cut there."""
GRAM = 4
BANDS, ROWS = 25, 5
"""A pair of index 0.7 shares a band with a chance of 99%, one of 0.3 with 6%."""
PERMUTATIONS = 128
SLACK = 0.15
"""How far from `ALIKE` the estimate of a pair may lie that is looked at exactly: 3.7 standard errors."""
EXACT = 10_000
"""Pairs that are looked at exactly; on more the estimate decides."""
BLOCK = 1 << 20
"""Runs of bytes that are hashed at once."""
NEIGHBORS = 4
"""How many of the next texts of a bucket each text is compared with, besides the bucket's first."""
LOOKED_AT, MIDDLES = 200, 50
"""Members of a group among which its middle is looked for, and the most middles that are looked for."""

Signatures = npt.NDArray[np.uint32]
Places = npt.NDArray[np.int64]


def groups(texts: Sequence[str], weights: Sequence[float]) -> list[list[int]]:
    """The places of texts that are near-duplicates of one another, the middle one first; single texts are groups too.

    weights: how often each was seen, by which the middle of a group is chosen.   Equal texts give equal groups.
    """
    if not texts:
        return []
    signatures = sign(texts)
    parent = np.arange(len(texts))
    looks = EXACT
    for band in range(BANDS):
        first, second, estimates = _candidates(signatures, band, parent)
        near = estimates >= ALIKE
        doubtful = np.flatnonzero(estimates < ALIKE + SLACK)[:looks]
        looks -= len(doubtful)
        for place in doubtful.tolist():
            near[place] = jaccard(runs(texts[first[place]]), runs(texts[second[place]])) >= ALIKE
        parent = _joined(parent, first[near], second[near])
    together: dict[int, list[int]] = {}
    for place, root in enumerate(parent.tolist()):
        together.setdefault(root, []).append(place)
    return [part for members in together.values() for part in _coherent(members, signatures, weights)]


def near_any(texts: Sequence[str], members: Sequence[str]) -> list[int]:
    """The places of texts that are near-duplicates of one of these members, by the estimate."""
    if not texts:
        return []
    signatures, own = sign(texts), sign(members)
    best = np.zeros(len(texts))
    for row in own:
        np.maximum(best, (signatures == row).mean(axis=1), out=best)
    return [int(place) for place in np.flatnonzero(best >= ALIKE)]


def runs(text: str) -> frozenset[bytes]:
    """The runs of four bytes of a text between spaces."""
    data = _bytes(text)
    return frozenset(data[at : at + GRAM] for at in range(len(data) - GRAM + 1))


def jaccard(first: frozenset[bytes], second: frozenset[bytes]) -> float:
    """The share of common members, in [0, 1]."""
    common = len(first & second)
    return common / (len(first) + len(second) - common)


def sign(texts: Sequence[str]) -> Signatures:
    """The MinHash of each text, [texts, 128]: the share of equal places of two rows estimates their Jaccard index."""
    factors, summands = np.random.RandomState(1).randint(0, 2**32, (2, PERMUTATIONS), dtype=np.uint32)
    factors |= np.uint32(1)
    signatures = np.empty((len(texts), PERMUTATIONS), dtype=np.uint32)
    for start, end, hashes, starts in _hashes([_bytes(text) for text in texts]):
        for column in range(PERMUTATIONS):
            permuted = _mixed(hashes * factors[column] + summands[column])
            signatures[start:end, column] = np.minimum.reduceat(permuted, starts)
    return signatures


def likeness(signatures: Signatures, first: Any, second: Any) -> npt.NDArray[np.float64]:
    """The estimated Jaccard index of the texts at these places, pair by pair."""
    return np.asarray((signatures[first] == signatures[second]).mean(axis=-1), dtype=np.float64)


def _bytes(text: str) -> bytes:
    return f" {text} ".encode("utf-8", "surrogatepass").ljust(GRAM)


def _hashes(parts: Sequence[bytes]) -> Iterator[tuple[int, int, npt.NDArray[np.uint32], npt.NDArray[np.int64]]]:
    """Of a block of texts at a time: its ends, the hashes of all runs, and where those of each text begin."""
    start = 0
    while start < len(parts):
        end, size = start, 0
        while end < len(parts) and (end == start or size + len(parts[end]) <= BLOCK):
            size += len(parts[end])
            end += 1
        data = np.frombuffer(b"".join(parts[start:end]), dtype=np.uint8).astype(np.uint32)
        counts = np.array([len(part) - GRAM + 1 for part in parts[start:end]])
        hashes = np.zeros(len(data) - GRAM + 1, dtype=np.uint32)
        for at in range(GRAM):
            hashes = hashes << np.uint32(8) | data[at : len(data) - GRAM + 1 + at]
        begins = np.cumsum(counts + GRAM - 1) - (counts + GRAM - 1)
        inside = np.ones(len(hashes), dtype=bool)  # a run over the end of a text is of none
        for skipped in range(GRAM - 1):
            inside[begins[1:] - 1 - skipped] = False
        yield start, end, _mixed(hashes[inside]), np.cumsum(counts) - counts
        start = end


def _mixed(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The values, their bits mixed (the finalizer of MurmurHash3): linear ones alone are no random permutations."""
    values = values ^ values >> np.uint32(16)
    values = values * np.uint32(0x85EBCA6B)
    values = values ^ values >> np.uint32(13)
    return values * np.uint32(0xC2B2AE35)


def _candidates(signatures: Signatures, band: int, parent: Places) -> tuple[Places, Places, Any]:
    """Pairs of places of two groups that share a band and whose estimate is high enough, with the estimates."""
    rows = signatures[:, band * ROWS : (band + 1) * ROWS].astype(np.uint64)
    keys = np.zeros(len(signatures), dtype=np.uint64)
    for column in range(ROWS):
        keys = (keys ^ rows[:, column]) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begins = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    heads = order[np.repeat(begins, np.diff(np.r_[begins, len(order)]))]
    couples = [(heads, order)]
    for step in range(1, NEIGHBORS + 1):
        same = ordered[step:] == ordered[:-step]
        couples.append((order[:-step][same], order[step:][same]))
    first, second = (np.concatenate(side) for side in zip(*couples, strict=True))
    apart = parent[first] != parent[second]
    first, second = first[apart], second[apart]
    size = BLOCK // PERMUTATIONS
    parts = [
        likeness(signatures, first[at : at + size], second[at : at + size]) for at in range(0, max(1, len(first)), size)
    ]
    estimates = np.concatenate(parts)
    near = estimates >= ALIKE - SLACK
    return first[near], second[near], estimates[near]


def _joined(parent: Places, first: Places, second: Places) -> Places:
    """Each place with the root of its group, after these pairs were joined."""
    while True:
        a, b = parent[first], parent[second]
        if np.array_equal(a, b):
            return parent
        parent = parent.copy()
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(above := parent[parent], parent):
            parent = above


def _coherent(members: list[int], signatures: Signatures, weights: Sequence[float]) -> Iterator[list[int]]:
    """The members around a middle, then the rest around theirs; after `MIDDLES` of them the rest are single."""
    if len(members) <= 2:
        yield sorted(members, key=lambda place: (-weights[place], place))
        return
    left = np.array(members)
    for _ in range(MIDDLES):
        if not len(left):
            return
        share = np.array([weights[place] for place in left.tolist()])
        looked = left[np.lexsort((left, -share))[:LOOKED_AT]]
        among, share = signatures[looked], np.array([weights[place] for place in looked.tolist()])
        middle = int(looked[np.argmax([((among == row).mean(axis=1) * share).sum() for row in among])])
        near = likeness(signatures, left, middle) >= COHERENT
        yield [middle, *(place for place in left[near].tolist() if place != middle)]
        left = left[~near]
    yield from ([place] for place in left.tolist())
