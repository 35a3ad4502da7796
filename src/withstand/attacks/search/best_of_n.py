"""Best of n: ask the same thing in many scrambled spellings, each drawn once. Hughes et al. 2024, arXiv:2412.03556.

The three augmentations, their order and their probabilities are those of the authors' code (`run_text_bon.py` of
jplhughes/bon-jailbreaking). We leave it in three points: white space is kept (the code joins words by one space), a
letter outside ASCII is kept (the code drops it when its case should change), and the context is not augmented.
Composed with another attack (section 5), the behavior alone is augmented, as by default in the code.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from withstand.attacks.search._augment import augment
from withstand.core import (
    Attack,
    Behavior,
    Chat,
    Flow,
    SpecError,
    Target,
    TestCase,
    UpperBounds,
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

    @property
    def draws_at(self) -> float:
        return self.temperature

    def most(self) -> UpperBounds:
        return UpperBounds(cases=self.n, asks={"target": self.n}, drawn=True)

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
