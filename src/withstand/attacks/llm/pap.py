"""PAP, persuasive adversarial prompts: an attacker model rewrites the behavior by techniques of persuasion.
Zeng et al. 2024, arXiv:2401.06373.

The paper tunes a paraphraser on such rewrites; we show the attacker one worked example for each technique, as HarmBench
does (Mazeika et al. 2024, arXiv:2402.04249). The 40 techniques are the paper's, their definitions and examples ours.
Where we leave HarmBench: an attacker's refusal is asked anew and never sent.
"""

import re
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar

from withstand.attacks.llm._attacker import LINES, check_writer, final_cases, unquoted
from withstand.attacks.llm._prompts import question
from withstand.attacks.llm._texts import data_of, text_of
from withstand.core import Behavior, Flow, Json, Model, SpecError, Target, UpperBounds, did_you_mean, user
from withstand.core.prompts import OWN, Prompts
from withstand.formats import originals

TOP = tuple(technique["name"] for technique in data_of("pap_techniques.json")[:5])  # that work best in the paper
PROMPT = Prompts.single(text_of("pap.txt"), "behavior")


@dataclass(frozen=True, slots=True)
class PAP:
    """A rewritten request per technique, each a final test case; none for a technique whose answers are all lost.

    attacker: the model that rewrites; no default (HarmBench: Mixtral-8x7B-Instruct).
    techniques: names, in lower case, at least one; default the five that work best in the paper: logical appeal,
        authority endorsement, misrepresentation, evidence-based persuasion, expert endorsement. "all": all 40.
    tries: most answers per technique, 1 or more, default 5; a refusal or an empty answer is lost.
    attacker_tokens: most tokens of an answer, 1 or more, default 512 (HarmBench: 2048).
    temperature: of the attacker, in [0, 10], default 1 (HarmBench).
    prompt: own text with {behavior}, {context} and, of a technique, {name}, {definition}, {plain} and {persuasive};
        default "": ours. originals: a checkout of HarmBench or persuasive_jailbreaker, whose prompt, techniques and
        examples are used instead; default "": none.
    seed: any whole number, default 0; another one draws the attacker's answers anew.
    """

    version: ClassVar[int] = 2
    needs: ClassVar[frozenset[str]] = frozenset()
    informed: ClassVar[bool] = True
    attacker: Model
    techniques: tuple[str, ...] = TOP
    tries: int = 5
    attacker_tokens: int = 512
    temperature: float = 1.0
    seed: int = 0
    prompt: str = field(default="", metadata=OWN)
    originals: str = field(default="", metadata=originals.field_of("pap"))

    def __post_init__(self) -> None:
        if not self.techniques:
            raise SpecError("there are no techniques", hint='name at least one, or write techniques = "all"')
        originals.check("pap", self, PROMPT)
        listed = self.listed()
        for name in self.names():
            if name not in listed:
                hint = did_you_mean(name, listed, f"there are {', '.join(listed)}")
                raise SpecError(f"no technique is called {name!r}", hint=hint)
        check_writer(self)

    def names(self) -> tuple[str, ...]:
        return tuple(self.listed()) if self.techniques == ("all",) else self.techniques

    def listed(self) -> dict[str, dict[str, str]]:
        """Every technique by name in lower case, with what fills the gaps of the prompt; the top five first."""
        if not self.originals:
            return all_techniques()
        rows = originals.read("pap", self.originals)["techniques"]
        return {row["technique"].lower(): row for row in rows}

    def most(self) -> UpperBounds:
        return UpperBounds(cases=len(self.names()), asks={"attacker": len(self.names()) * self.tries})

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        listed = self.listed()
        chats = [user(question("pap", self, PROMPT, behavior, **listed[name])[0]) for name in self.names()]
        yield from final_cases(self, behavior, chats, rewritten)

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"attacker": LINES}


@cache
def all_techniques() -> dict[str, dict[str, str]]:
    """Every technique by name: its definition, a plain request and the same one made persuasive; the top five first."""
    return {technique["name"]: technique for technique in data_of("pap_techniques.json")}


def rewritten(text: str) -> str | None:
    """The request without its quotes and without a line such as "Here it is:" above them; None for an empty one."""
    return unquoted(re.sub(r'\A\s*+[^"\n]{0,100}:[^\S\n]*\n\s*+(?=")', "", text)) or None
