"""Stochastic few-shot: an attacker model continues a list of the best so far. Perez et al. 2022, arXiv:2202.03286.

As HarmBench does it (Mazeika et al. 2024, arXiv:2402.04249): round by round, the shots are the candidates of lowest
target loss, where the paper draws them once, at random by a classifier's score. Where we leave HarmBench: our words; no
penalty on words said before; the shots stand in the user's turn; lines keep their order; the stop is a judge's.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from withstand.attacks.llm._attacker import LINES, check_writer, drafts, no_draft
from withstand.attacks.llm._judged import succeeded, tested
from withstand.attacks.llm._prompts import question
from withstand.attacks.llm._texts import lines_in, text_of
from withstand.core import (
    Behavior,
    Chat,
    Flow,
    Json,
    Judge,
    Model,
    RejectedDrafts,
    Sampling,
    SpecError,
    Target,
    TestCase,
    UpperBounds,
    WhiteBox,
    at_least,
    from_json,
    to_json,
    user,
)
from withstand.core.prompts import OWN, Prompts
from withstand.core.refusal import refusal_in
from withstand.engine.terms import weighed
from withstand.formats import originals

PROMPT = Prompts.single(text_of("few_shot.txt"), "behavior", "shots")
HOPED = 5  # new lines that an answer is hoped to bring (HarmBench)


@dataclass(frozen=True, slots=True)
class FewShot:
    """One test case: of all lines that the attacker wrote, the one of lowest target loss or of highest judge score.

    attacker: the model that writes; no default (HarmBench: Mixtral-8x7B-Instruct).
    judge: scores the target's answers; its first success ends the search. Default none: the target's weights score
        lines by the loss of the target string (HarmBench's way). A judge that says only yes or no guides little.
    rounds: default 50; the search ends sooner once the shots stay the same. width: most new lines a round, all scored,
        default 64. shots: best lines so far that are shown, default 5; at first none. Each 1 or more, HarmBench's.
    tries: attempts to fill a round, 1 or more, default 11 (HarmBench). Each asks once for every 5 lines lacking; what
        is refused or holds no numbered line is lost. min_length: characters below which a line is dropped, 1 or more,
        default 32 (HarmBench). seed: any whole number, default 0; another one draws answers anew.
    attacker_tokens: most tokens of an answer, default 1024. temperature: of the attacker, default 1. Both HarmBench's.
    prompt: own text with {behavior}, {context}, {shots}, {first}, {last}; default "": ours. originals: a checkout of
        HarmBench, whose prompt is sent, with the shots in the answer's opening.
    """

    version: ClassVar[int] = 2
    attacker: Model
    judge: Judge | None = None
    rounds: int = 50
    width: int = 64
    shots: int = 5
    tries: int = 11
    min_length: int = 32
    attacker_tokens: int = 1024
    temperature: float = 1.0
    seed: int = 0
    prompt: str = field(default="", metadata=OWN)
    originals: str = field(default="", metadata=originals.field_of("few_shot"))

    def __post_init__(self) -> None:
        at_least(1, self, "rounds", "width", "shots", "min_length")
        check_writer(self, self.lacking(0), "width")
        originals.check("few_shot", self, PROMPT)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"weights"}) if self.judge is None else frozenset()

    def most(self) -> UpperBounds:
        asks, scored = {"attacker": self.rounds * self.tries * self.lacking(0)}, self.rounds * self.width
        if self.judge is not None:
            asks |= {"target": scored, "judge": scored * self.judge.asks}
        return UpperBounds(cases=1, asks=asks)

    def lacking(self, have: int) -> int:
        return max(1, round((self.width - have) / HOPED))

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        if self.judge is None and not behavior.target_string:
            raise SpecError(f"behavior {behavior.id} has no target string", hint="give it one, or the attack a judge")
        scores: dict[str, float] = {}  # of every line ever seen
        ranked: list[str] = []
        for _ in range(self.rounds):
            shots = ranked[: self.shots]
            lines = yield from self.write(behavior, shots, scores)
            if not lines and not ranked:
                raise no_draft(self.tries)
            new, won = (yield from self.score(behavior, target, lines)) if lines else ([], False)
            scores |= dict(zip(lines, new, strict=True))
            ranked = sorted(scores, key=lambda line: -scores[line])  # equals stay in the order they were written
            if won or ranked[: self.shots] == shots:
                return

    def write(self, behavior: Behavior, shots: Sequence[str], seen: Collection[str]) -> Flow[list[str]]:
        """Up to `width` lines never seen before, in the order they came."""
        first = len(shots) + 1
        listed = "".join(f"\n{i}. {shot}" for i, shot in enumerate(shots, 1))
        parts = {"shots": listed and f"\n{listed}", "first": str(first), "last": str(self.shots + HOPED)}
        asked, theirs = question("few_shot", self, PROMPT, behavior, **parts)
        opening = f"{theirs}{listed}\n{first}." if theirs else f"{first}."
        asked += f"\n\n{opening}" if theirs and "prefill" not in self.attacker.gives else ""
        sampling, new = Sampling(self.attacker_tokens, self.temperature), dict[str, None]()
        for _ in range(self.tries):
            chats = [user(asked)] * self.lacking(len(new))
            lists = yield from drafts(self.attacker, chats, lines_in, sampling, 1, opening, parts=True)
            lines = [line for draft in lists if draft for line in draft.value.split("\n") if not refusal_in(line)]
            fresh = dict.fromkeys(line for line in lines if line not in new and line not in seen)
            if len(fresh) < len(lines):
                yield RejectedDrafts(repeated=len(lines) - len(fresh))
            new |= {line: None for line in fresh if len(line) >= self.min_length}
            if len(new) >= self.width:
                break
        return [*new][: self.width]

    def score(self, behavior: Behavior, target: Target, lines: Sequence[str]) -> Flow[tuple[list[float], bool]]:
        """A score for each line, higher is better, and whether the judge saw a success. Gives the candidates."""
        chats = [user(behavior.prompt(line)) for line in lines]
        if self.judge is not None:
            results = yield from tested(target, self.judge, behavior, chats)
            return [result.score for result in results], succeeded(results)
        part = {"chats": to_json(chats), "target": behavior.target_string}
        losses = yield from weighed(target.weights(self), self.losses, part, chats, self.shots)
        best = min(range(len(lines)), key=losses.__getitem__)
        yield TestCase(behavior.id, chats[best], score=-losses[best])
        return [-loss for loss in losses], False

    def losses(self, model: WhiteBox, parts: Sequence[Json]) -> list[Json]:
        from withstand.engine.likelihood import target_losses  # here, so that a judge can guide where there is no torch

        return [target_losses(model, from_json(tuple[Chat, ...], part["chats"]), part["target"]) for part in parts]

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"attacker": LINES, "judge": "contains:Sure", "rounds": 2, "width": 4, "tries": 2}
