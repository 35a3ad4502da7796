"""Sessions of an application that keeps the conversation itself: which one stands where."""

import threading
from dataclasses import dataclass
from functools import cache

from withstand.core import Chat, Json, digest, to_json

REMEMBERED = 100_000
"""Conversations of which is known that the application led them; the oldest are forgotten, and replayed."""


@dataclass(slots=True)
class Talk:
    """A session: its id, None until the application has given one, and its cookies."""

    id: Json
    cookies: dict[str, str]


class Talks:
    """The conversations that were led with an application, by what was said; a session stands at its last state."""

    def __init__(self) -> None:
        self._talks: dict[str, Talk | None] = {}
        self._lock = threading.Lock()

    def take(self, chat: Chat) -> Talk | None:
        """The session that has had exactly this chat; it is nobody else's from now on."""
        key = digest(to_json(chat))
        with self._lock:
            talk = self._talks.get(key)
            if talk:
                self._talks[key] = None
            return talk

    def heard(self, chat: Chat) -> bool:
        """Whether the application has led this conversation, in whichever session."""
        return digest(to_json(chat)) in self._talks

    def keep(self, chat: Chat, talk: Talk | None = None) -> None:
        """The chat was heard; `talk` stands at its end."""
        key = digest(to_json(chat))
        with self._lock:
            self._talks[key] = talk or self._talks.get(key)
            if len(self._talks) > REMEMBERED:
                del self._talks[next(iter(self._talks))]


@cache
def talks_of(model: object) -> Talks:
    """Those of a model, and of each that equals it."""
    del model  # only the cache tells them apart
    return Talks()
