"""Messages of a chat as texts: parts of a message, calls of tools, turns, and the exchanges in a conversation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from withstand.core import Json, dumps

ROLES = {
    "developer": "system",
    "human": "user",
    "ai": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "gpt": "assistant",
    "function": "tool",
}
MEDIA = ("image", "audio", "video", "file", "document")
THOUGHTS = ("thinking", "redacted_thinking", "reasoning")
DEPTH = 8
"""Levels of parts in parts."""
BEFORE = 100
"""Turns that are kept of what came before an exchange."""


def object_of(value: Json) -> dict[str, Any]:
    """An object; of what is none an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: Json) -> list[dict[str, Any]]:
    """The objects in a list; of what is no list none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_of(content: Json, odd: list[str], depth: int = 0) -> str:
    """The text of a message's content: a text, its parts, or None. What is no text is named in `odd`."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if depth > DEPTH:
        odd.append("part nested too deeply")
        return ""
    if isinstance(content, list):
        return "\n".join(filter(None, [text_of(part, odd, depth + 1) for part in content]))
    if isinstance(content, dict):
        return _part(content, odd, depth)
    return dumps(content)


def _part(part: dict[str, Json], odd: list[str], depth: int) -> str:
    """The text of a part: of OpenAI's, Anthropic's, Inspect's, OpenInference's and OpenTelemetry's messages."""
    part = part["message_content"] if isinstance(part.get("message_content"), dict) else part
    kind = str(part.get("type") or part.get("modality") or "")
    if any(kind.startswith((medium, f"input_{medium}", f"output_{medium}")) for medium in MEDIA):
        medium = next(medium for medium in MEDIA if medium in kind)
        odd.append(f"{medium} not read")
        return _spoken(part)
    if kind in THOUGHTS:
        odd.append("reasoning not read")
        return ""
    if "function" in part or kind in ("tool_use", "tool_call", "function_call", "custom_tool_call"):
        return call_text(part)
    for name in ("text", "content", "contents", "parts", "refusal", "output", "response", "result", "value"):
        if part.get(name) is not None:
            return text_of(part[name], odd, depth + 1)
    odd.append("part not read")
    return ""


def _spoken(part: dict[str, Json]) -> str:
    """What was said in an audio part, where the log has it."""
    for holder in (part, *(inner for inner in part.values() if isinstance(inner, dict))):
        if isinstance(spoken := holder.get("transcript"), str):
            return spoken
    return ""


def call_text(call: Json) -> str:
    """A call of a tool as its name with the arguments: `order({"pan": 2})`."""
    if not isinstance(call, dict):
        return ""
    call = call["tool_call"] if isinstance(call.get("tool_call"), dict) else call
    inner = call.get("function")
    inner = inner if isinstance(inner, dict) else call
    name = next((inner[key] for key in ("name", "function", "tool_name") if isinstance(inner.get(key), str)), "")
    values = (inner[key] for key in ("arguments", "input", "parameters", "args") if inner.get(key) is not None)
    arguments = next(values, "")
    return f"{name}({arguments if isinstance(arguments, str) else dumps(arguments)})"


@dataclass(frozen=True, slots=True)
class Turn:
    """A message. role: system, user, assistant, tool or what the log says.   ts: of the log, or None.

    given: an answer that was written for the model, as Inspect marks it, such as one of a few-shot prompt.
    """

    role: str
    text: str
    ts: Json = None
    given: bool = False


def turns_of(messages: Json, odd: list[str]) -> list[Turn]:
    """The messages of a chat, oldest first. A text alone is the user's."""
    if isinstance(messages, str):
        return [Turn("user", messages)]
    turns = []
    for message in messages if isinstance(messages, list) else [messages]:
        if isinstance(message, str):
            turns.append(Turn("user", message))
        elif isinstance(message, dict):
            turns.append(_turn(message, odd))
        elif message is not None:
            odd.append("message not read")
    return turns


def _turn(message: dict[str, Json], odd: list[str]) -> Turn:
    role, content = message.get("role"), message.get("content")
    if len(message) == 2 and type(role) is str and type(content) is str:  # most are so
        return Turn(ROLES.get(role.lower(), role.lower()), content)
    inner = message.get("message")
    if isinstance(inner, dict) and "role" in inner:  # as OpenInference has it, and spans
        message = inner
    role = message.get("role") or message.get("from") or message.get("author")
    kind = message.get("type")
    if not isinstance(role, str):  # an item of the Responses API
        calls, outputs = ("function_call", "custom_tool_call"), ("function_call_output", "custom_tool_call_output")
        role = "assistant" if kind in (*calls, "reasoning") else "tool" if kind in outputs else "user"
        if kind in (*calls, *outputs, "reasoning"):
            return Turn(role, _part(message, odd, 0))
    texts = [text_of(_content(message), odd)]
    if isinstance(refusal := message.get("refusal"), str):
        texts.append(refusal)
    calls_made = message.get("tool_calls")
    texts += [call_text(call) for call in calls_made] if isinstance(calls_made, list) else []
    if isinstance(message.get("function_call"), dict):
        texts.append(call_text(message["function_call"]))
    if isinstance(audio := message.get("audio"), dict):
        odd.append("audio not read")
        texts.append(_spoken({"audio": audio}))
    ts = next((message[name] for name in ("ts", "timestamp", "created_at", "create_time") if message.get(name)), None)
    text, given = "\n".join(filter(None, texts)), message.get("source") == "input"
    return Turn(ROLES.get(role.lower(), role.lower()), text, ts, given)


def _content(message: dict[str, Json]) -> Json:
    names = ("content", "parts", "contents", "value", "text")
    return next((message[name] for name in names if message.get(name) is not None), None)


@dataclass(frozen=True, slots=True)
class Answered:
    """What the user said, with the answer to it. turns: what else came before the answer, at most the last `BEFORE`.

    ts: of the first message in it that has a time, or None.
    """

    system: str
    prompt: str
    turns: tuple[tuple[str, str], ...]
    completion: str = ""
    ts: Json = None


def request_of(turns: Sequence[Turn], odd: list[str]) -> Answered:
    """The system prompt, what the user said last (all messages since the last answer), and the other turns."""
    system = "\n".join(turn.text for turn in turns if turn.role == "system")
    rest = [turn for turn in turns if turn.role != "system"]
    last = max((at for at, turn in enumerate(rest) if turn.role == "user"), default=-1)
    first = last
    while first > 0 and rest[first - 1].role == "user":
        first -= 1
    asked = rest[first : last + 1] if last >= 0 else []
    return Answered(system, _joined(asked), _before([*rest[: max(first, 0)], *rest[last + 1 :]], odd))


def exchanges_of(turns: Sequence[Turn], odd: list[str]) -> Iterator[Answered]:
    """The exchanges in a conversation: what the user said, with all that the model answered before he spoke again."""
    system = "\n".join(turn.text for turn in turns if turn.role == "system")
    rest = [turn for turn in turns if turn.role != "system"]
    start = 0
    while start < len(rest):
        end = start
        while end < len(rest) and rest[end].role != "assistant":
            end += 1
        while end < len(rest) and rest[end].role != "user":
            end += 1
        part = rest[start:end]
        asked, answers = ([turn for turn in part if turn.role == role] for role in ("user", "assistant"))
        results = [turn for turn in part if turn.role not in ("user", "assistant")]
        ts = next((turn.ts for turn in part if turn.ts is not None), None)
        before = _before([*rest[max(0, start - BEFORE) : start], *results], odd)
        if not answers or not all(turn.given for turn in answers):
            yield Answered(system, _joined(asked), before, _joined(answers), ts)
        start = end


def _joined(turns: Sequence[Turn]) -> str:
    return "\n".join(turn.text for turn in turns if turn.text)


def _before(turns: Sequence[Turn], odd: list[str]) -> tuple[tuple[str, str], ...]:
    if len(turns) > BEFORE:
        odd.append("earlier turns left out")
    return tuple((turn.role, turn.text) for turn in turns[-BEFORE:])
