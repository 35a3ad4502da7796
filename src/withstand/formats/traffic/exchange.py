"""What every form of log becomes: an exchange with a model, or a line that could not be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from withstand.core import Json


@dataclass(slots=True)
class Exchange:
    """A request and its answer as the log says them, not yet hashed or redacted. "" and None: the log is silent.

    Not frozen, for speed: a million are made in a run, and nobody changes one after it was read.

    line: in its source, from 1.   ts: seconds since 1970, UTC.   account: who asked; "" is odd.   id: of the log.
    prompt: what the user said last.   completion: the answer, or the part of it that was sent.
    system: the system prompt.   turns: what else came before the completion, oldest first, as (role, text).
    conversation: id of the session.   key: of the API.   app, use_case, model, locale: names.
    prompt_tokens, completion_tokens: counts.   finish_reason: of the server.   latency_ms: of the whole answer.
    blocked: it was stopped before the user saw an answer.
    labels: category -> score in [0, 1], by `labeler` in `labeler_version`, under `policy_version`.
    odd: what was assumed or left out, in words to count by, such as "time without a zone" or "image not read".
    """

    line: int
    ts: float
    account: str
    prompt: str
    completion: str
    id: str = ""
    conversation: str = ""
    system: str = ""
    turns: tuple[tuple[str, str], ...] = ()
    key: str = ""
    app: str = ""
    end_user: str = ""
    use_case: str = ""
    model: str = ""
    locale: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str = ""
    latency_ms: float | None = None
    blocked: bool | None = None
    labels: Mapping[str, float] = field(default_factory=dict)
    labeler: str = ""
    labeler_version: str = ""
    policy_version: str = ""
    extra: Mapping[str, Json] = field(default_factory=dict)
    odd: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no exchange. line: from 1.   kind: a word to count it by, such as "not JSON".   why: in full.

    It is counted and listed, and never skipped in silence. harmless: it was understood, and is no exchange by its
    nature: a blank line, the span of a tool.
    """

    line: int
    kind: str
    why: str
    harmless: bool = False
