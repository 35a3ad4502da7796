"""The augmentations of best of n: scrambled, recased, noised. Hughes et al. 2024, arXiv:2412.03556."""

import re
from random import Random


def augment(text: str, sigma: float, draw: Random) -> str:
    """`text` scrambled, then recased, then noised."""
    return noised(recased(scrambled(text, sigma**0.5, draw), sigma**0.5, draw), sigma**3, draw)


def scrambled(text: str, p: float, draw: Random) -> str:
    """Each word of more than 3 characters has its inner ones shuffled with probability p."""

    def scramble(word: str) -> str:
        if len(word) <= 3 or draw.random() >= p:
            return word
        inner = list(word[1:-1])
        draw.shuffle(inner)
        return word[0] + "".join(inner) + word[-1]

    return re.sub(r"\S+", lambda match: scramble(match[0]), text)


def recased(text: str, p: float, draw: Random) -> str:
    """Each ASCII letter changes its case with probability p."""
    return "".join(c.swapcase() if c.isascii() and c.isalpha() and draw.random() < p else c for c in text)


def noised(text: str, p: float, draw: Random) -> str:
    """Each character becomes a neighbor in ASCII with probability p, if that is printable ASCII too."""

    def noise(c: str) -> str:
        if not c.isprintable() or draw.random() >= p:
            return c
        code = ord(c) + draw.choice((-1, 1))
        return chr(code) if 32 <= code <= 126 else c

    return "".join(noise(c) for c in text)
