"""Turns that a person sent, as a tag of a behavior: what the attack `recorded` sends again."""

import json
from collections.abc import Sequence

from withstand.core import Behavior, Chat, Message, SpecError
from withstand.core.bounded import parse_json
from withstand.core.shape import misfit

TAG = "turns:"
"""What a tag begins with that holds turns, as a JSON list of [role, text]."""


def tag_of(chat: Sequence[Message]) -> str:
    """The tag that holds a chat."""
    return TAG + json.dumps([[turn.role, turn.text] for turn in chat])


def chat_of(behavior: Behavior) -> Chat:
    """The chat in a behavior's tags; () where there is none. Raises `SpecError` for a tag that holds none."""
    for tag in behavior.tags:
        if tag.startswith(TAG):
            turns = parse_json(f"the turns of {behavior.id}", tag.removeprefix(TAG))
            roles = ("system", "user", "assistant", "tool")
            wrong = misfit(tuple[tuple[str, str], ...], turns)
            if wrong or not turns or any(role not in roles for role, _ in turns):
                raise SpecError(f"{behavior.id} has turns that are none", hint='turns:[["user", "..."], ...]')
            return tuple(Message(role, text) for role, text in turns)
    return ()
