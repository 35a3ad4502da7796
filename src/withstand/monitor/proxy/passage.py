"""One request on its way: what was read of it, what judges said, what was decided, and its line of the log."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from withstand.core import Json
from withstand.monitor.proxy.answer import Answer
from withstand.monitor.proxy.asked import Asked
from withstand.monitor.proxy.route import Headers, Route
from withstand.monitor.proxy.screens import Screened

Decision: TypeAlias = Literal["passed", "blocked", "failed closed", "refused"]


@dataclass
class Passage:
    """A request. number: from 1.   started: seconds since 1970.   prompt, completion: what was said; None: not asked.

    held: the judges of the answer were asked before it left.   status: that the client got, 0 for none.
    why: reasons of the decision, without texts.   stops: categories for which it was blocked.   opened: something of it
    passed though no judge could say.   unjudged: what else was left unsaid, and why.
    trouble: a code such as `upstream_unreachable`.
    left: the client went before the end.   sent: the last byte went out.
    """

    number: int
    started: float
    method: str
    target: bytes
    headers: Headers
    route: Route
    body: bytes = b""
    asked: Asked | None = None
    prompt: Screened | None = None
    completion: Screened | None = None
    decision: Decision = "passed"
    why: list[str] = field(default_factory=list)
    stops: tuple[str, ...] = ()
    opened: bool = False
    unjudged: list[str] = field(default_factory=list)
    trouble: str = ""
    status: int = 0
    held: bool = False
    left: bool = False
    sent: bool = False
    clock: float = field(default_factory=time.perf_counter)
    took: float = 0.0
    answer: Answer = field(init=False)

    def __post_init__(self) -> None:
        self.answer = Answer(self.route.kind)

    @property
    def flagged(self) -> tuple[str, ...]:
        """The screeners that flagged a side of it."""
        sides = (self.prompt, self.completion)
        return tuple(dict.fromkeys(name for side in sides if side for name in side.flagged))

    @property
    def outcome(self) -> str:
        """The decision in the words of the log."""
        if self.decision != "passed":
            return self.decision
        return "failed open" if self.opened else "flagged" if self.flagged else "passed"

    @property
    def logged(self) -> bool:
        """Whether it is a line of the log: an exchange with a model, or an event of a judge that failed."""
        return self.asked is not None or self.opened or self.decision == "failed closed"

    def line(
        self, *, id: str, account: str, key: str, conversation: str, categories: Mapping[str, str],
        labeler_version: str, policy: str, session: str,
    ) -> Mapping[str, Json]:  # fmt: skip
        """The line of the log, in the form that `monitor run` reads. categories: screener -> category."""
        asked, answer = self.asked, self.answer
        scores: dict[str, float] = {}
        for side in (self.prompt, self.completion):
            for name, score in side.scores.items() if side else ():
                scores[categories[name]] = max(score, scores.get(categories[name], 0.0))
        blocked = self.decision in ("blocked", "failed closed")
        finish = "content_filter" if blocked else "client_closed" if self.left else answer.finish
        labeled = {"labels": scores, "labeler": "proxy", "labeler_version": labeler_version} if scores else {}
        return {
            "ts": self.started,
            "id": id,
            "account": account,
            "key": key,
            **({"conversation": conversation} if conversation else {}),
            "model": answer.model or (asked.model if asked else ""),
            **({"system": asked.system} if asked and asked.system else {}),
            "prompt": asked.prompt if asked else "",
            "completion": "" if blocked and not self.completion else answer.text,
            "n_prompt_tokens": answer.prompt_tokens,
            "n_completion_tokens": answer.completion_tokens,
            "finish_reason": finish,
            "latency_ms": round(self.took * 1e3, 1),
            "blocked": blocked,
            **labeled,
            **({"policy_version": policy} if policy else {}),
            "proxy": {
                "session": session,
                "decision": self.outcome,
                "flagged": list(self.flagged),
                "why": list(dict.fromkeys([*self.stops, *self.why, *self.unjudged])),
                "path": self.target.partition(b"?")[0].decode("latin-1")[:200],
                "status": self.status,
                "trouble": self.trouble,
            },
        }
