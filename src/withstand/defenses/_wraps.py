"""Where a defense puts its words into a chat. All else stays: other turns, images, a prefill at the end."""

from dataclasses import replace

from withstand.core import Chat, Message


def user_turns(chat: Chat) -> list[int]:
    """The places of the user's turns, in order."""
    return [place for place, message in enumerate(chat) if message.role == "user"]


def reworded(chat: Chat, place: int, text: str) -> Chat:
    """`chat` with another text in the turn at a place; its images stay."""
    return (*chat[:place], replace(chat[place], text=text), *chat[place + 1 :])


def with_system(chat: Chat, text: str, below: bool = False) -> Chat:
    """`chat` with `text` in its system message, above what it says or `below`; in a new one where it has none."""
    if not (chat and chat[0].role == "system"):
        return (Message("system", text), *chat)
    parts = (chat[0].text, text) if below else (text, chat[0].text)
    return reworded(chat, 0, "\n\n".join(parts))
