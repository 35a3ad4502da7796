"""How a proxy stands before a model: what the user decided, and what does not go together."""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from withstand.core import SpecError
from withstand.core.errors import positive
from withstand.runner.suites import loopback

Fail: TypeAlias = Literal["", "open", "closed"]


@dataclass(frozen=True, slots=True)
class Mode:
    """What the proxy does.

    to: the server behind.   does: log, flag or block.   answers: stream (flagged after), hold, or window.
    window: tokens of a window, counted as four characters each.   fail: in block mode, what happens where a judge
    says nothing: the request passes (open) or not (closed).   blocked: what a client gets, an error or a refusal.
    timeout: seconds of judging for each side.   read: seconds without a byte of the server, after which it is given
    up.   body: most bytes of a request.   text: what the log keeps.   account: the header that names who asks.
    """

    to: str
    does: Literal["log", "flag", "block"] = "flag"
    answers: Literal["stream", "hold", "window"] = "stream"
    window: int = 0
    fail: Fail = ""
    blocked: Literal["error", "refusal"] = "error"
    timeout: float = 5.0
    read: float = 600.0
    body: int = 32 * 1024 * 1024
    text: Literal["redacted", "full", "none"] = "redacted"
    account: str = ""

    def __post_init__(self) -> None:
        positive(self, "timeout", "read", "body")
        url = urlsplit(self.to)
        if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
            raise SpecError(f"--to {self.to!r} is no address", hint="--to http://127.0.0.1:8000/v1")
        if url.username or url.password:
            raise SpecError("--to holds a password", hint="clients send their key in the header Authorization")
        try:
            url.port  # noqa: B018 - it raises
        except ValueError as error:
            raise SpecError(f"--to {self.to!r} has no such port", hint="a port is a number up to 65535") from error
        if self.does == "block" and not self.fail:
            raise SpecError(
                "--mode block needs --fail: what shall happen when a judge fails or takes too long?",
                hint="--fail closed refuses the request; --fail open lets it pass, and counts it",
            )
        if self.does != "block" and (self.answers != "stream" or self.fail):
            what = "--fail" if self.fail else f"--answers {self.answers}"
            raise SpecError(f"{what} needs --mode block", hint="nothing is held back where nothing is blocked")
        if self.answers == "window" and self.window < 1:
            raise SpecError("a window has 1 token or more", hint="--answers window:100")

    @property
    def host(self) -> str:
        return urlsplit(self.to).hostname or ""

    @property
    def clear(self) -> bool:
        """Whether keys of clients cross a network unencrypted."""
        return urlsplit(self.to).scheme == "http" and not loopback(self.host)

    @property
    def prefix(self) -> str:
        """What comes before the path of each request: `/openai` of http://host/openai/v1."""
        return re.sub(r"/v1$", "", urlsplit(self.to).path.rstrip("/"))

    @property
    def authority(self) -> str:
        """The value of the header Host for the server behind."""
        return urlsplit(self.to).netloc

    def sentence(self, prompts: bool) -> str:
        """What it does, in words. prompts: some screener can block them."""
        if self.does == "log":
            return "It logs, and judges nothing."
        if self.does == "flag":
            return "It flags, and blocks nothing."
        what = {
            "stream": "Answers stream through and are flagged after.",
            "hold": "Answers are held until they are judged.",
            "window": f"Answers leave in windows of {self.window} tokens, each after its verdict.",
        }[self.answers]
        first = "It blocks prompts before they are sent." if prompts else "It blocks no prompt."
        passes = "passes" if self.fail == "open" else "is refused"
        return f"{first} {what} What no judge could judge {passes}."


def answers_of(text: str) -> tuple[Literal["stream", "hold", "window"], int]:
    """`--answers` as (how, tokens). Raises `SpecError`."""
    if text in ("stream", "hold"):
        return ("stream" if text == "stream" else "hold"), 0
    if match := re.fullmatch(r"window:([0-9]{1,6})", text):
        return "window", int(match[1])
    raise SpecError(f"--answers {text!r} is none", hint="stream, hold, or window:N for windows of N tokens")
