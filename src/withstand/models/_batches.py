"""Texts that go through a local model together."""

from collections.abc import Iterator, Sequence

TOKENS = 4_096
"""Tokens that go through the model together, with those that pad."""


def of_like_length(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """The places of texts in groups of like length, at most so many in one: what pads is work too."""
    group: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and (len(group) == most or (len(group) + 1) * lengths[place] > TOKENS):
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def encodable(text: str) -> str:
    """A text as tokenizers take it: half a surrogate pair, which is no character, as a question mark."""
    return text.encode("utf-8", "replace").decode()
