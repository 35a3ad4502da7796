"""OpenAI's moderation endpoint, or a server with the same protocol, as a model for the judge `openai_moderation`.

The protocol: https://platform.openai.com/docs/api-reference/moderations/create.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from withstand.core import AskError, Chat, Completion, Json, Sampling, dumps
from withstand.models._retry import Transient
from withstand.models._server import Server


@dataclass(frozen=True)
class Moderation(Server):
    """Reads the text of the last message alone. Its answer is JSON text: "flagged", whether any category is; those
    that are in "categories"; the score of each category, in [0, 1], in "scores"; "model", the one that answered.

    It cannot be sampled, and tokens are not known and count as 0.

    model: the name by which the server knows it, default omni-moderation-latest, which changes with time.
    base_url: where the server is; usually ends in /v1. Default OpenAI's.
    key_env: the environment variable that holds the API key; "", the default: OPENAI_API_KEY for api.openai.com, and no
        key for another server.
    revision: what is served, where the name does not say (a date, a commit); default "".
    lanes: most requests at once, above 0, default 8; fewer where the server says that it is busy.
    rpm, tpm: most requests and tokens a minute, default 0: as many as go.
    timeout: seconds until the server's next byte must be here, above 0, default 60.
    tries: per text, above 0, default 6; connection errors, broken answers and the statuses 408, 409, 429 and 5xx are
        tried again.

    Raises `SpecError` for fields that cannot work, `AskError` when there is no answer.
    """

    version: ClassVar[int] = 1
    gives: ClassVar[frozenset[str]] = frozenset()

    model: str = "omni-moderation-latest"
    base_url: str = field(default="https://api.openai.com/v1", metadata={"key": False})
    key_env: str = field(default="", metadata={"key": False})
    revision: str = ""
    lanes: int = field(default=8, metadata={"key": False})
    rpm: float = field(default=0.0, metadata={"key": False})
    tpm: float = field(default=0.0, metadata={"key": False})
    timeout: float = field(default=60.0, metadata={"key": False})
    tries: int = field(default=6, metadata={"key": False})

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        return [self._answer(chat) for chat in chats]

    def _answer(self, chat: Chat) -> Completion:
        if chat[-1].images:
            raise AskError(f"{self.model} at {self.place} was given images", hint="it reads text alone")
        request = {"model": self.model, "input": chat[-1].text}
        return Completion(chat, self.asked("/moderations", request, _read, hint="shorten the text, or check model"))


def _read(answer: Json) -> str:
    try:
        [result] = answer["results"]
        scores = {name: float(score) for name, score in result["category_scores"].items() if score is not None}
        flagged = [name for name, flag in result["categories"].items() if flag]
        if not all(math.isfinite(score) for score in scores.values()):
            raise ValueError("a score that is no number")
        summary = {"flagged": bool(result["flagged"]), "categories": sorted(flagged), "scores": scores}
        return dumps({**summary, "model": str(answer.get("model", ""))})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Transient(f"the answer has another shape ({error!r}): {str(answer)[:200]}") from error
