"""TOML tables of a user's file as records: every error of the file at once, each with its place and what to do."""

import datetime
import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from withstand.core import Json, SpecError, bounded, did_you_mean, from_json
from withstand.core.shape import misfit

T = TypeVar("T")

SLUG = r"[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*"
"""An id: lower case, digits, - and _; dots for children."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in a file. place: as "harm 3 (wrong-dose), severity".   hint: what to do.   level: of a check.

    rule: the recommendation of the guide that it is about, such as "W2"; "" for none.
    """

    place: str
    message: str
    hint: str = ""
    level: typing.Literal["error", "warning"] = "error"
    rule: str = ""

    def __str__(self) -> str:
        head = f"{self.place}: {self.message}" if self.place else self.message
        return f"{head} ({self.hint})" if self.hint else head


@dataclass
class Problems:
    """Gathers the problems of a file, so that all are said at once."""

    file: str
    listed: list[Problem] = field(default_factory=list)

    def add(self, place: str, message: str, hint: str = "") -> None:
        self.listed.append(Problem(place, message, hint))

    def check(self) -> None:
        """Raise `SpecError` with all errors, if there are any."""
        errors = [problem for problem in self.listed if problem.level == "error"]
        if len(errors) == 1:
            only = errors[0]
            raise SpecError(f"{self.file}: {only.place}: {only.message}", hint=only.hint or "mend it and try again")
        if errors:
            lines = "\n".join(f"  {problem}" for problem in errors)
            raise SpecError(f"{self.file} has {len(errors)} errors:\n{lines}", hint="mend them and try again")


def read_tables(path: str | Path, schema: str) -> dict[str, Json]:
    """The tables of a TOML file that says `schema`; dates as ISO texts. Raises `SpecError` with file and line."""
    try:
        text = bounded.read_text(path, bounded.TOML)
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}", hint="name a file that is there") from error
    return parse_tables(str(path), text, schema)


def parse_tables(path: str, text: str, schema: str) -> dict[str, Json]:
    """`read_tables`, of a text that is at hand; path: the file that it is of."""
    content = bounded.parse_toml(path, text)
    stated = content.pop("schema", None)
    if stated != schema:
        what = "says no schema" if stated is None else f"has the schema {stated!r}"
        raise SpecError(f"{path} {what}", hint=f'its first line should be: schema = "{schema}"')
    plain: dict[str, Json] = _plain(content)
    return plain


def _plain(value: Any) -> Json:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else value


def check_names(problems: Problems, content: Mapping[str, Json], names: Iterable[str]) -> None:
    """Add a problem for each table of the file that is none of `names`."""
    known_names = list(names)
    for name in content:
        if name not in known_names:
            hint = did_you_mean(name, known_names, f"tables: {', '.join(known_names)}")
            problems.add(f"[{name}]", "there is no such table", hint)


def record_of(problems: Problems, kind: type[T], table: Json, place: str) -> T | None:
    """The record of a table; None where it has problems, all of which are added."""
    if not isinstance(table, dict):
        problems.add(place, "it is no table", f"write [{place}]")
        return None
    before = len(problems.listed)
    hints = typing.get_type_hints(kind)
    kinds = {f.name: f for f in fields(kind)}  # type: ignore[arg-type] # a dataclass
    for name in (name for name in table if name not in kinds):
        problems.add(f"{place}, {name}", "there is no such key", did_you_mean(name, kinds, f"keys: {', '.join(kinds)}"))
    for name, one_field in kinds.items():
        needed = one_field.default is MISSING and one_field.default_factory is MISSING
        if name in table:
            if wrong := misfit(hints[name], table[name]):
                options = typing.get_args(hints[name]) if typing.get_origin(hints[name]) is typing.Literal else ()
                text = table[name] if isinstance(table[name], str) else ""
                problems.add(f"{place}, {name}", wrong, did_you_mean(text, map(str, options)) if text else "")
        elif needed:
            problems.add(place, f"it lacks {name}", f"add {name} = ...")
    if len(problems.listed) > before:
        return None
    try:
        record: T = from_json(kind, table)
    except SpecError as error:
        problems.add(place, str(error), error.hint)
        return None
    return record


def named(records: Iterable[T], wanted: str, kind: str, file: str) -> T:
    """The record with this id. Raises `SpecError` that lists the ids; kind, file: what it is, and of what."""
    by_id: dict[str, T] = {record.id: record for record in records}  # type: ignore[attr-defined] # each has an id
    if wanted not in by_id:
        raise SpecError(f"{file} has no {kind} {wanted!r}", hint=f"it has: {', '.join(by_id) or 'none'}")
    return by_id[wanted]


def records_of(problems: Problems, kind: type[T], content: Mapping[str, Json], name: str) -> tuple[T, ...]:
    """The records of the tables [[name]], whose ids are slugs and differ; those with problems are left out."""
    entries = content.get(name, [])
    if not isinstance(entries, list):
        problems.add(name, "it is no list of tables", f"write [[{name}]]")
        return ()
    kept: list[T] = []
    ids: dict[str, int] = {}
    for number, entry in enumerate(entries, 1):
        own = entry.get("id") if isinstance(entry, dict) else None
        place = f"{name} {number}" + (f" ({own})" if isinstance(own, str) else "")
        if isinstance(own, str):
            if not re.fullmatch(SLUG, own):
                problems.add(f"{place}, id", f"{own!r} is no id", "write lower-case letters, digits, - and _")
            if own in ids:
                problems.add(place, f"{name} {ids[own]} has the same id", "ids must differ")
            ids.setdefault(own, number)
        if (record := record_of(problems, kind, entry, place)) is not None:
            kept.append(record)
    return tuple(kept)
