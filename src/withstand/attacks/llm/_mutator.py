"""What AutoDAN asks its mutator: to rewrite prefixes, and for the words that may stand in the place of others.
Liu et al. 2023, arXiv:2310.04451."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from withstand.attacks.llm._attacker import drafts, no_draft, unquoted
from withstand.attacks.llm._genetic import WORD
from withstand.attacks.llm._texts import parts_of
from withstand.core import Flow, Sampling, filled, user
from withstand.core.prompts import Prompts

PROMPTS = Prompts(parts_of("autodan.txt"), {"rewrite": ("passage",), "words": ("words",)})
BATCH = 40
"""Words that one answer is asked about: small models lose their way in longer lists."""


def rewritten(attack: Any, prefixes: Sequence[str], draw: Random) -> Flow[list[str]]:
    """The prefixes, each rewritten by the mutator with probability `mutation`."""
    chosen = [i for i in range(len(prefixes)) if draw.random() < attack.mutation]
    if attack.mutator is None or not chosen:
        return list(prefixes)
    prompt, sampling = PROMPTS.texts(attack.prompt)["rewrite"], Sampling(attack.attacker_tokens, attack.temperature)
    chats = [user(filled(prompt, passage=prefixes[i])) for i in chosen]
    rewrites = yield from drafts(attack.mutator, chats, lambda text: unquoted(text) or None, sampling, attack.tries)
    new = {i: draft.value for i, draft in zip(chosen, rewrites, strict=True) if draft}  # each to its own place
    return [new.get(i, prefix) for i, prefix in enumerate(prefixes)]


def alike_in(attack: Any, prefixes: Sequence[str]) -> Flow[dict[str, list[str]]]:
    """Groups of words alike, as the mutator names them. Raises `AskError` where it names none."""
    words, prompt = common(prefixes, attack.words), PROMPTS.texts(attack.prompt)["words"]
    batches = [words[i : i + BATCH] for i in range(0, len(words), BATCH)]
    chats = [user(filled(prompt, words="\n".join(batch))) for batch in batches]
    sampling = Sampling(attack.attacker_tokens, attack.temperature)
    answers = yield from drafts(attack.mutator, chats, words_in, sampling, attack.tries, parts=True)
    groups = grouped({word: others for draft in answers if draft for word, others in draft.value.items()}, words)
    if not groups:
        raise no_draft(attack.tries)
    return groups


def common(prefixes: Sequence[str], number: int) -> list[str]:
    """The words of four letters and more that most of the prefixes hold, `number` of them at most: shorter ones are
    mostly those that a sentence cannot do without."""
    counts: Counter[str] = Counter()
    for prefix in prefixes:
        counts.update({word.lower() for word in WORD.findall(prefix) if len(word) >= 4})
    return sorted(counts, key=lambda word: (-counts[word], word))[:number]


def words_in(answer: str) -> dict[str, str] | None:
    """Of each line "word: others" the word and the others, parted by spaces; None for an answer without such a line."""
    lines = re.findall(r"^(?:[^\w\n]|\d)*([^\W\d_]+)[^\w\n:]*:[ \t*]*(.+)$", answer.lower(), re.MULTILINE)
    listed = ((word, [text.strip(" .*") for text in others.split(",")][:4]) for word, others in lines)
    alike = {word: " ".join(filter(WORD.fullmatch, others)) for word, others in listed}
    return {word: others for word, others in alike.items() if others} or None


def grouped(alike: Mapping[str, str], words: Sequence[str]) -> dict[str, list[str]]:
    """For each of the words, and of those alike, the group that it may turn into, itself too."""
    groups: dict[str, list[str]] = {}
    for word in words:
        if word in alike:
            group = list(dict.fromkeys([word, *alike[word].split()]))
            groups[word] = group
            for candidate in group:
                groups.setdefault(candidate, group)
    return groups
