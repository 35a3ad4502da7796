"""Transform: rewrite another attack's request in a code, a language or a tense that refusals were not trained on.

Codes as of Wei et al. 2023, arXiv:2307.02483, and Yuan et al. 2023, arXiv:2308.06463; past tense of Andriushchenko and
Flammarion 2024, arXiv:2407.11969, with one rewriting where they draw 20. We leave Yuan et al. in that the code is told
in a line, not taught by examples. All are links of one chain around any black-box attack.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, TypeVar

from withstand.attacks.llm._around import around, check_inner, inner, instead
from withstand.attacks.llm._attacker import check_writer, drafts, no_draft, unquoted
from withstand.attacks.llm._links import Link, Rewrite, decoded, encoded, link
from withstand.attacks.llm._objects import field_in
from withstand.attacks.llm._writer import WRITER
from withstand.core import Attack, Behavior, Chat, Flow, Model, Sampling, SpecError, Target, UpperBounds, user
from withstand.core.optional import optional
from withstand.core.prompts import OWN
from withstand.core.records import last_asked
from withstand.core.refusal import refusal_in

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Transform:
    """The last user turn of each chat of `attack`, context included, goes through `chain`; earlier turns stay.

    attack: a black-box attack on one behavior; default none: the behavior itself, as one test case.
    chain: links in the order they are applied, at least one, default ("base64",): base64, hex, binary, rot13,
        caesar:N (N from 1 to 25, default 3), atbash, reverse, leetspeak, morse, spaces, pig_latin, code; past_tense
        and language:NAME, which stand before all others, need a writer and leave the context as it is.
    decode: the target shall answer in the code (without past_tense); the answer is asked here and decoded, so that
        attack and judge read plain text, and that draw is judged. One that is plain already stays. Default false.
    writer: rewrites for past_tense and language:NAME; default none.
    tries: asks of the writer for each text, until it neither refuses nor breaks the format, 1 or more, default 3.
    attacker_tokens: of the writer's answer, 1 or more, default 512.
    temperature: of the writer, in [0, 10], default 1.
    prompt: own texts for the writer, "## past_tense", "## language" and "## back" with {language}; default "": ours.
    seed: any whole number, default 0; another one draws the writer's answers anew. `attack` has its own.
    """

    version: ClassVar[int] = 1
    informed: ClassVar[bool] = True
    attack: Attack | None = None
    chain: tuple[str, ...] = ("base64",)
    decode: bool = False
    writer: Model | None = field(default=None, metadata=WRITER)
    tries: int = 3
    attacker_tokens: int = 512
    temperature: float = 1.0
    seed: int = 0
    prompt: str = field(default="", metadata=OWN)

    def __post_init__(self) -> None:
        links = self._links
        rewrites = sum(isinstance(step, Rewrite) for step in links)
        if not links:
            raise SpecError("chain is empty", hint='write chain = ["base64"]')
        if any(isinstance(step, Rewrite) for step in links[rewrites:]):
            raise SpecError("chain: no writer can read a code", hint="put past_tense and language:NAME first")
        if rewrites and self.writer is None:
            raise SpecError(f"chain: {self.chain[0]} needs a writer", hint='write writer = "hf:NAME"')
        check_writer(self)
        check_inner("transform", self.attack)

    @property
    def needs(self) -> frozenset[str]:
        return self.attack.needs if self.attack else frozenset()

    @property
    def adapts(self) -> bool:
        inner = self.attack
        return inner is not None and optional(inner, "adapts") and bool(inner.most().asks.get("target"))

    @property
    def _links(self) -> list[Link | Rewrite]:
        return [link(name, self.prompt) for name in self.chain]

    @property
    def codes(self) -> list[Link]:
        return [step for step in self._links if isinstance(step, Link)]

    @property
    def rewrites(self) -> list[Rewrite]:
        return [step for step in self._links if isinstance(step, Rewrite)]

    def most(self) -> UpperBounds:
        most = self.attack.most() if self.attack else UpperBounds()
        asks = dict(most.asks)
        chats = asks.get("target", 0) + most.cases
        if self.decode and not most.drawn:
            asks["target"] = chats
        backs = sum(bool(step.back) for step in self.rewrites) if self.decode else 0
        if self.rewrites:
            asks["attacker"] = asks.get("attacker", 0) + self.tries * chats * (len(self.rewrites) + backs)
        return UpperBounds(most.cases, asks, most.drawn or self.decode)

    def run(self, behavior: Behavior, target: Target) -> Flow[None]:
        flow, wrap = inner(self.attack, behavior, target), partial(self._wrap, behavior.prompt(""))
        unwrap, draw_from = (self._unwrap, target) if self.decode else (None, None)
        if not (yield from around(flow, wrap, unwrap, draw_from)) and self.rewrites:
            raise no_draft(self.tries)

    def _wrap(self, context: str, chats: Sequence[Chat]) -> Flow[list[Chat | None]]:
        """A writer never sees the context, so that it cannot leave it out."""
        parts = [(context if text.startswith(context) else "", text) for text in map(last_asked, chats)]
        texts: list[str | None] = [text.removeprefix(head) for head, text in parts]
        for rewrite in self.rewrites:
            texts = yield from self._written(rewrite.instruction, texts, lambda text: unquoted(text) or None)
        return [
            None if text is None else instead(chat, user(encoded(self.codes, head + text, self.decode)))
            for chat, (head, _), text in zip(chats, parts, texts, strict=True)
        ]

    def _unwrap(self, texts: Sequence[str]) -> Flow[list[str]]:
        plain = [decoded(self.codes, text) for text in texts]
        for rewrite in reversed([step for step in self.rewrites if step.back]):
            asked = [text if text.strip() and not refusal_in(text) else None for text in plain]
            rewritten = yield from self._written(rewrite.back, asked, text_in)
            if any(old is not None and new is None for old, new in zip(asked, rewritten, strict=True)):
                raise no_draft(self.tries)  # what nobody can read is neither success nor failure
            plain = [old if new is None else new[0] for old, new in zip(plain, rewritten, strict=True)]
        return plain

    def _written(
        self, instruction: str, texts: Sequence[str | None], parse: Callable[[str], V | None]
    ) -> Flow[list[V | None]]:
        """What the writer makes of each text; None for None, and where it gives nothing that can be used."""
        assert self.writer is not None
        chats = [user(f"{instruction}\n\n[TEXT]\n{text}\n[END OF TEXT]") for text in texts if text is not None]
        sampling = Sampling(self.attacker_tokens, self.temperature)
        came = iter((yield from drafts(self.writer, chats, parse, sampling, self.tries)) if chats else ())
        results = [None if text is None else next(came) for text in texts]
        return [None if draft is None else draft.value for draft in results]


def text_in(answer: str) -> tuple[str] | None:
    """The translation of an answer: in an object, so that a refusal in it is the target's and not the writer's."""
    text = field_in("text", answer)
    return (text,) if text else None
