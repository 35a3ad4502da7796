"""What all targets check and read alike: the chat they send and the answer they get."""

from collections.abc import Iterable

from withstand.core import AskError, Chat, Json
from withstand.core.records import as_dicts


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


def with_tool_calls(chat: Chat) -> list[dict[str, Json]]:
    """The turns in OpenAI's protocol, where a tool's turn must answer a call that the assistant's turn before it holds.

    A call is written into that turn, of a tool of our name; into an empty turn where there is none.
    """
    sent: list[dict[str, Json]] = []
    caller: dict[str, Json] = {}
    for place, message in enumerate(as_dicts(chat)):
        turn: dict[str, Json] = {**message}
        if turn["role"] == "tool":
            if not caller:
                sent.append(caller := {"role": "assistant", "content": ""})
            call = {"id": f"call_{place}", "type": "function", "function": {"name": "tool", "arguments": "{}"}}
            caller["tool_calls"] = [*caller.get("tool_calls", ()), call]
            turn["tool_call_id"] = call["id"]
        else:
            caller = turn if turn["role"] == "assistant" else {}
        sent.append(turn)
    return sent


def best_first(pairs: Iterable[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    """The (token, log-probability) pairs of a position, the likeliest first."""
    return tuple(sorted(pairs, key=lambda pair: -pair[1]))
