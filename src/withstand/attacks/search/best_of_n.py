"""Best of n: ask the same thing in many scrambled spellings, each drawn once. Hughes et al. 2024, arXiv:2412.03556.

The three augmentations, their order and their probabilities are those of the authors' code (`run_text_bon.py` of
jplhughes/bon-jailbreaking). We leave it in three points: white space is kept (the code joins words by one space), a
letter outside ASCII is kept (the code drops it when its case should change), and the context is not augmented.
Composed with another attack (section 5), the behavior alone is augmented, as by default in the code.
"""

import re
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

from withstand.core import (
    Attack,
    Behavior,
    Chat,
    Flow,
    Most,
    SpecError,
    Target,
    TestCase,
    ask,
    at_least,
    rng,
    user,
    within,
)


@dataclass(frozen=True, slots=True)
class BestOfN:
    """n spellings of the behavior; each draw is a test case that carries its completion: that very draw is judged.

    n: draws per behavior, 1 or more, default 16 (the paper: 10000). Draw i is the same for every n.
    batch: asks at once, 1 or more, default 4; a budget of asks is used up in such steps.
    temperature: of the target, in [0, 10], default 1.
    sigma: strength of the augmentation in [0, 1], default 0.4: a word is scrambled with probability sigma**(1/2), a
        letter changes case with sigma**(1/2), a character is moved by one ASCII code with sigma**3.
    attack: what each spelling is sent through, such as prefix_injection; default none. It must ask nothing. If it has
        several test cases, they take turns, and n stays the number of draws.
    seed: any whole number, default 0; draws the spellings.
    """

    version: ClassVar[int] = 1
    n: int = 16
    batch: int = 4
    temperature: float = 1.0
    sigma: float = 0.4
    attack: Attack | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(1, self, "n", "batch")
        within(0, 10, self, "temperature")
        within(0, 1, self, "sigma")
        inner = self.attack
        if inner and (not hasattr(inner, "run") or inner.most().asks or "weights" in inner.needs):
            raise SpecError(
                f"best_of_n cannot go through {type(inner).__name__}, which searches",
                hint="compose it with an attack that asks nothing, such as prefix_injection",
            )

    @property
    def needs(self) -> frozenset[str]:
        return self.attack.needs if self.attack else frozenset()

    def most(self) -> Most:
        return Most(cases=self.n, asks={"target": self.n}, drawn=True)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        sampling = replace(target.sampling, temperature=self.temperature)
        for start in range(0, self.n, self.batch):
            chats = [self._chat(i, behavior, target) for i in range(start, min(start + self.batch, self.n))]
            completions = yield from ask(target, chats, sampling)
            for chat, completion in zip(chats, completions, strict=True):
                yield TestCase(behavior.id, chat, completion=completion)

    def _chat(self, i: int, behavior: Behavior, target: Target) -> Chat:
        """Spelling number i, as it is sent."""
        spelled = replace(behavior, text=augment(behavior.text, self.sigma, rng(self.seed, behavior.id, i)))
        if self.attack is None:
            return user(spelled.prompt())
        cases = list(self.attack.run(spelled, target))
        chat: Chat = cases[i % len(cases)].chat
        return chat


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
