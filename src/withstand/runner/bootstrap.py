"""New behaviors from those of a suite: a new situation, then acts in it. After the target bootstrapping of ASSERT, Mei
et al. 2023, arXiv:2310.09624.

The paper labels all that comes out unsafe and drops the parents. Here every behavior keeps its parent, has a safe
sibling in the same situation, and is checked by critics (`generate`). Without a model, slots are filled: kitchen only.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from withstand.core import Behavior, Flow, Model, filled, rng
from withstand.core.questions import DEMANDS, advice_of, against, question_of, rivals
from withstand.formats.generated import Generated
from withstand.runner.described import Pair, data, paired
from withstand.runner.writing import ACTS, SITUATIONS, Draft, from_seed

ADVICE = "physically unsafe"
REQUESTS = "something that an assistant should refuse"
SLOTTED = ("kitchen", "kitchen-advice")
"""The suites for whose behaviors there are slots."""


def is_advice(seed: Behavior) -> bool:
    """Whether a behavior asks whether one should follow the advice that is its target string."""
    return bool(seed.target_string) and seed.text.endswith(DEMANDS["advisable"])


def risk_of(seeds: Sequence[Behavior]) -> str:
    """What the seeds have in common, in words for a writer and a critic."""
    return ADVICE if all(map(is_advice, seeds)) else REQUESTS


def drafted(seed: Behavior, writer: Model, risk: str) -> Flow[Draft]:
    """What a model makes of a seed."""
    if is_advice(seed):
        shown = f"Situation: {seed.context}\nAct: {seed.target_string}"
        return (yield from from_seed(writer, shown, risk, "a short act, beginning with its verb,", seed.target_string))
    shown = f"Request: {seed.prompt()}"
    return (yield from from_seed(writer, shown, risk, "a request, written as a user would,", seed.text))


def slotted(seed: Behavior, number: int) -> Draft:
    """What slots make of a seed of a kitchen suite; choice numbers give choice draws. No pair where no slot fits it.

    Raises `SpecError` for a seed of another suite.
    """
    slots, random = data("kitchen.toml"), rng("slots", number, seed.id)
    if is_advice(seed) and rivals(seed):
        unsafe, safe = seed.target_string, random.choice(rivals(seed))
        pairs = []
        for place in random.sample(slots["places"], SITUATIONS):
            texts = [f"{place}, {seed.context[:1].lower()}{seed.context[1:]}", unsafe, safe]
            choices = {word: random.choice(others) for word, others in slots["swaps"].items()}
            texts = [_swapped(text, choices) for text in texts]
            pairs.append((texts[0], texts[1], texts[2]))
        return Draft(SITUATIONS, tuple(pairs))
    drawn = zip(
        random.sample(slots["occasions"], ACTS), random.sample(slots["dishes"][seed.category], ACTS), strict=True
    )
    texts_of = [{"occasion": occasion, "dish": dish} for occasion, dish in drawn]
    return Draft(
        ACTS, tuple(("", filled(slots["request"], **gaps), filled(slots["sibling"], **gaps)) for gaps in texts_of)
    )


def _swapped(text: str, choices: Mapping[str, str]) -> str:
    """The text with another word for each that is a key, in one pass, and with the article that the new word takes."""

    def swapped(match: re.Match[str]) -> str:
        word = choices[match[2]]
        return ("an " if word[0] in "aeiou" else "a ") * bool(match[1]) + word

    return re.sub(rf"\b(an? )?({'|'.join(choices)})\b", swapped, text)


def pairs_of(seed: Behavior, draft: Draft, judges: tuple[str, str], risk: str, writer: str) -> list[Pair]:
    """The behaviors of a draft with their safe siblings. judges: of the suite, and of its benign half."""
    return [_pair(seed, texts, judges, risk, writer) for texts in draft.pairs]


def _pair(seed: Behavior, texts: tuple[str, str, str], judges: tuple[str, str], risk: str, writer: str) -> Pair:
    situation, unsafe, safe = texts
    where = f", in another situation: {situation}" if situation else ""
    harmful = Generated(
        f"{seed.id}/b", unsafe, category=seed.category, cluster=seed.id, parent=seed.id,
        reason=f"{risk}, as {seed.id} is{where}", judge=judges[0], writer=writer,
    )  # fmt: skip
    benign = replace(harmful, text=safe, judge=judges[1], half="benign")
    if is_advice(seed):
        bad, good = advice_of(unsafe), advice_of(safe)
        harmful = replace(harmful, **_question(situation, bad, good))
        benign = replace(benign, **_question(situation, good, bad))
    return paired(harmful, benign)


def _question(situation: str, advice: str, rival: str) -> dict[str, Any]:
    """The fields of a behavior that asks about advice."""
    text = f"{question_of(advice)} {DEMANDS['advisable']}"
    return {"text": text, "context": situation, "target_string": advice, "tags": (against(rival),)}
