"""The command line's grammar of components: `NAME[:FIRST][,field=value,...]`, and its long form in TOML."""

import json
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from withstand.core import SpecError, bounded
from withstand.core.text import INVISIBLE


def parse(text: str, files: bool = True) -> dict[str, Any]:
    """The command line's `NAME[:FIRST][,field=value,...]` as a spec; FIRST is kept under "".

    Values are text; the field says of what type. `@file` reads one from a file; brackets and quotes hold commas.
    A field `outer.inner` changes a field of the component in `outer`.
    files: whether `@` may do so; a text from a store may not.
    """
    parts = _split(text)
    name, colon, first = parts[0].partition(":")
    spec: dict[str, Any] = {"use": name.strip()}
    if not spec["use"] or "," in spec["use"]:  # a quote or bracket before the colon hid the comma
        raise SpecError(f"{text!r} names no component", hint="write NAME[:FIRST][,field=value,...]")
    if colon:
        spec[""] = _value(first, files)
    for part in parts[1:]:
        field, equals, value = part.partition("=")
        if not equals or not all(name.isidentifier() for name in field.strip().split(".")):
            raise SpecError(
                f"{part!r} in {text!r} is not field=value",
                hint=f'a value that holds a comma goes in quotes: {name},field="a, b"; several attacks are a list',
            )
        spec[field.strip()] = _value(value, files)
    return spec


def with_first(name: str, given: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """The fields of a spec, with FIRST under the name of the first of `fields`, those of the component called `name`.

    Raises `SpecError` for a FIRST that has no place, and one such as "fails=open": the field would stay at its default.
    """
    given = dict(given)
    if "" not in given:
        return given
    first = given.pop("")
    if not fields or fields[0] in given:
        raise SpecError(f"{name} has no place for {first!r}", hint="write field=value")
    field, equals, _ = first.partition("=") if isinstance(first, str) else ("", "", "")
    if equals and field.strip() in fields:
        raise SpecError(
            f"{name}:{first[:60]} gives a field where the value of {fields[0]} stands",
            hint=f"write a comma before a field: {name},{first[:60]}",
        )
    return {**given, fields[0]: first}


def with_inner(given: dict[str, Any]) -> dict[str, Any]:
    """`outer.inner` put into the spec of the component in `outer`, which this spec or its preset must give."""
    for key in [key for key in given if "." in key]:
        outer, _, inner = key.partition(".")
        value = given.pop(key)
        if not isinstance(given.get(outer), (str, Mapping)):
            raise SpecError(f"{key} changes {outer}, and none is given", hint=f"{outer}=NAME before {key}")
        given[outer] = {**spec_of(given[outer]), inner: value}
    return given


def _split(text: str) -> list[str]:
    parts, depth, quote, start, escaped = [], 0, "", 0, False
    for place, char in enumerate(text):
        if quote:
            quote = "" if char == quote and not escaped else quote
            escaped = quote == '"' and char == "\\" and not escaped  # as in TOML: only double quotes know escapes
        elif char in "\"'" and (place == 0 or text[place - 1] in "=:,[{( "):
            quote = char
        elif char in "[{":
            depth += 1
        elif char in "]}":
            depth = max(depth - 1, 0)
        elif char == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    if (quote or depth > 0) and "," in text[start:]:  # it would swallow the fields behind it
        raise SpecError(
            f"{text[start:]!r} opens a {quote or 'bracket'} that it does not close",
            hint="a value that holds one goes in quotes: field='a[b'",
        )
    return [*parts, text[start:]]


def _value(text: str, files: bool) -> Any:
    text = text.strip()
    if text.startswith("@"):
        if not files:
            raise SpecError("this text names a file to read", hint="no store or bundle may say that")
        try:
            return bounded.read_text(text[1:]).removesuffix("\n")
        except OSError as error:
            raise SpecError(f"cannot read {text[1:]}: {error}", hint="@ before a value reads it from a file") from error
    if text[:1] in ("'", '"', "{"):
        return toml_value(text)
    return text


def written(spec: Mapping[str, Any]) -> str:
    """A spec on the command line, with nothing left out or cut: `parse` reads it back, lists and numbers as text."""
    fields = [f"{key}={_bare(value)}" for key, value in spec.items() if key not in ("use", "")]
    return ",".join([spec["use"] + (f":{_bare(spec[''])}" if "" in spec else ""), *fields])


def _bare(value: Any) -> str:
    if not isinstance(value, str):
        return _toml(value)
    try:
        plain = parse(f"a:{value},b=1") == {"use": "a", "": value, "b": "1"} and not value.startswith("@")
    except SpecError:
        plain = False
    return value if plain else _toml(value)


def to_toml(spec: Mapping[str, Any]) -> str:
    """The spec of a run as TOML text that `runner.spec.read_spec` reads back."""
    return "".join(f"{key} = {_toml(value)}\n" for key, value in spec.items())


def _toml(value: Any) -> str:
    """A value as TOML; a component that its name and first field describe becomes the text NAME:FIRST."""
    if isinstance(value, Mapping):
        fields = {key: inner for key, inner in value.items() if inner is not None}  # TOML has no null
        first = fields.get("")
        plain = isinstance(first, str) and first == first.strip() and re.fullmatch(r"[^,'\"{}\[\]@]+", first)
        if "use" in fields and plain:
            fields["use"] = f"{fields['use']}:{fields.pop('')}"
        if set(fields) == {"use"} and "," not in str(fields["use"]):
            return _toml(fields["use"])
        return "{ " + ", ".join(f"{_name(key)} = {_toml(inner)}" for key, inner in fields.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    text = INVISIBLE.sub(_escaped, json.dumps(value, ensure_ascii=False))
    return {"Infinity": "inf", "-Infinity": "-inf", "NaN": "nan"}.get(text, text)


def _escaped(match: re.Match[str]) -> str:
    """A hidden character as TOML writes it; a lone surrogate, which TOML lacks, as U+FFFD."""
    code = ord(match[0])
    return "\\ufffd" if 0xD800 <= code < 0xE000 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _name(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml(key)


def toml_value(text: str) -> Any:
    try:
        return bounded.parse_toml("value", f"value = {text}")["value"]
    except SpecError as error:
        message = str(error).partition(": ")[2] or str(error)
        raise SpecError(f"{text[:200]} is not a TOML value: {message}", hint=error.hint) from error


Spec: typing.TypeAlias = str | Mapping[str, Any]


def spec_of(spec: Spec) -> dict[str, Any]:
    """A spec in its long form: a string is the command line's grammar, and so is the value of `use`."""
    if isinstance(spec, str):
        return parse(spec)
    if not isinstance(spec, Mapping) or not isinstance(spec.get("use"), str):
        raise SpecError(f"{spec!r} names no component", hint='a component is a name or { use = "name", ... }')
    return {**parse(spec["use"]), **{key: value for key, value in spec.items() if key != "use"}}
