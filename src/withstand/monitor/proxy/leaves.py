"""Every string of a JSON body with its place: a client's prompt may stand in any value, and in any key.

Only what the APIs themselves define is left out: their fields, and the values of their enumerations. So a role, an id
or a parameter's name that says something is a text like another.
"""

import re
from collections.abc import Iterator
from typing import TypeAlias

from withstand.core import Json

Path: TypeAlias = tuple[str | int, ...]

FIELDS = frozenset(
    (
        "additionalProperties", "annotations", "anyOf", "arguments", "array", "audio", "background", "best_of",
        "bias", "call_id", "choices", "chunk_size", "chat_template", "chat_template_kwargs", "code", "content",
        "content_index", "conversation", "created", "custom", "default", "delta", "description", "detail",
        "dimensions", "documents", "echo", "effort", "encoding_format", "encrypted_content", "enum", "error",
        "event", "file", "file_data", "file_id", "filename", "finish_reason", "format", "frequency_penalty",
        "function", "function_call", "functions", "grammar", "guided_json", "guided_regex", "ignore_eos", "image",
        "image_url", "include", "include_usage", "index", "input", "input_audio", "input_file", "input_image",
        "input_text", "instructions", "item_id", "items", "json_schema", "last_messages", "length_penalty",
        "logit_bias", "logprobs", "max_completion_tokens", "max_length", "max_output_tokens", "max_tokens",
        "max_tool_calls", "message", "messages", "metadata", "min_length", "min_p", "min_tokens", "mode", "model",
        "modalities", "n", "name", "note", "object", "output", "output_index", "output_text", "parallel_tool_calls",
        "parameters", "pattern", "prediction", "presence_penalty", "previous_response_id", "priority", "prompt",
        "prompt_cache_key", "prompt_embeds", "prompt_logprobs", "properties", "reasoning", "reasoning_content",
        "reasoning_effort", "refusal", "repetition_penalty", "required", "response_format", "role",
        "safety_identifier", "schema", "seed", "service_tier", "skip_special_tokens", "status", "stop",
        "stop_token_ids", "store", "stream", "stream_options", "strict", "strings", "structured_outputs", "suffix",
        "summary", "summary_text", "syntax", "system", "temperature", "text", "text_format", "thinking", "title",
        "tool_call_id", "tool_calls", "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "truncation", "type",
        "url", "usage", "user", "verbosity", "web_search_options",
    )
)  # fmt: skip
"""Names of fields. A key that is none of them is judged."""
STRUCTURE = frozenset(
    (
        "detail", "effort", "encoding_format", "finish_reason", "format", "include", "mode", "modalities", "object",
        "reasoning_effort", "role", "service_tier", "status", "syntax", "tool_choice", "truncation", "type",
        "verbosity",
    )
)  # fmt: skip
"""Fields whose values are words of the APIs, as far as they are in `VOCABULARY`."""
VOCABULARY = frozenset(
    (
        "any", "array", "assistant", "audio", "auto", "base64", "boolean", "completed", "concise", "content",
        "critic", "custom", "default", "detailed", "developer", "disabled", "ephemeral", "file", "file_search",
        "flex", "float", "function", "function_call", "function_call_output", "grammar", "high", "image",
        "image_url", "in_progress", "incomplete", "input_audio", "input_file", "input_image", "input_text",
        "integer", "item_reference", "json_object", "json_schema", "lark", "low", "max", "medium", "message",
        "minimal", "model", "none", "null", "number", "object", "output_text", "priority", "reasoning", "refusal",
        "regex", "required", "scale", "string", "summary_text", "system", "text", "tool", "user", "video_url",
        "xhigh",
    )
)  # fmt: skip
"""Values of `STRUCTURE` that say nothing to a model."""
OPAQUE = frozenset(
    (
        "audio", "audio_url", "b64_json", "chat_template", "encrypted_content", "file", "file_data", "file_id",
        "file_ids", "file_url", "image", "image_url", "images", "input_audio", "input_ids", "input_image",
        "item_reference", "multi_modal_data", "multimodal_data", "partial_image_b64", "plugins", "prompt_embeds",
        "prompt_token_ids", "token_ids", "video_url", "web_search_options",
    )
)  # fmt: skip
"""Fields that bring what a judge of texts cannot read, or that change what the model reads."""
OWN_TOOLS = ("function", "custom", None)
"""Tools that the client runs. One that the server runs brings the model texts from elsewhere."""
DECLARED = frozenset(("functions", "response_format", "json_schema", "parameters", "metadata", "properties"))
"""Below these a key is a name that the client gives to something, so that `file` is no file."""
NAME = re.compile(r"[A-Za-z0-9_.:/@+-]{0,128}")
BLOB = 2_000
"""Characters from which on a string below a field of `OPAQUE` is taken for data, not words."""
MOST = 200_000
"""Strings, lists and objects of a body that are looked at: millions would hold up the answers of others."""
IDS = frozenset(("id", "item_id", "call_id", "tool_call_id", "model", "system_fingerprint", *STRUCTURE))
"""Fields of an answer whose values are names that the server gives, where they look so."""


class TooManyError(Exception):
    """A body of more than `MOST` parts."""


def string(value: Json) -> str:
    """A text, "" for what is none."""
    return value if isinstance(value, str) else ""


def leaves(value: Json, opaque: dict[str, None], answer: bool = False) -> Iterator[tuple[Path, str]]:
    """Each text of a value with its path, in order; fields of `OPAQUE` are added to `opaque`.

    answer: it is the server's, whose names and ids hide nothing, but for those in a call's arguments. There is no
    recursion, so any depth is read. Raises `TooManyError`.
    """
    stack: list[tuple[Path, Json, bool]] = [((), value, False)]
    parts = 0
    while stack:
        path, item, declared = stack.pop()
        parts += 1
        if parts + len(stack) > MOST:
            raise TooManyError
        if isinstance(item, str):
            if item and not _says_nothing(path[-1] if path else "", item, answer):
                yield path, item
        elif isinstance(item, dict):
            if item.get("type") == "image_generation_call":
                opaque["image_generation_call"] = None
            for key, inner in reversed(item.items()):
                if key in OPAQUE and not declared and inner and not (answer and key == "encrypted_content"):
                    opaque[key] = None
                    if isinstance(inner, str) and len(inner) > BLOB and key != "chat_template":
                        continue
                if key == "tools" and not answer:
                    opaque |= _run_elsewhere(inner)
                if isinstance(inner, (str, dict, list)):
                    stack.append(((*path, key), inner, declared or key in DECLARED))
                if key not in FIELDS and (not answer or "arguments" in path or "input" in path):
                    stack.append(((*path, "key"), key, declared))
        elif isinstance(item, list):
            for at in range(len(item) - 1, -1, -1):
                if isinstance(inner := item[at], (str, dict, list)):
                    place = inner.get("index", at) if isinstance(inner, dict) else at
                    stack.append(((*path, place if isinstance(place, int) else at), inner, declared))


def _says_nothing(field: str | int, text: str, answer: bool) -> bool:
    """Whether a value is a name of the API's, or of an answer the server's."""
    if answer:
        return field in IDS and NAME.fullmatch(text) is not None
    return field in STRUCTURE and text in VOCABULARY


def _run_elsewhere(tools: Json) -> dict[str, None]:
    """The tools of a list that the server runs."""
    kinds = [tool.get("type") for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    return {f"what the tool {str(kind)[:40]} brings": None for kind in kinds if kind not in OWN_TOOLS}
