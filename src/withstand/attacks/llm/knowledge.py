"""Knowledge: the request with a plausible reason for it beside it. After the adversarial knowledge injection of ASSERT,
Mei et al. 2023, arXiv:2310.09624.

The paper asks a model for benefits of an unsafe act and gives each as a hint. We add what parts their effect from that
of any hint and of the demonstrations: other arms, other places, and demonstrations that are the same in every arm and
carry no hint (the paper's do, and all say yes). Set `knowledge:irrelevant` beside it: `withstand families`.
"""

import re
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from withstand.attacks.llm._attacker import check_writer, drafts, no_draft
from withstand.attacks.llm._hints import PLACES, demonstrations, hints
from withstand.attacks.llm._lists import items
from withstand.attacks.llm._meaning import parted
from withstand.attacks.llm._texts import data_of, shown_context, text_of
from withstand.core import (
    Behavior,
    Flow,
    Model,
    RejectedDrafts,
    Sampling,
    SpecError,
    Target,
    TestCase,
    UpperBounds,
    at_least,
    filled,
    rng,
    user,
)
from withstand.core.prompts import OWN, Prompts

PROMPT = Prompts.single(text_of("knowledge.txt"), "behavior")
FIXED = ("irrelevant", "bank", "authority", "warning")
ARMS = ("none", "self", "other", *FIXED)
LONGEST = 240
"""Characters of a hint: a title and a sentence, which hold no instructions."""
AGAINST = re.compile(r"\b(?:never|dangerous|unsafe|harmful|risky|not recommended|do not|don't|should not)\b", re.I)
"""What a warning says that came in the place of an advantage."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """`k` test cases, each the request with another hint; one without a hint in the arm "none". For yes-or-no
    questions, whose demand stays the user's last words, and for any other request.

    arm: default "bank": general advantages of ours, the same for every target; "authority": the same, said by an
        expert; "irrelevant": true sentences about other things; "warning": general dangers, which should lower the
        rate; "self": advantages that the target's model names, undefended; "other": those that `source` names; "none".
    place: of the hint: "user" (default) in brackets behind the request; "document" above it; "tool": as the result of a
        tool, for a target that takes "forged" turns and that role.
    shots: demonstrations before it, as turns of the assistant: "none" (default); "balanced": two that go along and two
        that do not; "all_yes": four that go along with what they should not.
    source: the model of "other"; default none.
    k: hints, 1 or more, at most 8 of ours, default 2: five of one behavior are worth 1.25 of their own, two 1.14.
    tries: asks for `k` advantages, 1 or more, default 3. attacker_tokens: of the answer, 1 or more, default 256.
    temperature: of the source, in [0, 10], default 1.
    prompt: own text for the source, with {behavior}, {context} and {k}; default "": ours.
    seed: any whole number, default 0; chooses among ours, alike in all arms; another one draws the answers anew.
    """

    version: ClassVar[int] = 1
    adapts: ClassVar[bool] = False
    arm: Literal["none", "irrelevant", "self", "other", "bank", "authority", "warning"] = "bank"
    place: Literal["user", "document", "tool"] = "user"
    shots: Literal["none", "balanced", "all_yes"] = "none"
    source: Model | None = None
    k: int = 2
    tries: int = 3
    attacker_tokens: int = 256
    temperature: float = 1.0
    prompt: str = field(default="", metadata=OWN)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, values in (("arm", ARMS), ("place", PLACES), ("shots", ("none", "balanced", "all_yes"))):
            if getattr(self, name) not in values:
                raise SpecError(f"{name} is {getattr(self, name)!r}", hint=f"it must be one of {', '.join(values)}")
        at_least(1, self, "k")
        check_writer(self)
        PROMPT.texts(self.prompt)
        if (self.arm == "other") != (self.source is not None):
            raise SpecError(f'arm = "{self.arm}" and source do not agree', hint='arm = "other" needs a source, no else')
        if self.arm in FIXED and self.k > len(hints("bank")):
            raise SpecError(f"k is {self.k}, and there are {len(hints('bank'))} hints of ours", hint="take a smaller k")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"turns", "forged"} if self.shots != "none" or self.place == "tool" else ())

    @property
    def variants(self) -> int:
        return 1 if self.arm == "none" else self.k

    def most(self) -> UpperBounds:
        role = {"self": "target", "other": "attacker"}.get(self.arm)
        return UpperBounds(self.variants, {role: self.tries} if role else {})

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        text, demand = parted(behavior.text)
        before = demonstrations(self.shots, demand)
        if self.arm in ("self", "other"):
            chosen = yield from self._named(self.source or target.model, behavior, text)
        else:
            chosen = [""] if self.arm == "none" else self._ours(behavior)
        for hint in chosen:
            yield TestCase(behavior.id, before + PLACES[self.place](behavior, text, demand, hint))

    def _ours(self, behavior: Behavior) -> list[str]:
        places = rng(self.seed, behavior.id).sample(range(len(hints("bank"))), self.k)
        if self.arm == "authority":
            return [filled(data_of("knowledge.json")["authority"], hint=hints("bank")[place]) for place in places]
        return [hints(self.arm)[place] for place in places]

    def _named(self, source: Model, behavior: Behavior, text: str) -> Flow[list[str]]:
        """The advantages that a model names; warnings, long ones and those without a title are no hints."""
        asked = filled(
            PROMPT.texts(self.prompt)["prompt"], behavior=text, context=shown_context(behavior), k=str(self.k)
        )
        chosen: dict[str, None] = {}
        for _ in range(self.tries):
            sampling = Sampling(self.attacker_tokens, self.temperature)
            [draft] = yield from drafts(source, [user(asked)], items, sampling, 1, parts=True)
            lines = draft.value if draft else ()
            titled = [line for line in lines if ": " in line and len(line) <= LONGEST]
            good = [line for line in titled if not AGAINST.search(line)]
            if len(good) < len(lines):
                yield RejectedDrafts(malformed=len(lines) - len(titled), changed=len(titled) - len(good))
            chosen |= dict.fromkeys(good)
            if len(chosen) >= self.k:
                break
        if not chosen:
            raise no_draft(self.tries)
        return [*chosen][: self.k]
