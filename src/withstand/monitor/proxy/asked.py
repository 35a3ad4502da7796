"""What a request says: the texts to judge, what cannot be judged, and the body that goes on.

The body that goes on is written anew from what was read, so that the server reads what was judged: of two equal keys,
which parsers choose between in different ways, one is left. Every string of the body is judged wherever it stands,
since servers take prompts from many fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from withstand.core import Json
from withstand.monitor.proxy.leaves import MOST, NAME, TooManyError, leaves, string
from withstand.monitor.proxy.route import Kind

SPOKEN = ("messages", "input", "prompt", "instructions")
"""Fields whose entries are texts of their own."""
IDENTITY = ("model", "user", "safety_identifier", "prompt_cache_key")
"""Fields that name who asks, and which model, which no model reads."""
ELSEWHERE = ("previous_response_id", "conversation", "background")
"""Fields of a Responses request by which a prompt or an answer does not pass here."""


class BodyError(Exception):
    """A body that is no request of its kind."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. body: what goes on.   texts: each is judged.   opaque: fields that cannot be.   user: as it says.

    prompt, system, turns: as in `Exchange`, for the log.
    """

    kind: Kind
    body: bytes
    texts: tuple[str, ...] = ()
    opaque: tuple[str, ...] = ()
    model: str = ""
    stream: bool = False
    prompt: str = ""
    system: str = ""
    turns: tuple[tuple[str, str], ...] = ()
    user: str = ""


def asked_of(kind: Kind, body: bytes) -> Asked:
    """The request in an opened body. Raises `BodyError` for what is no JSON object, strictly read."""
    import orjson

    try:
        content = orjson.loads(body)
    except ValueError as error:  # not UTF-8, a lone surrogate, NaN, nested too deep, a second document
        raise BodyError(f"the body is not JSON: {str(error)[:120]}") from error
    if not isinstance(content, dict):
        raise BodyError("the body is no JSON object")
    try:
        return _read(kind, content, orjson.dumps(content))
    except TypeError as error:
        raise BodyError("the body is nested too deep") from error
    except TooManyError as error:
        raise BodyError(f"the body has more than {MOST:,} parts") from error


def _read(kind: Kind, content: Mapping[str, Json], anew: bytes) -> Asked:
    """The request in a JSON object. anew: how the object is written. Raises `TooManyError`."""
    opaque: dict[str, None] = {}
    spoken = [_words(entry, opaque) for entry in _spoken(kind, content, opaque)]
    rest = {key: value for key, value in content.items() if key not in SPOKEN and not _names(key, value)}
    parts = [*spoken, _words(rest, opaque)]
    texts = ["\n".join(part) for part in parts]
    whole = "\n\n".join(text for text in texts if text)
    glued = "\n\n".join("".join(part) for part in parts) if any(len(part) > 1 for part in spoken) else ""
    if kind == "responses":
        opaque |= dict.fromkeys(name for name in ELSEWHERE if content.get(name))
    turns = _turns(kind, content)
    last = max((at for at, (role, _) in enumerate(turns) if role == "user"), default=len(turns) - 1)
    return Asked(
        kind,
        anew,
        tuple(dict.fromkeys(text for text in (*texts, whole, glued) if text.strip())),
        tuple(opaque),
        string(content.get("model")),
        content.get("stream") in (True, "true", "True", "1"),
        turns[last][1] if turns else "",
        "\n\n".join(text for role, text in turns if role in ("system", "developer")),
        tuple(turn for turn in turns[: max(last, 0)] if turn[0] not in ("system", "developer")),
        string(content.get("safety_identifier")) or string(content.get("user")),
    )


def _spoken(kind: Kind, content: Mapping[str, Json], opaque: dict[str, None]) -> list[Json]:
    """The entries that the model reads as turns or texts of their own, in order."""
    entries = [content["instructions"]] if "instructions" in content else []
    for name in SPOKEN[:3]:
        value = content.get(name)
        if kind == "responses" and name == "prompt" and isinstance(value, dict):
            opaque["prompt"] = None  # a template that the server keeps
        if name != "messages" and isinstance(value, list) and any(isinstance(entry, (int, list)) for entry in value):
            opaque[f"{name} of tokens"] = None
        entries += value if isinstance(value, list) else [] if value is None else [value]
    return entries


def _names(key: str, value: Json) -> bool:
    """Whether a field says who asks whom, and no more."""
    return key in IDENTITY and isinstance(value, str) and NAME.fullmatch(value) is not None


def _words(value: Json, opaque: dict[str, None]) -> list[str]:
    """Every string in a value, in order; names of `opaque` fields in it are added there."""
    return [text for _, text in leaves(value, opaque)]


def _turns(kind: Kind, content: Mapping[str, Json]) -> list[tuple[str, str]]:
    """(role, text) of each turn."""
    turns = [("system", content["instructions"])] if isinstance(content.get("instructions"), str) else []
    entries = content.get("messages" if kind == "chat" else "prompt" if kind == "completions" else "input")
    for entry in entries if isinstance(entries, list) else [entries]:
        if isinstance(entry, str):
            turns.append(("user", entry))
        elif isinstance(entry, dict):
            role = entry.get("role") or entry.get("type")
            words = [text for path, text in leaves(entry, {}) if path and path[0] not in ("role", "type")]
            turns.append((role if isinstance(role, str) else "", "\n".join(words)))
    return turns
