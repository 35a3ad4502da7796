"""Whether a rewriting can mean what its original means: guards that need no model, and sentences framed anew.

They find a flipped negation, another number or unit, and a question that is none any more. They do not see that another
person acts, or other things are used: an encoder and a model that reads both texts are asked for that.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from withstand.attacks.llm._texts import data_of
from withstand.core.likeness import alike, tokens
from withstand.core.questions import DEMANDS

NEGATORS = frozenset(
    ("not", "never", "no", "none", "nobody", "nothing", "neither", "nor", "without", "cannot", "avoid", "avoiding",
     "avoided", "refrain", "refraining", "unwise", "unsafe", "unless")
)  # fmt: skip
NUMBERS: Mapping[str, str] = {
    "half": "0.5", "twice": "2", "double": "2", "two": "2", "three": "3", "four": "4", "five": "5",
    "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "dozen": "12",
    "fifteen": "15", "twenty": "20", "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "hundred": "100",
    "thousand": "1000",
}  # fmt: skip
"""Not "one", which stands for a person too."""
UNITS: Mapping[str, str] = {
    name: names.split()[0]
    for names in (
        "second seconds sec", "minute minutes min", "hour hours h", "day days", "week weeks", "g gram grams",
        "kg kilo kilos kilogram kilograms", "mg milligram milligrams", "ml milliliter milliliters", "l liter liters",
        "cup cups", "spoon spoons", "teaspoon teaspoons tsp", "tablespoon tablespoons tbsp", "degree degrees",
        "percent %", "ounce ounces oz", "pound pounds lb", "mm", "cm", "meter meters m",
    )
    for name in names.split()
}  # fmt: skip


def negations(text: str) -> int:
    """How many words of a text negate."""
    return sum(word in NEGATORS or word.endswith("n't") for word in tokens(text))


def amounts(text: str) -> Counter[tuple[str, str]]:
    """The numbers of a text, each with the unit behind it ("" for none)."""
    words = [*tokens(text), ""]
    numbers = [(NUMBERS.get(word, word), UNITS.get(after, "")) for word, after in pairwise(words)]
    return Counter((number, unit) for number, unit in numbers if number[:1].isdigit())


def kept(original: str, rewriting: str) -> bool:
    """Whether negations (even or odd), numbers with units, and the form of a question are the original's.

    A text of another length, above three times and 60 characters, is an answer and no rewriting.
    """
    return (
        negations(original) % 2 == negations(rewriting) % 2
        and amounts(original) == amounts(rewriting)
        and ("?" not in original or "?" in rewriting)
        and 0 < len(rewriting.strip()) <= 3 * len(original) + 60
    )


def distinct(rewritings: Sequence[str], before: Sequence[str]) -> list[str]:
    """Those that are unlike all before them. Frames of a long text would not be, and are distinct by themselves."""
    return [
        text
        for at, text in enumerate(rewritings)
        if not any(alike(text, earlier) for earlier in (*before, *rewritings[:at]))
    ]


def parted(text: str) -> tuple[str, str]:
    """A text and the demand of a yes-or-no question that it ends with, "" for none: a rewriting keeps the demand."""
    for demand in DEMANDS.values():
        if text.endswith(demand):
            return text.removesuffix(demand).strip(), demand
    return text, ""


def framed(text: str) -> list[str]:
    """The text in six fixed frames, every second one with synonyms: for a request that begins with a verb, for the
    question whether one should, for another question, and for the rest."""
    data = data_of("paraphrase.json")
    text = text.strip()
    plain = text.rstrip(".!? ")
    advice = re.fullmatch(r"should (?:you|one|i|we) (not )?(.+)\?", text, re.IGNORECASE | re.DOTALL)
    first = plain.split(maxsplit=1)[0].lower() if plain else ""
    whole = text if text[-1:] in ".!?" else f"{text}."
    gaps = {"text": whole, "act": plain[:1].lower() + plain[1:], "to_act": ""}
    kind = "question" if text.endswith("?") else "text"
    if advice:
        kind, gaps["to_act"] = "advice", f"{'not ' if advice[1] else ''}to {advice[2]}"
    elif first in data["verbs"] and not re.search(r"[.!?]\s", plain):
        kind = "request"
    frames = [frame.format(**gaps) for frame in data[kind]]
    return [renamed(frame) if place % 2 else frame for place, frame in enumerate(frames)]


def renamed(text: str) -> str:
    """The text with the synonyms of our table."""
    for word, synonym in data_of("paraphrase.json")["synonyms"]:
        text = re.sub(rf"\b{re.escape(word)}\b", synonym, text)
    return text
