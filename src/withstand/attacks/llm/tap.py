"""TAP: a tree of attacker conversations, pruned before and after the target is asked. Mehrotra et al. 2023,
arXiv:2312.02119, Algorithm 1; HarmBench (Mazeika et al. 2024), arXiv:2402.04249, appendix B.1.

Attacker, judge and conversation are PAIR's, and so is where we leave HarmBench's code. Besides, equals are chosen among
by the seed (there a sort undoes the shuffle), the on-topic evaluator is asked for YES or NO and read as such, and where
a level leaves no node the level before branches once more. HarmBench keeps what scores above 0, on a scale that begins
at 1: so does this, where a refusal rated 1 goes on if there is room and only an unscored answer does not.
"""

from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from withstand.attacks.llm._attacker import DRAFTS, Draft, no_draft
from withstand.attacks.llm._judged import UNSCORED, score_of, succeeded, tested
from withstand.attacks.llm._on_topic import ANSWER_TOKENS, PROMPTS, on_topic, questions
from withstand.attacks.llm._pair import check_fields, drafted, exchange, heads_of, searched
from withstand.core import (
    AskError,
    Behavior,
    Chat,
    Flow,
    Json,
    Judge,
    Model,
    Sampling,
    Target,
    UpperBounds,
    ask,
    rng,
    user,
)
from withstand.core.guards import introduction
from withstand.core.prompts import OWN
from withstand.formats import originals

Leaf: TypeAlias = tuple[Chat, Draft[str]]
"""A conversation and the prompt that it goes on with."""


@dataclass(frozen=True, slots=True)
class TAP:
    """Each level branches, drops what is off topic, asks the target, and keeps the best; the best prompt of the whole
    tree is the test case, the first of equals.

    attacker: the model that writes prompts, as JSON; no default. It is helped into the format where it takes a prefill.
    judge: scores each answer, no default; `rating` is the paper's. The attacker reads its score in [0, 1] as 1 to 10,
        and the search stops at its first success, so that a judge without scores serves too.
    on_topic: the model that says before the target is asked whether a prompt still asks for the behavior; default: the
        attacker. It has 16 tokens, so that a model that thinks first needs another here. Where it says neither yes nor
        no the prompt stays: an evaluator that cannot answer costs asks, and does not empty the tree.
    depth: levels, 1 or more, default 10. width: nodes that a level asks and keeps at most, 1 or more, default 10: the
        cut before the target is asked is part of the method. branching: drafts per node, 1 or more, default 4.
        streams: roots, 1 or more, default 1. All four as in the paper and HarmBench.
    memory: exchanges the attacker sees, 1 or more, default 3 (both), beside the first message.
    tries: asks for one usable draft, 1 or more, default 5 (HarmBench 20). attacker_tokens: of a draft at most, default
        500 (both). temperature: of the attacker, in [0, 10], default 1 (both); 0 for a branching of 1 alone.
    search_tokens: the target's max_tokens while searching, default 0: the run's own (both 150).
    surrogates: at most one model, searched on without a defense instead of the target, whose test cases all targets
        then share (TAP-Transfer); default none.
    prompt: own texts, "## system" with {behavior}, "## on_topic" with {task} and {prompt}; default "": ours.
        originals: a checkout of HarmBench or of the authors' code, whose texts are sent instead; default "": none.
    seed: any whole number, default 0; chooses among equals, and another one draws other answers.

    Raises `AskError` in the flow of a behavior for which no draft could be used, or none was on topic.
    """

    version: ClassVar[int] = 2
    needs: ClassVar[frozenset[str]] = frozenset()
    informed: ClassVar[bool] = True
    attacker: Model
    judge: Judge
    on_topic: Model | None = None
    depth: int = 10
    width: int = 10
    branching: int = 4
    streams: int = 1
    memory: int = 3
    tries: int = 5
    attacker_tokens: int = 500
    temperature: float = 1.0
    search_tokens: int = 0
    surrogates: tuple[Model, ...] = ()
    seed: int = 0
    prompt: str = field(default="", metadata=OWN)
    originals: str = field(default="", metadata=originals.field_of("tap"))

    def __post_init__(self) -> None:
        check_fields(self, "depth", "width", "branching", alike=self.branching, field="branching")
        originals.check("tap", self, PROMPTS)

    def most(self) -> UpperBounds:
        """HarmBench's bounds: 4 + 9 * 40 = 364 drafts, and 4 + 9 * 10 = 94 prompts that are asked and judged."""
        first = self.streams * self.branching
        drafted = first + (self.depth - 1) * self.width * self.branching
        asked = min(self.width, first) + (self.depth - 1) * self.width
        written = drafted * (self.tries if self.on_topic else self.tries + 1)
        asks = {"target": asked, "attacker": written, "judge": asked * self.judge.asks}
        return UpperBounds(asks=asks | ({"on_topic": drafted} if self.on_topic else {}))

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        target = searched(target, self.surrogates, self.search_tokens)
        system = PROMPTS.texts(self.prompt)["system"]
        [head] = heads_of(self, behavior, system, [""], introduction(target.defense))
        nodes: list[Chat] = [()] * self.streams  # each is a conversation with the attacker
        written, tried, seen = False, False, set[str]()
        for level in range(self.depth):
            talks = [talk for talk in nodes for _ in range(self.branching)]
            attempts = yield from drafted(self, [head] * len(talks), talks, level, seen)
            leaves = [(talk, draft) for talk, draft in zip(talks, attempts, strict=True) if draft is not None]
            written = written or bool(leaves)
            leaves = (yield from self._on_topic(behavior, leaves)) if leaves else []
            rng(self.seed, behavior.id, level, "before the target").shuffle(leaves)
            leaves = leaves[: self.width]
            if not leaves:
                continue
            tried = True
            chats = [user(behavior.prompt(draft.value)) for _, draft in leaves]
            results = yield from tested(target, self.judge, behavior, chats)
            if succeeded(results):
                return
            scored = [
                (result.score, talk + exchange(self, draft, behavior, result))
                for (talk, draft), result in zip(leaves, results, strict=True)
                if score_of(result.verdict) > UNSCORED
            ]
            rng(self.seed, behavior.id, level, "after the target").shuffle(scored)
            scored.sort(key=lambda node: -node[0])  # stable, and by the score alone: equals stay shuffled
            nodes = [talk for _, talk in scored[: self.width]] or nodes  # no more than that were asked: the first cut
        if not written:
            raise no_draft(self.tries)
        if not tried:
            raise AskError("all prompts were off topic", hint="use another attacker, or another on_topic model")

    def _on_topic(self, behavior: Behavior, leaves: list[Leaf]) -> Flow[list[Leaf]]:
        """The leaves whose prompt the evaluator does not call off topic."""
        evaluator = self.on_topic or self.attacker
        chats = questions(self, evaluator, behavior, [draft.value for _, draft in leaves])
        answers = yield from ask(evaluator, chats, Sampling(ANSWER_TOKENS))
        return [leaf for leaf, answer in zip(leaves, answers, strict=True) if on_topic(answer.text) is not False]

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"attacker": DRAFTS, "judge": "contains:Sure"}
