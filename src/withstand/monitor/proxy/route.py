"""What a request is, by its method and path, and which headers travel with it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import unquote

Kind: TypeAlias = Literal["chat", "completions", "responses", "embeddings", "other"]
Headers: TypeAlias = list[tuple[bytes, bytes]]

PLAIN = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9_.:@~+-]+)+/?|/")
"""A path that every server reads alike: nothing escaped, empty or relative in it."""
HARMLESS = ("health", "healthz", "livez", "live", "load", "metrics", "ping", "ready", "readyz", "version", "")
"""Ends of paths at which a GET brings no model's words."""
SAFE = ("GET", "HEAD", "OPTIONS")
TOKEN = b"x-withstand-token"
"""The header of the proxy's own token: Authorization belongs to the server behind."""
HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade http2-settings".split()
)
"""Headers of one connection, which no proxy passes on (RFC 9110, 7.6.1)."""
REWRITES = frozenset(
    b"x-original-url x-rewrite-url x-http-method-override x-http-method x-method-override x-forwarded-prefix".split()
)
"""Headers by which some servers take a request for another one than was judged."""


@dataclass(frozen=True, slots=True)
class Route:
    """kind: what the body is.   plain: all servers read this path alike.   harmless: it brings no model's words."""

    kind: Kind
    plain: bool
    harmless: bool


def route_of(method: str, raw_path: bytes) -> Route:
    """What a request is, whatever tricks its path plays: `//v1/Chat%2fcompletions/.` is one of a chat."""
    raw = raw_path.decode("latin-1")
    path = raw
    for _ in range(4):
        path = unquote(path)
    segments: list[str] = []
    for part in path.replace("\\", "/").lower().split("/"):
        name = re.sub(r"[\s\x00-\x1f]", "", part.partition(";")[0])
        if name == "..":
            segments[-1:] = []
        elif name not in ("", "."):
            segments.append(name)
    plain = bool(PLAIN.fullmatch(raw))
    if method in SAFE:
        last = segments[-1] if segments else ""
        harmless = plain and (method == "OPTIONS" or last in HARMLESS)
        return Route("other", plain, harmless or "models" in segments)
    return Route(_kind(segments) if method == "POST" else "other", plain, False)


def _kind(segments: list[str]) -> Kind:
    if segments[-2:] == ["chat", "completions"]:
        return "chat"
    match segments[-1:]:
        case ["completions"]:
            return "completions"
        case ["responses"]:
            return "responses"
        case ["embeddings"]:
            return "embeddings"
    return "other"


def end_to_end(headers: Iterable[tuple[bytes, bytes]], without: Iterable[bytes] = ()) -> Headers:
    """The headers that travel on: those of the connection stay, with those that `Connection` names, and `without`."""
    listed = [(name.lower(), value) for name, value in headers]
    hop = {part.strip().lower() for name, value in listed if name == b"connection" for part in value.split(b",")}
    stay = HOP | hop | set(without)
    return [(name, value) for name, value in listed if name not in stay]


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    """The first value of a header, whose name is in lower case; "" for none."""
    return next((value.decode("latin-1") for key, value in headers if key.lower() == name), "")
