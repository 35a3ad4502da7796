"""Paraphrase: the same request in other words. After the semantic augmentation of ASSERT, Mei et al. 2023,
arXiv:2310.09624.

The paper asks the target itself for five paraphrases and checks that each is a question. Here the writer is a field, or
fixed frames stand in. What changes a negation, a number or a unit is dropped, and an encoder and a critic may be asked
whether the meaning is kept. A run asks those of the benign half too. Set `direct` beside it: `withstand families`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from withstand.attacks.llm._attacker import check_writer, drafts, no_draft
from withstand.attacks.llm._lists import items
from withstand.attacks.llm._meaning import distinct, framed, kept, parted
from withstand.attacks.llm._on_topic import ANSWER_TOKENS, on_topic
from withstand.attacks.llm._texts import parts_of, shown_context
from withstand.core import (
    AskError,
    Behavior,
    Flow,
    Json,
    Model,
    RejectedDrafts,
    Sampling,
    SpecError,
    Target,
    TestCase,
    UpperBounds,
    ask,
    at_least,
    filled,
    gives_vectors,
    rng,
    user,
    within,
    work,
)
from withstand.core.prompts import OWN, Prompts

PROMPTS = Prompts(parts_of("paraphrase.txt"), {"write": ("behavior",), "same": ("behavior", "rewriting")})
FRAMES = 6


@dataclass(frozen=True, slots=True)
class Paraphrase:
    """Up to `k` test cases, each the behavior's text in other words, context as it is; fewer where fewer kept the
    meaning. The demand that a yes-or-no question ends with stays word for word.

    writer: a model that rewrites; the target itself, as in the paper, shows how it does on its own words. Default none:
        `k` of six fixed frames for each kind of sentence, with a few synonyms, chosen by the seed.
    encoder: a sentence encoder, as minilm; what is less like the original than `floor` is dropped. Default none.
    floor: least cosine similarity, in [-1, 1], default 0.75: 48 of our 50 paraphrases pass minilm there.
    critic: a model that is asked whether both texts ask for the same; all but a yes drops it. Default none. It alone
        may see that another person acts; the guards see negations and amounts, an encoder none of them.
    k: 1 or more, at most 6 without a writer, default 5 (the paper).
    tries: asks of the writer, for `k` rewritings each, 1 or more, default 5.
    attacker_tokens: of the writer's answer, 1 or more, default 512. temperature: of the writer, in [0, 10], default 1.
    prompt: own "## write" with {behavior}, {context}, {k}, "## same" with {behavior}, {rewriting}; default "": ours.
    seed: any whole number, default 0; chooses the frames, and another one draws the writer's answers anew.

    Raises `AskError` where none is left.
    """

    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset()
    writer: Model | None = None
    encoder: Model | None = None
    floor: float = 0.75
    critic: Model | None = None
    k: int = 5
    tries: int = 5
    attacker_tokens: int = 512
    temperature: float = 1.0
    prompt: str = field(default="", metadata=OWN)
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(1, self, "k")
        within(-1, 1, self, "floor")
        check_writer(self)
        PROMPTS.texts(self.prompt)
        if self.writer is None and self.k > FRAMES:
            raise SpecError(f"k is {self.k}, and there are {FRAMES} frames", hint="name a writer, or a smaller k")
        if self.encoder is not None:
            gives_vectors(self.encoder, "use a sentence encoder, as paraphrase:encoder=minilm")

    @property
    def variants(self) -> int:
        return self.k

    def most(self) -> UpperBounds:
        asks = {"attacker": self.tries} if self.writer else {}
        if self.critic:
            asks["judge"] = (self.tries if self.writer else 1) * max(self.k, FRAMES) * 4
        return UpperBounds(self.k, asks)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        text, demand = parted(behavior.text)
        chosen: list[str] = []
        for _ in range(self.tries if self.writer else 1):
            texts = (yield from self._written(behavior, text)) if self.writer else self._framed(behavior, text)
            new = [entry for entry in texts if kept(text, entry)][: 4 * max(self.k, FRAMES)]
            different = distinct(new, [text, *chosen]) if self.writer else new
            same = (yield from self._same(text, different)) if different else []
            changed, repeated = len(texts) - len(new) + len(different) - len(same), len(new) - len(different)
            if changed or repeated:
                yield RejectedDrafts(changed=changed, repeated=repeated)
            chosen += same
            if len(chosen) >= self.k:
                break
        if not chosen:
            raise no_draft(self.tries) if self.writer else AskError("no frame kept the meaning", hint="lower floor")
        for entry in chosen[: self.k]:
            yield TestCase(behavior.id, user(behavior.prompt(f"{entry} {demand}".strip())))

    def _framed(self, behavior: Behavior, text: str) -> list[str]:
        frames = framed(text)
        return [frames[place] for place in rng(self.seed, behavior.id).sample(range(FRAMES), self.k)]

    def _written(self, behavior: Behavior, text: str) -> Flow[list[str]]:
        assert self.writer is not None
        context = shown_context(behavior)
        asked = filled(PROMPTS.texts(self.prompt)["write"], behavior=text, context=context, k=str(self.k))
        sampling = Sampling(self.attacker_tokens, self.temperature)
        [draft] = yield from drafts(self.writer, [user(asked)], items, sampling, 1, parts=True)
        return list(draft.value) if draft else []

    def _same(self, text: str, rewritings: Sequence[str]) -> Flow[list[str]]:
        """Those that encoder and critic take for the same request."""
        left = list(rewritings)
        if self.encoder is not None:
            cosines = yield from work(self.encoder, self.cosines, [text, *left])
            left = [entry for entry, cosine in zip(left, cosines, strict=True) if cosine >= self.floor]
        if self.critic is not None and left:
            question = PROMPTS.texts(self.prompt)["same"]
            chats = [user(filled(question, behavior=text, rewriting=entry)) for entry in left]
            answers = yield from ask(self.critic, chats, Sampling(ANSWER_TOKENS))
            left = [entry for entry, answer in zip(left, answers, strict=True) if on_topic(answer.text)]
        return left

    def cosines(self, encoder: Any, parts: Sequence[Sequence[str]]) -> list[Json]:
        """Of each part: the similarity of its first text with each other; -1 where a text is longer than it reads."""
        results: list[Json] = []
        for texts in parts:
            vectors, cut = encoder.encode(list(texts))
            similar = (vectors[1:] @ vectors[0]).tolist()
            results.append([-1.0 if cut[0] or long else value for value, long in zip(similar, cut[1:], strict=True)])
        return results
