"""Scripted model: answers by rule, instantly and deterministically; for tests, and for demos without torch. Ours."""

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from withstand.core import Chat, Completion, Json, Sampling, SpecError, at_least, draw, dumps, to_json
from withstand.core.regex import check_regex


@dataclass(frozen=True, slots=True)
class Scripted:
    """Answers with the reply of the first rule that matches and whose draw succeeds; with `reply` if there is none.

    rules: (regex, reply, probability in [0, 1]) each; default none. The regex is searched in the chat, written as lines
        "role: text", ignoring case; a dot matches any character, line breaks too. A rule answers with its probability.
        The draw depends on the regex and the chat, and above temperature 0 also on the seed. In its reply, {name}
        becomes what a group (?P<name>...) of the regex matched, written for a JSON text where the reply is an object.
    reply: the answer if no rule answers. In every reply, {n} becomes a number drawn from the same chat and seed.
    width, lanes: most chats per call and most calls at once, each 1 or more; defaults 64 and 1.
    seconds: duration of each call, 0 or more, default 0.

    Tokens are words separated by white space. Log-probabilities have one position: the first word with probability 0.9.
    """

    version: ClassVar[int] = 1
    place: ClassVar[str] = "scripted"
    gives: ClassVar[frozenset[str]] = frozenset({"system", "turns", "forged", "prefill", "logprobs", "raw"})
    hosts: ClassVar[tuple[str, ...]] = ()
    rules: tuple[tuple[str, str, float], ...] = ()
    reply: str = "Here is what I can say about it."
    width: int = field(default=64, metadata={"key": False})
    lanes: int = field(default=1, metadata={"key": False})
    seconds: float = field(default=0.0, metadata={"key": False})

    def __post_init__(self) -> None:
        for pattern, _, probability in self.rules:
            check_regex("rule", pattern)
            if not 0 <= probability <= 1:
                raise SpecError(f"rule {pattern!r} has probability {probability}", hint="it must lie in [0, 1]")
        at_least(1, self, "width", "lanes")
        at_least(0, self, "seconds")

    def identity(self) -> Json:
        return {}

    def check(self) -> None:
        pass

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        time.sleep(self.seconds)
        return [self._answer(chat, sampling, seed) for chat, seed in zip(chats, seeds, strict=True)]

    def _answer(self, chat: Chat, sampling: Sampling, seed: int) -> Completion:
        chance = [to_json(chat), seed if sampling.temperature > 0 else None]
        shown = "\n".join(f"{message.role}: {message.text}" for message in chat)
        reply, match = self.reply, None
        for pattern, answer, probability in self.rules:
            match = re.search(pattern, shown, re.IGNORECASE | re.DOTALL)
            if match and draw(pattern, *chance) < probability:
                reply = answer
                break
            match = None
        reply = filled_in(reply, match, int(draw("n", *chance) * 10**6))
        words = list(re.finditer(r"\S+", reply))
        kept = words[: sampling.max_tokens]
        first = ((kept[0][0], math.log(0.9)),) if kept else ()
        return Completion(
            chat,
            reply[: kept[-1].end()] if len(kept) < len(words) else reply,
            finish="length" if len(kept) < len(words) else "stop",
            logprobs=(first,) if sampling.logprobs and first else (),
            prompt_tokens=sum(len(message.text.split()) for message in chat),
            answer_tokens=len(kept),
        )


def filled_in(reply: str, match: re.Match[str] | None, number: int) -> str:
    """The reply with {n} and what the named groups of its rule's match hold, "" for one that took no part in it."""
    groups = match.groupdict(default="") if match else {}
    if reply.lstrip().startswith("{"):
        groups = {name: dumps(text)[1:-1] for name, text in groups.items()}
    parts = {"n": str(number), **groups}
    return re.sub(r"\{(\w+)\}", lambda gap: parts.get(gap[1], gap[0]), reply)
