"""The classifier of the wheel securevector-guardian-model 1.4.0 (SecureVector, Apache-2.0): logistic regression over
the tf-idf of words and of characters, with windows of long texts and decoded passages.

Its weights are JSON, read here without a line of the wheel's code, so that neither its variable SV_GUARDIAN_RUNTIME nor
its own download can put others in their place. The features are those of scikit-learn's TfidfVectorizer (sublinear term
frequency, a norm of 1 for words and for characters); windows, limits and rounding are those of the wheel's `decode.py`,
`window.py` and `pure_infer.py`, whose scores these are. License and NOTICE of the wheel lie beside the weights.
"""

import base64
import gzip
import hashlib
import json
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from withstand.core import SpecError
from withstand.core.wheel import Wheel, installed

WHEEL = Wheel(
    "securevector-guardian-model", "1.4.0", "c5fd76d593ac6c154cc58cf896cf05e5336d1242160b5d3fa4047bb4ab7cd936", (2, 3)
)
BUNDLE = "guardian.runtime.json.gz"
SHA256 = "674174000c38d2220278b7354eb57cc2b580c54c9125fe55503d17914b161557"
"""Of the weights. Others are another classifier, and an error."""
NOTICES = ("LICENSE", "NOTICE")

TOKEN = re.compile(r"\b\w\w+\b")
SEGMENTS = re.compile(r"(?<=[.!?])\s+|[\n\r]+|<!--|-->")
WINDOW, STRIDE, WINDOWS = 24, 12, 300
"""Words of a window and from one to the next; windows at most."""
SHORT = 400
"""Characters of a text up to which it is also read backwards, if it is one window."""
BASE64, HEX = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}"), re.compile(r"(?:[0-9a-fA-F]{2}){8,}")
ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
PASSAGES, PASSAGE, DEPTH = 20, 4096, 3
"""Decoded passages at most, bytes of one, and how deep one may lie in another."""

Array: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Block:
    """One kind of feature. grams: of a text; columns: gram -> place; idf: of each; coef: of each for each class."""

    grams: Callable[[str, int, int], Iterable[str]]
    low: int
    high: int
    columns: dict[str, int]
    idf: Array
    coef: Array

    def scores(self, text: str) -> Array | float:
        """What the features of a text add to the score of each class."""
        counts = Counter(gram for gram in self.grams(text, self.low, self.high) if gram in self.columns)
        if not counts:
            return 0.0
        places = [self.columns[gram] for gram in counts]
        weights: Array = (1.0 + np.log(np.fromiter(counts.values(), float))) * self.idf[places]
        return (weights / np.sqrt(weights @ weights)) @ self.coef[places]


@dataclass(frozen=True)
class Reading:
    """malicious: whether it flags the text. score: the probability of all classes but benign, to four digits; category:
    the likeliest of them."""

    malicious: bool
    score: float
    category: str


@dataclass(frozen=True, eq=False)
class Classifier:
    """classes: their names; benign: the place of the harmless one. threshold: of a whole text's probability, window: of
    a window's or a decoded passage's."""

    classes: tuple[str, ...]
    benign: int
    threshold: float
    window: float
    intercept: Array
    blocks: tuple[Block, ...]

    def read(self, text: str) -> Reading:
        """The reading of the whole text, or of the part of it that is the most suspicious one and beyond doubt."""
        whole = self.predict(text)
        sure = [part for part in map(self.predict, parts(text)) if part.score >= max(self.threshold, self.window)]
        best = max(sure, key=lambda part: part.score, default=whole)
        return Reading(True, best.score, best.category) if best.score > whole.score else whole

    def predict(self, text: str) -> Reading:
        scores = self.intercept + sum(block.scores(text) for block in self.blocks)
        odds = np.exp(scores - scores.max())
        odds /= odds.sum()
        score = float(np.delete(odds, self.benign).sum())
        odds[self.benign] = 0.0
        return Reading(score >= self.threshold, round(score, 4), self.classes[int(odds.argmax())])


def word_grams(text: str, low: int, high: int) -> Iterator[str]:
    """So many words of two characters or more in a row."""
    words = TOKEN.findall(text.lower())
    return (" ".join(words[i : i + n]) for n in range(low, high + 1) for i in range(len(words) - n + 1))


def character_grams(text: str, low: int, high: int) -> Iterator[str]:
    """So many characters in a row of each word with a blank before and after it; a shorter one as it is, once."""
    for word in text.lower().split():
        padded = f" {word} "
        for n in range(low, high + 1):
            last = max(0, len(padded) - n)
            yield from (padded[i : i + n] for i in range(last + 1))
            if not last:
                break


def parts(text: str) -> list[str]:
    """What is read besides the whole text: windows of a long one, else a short one backwards; decoded passages."""
    if len(text.split()) > WINDOW or "\n" in text:
        return [*windows(text), *decoded(text)]
    return [*decoded(text), *([text[::-1]] if len(text) <= SHORT else [])]


def windows(text: str) -> list[str]:
    """Sentences and lines, long ones as windows that overlap."""
    spans: list[str] = []
    for words in filter(None, map(str.split, SEGMENTS.split(text))):
        starts = range(0, max(1, len(words) - WINDOW + STRIDE), STRIDE)
        spans += [" ".join(words[start : start + WINDOW]) for start in starts]
        if len(spans) >= WINDOWS:
            break
    return spans[:WINDOWS]


def decoded(text: str) -> list[str]:
    """What stands in the text as a URL writes it, in base64 or in hexadecimal digits, and again within that."""
    texts: list[str] = []
    plain = unquote(text) if ESCAPE.search(text) else text
    if plain != text and readable(plain):
        texts.append(plain)
        _add_passages(plain, texts, 0)
    _add_passages(text, texts, 0)
    return texts


def _add_passages(text: str, texts: list[str], depth: int) -> None:
    for pattern, decode in ((BASE64, _from_base64), (HEX, bytes.fromhex)):
        for match in pattern.finditer(text):
            if len(texts) >= PASSAGES:
                return
            try:
                plain = decode(match[0])[:PASSAGE].decode()
            except ValueError:
                continue
            if readable(plain):
                texts.append(plain)
                if depth + 1 < DEPTH:
                    _add_passages(plain, texts, depth + 1)


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


def readable(text: str) -> bool:
    """Whether a passage is more than chance: six characters, some letter, and few that cannot be printed."""
    printable = sum(char.isprintable() or char.isspace() for char in text)
    return len(text) >= 6 and printable > 0.85 * len(text) and any(map(str.isalpha, text))


# --- the weights -------------------------------------------------------------------------------------------------


@cache
def classifier(wheel: str = "") -> Classifier:
    """The classifier, fetched on first use. wheel: a copy of the wheel. Raises `SpecError` with the way out."""
    path = fetched(wheel) / BUNDLE
    data = path.read_bytes()
    if (checksum := hashlib.sha256(data).hexdigest()) != SHA256:
        raise SpecError(
            f"{path} holds other weights than {WHEEL.package} {WHEEL.version}: its SHA-256 is {checksum}",
            hint=f"expected {SHA256}; delete the folder, and it is fetched again",
        )
    return _read(json.loads(gzip.decompress(data)))


def fetched(wheel: str = "") -> Path:
    """The folder of the weights in the cache."""
    return installed("securevector", WHEEL, wheel, _unpack, lambda folder: (folder / BUNDLE).is_file())


def _unpack(archives: Sequence[zipfile.ZipFile], folder: Path) -> None:
    [archive] = archives
    folder.mkdir()
    for name in (BUNDLE, *NOTICES):
        member = next(member for member in archive.namelist() if member.endswith(f"/{name}"))
        (folder / name).write_bytes(archive.read(member))


def _read(bundle: dict[str, Any]) -> Classifier:
    coef: Array = np.array(bundle["coef"]).T
    edge = bundle["n_word_features"]
    kinds = (("word", word_grams, coef[:edge]), ("char", character_grams, coef[edge:]))
    return Classifier(
        tuple(bundle["classes"]),
        bundle["classes"].index(bundle["benign"]),
        float(bundle["threshold"]),
        float(bundle["window_min_score"]),
        np.array(bundle["intercept"]),
        tuple(
            Block(grams, low, high, bundle[name]["vocab"], np.array(bundle[name]["idf"]), own)
            for name, grams, own in kinds
            for low, high in [bundle[name]["ngram_range"]]
        ),
    )
