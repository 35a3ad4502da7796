"""What AutoDAN breeds prefixes with: selection, crossover of sentences, words replaced by momentum.
Liu et al. 2023, arXiv:2310.04451."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from withstand.attacks.llm._attacker import check_writer
from withstand.attacks.llm._texts import text_of
from withstand.core import SpecError, at_least, within
from withstand.formats import originals

SENTENCE = re.compile(r"\S.*?(?:[.!?]\s+|\n\s*|\Z)", re.DOTALL)
"""A sentence, or a line, with the white space that follows it."""
WORD = re.compile(r"[^\W\d_]+")


def chances(losses: Sequence[float]) -> list[float]:
    """The probability of each to become a parent: the softmax of the negated losses."""
    lowest = min(losses)
    weights = [math.exp(lowest - loss) for loss in losses]
    total = sum(weights)
    return [weight / total for weight in weights]


def sentences(text: str) -> list[str]:
    return SENTENCE.findall(text)


def joined(parts: Sequence[str]) -> str:
    """A text again; line breaks go along with the sentence before them."""
    return "".join(part if part[-1].isspace() else f"{part} " for part in parts).rstrip()


def crossed(left: str, right: str, points: int, draw: Random) -> tuple[str, str]:
    """Two children: the parents' sentences, cut at up to `points` places, each stretch swapped with probability 1/2.

    A cut lies between two sentences of the shorter parent; what the longer one has beyond goes with its last stretch.
    """
    ours, theirs = sentences(left), sentences(right)
    between = range(1, min(len(ours), len(theirs)))
    cuts = sorted(draw.sample(between, min(points, len(between))))
    first: list[str] = []
    second: list[str] = []
    for low, high in zip([0, *cuts], [*cuts, None], strict=True):
        pair = ours[low:high], theirs[low:high]
        if draw.random() < 0.5:
            pair = pair[::-1]
        first += pair[0]
        second += pair[1]
    return joined(first), joined(second)


def offspring(parents: Sequence[str], crossover: float, points: int, draw: Random) -> list[str]:
    """As many children as parents: neighbors are crossed with probability `crossover`, an odd last one stays."""
    children = list(parents)
    for i in range(0, len(parents) - 1, 2):
        if draw.random() < crossover:
            children[i : i + 2] = crossed(parents[i], parents[i + 1], points, draw)
    return children


def enough(texts: Sequence[str], number: int, points: int, draw: Random) -> list[str]:
    """`number` texts: the given ones first, then children of random pairs of them."""
    whole = list(texts[:number])
    while len(whole) < number:
        first, second = draw.choices(texts, k=2)
        whole += crossed(first, second, points, draw)
    return whole[:number]


NAMES = ("[MODEL]", "ChatGPT"), ("[KEEPER]", "ModelKeeper")
"""What the seeds of the authors and of HarmBench say where their code puts the names of the target and its maker."""


def theirs(checkout: str, names: Sequence[str]) -> list[str]:
    """The seeds of a checkout with these names in them; none for "". Raises `SpecError` where they lack the names."""
    seeds = originals.read("autodan", checkout)["seeds"] if checkout else []
    if names and (len(names) != len(NAMES) or not checkout):
        raise SpecError(f"names is {list(names)}", hint="give two, of the target and its maker, and originals")
    for i, mark in ((i, mark) for i, marks in enumerate(NAMES) for mark in marks):
        if not names and any(mark in seed for seed in seeds):
            hint = 'name the target and its maker, such as names = ["Vicuna", "LMSYS"]'
            raise SpecError(f"originals: the seeds say {mark} where the authors' code puts a name", hint=hint)
        seeds = [seed.replace(mark, names[i]) for seed in seeds] if names else seeds
    return seeds


def momentum(
    words: Mapping[str, float], scored: Mapping[str, float], vocabulary: Mapping[str, object]
) -> dict[str, float]:
    """The scores of the `known` words: the mean score (negated loss) of the texts that hold a word, averaged with the
    score that the word had before."""
    losses: dict[str, list[float]] = defaultdict(list)
    for text, loss in scored.items():
        for word in sorted({word.lower() for word in WORD.findall(text)} & vocabulary.keys()):
            losses[word].append(-loss)
    means = {word: sum(scores) / len(scores) for word, scores in losses.items()}
    return {**words, **{word: (words[word] + mean) / 2 if word in words else mean for word, mean in means.items()}}


def reworded(
    text: str, words: Mapping[str, float], alike: Mapping[str, Sequence[str]], chance: float, draw: Random
) -> str:
    """Each word that has others `alike` becomes one of them or itself, with probability `chance`.

    The roulette weighs each by how far its score is above the lowest among them; a word without a score has the lowest
    score of all, and where all are equal the word stays.
    """
    lowest = min(words.values(), default=0.0)

    def turned(word: str) -> str:
        choices = alike.get(word.lower(), ())
        if not choices or draw.random() >= chance:
            return word
        scores = [words.get(choice, lowest) for choice in choices]
        weights = [score - min(scores) for score in scores]
        if not any(weights):
            return word
        [chosen] = draw.choices(choices, weights)
        return chosen.capitalize() if word[0].isupper() else chosen

    return WORD.sub(lambda match: turned(match[0]), text)


def check_genetic(attack: Any) -> None:
    """Raise `SpecError` for a field out of its range."""
    at_least(1, attack, "steps", "points", "iterations", "patience", "words")
    at_least(2, attack, "population")
    within(0, 1, attack, "crossover", "mutation")
    check_writer(attack)
    if not 0 <= attack.elites < 1:
        raise SpecError(f"elites is {attack.elites}", hint="it must lie in [0, 1)")
    if attack.variant == "hga" and attack.mutator is None:
        raise SpecError("variant hga takes its words from a mutator", hint="give a mutator, or write variant=ga")
    if attack.originals and attack.seeds:
        raise SpecError("originals and seeds are both given", hint="leave one of them out")
    if not all(seed.strip() for seed in attack.seeds):
        raise SpecError("seeds holds an empty text", hint='write seeds = ["..."]')


def first() -> list[str]:
    """Our seeds."""
    return text_of("autodan_seeds.txt").split("\n---\n")
