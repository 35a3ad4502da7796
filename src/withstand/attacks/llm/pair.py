"""PAIR: an attacker model rewrites its prompt from the target's answer and the judge's score. Chao et al. 2023,
arXiv:2310.08419, Algorithm 1; HarmBench (Mazeika et al. 2024), arXiv:2402.04249, appendix B.1.

Where we leave HarmBench's code: the target reads the behavior's context while we search, gets no stop string, and is
asked the very chat that becomes the test case; a number is read from the judge's answer with or without brackets; a
stream without a usable draft keeps its place and skips the step; the first message stays when a conversation is cut.
The three system prompts that rotate over the streams, as in the paper's later versions, are in our words.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from withstand.attacks.llm._attacker import DRAFTS, no_draft
from withstand.attacks.llm._judged import succeeded, tested
from withstand.attacks.llm._pair import approaches, check_fields, drafted, exchange, heads_of, searched
from withstand.attacks.llm._texts import text_of
from withstand.core import Behavior, Chat, Flow, Json, Judge, Model, Target, UpperBounds, user
from withstand.core.guards import introduction
from withstand.core.prompts import OWN, Prompts
from withstand.formats import originals

PROMPT = Prompts.single(text_of("pair-system.txt"), "behavior")


@dataclass(frozen=True, slots=True)
class PAIR:
    """N streams of K steps; the prompt with the best score is the test case, the first of equals. Streams take turns at
    role-playing, logical appeal and endorsement by authority.

    attacker: the model that writes prompts, as JSON; no default. It is helped into the format where it takes a prefill.
    judge: scores each answer, no default; `rating` is the paper's. The attacker reads its score in [0, 1] as 1 to 10,
        and the search stops at its first success, so that a judge without scores serves too.
    streams: N, conversations side by side, 1 or more, default 30 (paper; HarmBench 20).
    steps: K, prompts per stream, 1 or more, default 3 (both). memory: exchanges the attacker sees, 1 or more, default 3
        (HarmBench), beside the first message.
    tries: asks for one usable draft, 1 or more, default 5 (HarmBench 20). attacker_tokens: of a draft at most, default
        500 (both). temperature: of the attacker, in [0, 10], default 1 (both); at 0 at most three
        streams, one for each way.
    search_tokens: the target's max_tokens while searching, default 0: the run's own (both 150).
    surrogates: at most one model, searched on without a defense instead of the target, whose test cases all targets
        then share; default none.
    prompt: own system prompt, with {behavior} and {approach}; default "": ours. originals: a checkout of HarmBench or
        JailbreakingLLMs, whose system prompts and messages are sent instead; default "": none.
    seed: any whole number, default 0; another one draws other answers.

    Raises `AskError` in the flow of a behavior for which no draft could be used.
    """

    version: ClassVar[int] = 2
    needs: ClassVar[frozenset[str]] = frozenset()
    informed: ClassVar[bool] = True
    attacker: Model
    judge: Judge
    streams: int = 30
    steps: int = 3
    memory: int = 3
    tries: int = 5
    attacker_tokens: int = 500
    temperature: float = 1.0
    search_tokens: int = 0
    surrogates: tuple[Model, ...] = ()
    seed: int = 0
    prompt: str = field(default="", metadata=OWN)
    originals: str = field(default="", metadata=originals.field_of("pair"))

    def __post_init__(self) -> None:
        check_fields(self, "steps", alike=math.ceil(self.streams / len(approaches())), field="streams")
        originals.check("pair", self, PROMPT)

    def most(self) -> UpperBounds:
        asks = self.streams * self.steps
        return UpperBounds(asks={"target": asks, "attacker": asks * self.tries, "judge": asks * self.judge.asks})

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        target = searched(target, self.surrogates, self.search_tokens)
        ways = heads_of(self, behavior, PROMPT.texts(self.prompt)["prompt"], approaches(), introduction(target.defense))
        heads = [ways[stream % len(ways)] for stream in range(self.streams)]
        talks: list[Chat] = [()] * self.streams
        tried, seen = False, set[str]()
        for step in range(self.steps):
            written = yield from drafted(self, heads, talks, step, seen)
            live = {stream: draft for stream, draft in enumerate(written) if draft is not None}
            if not live:
                continue
            tried = True
            chats = [user(behavior.prompt(draft.value)) for draft in live.values()]
            results = yield from tested(target, self.judge, behavior, chats)
            if succeeded(results):
                return
            for (stream, draft), result in zip(live.items(), results, strict=True):
                talks[stream] += exchange(self, draft, behavior, result)
        if not tried:
            raise no_draft(self.tries)

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"attacker": DRAFTS, "judge": "contains:Sure"}
