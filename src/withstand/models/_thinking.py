"""Where an answer's thinking ends: apart from the answer, within its own budget, closed before a prefix. Ours.

The budget is budget forcing as in s1 (Muennighoff et al. 2025, arXiv:2501.19393, section 3.1): at its end the closing
tag is put in and the answer goes on. Servers do the same (vLLM's `thinking_token_budget`); Qwen3's report (2025,
arXiv:2505.09388, section 4.3) also puts a sentence before the tag, which is left out: it is of one model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from withstand.core import Sampling

Decision: TypeAlias = list[int] | Literal["", "stop", "length"]
"""What comes after a token: "" more, the end of the answer, or the ids of tokens to put in before the model goes on."""


@dataclass(frozen=True, slots=True)
class Tags:
    """What opens and closes a block of thinking: written with its white space, found without it."""

    opening: str = "<think>\n"
    closing: str = "\n</think>\n\n"

    @property
    def written(self) -> tuple[str, str]:
        return self.opening, self.closing

    @property
    def bare(self) -> tuple[str, str]:
        return self.opening.strip(), self.closing.strip()

    def opened(self, rendered: str) -> bool:
        """Whether a rendered prompt ends inside a block, as templates of models do that always think."""
        return rendered.rstrip().endswith(self.bare[0])

    def close(self, rendered: str, template: str) -> str:
        """What closes the thinking after a rendered prompt; "" where it ends with a closed block, and for a model whose
        template knows no thinking (tags that were given are known)."""
        closes = self != Tags() or self.bare[1] in template
        if not closes or rendered.rstrip().endswith(self.bare[1]):
            return ""
        return self.closing if self.opened(rendered) else self.opening + self.closing


def split_thinking(text: str, tags: Tags = Tags(), opened: bool = False) -> tuple[str, str]:
    """Reasoning and answer of what a model said; `opened`: the prompt ends inside the block.

    Thinking that does not end leaves no answer. White space at the rims of thinking, and before an answer that
    follows it, is dropped.
    """
    opening, closing = tags.bare
    thought, closed, answer = text.partition(closing)
    head = thought.lstrip()
    if not (closed or opened or head.startswith(opening)):
        return "", text
    return head.removeprefix(opening).strip(), answer.lstrip() if closed else ""


def answer_start(ids: Sequence[int], read: Callable[[Sequence[int]], str], tags: Tags) -> int:
    """How many tokens an answer's closed thinking has, with its tags and the white space after it; 0: none."""
    closing = tags.bare[1]
    if closing not in read(ids):
        return 0
    low, high = 1, len(ids)
    while low < high:  # what once holds the tag holds it ever after
        middle = (low + high) // 2
        low, high = (low, middle) if closing in read(ids[:middle]) else (middle + 1, high)
    while low < len(ids) and not read(ids[low : low + 1]).strip():
        low += 1
    return low


class Watch:
    """One answer as it grows, called with its ids after each token.

    budget: most tokens of thinking, tags not counted; the answer after it has its own `max_tokens`. 0: thinking and
    answer share `max_tokens`. closing: the ids of the closing tag. A stop string counts in the answer alone.
    """

    def __init__(
        self,
        read: Callable[[Sequence[int]], str],
        sampling: Sampling,
        tags: Tags,
        opened: bool,
        budget: int = 0,
        closing: Sequence[int] = (),
    ) -> None:
        self.read, self.sampling, self.budget, self.closing = read, sampling, budget, list(closing)
        self.opening, self.close = tags.bare
        self.state: Literal["new", "thinking", "forced", "answer"] = "thinking" if opened else "new"
        self.start = 0  # of the thinking, then of the answer
        self.thought = False
        self.reach = max(map(len, (*sampling.stop, self.close))) + 8

    def __call__(self, ids: list[int]) -> Decision:
        if self.state == "new":
            head = self.read(ids).lstrip()
            if head.startswith(self.opening):
                self.state, self.start = "thinking", len(ids)
            elif not self.opening.startswith(head):
                self.state = "answer"
        elif self.state == "thinking" and self.close in self.read(ids[max(self.start, len(ids) - self.reach) :]):
            self._answers(ids)
        elif self.state == "thinking" and self.budget and len(ids) - self.start >= self.budget:
            self.state, self.start = "forced", len(ids) + len(self.closing)
            return list(self.closing)
        elif self.state == "forced" and len(ids) == self.start:
            self._answers(ids)
        if self.state in ("new", "answer") and self._stopped(ids):
            return "stop"
        counted = len(ids)
        if self.budget:  # what may yet be an opening tag is no answer
            counted = len(ids) - self.start if self.state == "answer" else 0
        return "length" if counted >= self.sampling.max_tokens else ""

    def _answers(self, ids: list[int]) -> None:
        self.state, self.start, self.thought = "answer", len(ids), True

    def _stopped(self, ids: list[int]) -> bool:
        if not self.sampling.stop:
            return False
        low = max(self.start, len(ids) - self.reach)
        tail = self.read(ids[low:])
        tail = tail.lstrip() if self.thought and low == self.start else tail  # as `split_thinking` leaves it
        return any(stop in tail for stop in self.sampling.stop)
