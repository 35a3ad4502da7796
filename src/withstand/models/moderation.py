"""OpenAI's moderation endpoint, or a server with the same protocol, as a model for the judge `openai_moderation`.

The protocol: https://platform.openai.com/docs/api-reference/moderations/create.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from withstand.core import Chat, Completion, Json, Sampling, dumps
from withstand.models._chat import refuse_images
from withstand.models._retry import Transient
from withstand.models._server import Server


@dataclass(frozen=True)
class Moderation(Server):
    """Rates the text of the last message by category, and ignores all earlier messages.

    The answer is JSON text: "flagged", whether any category is flagged; "categories", the flagged ones; "scores", the
    score of each category in [0, 1]; "model", the model that answered. Sampling has no effect. The endpoint reports no
    token counts, so they are 0.

    model: default omni-moderation-latest, a name whose model OpenAI replaces from time to time.

    Raises `SpecError` for fields that cannot work, `AskError` when there is no answer.
    """

    version: ClassVar[int] = 1
    gives: ClassVar[frozenset[str]] = frozenset()

    model: str = "omni-moderation-latest"

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        return [self._answer(chat) for chat in chats]

    def _answer(self, chat: Chat) -> Completion:
        refuse_images(f"{self.model} at {self.place}", chat[-1:])
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
