"""What all targets check and read alike: the chat they send and the answer they get."""

from collections.abc import Iterable

from withstand.core import AskError, Chat


def refuse_images(who: str, chat: Chat) -> None:
    """Raise `AskError` for a chat with images."""
    if any(message.images for message in chat):
        raise AskError(f"{who} does not read images", hint="use a target that reads images")


def refuse_long(who: str, characters: int, limit: int) -> None:
    """Raise `AskError` for an answer of more characters than the field `max_answer_chars` allows."""
    if characters > limit:
        raise AskError(
            f"{who} answered with {characters:,} characters, above {limit:,}",
            hint="lower max_tokens or have it answer more briefly, or raise max_answer_chars",
        )


def best_first(pairs: Iterable[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    """The (token, log-probability) pairs of a position, the likeliest first."""
    return tuple(sorted(pairs, key=lambda pair: -pair[1]))
