"""MinHash as datasketch before 2.0 computes it, for all words and windows at once; words, windows and runs of words.

128 permutations from seed 1 over 32 bits of SHA-1. Numbers are equal to the bit, wrapped products included: they must
match signatures that others made. (datasketch 2.0 calls this scheme "legacy" and makes other numbers by default.)
"""

import re
from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from typing import Any

from withstand.core import SpecError

PERMUTATIONS = 128
SEED = 1
PRIME = 2**61 - 1
LARGEST = 2**32 - 1
KINDS = {"book": (300, 200), "lyrics": (50, 40)}
"""Kind of work -> tokens in a window, and how many of them it shares with the next."""
GRAM = 5
RULES = ("plain", "spacy")


# --- words -----------------------------------------------------------------------------------------------------------


def tokens_of(text: str, rule: str) -> list[str]:
    """Words and marks of a text. "plain": words, with what an apostrophe joins, and marks one by one. "spacy": tokens
    of spaCy's English tokenizer; its tokens of line breaks and double spaces fill places in a window, but are no words.
    """
    if rule == "plain":
        return re.findall(r"\w+(?:['\u2019]\w+)*|[^\w\s]", text)
    return [token.text for token in _spacy()(text)]


@cache
def _spacy() -> Any:
    try:
        import spacy
    except ImportError:
        message = "these signatures are of spaCy's words, and spaCy is not installed"
        raise SpecError(message, hint='pip install "spacy>=3.7"') from None
    return spacy.blank("en").tokenizer  # that of en_core_web_sm: the model adds nothing to it


def grams_of(text: str) -> list[int]:
    """A 32-bit hash of each five words in a row, whatever their case and the marks between them."""
    words = re.findall(r"\w+(?:'\w+)*", text.lower().replace("\u2019", "'"))
    return [hash32(" ".join(words[start : start + GRAM])) for start in range(len(words) - GRAM + 1)]


def hash32(text: str) -> int:
    """datasketch's `sha1_hash32`."""
    return int.from_bytes(sha1(text.encode("utf-8", "surrogatepass")).digest()[:4], "little")


# --- signatures ------------------------------------------------------------------------------------------------------


@cache
def permutations() -> Any:
    """The factors and the summands, [2, 128]."""
    import numpy as np

    draw = np.random.RandomState(SEED).randint
    pairs = [[draw(least, PRIME, dtype=np.uint64) for least in (1, 0)] for _ in range(PERMUTATIONS)]
    return np.array(pairs, dtype=np.uint64).T


def signatures(tokens: Sequence[str], kind: str) -> Any:
    """The MinHash of the set of words in each window, [windows, 128]. The last may be short; there is always one."""
    import numpy as np

    length, shared = KINDS[kind]
    numbers = {token: number for number, token in enumerate(dict.fromkeys([*tokens, ""]))}
    hashes = np.array([hash32(token) for token in numbers], dtype=np.uint64)
    factors, summands = permutations()
    permuted = (hashes[:, None] * factors + summands) % np.uint64(PRIME) & np.uint64(LARGEST)
    permuted[[not token.strip() for token in numbers]] = LARGEST  # no words: they are never the least
    rows = permuted.astype(np.uint32)[[numbers[token] for token in tokens or [""]]]
    starts = range(0, max(1, len(tokens) - shared), length - shared)
    return np.stack([rows[start : start + length].min(axis=0) for start in starts])


def halves(windows: Any) -> Any:
    """Signatures as `similarity` takes them: the two halves of each number, [2, windows, 128]."""
    import numpy as np

    return np.ascontiguousarray(windows.view(np.uint16).reshape(*windows.shape, 2).transpose(2, 0, 1))


def similarity(output: Any, reference: Any) -> float:
    """The highest estimated Jaccard similarity, in [0, 1], of a window of one with a window of the other."""
    step = max(1, 2**16 // reference.shape[1])  # so that what is compared at once stays in the processor's cache
    parts = (output[:, start : start + step] for start in range(0, output.shape[1], step))
    return max(_most_equal(part, reference) for part in parts) / PERMUTATIONS


def _most_equal(output: Any, reference: Any) -> int:
    """Counts the equal halves, of half the size, and sees whether the best pair is equal in the others too."""
    import numpy as np

    counts = np.einsum("ijk->ij", (output[0][:, None] == reference[0]).view(np.uint8))
    while True:
        i, j = divmod(int(counts.argmax()), counts.shape[1])
        exact = int((output[:, i] == reference[:, j]).all(axis=0).sum())
        if exact == counts[i, j]:
            return exact
        counts[i, j] = exact


# --- order -----------------------------------------------------------------------------------------------------------


def common(output: Sequence[int], reference: Any) -> tuple[int, float]:
    """The longest run of words that both have (0 below five), and the share of the output's 5-grams that the reference
    has."""
    import numpy as np

    places: dict[int, list[int]] = {gram: [] for gram in output}
    for place in np.flatnonzero(np.isin(reference, list(places))).tolist():
        places[int(reference[place])].append(place)
    longest = 0
    run: dict[int, int] = {}  # place in the reference -> 5-grams of the run that ends there
    for gram in output:
        run = {place: run.get(place - 1, 0) + 1 for place in places[gram]}
        longest = max(longest, *run.values(), 0)
    covered = sum(bool(places[gram]) for gram in output)
    return longest + GRAM - 1 if longest else 0, covered / max(1, len(output))
