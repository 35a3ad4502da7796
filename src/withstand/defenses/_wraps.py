"""Where a defense puts its words into a chat. All else stays: other turns, images, a prefill at the end."""

from withstand.core import Chat, Message
from withstand.core.records import reworded


def with_system(chat: Chat, text: str, below: bool = False) -> Chat:
    """`chat` with `text` in its system message, above what it says or `below`; in a new one where it has none."""
    if not (chat and chat[0].role == "system"):
        return (Message("system", text), *chat)
    parts = (chat[0].text, text) if below else (text, chat[0].text)
    return reworded(chat, 0, "\n\n".join(parts))
