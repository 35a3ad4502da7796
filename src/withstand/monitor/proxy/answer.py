"""What an answer says, read as it passes: a JSON body, or server-sent events of which each adds a piece.

Texts are gathered by where they stand (which choice, which field), so that the arguments of a call, reasoning and
several choices are each read whole, however the server cut them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from withstand.core import Json
from withstand.monitor.proxy.leaves import TooManyError, leaves, string
from withstand.monitor.proxy.route import Kind

END_OF_EVENT = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
"""An empty line ends an event; lines end in any of three ways (HTML standard, 9.2.6)."""
END_OF_LINE = re.compile(rb"\r\n|\n|\r")
MOST = 16 * 1024 * 1024
"""Bytes of an answer that are kept to be judged and logged; of a longer one the rest is unjudged."""
CHARS_A_TOKEN = 4
ASIDE = frozenset(
    (
        "logprobs", "usage", "created", "system_fingerprint", "content_filter_results", "prompt_filter_results",
        "content_filter_result",
    )
)  # fmt: skip
"""Fields of an answer that repeat it, or hold no words."""


ECHO = frozenset(
    (
        "instructions", "input", "prompt", "tools", "tool_choice", "metadata", "text", "user", "safety_identifier",
        "prompt_cache_key", "reasoning", "truncation", "conversation", "previous_response_id", "incomplete_details",
    )
)  # fmt: skip
"""Fields by which an object of the Responses API repeats its request."""


class AnswerError(Exception):
    """An answer that cannot be read."""


class Events:
    """Cuts a stream of bytes into events. A character that is cut in two waits for its other bytes."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._from = 0

    @property
    def rest(self) -> bytes:
        """What came of an event that is not whole yet."""
        return bytes(self._rest)

    def feed(self, piece: bytes) -> list[bytes]:
        """The events that are whole now, with the empty lines that end them. Raises `AnswerError` for a huge one."""
        self._rest += piece
        events, start = [], 0
        while match := END_OF_EVENT.search(self._rest, max(start, self._from)):
            events.append(bytes(self._rest[start : match.end()]))
            start, self._from = match.end(), 0
        del self._rest[:start]
        self._from = max(0, len(self._rest) - 3)
        if len(self._rest) > MOST:
            raise AnswerError("an event of the stream is too large")
        return events


def data_of(event: bytes) -> bytes:
    """What the `data` lines of an event say; b"" for a comment."""
    lines = [line[5:].removeprefix(b" ") for line in END_OF_LINE.split(event) if line.startswith(b"data:")]
    return b"\n".join(lines)


@dataclass(slots=True)
class Answer:
    """An answer as far as it came.

    chars: how many characters of text came.   opaque: fields that no judge of texts can read.   broken: why it cannot
    be judged whole, "" for nothing.   ended: the stream said that it is at its end.
    """

    kind: Kind
    chars: int = 0
    opaque: dict[str, None] = field(default_factory=dict)
    broken: str = ""
    ended: bool = False
    model: str = ""
    finish: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    _parts: dict[tuple[str | int, ...], list[str]] = field(default_factory=dict)

    def whole(self, body: bytes) -> None:
        """Read a JSON body. Raises `AnswerError`."""
        import orjson

        try:
            content = orjson.loads(body)
        except ValueError as error:
            raise AnswerError(f"the answer is not JSON: {str(error)[:120]}") from error
        if not isinstance(content, dict):
            raise AnswerError("the answer is no JSON object")
        try:
            self._take(content)
        except TooManyError as error:
            raise AnswerError("the answer has too many parts") from error

    def event(self, event: bytes) -> None:
        """Read one event of a stream. Raises `AnswerError`."""
        data = data_of(event).strip()
        if data == b"[DONE]":
            self.ended = True
        elif data:
            self.whole(data)

    def texts(self) -> tuple[str, ...]:
        """The texts to judge: each field, and of each choice all of them together. None twice."""
        fields = {path: "".join(parts) for path, parts in self._parts.items()}
        choices: dict[str | int, list[str]] = {}
        for path, text in fields.items():
            choices.setdefault(path[0], []).append(text)
        joined = ("\n".join(texts) for texts in choices.values())
        return tuple(dict.fromkeys(text for text in (*fields.values(), *joined) if text.strip()))

    @property
    def text(self) -> str:
        """The answer for the log: what was written or called, of all choices, without what an end event repeats."""
        fields = {path: "".join(parts) for path, parts in self._parts.items()}
        pieces = [text for path, text in fields.items() if path[0] != "repeats"]
        return "\n\n".join(pieces or dict.fromkeys(fields.values()))

    def _take(self, content: Mapping[str, Json]) -> None:
        self.model = self.model or string(content.get("model"))
        self._count(content.get("usage"))
        if isinstance(choices := content.get("choices"), list):
            for at, choice in enumerate(choices):
                if isinstance(choice, dict):
                    self._choice(choice.get("index", at), choice)
            content = {key: value for key, value in content.items() if key != "choices"}
        if self.kind == "responses":
            self._response(content)
        elif self.kind != "embeddings":
            self._add("rest", content)

    def _choice(self, index: Json, choice: Mapping[str, Json]) -> None:
        self.finish = string(choice.get("finish_reason")) or self.finish
        for name, value in choice.items():
            if name not in ("index", "finish_reason"):
                # a delta and a message are one thing in pieces and whole
                self._add(index if isinstance(index, int) else 0, value, "" if name in ("delta", "message") else name)

    def _response(self, content: Mapping[str, Json]) -> None:
        """An object of the Responses API, or one of its events; what it echoes of the request is no answer."""
        kind = string(content.get("type"))
        delta = content.get("delta")
        if kind.endswith(".delta") and isinstance(delta, str):
            place = [content.get(name, 0) for name in ("output_index", "content_index", "summary_index")]
            self._put(("delta", kind, *(at if isinstance(at, int) else 0 for at in place)), delta)
            return
        response = content.get("response") if kind else content
        if isinstance(response, dict):
            self.model = self.model or string(response.get("model"))
            self._count(response.get("usage"))
            self.finish = string(response.get("status")) or self.finish
            self.ended = self.ended or kind in ("response.completed", "response.incomplete", "response.failed")
            own = {name: value for name, value in response.items() if name not in ECHO}
            self._add("repeats" if kind else "output", own if response.get("object") == "response" else response)
        if kind:
            self._add("repeats", {key: value for key, value in content.items() if key not in ("response", "type")})

    def _add(self, choice: str | int, value: Json, name: str = "") -> None:
        if name in ASIDE:
            return
        if isinstance(value, dict):
            value = {key: inner for key, inner in value.items() if key not in ASIDE}
        for path, text in leaves(value, self.opaque, answer=True):
            self._put((choice, name, *path), text, repeats=choice == "repeats")

    def _put(self, path: tuple[str | int, ...], text: str, repeats: bool = False) -> None:
        parts = self._parts.setdefault(path, [])
        if repeats and text in parts:
            return
        if self.chars + len(text) > MOST:
            self.broken = self.broken or "the answer is too long to be judged whole"
            return
        parts.append(text)
        self.chars += len(text)

    def _count(self, usage: Json) -> None:
        if isinstance(usage, dict):
            asked, written = (usage.get(f"{a}_tokens", usage.get(f"{b}_tokens")) for a, b in USAGE)
            self.prompt_tokens = asked if isinstance(asked, int) else self.prompt_tokens
            self.completion_tokens = written if isinstance(written, int) else self.completion_tokens


USAGE = (("prompt", "input"), ("completion", "output"))
