"""Components that a store or a bundle names: only what an allowlist of types and fields lets through, spelled out.

A spec on the command line may read files (`@`), name code and say which secret goes to which host. A spec in a store or
a bundle is data: it may say none of it, at any depth and in any spelling.
"""

import typing
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import urlsplit

from withstand.core import SpecError
from withstand.registry import find
from withstand.registry.grammar import Spec, parse, toml_value

OFFICIAL = "api.openai.com"

TEXTS: Mapping[str, frozenset[str]] = {
    name: frozenset(fields.split())
    for name, fields in {
        "kitchen": "split",
        "everyday": "split",
        "harmbench": "split",
        "openai": "model base_url key_env revision served_as system extra",
        "moderation": "model base_url key_env revision",
        "http": "url body text method headers message session start tool_calls context prompt_tokens answer_tokens "
        "filtered statuses events revision",
        "inspect": "model revision served_as system extra",
        "hf": "id revision system date template_kwargs think_open think_close device",
        "vllm": "id revision system date quantization",
        "encoder": "id revision device",
        "classifier": "id revision labels counts device",
        "score_service": "model base_url key_env revision path body score_at scores_at name_at value_at version_at",
        "scripted": "rules reply",
        "self_reminder": "reminder closing",
        "system_prompt": "prompt",
        "in_context_refusal": "demonstrations",
        "canary": "secrets patterns disguises",
        "contains": "pattern",
        "openai_moderation": "categories",
        "lexicon": "categories",
        "linear": "categories",
        "scorer": "categories",
        "router": "when",
        "tool_called": "tool arguments",
        "prefill": "opening",
        "random_search": "opening init transfer",
        "gcg": "init",
        "gcg_multi": "init",
        "uat": "init",
        "goat": "techniques",
        "pap": "techniques",
        "transform": "chain",
        "inject": "document task",
        "prefix_injection": "openings",
        "role_play": "personas",
        "story": "scenes",
        "deployment_talk": "families avoid",
    }.items()
}
"""Fields of text that a store or bundle may give, by component. Every other field of text names a file, a command, a
secret or code, or is too new to be here; numbers, choices and components inside are let through."""

NEVER = frozenset({"trust_remote_code"})
"""Fields that let code run though they hold no text."""

HINT = "run it from the command line, where you write the spec yourself"


def stored(kind: str, spec: Spec, own_code: bool = False) -> dict[str, Any]:
    """A spec of a store or bundle in its long form, with the components inside it; for `find.build`.

    own_code: let classes and functions outside the package through. Raises `SpecError` for what neither may say.
    """
    given = long_form(spec)
    name = given.pop("use")
    if kind == "defense" and name == "none":
        return {"use": "none"}
    entry = find.entry_of(kind, name)
    if entry is None or entry.path is None or entry.name == "function":
        if not own_code:
            raise SpecError(
                f"this run names custom code ({name}), which no store or bundle may start",
                hint=f"{HINT}; or, if you trust it, start the explorer with --own-code",
            )
        return {"use": name, **{key: _value(name, key, value) for key, value in given.items()}}
    cls, every = find.resolve(kind, {"use": entry.name, **given})
    preset = find.resolve(kind, entry.name)[1] if entry.preset else {}
    hints = typing.get_type_hints(cls)
    component = find.name_of(cls)
    if unknown := [key for key in every if key not in hints]:
        raise SpecError(f"{component} has no field {unknown[0]!r}", hint=HINT)
    fields = {
        key: _field(component, key, hints[key], value, own_code)
        for key, value in every.items()
        if not (key in preset and preset[key] == value)
    }
    _check_key(component, {**preset, **fields})
    alias = given.get(find.ALIAS)
    return {"use": entry.name, **fields, **({find.ALIAS: alias} if isinstance(alias, str) else {})}


def long_form(spec: Spec) -> dict[str, Any]:
    """A spec with its fields by name, as `grammar.spec_of` reads it, but without any file."""
    if isinstance(spec, str):
        return parse(spec, files=False)
    if isinstance(spec, Mapping) and isinstance(spec.get("use"), str):
        return {**parse(spec["use"], files=False), **{key: value for key, value in spec.items() if key != "use"}}
    raise SpecError("a component of this store or bundle has no name", hint=HINT)


def _field(owner: str, key: str, hint: Any, value: Any, own_code: bool) -> Any:
    """The value of a field, with the components in it spelled out."""
    kind = next((find.KINDS[part] for part in (hint, *typing.get_args(hint)) if part in find.KINDS), "")
    if kind:
        if typing.get_origin(hint) is tuple:
            if isinstance(value, str) and value.startswith("["):
                value = toml_value(value)
            return [stored(kind, inner, own_code) for inner in (value if isinstance(value, list) else [value])]
        return None if value in (None, "none", "") else stored(kind, value, own_code)
    if key in NEVER and value not in (False, "false"):
        raise _refusal(owner, key)
    if _holds_text(hint) and key not in TEXTS.get(owner, ()):
        raise _refusal(owner, key)
    return _value(owner, key, value)


def _holds_text(hint: Any) -> bool:
    """Whether a field of this type can hold any text."""
    if typing.get_origin(hint) is Literal:
        return False
    args = typing.get_args(hint)
    return any(map(_holds_text, args)) if args else hint not in (bool, int, float, type(None), ...)


def _value(owner: str, key: str, value: Any) -> Any:
    """A plain value. Raises `SpecError` where it would be read from a file or from the environment."""
    if isinstance(value, str):
        parsed = None
        if value.startswith(("[", "{")):  # may be read as TOML, whose escapes hide a sign
            with suppress(SpecError):
                parsed = toml_value(value)
        if value.strip().startswith("@") or "${" in value:
            raise _refusal(owner, key)
        _value(owner, key, parsed)
    if isinstance(value, Mapping):
        return {str(name): _value(owner, key, inner) for name, inner in value.items()}
    return [_value(owner, key, inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _check_key(owner: str, fields: Mapping[str, Any]) -> None:
    """Raise `SpecError` where a variable of the store's choice would go to a host of its choice."""
    if fields.get("key_env") and urlsplit(str(fields.get("base_url", ""))).hostname not in (None, OFFICIAL):
        raise SpecError(f"it says which secret {owner} sends to its own base_url", hint=HINT)


def _refusal(owner: str, key: str) -> SpecError:
    return SpecError(f"this run gives {owner} the field {key}: no store or bundle may say that", hint=HINT)
