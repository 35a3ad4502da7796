"""A small part of JSONPath (RFC 9535): names by dots, `[2]`, `[-1]` and `[*]`, after an optional `$`."""

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal

from withstand.core import Json, SpecError

STEP = re.compile(r"\.?([^.\[\]\s][^.\[\]]*)|\[(-?\d+|\*)\]")


@cache
def steps(path: str) -> tuple[str | int | None, ...]:
    """The steps of a path: a name, an index, or None for `[*]`. Raises `SpecError` where it is none."""
    rest, read = path.strip().removeprefix("$"), list[str | int | None]()
    while rest:
        step = STEP.match(rest)
        if not step:
            raise SpecError(f"{path!r} is no path from {rest!r} on", hint="as choices[0].message.content")
        read.append(step[1] or (None if step[2] == "*" else int(step[2])))
        rest = rest[step.end() :]
    return tuple(read)


def values_at(path: str, value: Json) -> list[Json]:
    """What stands at a path; nothing where it leads nowhere."""
    values = [value]
    for step in steps(path):
        values = [inner for outer in values for inner in _inside(outer, step)]
    return values


def _inside(value: Json, step: str | int | None) -> list[Json]:
    if isinstance(value, list):
        if step is None:
            return value
        return [value[step]] if isinstance(step, int) and -len(value) <= step < len(value) else []
    if isinstance(value, dict):
        return list(value.values()) if step is None else [value[step]] if step in value else []
    return []


def shown(value: Json) -> str:
    """A value as text: texts as they are, null as nothing."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def flat(values: Sequence[Json]) -> list[Json]:
    """The values, with a list's members instead of the list."""
    return [inner for value in values if value for inner in (value if isinstance(value, list) else [value])]


def where(values: Sequence[Json], kind: Literal["texts", "numbers"] = "texts") -> str:
    """The paths at which texts, or numbers, stand in an answer, for an error."""
    paths = list(dict.fromkeys(path for value in values for path in _leaves(value, "", kind)))[:5]
    return f"; {kind} stand at {', '.join(paths)}" if paths else ""


NAMES = ("answer", "reply", "response", "completion", "output_text", "output", "content", "text", "message", "result")
"""What applications call their answer, the likeliest first."""


def answers(values: Sequence[Json], question: str) -> list[tuple[str, str]]:
    """Paths at which an answer may stand, with the texts there, the likeliest first: `NAMES`, then the longest.

    values: one JSON value, or those of a stream's events, whose pieces at a path belong together. Left out are single
    words (names, ids, dates), echoes of the question, and what no path leads to.
    """
    asked, candidates = " ".join(question.split()).casefold(), list[tuple[str, str]]()
    for path in dict.fromkeys(path for value in values for path in _leaves(value, "", "texts")):
        try:
            text = "".join(shown(piece) for value in values for piece in values_at(path, value))
        except SpecError:  # a name that holds brackets or blanks
            continue
        rest = " ".join(text.split()).casefold().replace(asked, "")
        if len(rest.split()) > 1 and rest not in asked:
            candidates.append((path, text))

    def rank(candidate: tuple[str, str]) -> tuple[int, int]:
        names = [step for step in steps(candidate[0]) if isinstance(step, str)]
        return (NAMES.index(names[-1]) if names and names[-1] in NAMES else len(NAMES), -len(candidate[1]))

    return sorted(candidates, key=rank)


def named(values: Sequence[Json], name: str) -> str:
    """The path of the first member with this name, the shallowest; "" where there is none, or no path leads to it."""
    level = [("", value) for value in values]
    while level:
        for path, value in level:
            if isinstance(value, dict) and name in value:
                return f"{path}.{name}" if path else name
        level = [
            (f"{path}.{key}" if path else str(key), inner)
            for path, value in level
            if isinstance(value, dict)
            for key, inner in value.items()
            if STEP.fullmatch(key)
        ] + [(f"{path or '$'}[0]", value[0]) for path, value in level if isinstance(value, list) and value]
    return ""


def _leaves(value: Json, path: str, kind: str) -> Iterator[str]:
    if isinstance(value, str if kind == "texts" else (int, float)) and not isinstance(value, bool):
        yield path or "$"
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name, kind)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{path or '$'}[{place}]", kind)
