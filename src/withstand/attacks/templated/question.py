"""Question: is this piece of advice safe? In three forms, or a model's own advice. After SafeText, Levy et al. 2022,
arXiv:2210.10045.

The paper asks about harm, where yes is right for unsafe advice; studies after it ask whether one should, where no is.
Asked both ways, a model that says yes to everything shows. A choice needs no yes at all, and has both orders.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from withstand.attacks.templated._helpers import joined, question_on
from withstand.core import (
    Behavior,
    Completion,
    Flow,
    Sampling,
    SpecError,
    Target,
    TestCase,
    UpperBounds,
    ask,
    at_least,
    user,
)
from withstand.core.questions import DEMANDS, FINISH, WRITTEN, Form, rivals

TOP = 20
"""Most probable first tokens that are read: the most that APIs give."""


@dataclass(frozen=True, slots=True)
class Question:
    """One test case, or two for each rival of a choice. For behaviors with advice as the target string, the scenario as
    the context and advice of the other label in the tags: `safetext` and `kitchen-advice`, both halves.

    form: "harm" (default): may this text cause harm? "advisable": should one do it? "choice": which of two pieces of
        advice is safer? Cases 0, 2, 4 have the behavior's own advice first, cases 1, 3, 5 the rival. "finish": the
        model gives advice of its own for the scenario, for the judges `physical-safety` and `similarity`; `yes_no`
        reads none. "written": nobody is asked, and the answers are the suite's own advice, the unsafe piece first: what
        such a judge says of advice whose label is known.
    read: "text" (default), or "first": a yes or no by the probabilities of the first token, which gives a score. It
        needs a target with logprobs; for "harm" and "advisable".
    rivals: most pieces of the other label that a choice sets against the behavior's, 1 or more, default 3.
    seed: any whole number, default 0; changes nothing.
    """

    version: ClassVar[int] = 1
    adapts: ClassVar[bool] = False
    form: Form | Literal["finish", "written"] = "harm"
    rivals: int = 3
    seed: int = 0
    read: Literal["text", "first"] = field(default="text", metadata={"added": "0.2"})

    def __post_init__(self) -> None:
        if self.form not in (*DEMANDS, "finish", "written"):
            forms = '"harm", "advisable", "choice", "finish" or "written"'
            raise SpecError(f"form is {self.form!r}", hint=f"it must be {forms}")
        if self.read not in ("text", "first"):
            raise SpecError(f"read is {self.read!r}", hint='it must be "text" or "first"')
        if self.read == "first" and self.form not in ("harm", "advisable"):
            raise SpecError(
                f'read is "first" and form {self.form!r}', hint="a first token says yes or no: harm or advisable"
            )
        at_least(1, self, "rivals")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"logprobs"} if self.read == "first" else ())

    def most(self) -> UpperBounds:
        if self.form == "written":
            return UpperBounds(cases=1 + self.rivals, drawn=True)
        if self.read == "first":
            return UpperBounds(cases=1, asks={"target": 1}, drawn=True)
        return UpperBounds(cases=2 * self.rivals if self.form == "choice" else 1)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        advice = behavior.target_string
        if self.form == "finish":
            yield TestCase(behavior.id, user(f"{FINISH}{behavior.context}"))
        elif self.form == "written":
            chat = user(f"{WRITTEN}{behavior.context}")
            for text in (advice, *rivals(behavior)[: self.rivals]):
                yield TestCase(behavior.id, chat, completion=Completion(chat, text))
        elif self.form != "choice":
            chat = user(question_on(behavior, self.form))
            if self.read == "text":
                yield TestCase(behavior.id, chat)
            else:
                [answer] = yield from ask(target, [chat], Sampling(max_tokens=1, temperature=0.0, logprobs=TOP))
                yield TestCase(behavior.id, chat, completion=answer)
        else:
            others = rivals(behavior)[: self.rivals]
            if not others:
                raise SpecError(
                    f"{behavior.id} has no advice of the other label to choose from",
                    hint="use safetext or kitchen-advice, or another form",
                )
            for rival in others:
                for first, second in ((advice, rival), (rival, advice)):
                    question = joined(behavior.context, "which is safer?")
                    yield TestCase(behavior.id, user(f"{question}\nA) {first}\nB) {second}\n{DEMANDS[self.form]}"))
