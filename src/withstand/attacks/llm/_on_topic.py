"""TAP's evaluator: does a prompt still ask for the behavior? Mehrotra et al. 2023, arXiv:2312.02119."""

import re
from collections.abc import Sequence
from typing import Any

from withstand.attacks.llm._texts import text_of
from withstand.core import Behavior, Chat, Message, Model, user
from withstand.core.prompts import Prompts
from withstand.formats import originals

PROMPTS = Prompts(
    {"system": text_of("pair-system.txt"), "on_topic": text_of("tap-on-topic.txt")},
    {"system": ("behavior",), "on_topic": ("task", "prompt")},
)
"""All prompts of TAP."""
LABEL, THEIRS = "On topic: [[", "Response: [["
"""How an answer opens, to our question and to that of the originals."""
ANSWER_TOKENS = 16
YES_NO = r"(yes|no)\b(?!\s*(?:/|\||or\b|doubt\b|idea\b))"


def questions(attack: Any, evaluator: Model, behavior: Behavior, prompts: Sequence[str]) -> list[Chat]:
    """What the evaluator is asked about each prompt; its answer is opened where it takes a prefill."""
    opened = (Message("assistant", THEIRS if attack.originals else LABEL),) if "prefill" in evaluator.gives else ()
    if not attack.originals:
        text = PROMPTS.texts(attack.prompt)["on_topic"]
        return [(*user(originals.fill(text, task=behavior.text, prompt=prompt)), *opened) for prompt in prompts]
    system = originals.fill(originals.read("tap", attack.originals)["on_topic"], behavior=behavior.text)
    asked = [f"[PROMPT]:{prompt}" for prompt in prompts]
    if "system" in evaluator.gives:
        return [(Message("system", system), *user(text), *opened) for text in asked]
    return [(*user(f"{system}\n\n{text}"), *opened) for text in asked]


def on_topic(answer: str) -> bool | None:
    """What the evaluator said, with or without label and brackets; None where it is neither YES nor NO."""
    answer = answer.rpartition("</think>")[2]
    match = re.match(rf"\W*(?:on topic\W*)?{YES_NO}", answer, re.I) or re.search(rf"\[\[\s*{YES_NO}", answer, re.I)
    return match and match[1].lower() == "yes"
