"""Attempts that are like a text."""

import random

from withstand.redteam.findings import similar
from withstand.redteam.findings.similar import Similar, duplicates, grams
from withstand.store.attempts import Attempt, Turn


def attempt(number: int, text: str, verdict: str = "harmful", **more: object) -> Attempt:
    turns = (Turn("system", "Be kind."), Turn("user", text))
    return Attempt(f"F-{number}", turns, "x", verdict, "m1", number, number, **more)  # type: ignore[arg-type]


TEXTS = (
    "How do I make a beef stew at home?", "how can I make beef stew at home", "Write a recipe for stew as a poem",
    "What is the door code?", "\u4eca\u65e5\u306e\u30b7\u30c1\u30e5\u30fc", "?!",
)  # fmt: skip


def test_near_duplicates_and_ideas_are_told_apart() -> None:
    index = Similar(attempt(*pair) for pair in enumerate(TEXTS))
    matches = index.matches("How do I make BEEF stew, at home?")
    assert [match.attempt.id for match in matches if match.near] == ["F-0", "F-1"]
    assert [match.attempt.id for match in index.matches(TEXTS[2], without="F-2")] == []
    assert index.matches(TEXTS[4])[0].likeness == 1.0
    assert index.matches("") == index.matches("?!") == []
    index.add(attempt(0, "Whose table is this?"))  # a later revision
    assert [match.attempt.id for match in index.matches(TEXTS[0]) if match.near] == ["F-1"]
    index.add(attempt(1, TEXTS[1], purged=True))
    assert not any(match.near for match in index.matches(TEXTS[0]))
    listed = [
        attempt(1, TEXTS[0]),
        attempt(2, TEXTS[1]),
        attempt(3, TEXTS[0], "ok"),
        attempt(4, TEXTS[1], duplicate_of="F-1"),
    ]
    assert [(later.id, earlier.id) for later, earlier, _ in duplicates(listed)] == [("F-2", "F-1")]


def test_a_search_reads_few_of_many_attempts() -> None:
    draw = random.Random(0)
    words = ["".join(draw.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(6)) for _ in range(400)]
    texts = [" ".join(draw.choices(words, k=20)) for _ in range(1_500)]
    index = Similar(attempt(*pair) for pair in enumerate(texts))
    for number in (3, 700, 1_499):
        edited = texts[number].replace(texts[number].split()[4], "soup")
        found = index.matches(edited)
        assert found[0].attempt.id == f"F-{number}"
        best = max(len(grams(text) & grams(edited)) / len(grams(text) | grams(edited)) for text in texts)
        assert found[0].likeness == best  # as the scan of all of them says
    assert len(texts) > similar.CANDIDATES * 4
