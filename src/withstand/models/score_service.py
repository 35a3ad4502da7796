"""A scorer behind a URL: a service that rates texts and answers with JSON, as a model for the judge `scorer`. Ours.

Fields say where in the answer the scores stand, by the paths of the target `http`. Texts leave this machine.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, isfinite, nan
from typing import ClassVar, Literal

from withstand.core import Chat, Completion, Json, Sampling, SpecError, dumps
from withstand.core.errors import FatalAskError
from withstand.models import _paths, _wire
from withstand.models._chat import refuse_images
from withstand.models._server import Server

TEXT = "{text}"
SCALES = ("unit", "percent", "logit")


@dataclass(frozen=True)
class ScoreService(Server):
    """Rates the text of the last message, and ignores all earlier messages.

    The answer is JSON text: "score", "scores" by category, and "version" where `version_at` is given. A value that is
    no number is kept as it is, for the judge to say. Sampling has no effect.

    model: a name of yours for the service. It is part of the key of each score, and the address is not: two services
        need two names.
    base_url, path: the address is both together. path: default "".
    body: the request, JSON that holds {text}; default {"text": "{text}"}.
    score_at: path of the score for the whole text, as "result.toxicity"; default "": none.
    scores_at: path of the scores by category: an object, or a list of objects with a name; default "": none. One of
        the two must be given.
    name_at: path of the name in each object of a list, default "label".
    value_at: path of the number in each category; default: the value itself in an object, "score" in a list.
    version_at: path of the version that the service says it is; default "": none. An answer without one says
        "not given". Scores of two versions are not pooled.
    scale: "unit" (default): from 0 to 1; "percent": from 0 to 100; "logit": log odds. Never guessed: a number that is
        outside [0, 1] afterwards is unscored.

    Raises `SpecError` for fields that cannot work, `AskError` when there is no answer, `FatalAskError` where a path
    leads nowhere.
    """

    version: ClassVar[int] = 1
    gives: ClassVar[frozenset[str]] = frozenset()

    base_url: str = field(default="http://localhost:8000", metadata={"key": False})
    path: str = ""
    body: str = '{"text": "{text}"}'
    score_at: str = ""
    scores_at: str = ""
    name_at: str = "label"
    value_at: str = ""
    version_at: str = ""
    scale: Literal["unit", "percent", "logit"] = "unit"

    @staticmethod
    def sample() -> dict[str, Json]:
        return {"model": "stand-in", "score_at": "score"}

    def __post_init__(self) -> None:
        Server.__post_init__(self)
        for path in (self.score_at, self.scores_at, self.name_at, self.value_at, self.version_at):
            _paths.steps(path)
        if not self.score_at and not self.scores_at:
            raise SpecError("neither score_at nor scores_at is given", hint="say where the score stands: score_at=PATH")
        if self.scale not in SCALES:
            raise SpecError(f"scale is {self.scale!r}", hint=f"it must be one of {', '.join(SCALES)}")
        try:
            whole = TEXT in self.body and json.loads(self.body) is not None
        except ValueError:
            whole = False
        if not whole:
            raise SpecError("body is not JSON with a place for {text}", hint='for example body=\'{"text": "{text}"}\'')

    def generate(self, chats: Sequence[Chat], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        return [self._answer(chat) for chat in chats]

    def _answer(self, chat: Chat) -> Completion:
        refuse_images(f"{self.model} at {self.place}", chat[-1:])
        request = _wire.filled(json.loads(self.body), {TEXT: chat[-1].text})
        return Completion(chat, self.asked(self.path, request, self._read, hint="check base_url, path and body"))

    def _read(self, answer: Json) -> str:
        if isinstance(answer, dict):
            answer = {name: value for name, value in answer.items() if name != "seconds"}  # ours, of how long it took
        result: dict[str, Json] = {"scores": self._by_category(answer) if self.scores_at else {}}
        if self.score_at:
            result["score"] = self._scaled(self._at(self.score_at, "score_at", answer))
        if self.version_at:
            versions = _paths.values_at(self.version_at, answer)
            result["version"] = _paths.shown(versions[0])[:200] if versions and versions[0] is not None else "not given"
        return dumps(result)

    def _by_category(self, answer: Json) -> dict[str, Json]:
        there = self._at(self.scores_at, "scores_at", answer)
        if isinstance(there, dict):
            named = {name: self._at(self.value_at, "value_at", inner) for name, inner in there.items()}
        elif isinstance(there, list):
            at = self.value_at or "score"
            rows = [(self._at(self.name_at, "name_at", inner), self._at(at, "value_at", inner)) for inner in there]
            named = {_paths.shown(name): value for name, value in rows}
            if len(named) < len(rows):
                raise self._astray("name_at", self.name_at, "the same name twice", answer)
        else:
            raise self._astray("scores_at", self.scores_at, "neither an object nor a list", answer)
        return {name: self._scaled(value) for name, value in named.items()}

    def _at(self, path: str, name: str, value: Json) -> Json:
        there = _paths.values_at(path, value)
        if not there:
            raise self._astray(name, path, "nothing", value)
        return there[0]

    def _astray(self, name: str, path: str, there: str, answer: Json) -> FatalAskError:
        return FatalAskError(
            f"{self.model} at {self.place} has {there} at {path!r}{_paths.where([answer], 'numbers')}",
            hint=f"set {name} to where it stands, as scores[0].value; `withstand target check` asks once",
        )

    def _scaled(self, value: Json) -> Json:
        """A number on the scale from 0 to 1; what is no finite number as it is, a long or nested value as text."""
        if value is None or isinstance(value, bool):
            return value
        try:
            number = float(value) if isinstance(value, int | float) else nan
        except OverflowError:
            number = nan
        if not isfinite(number):
            return _paths.shown(value)[:80]
        if self.scale == "percent":
            return number / 100
        return 1 / (1 + exp(-max(-500.0, min(500.0, number)))) if self.scale == "logit" else number
