"""Attempts as rows of a spreadsheet, and back, without loss. Columns are fixed; every cell is a text.

What a spreadsheet would change or run is written in another way, and read back: a text that begins like a formula gets
a single quote before it; controls, lone surrogates and what reads as an escape are spelled as \\u and four hex digits;
what is longer than a cell of Excel goes on in a further column (`output.2`).
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from withstand.core import Json, digest, from_json, to_json
from withstand.core.bounded import parse_json
from withstand.core.errors import SpecError
from withstand.core.shape import misfit
from withstand.core.text import count
from withstand.redteam.findings import triage
from withstand.redteam.plan.records import Plan
from withstand.report.table import FORMULA
from withstand.store.attempts import Attempt, Turn

TEXTS = ("id", "plan", "round", "layer", "endpoint", "target", "target_version", "mitigations", "tester", "persona",
         "mindset", "language", "feature", "harm", "verdict", "status", "duplicate_of", "owner", "due", "mitigation",
         "technique", "output", "output_description", "behavior", "notes", "request_id", "sensitivity", "source",
         "session", "parent", "run", "editor")  # fmt: skip
"""Columns that hold a field as it stands."""
AS_JSON = ("production", "severity", "ratings", "reproduced", "screenshot", "judged", "params", "spot", "revision")
"""Columns that hold a field as JSON, "" for its default."""
QUOTED = ("output", "output_description", "behavior", "notes", "mitigation")
"""Columns of texts that a redacted sheet has as a length and a digest; `input`, `turns`, `judged`, `params` and
`screenshot` likewise."""
HIDDEN = (*QUOTED, "input", "turns", "judged", "params", "screenshot")
COLUMNS = (
    "id", "revision", "date", "plan", "round", "layer", "feature", "persona", "mindset", "language", "tester", "input",
    "output", "verdict", "harm", "severity", "ratings", "status", "duplicate_of", "reproduced", "owner", "due",
    "mitigation", "technique", "notes", "turns", "output_description", "screenshot", "behavior", "endpoint", "target",
    "target_version", "mitigations", "production", "params", "judged", "request_id", "sensitivity", "source", "session",
    "parent", "run", "spot", "editor", "edited",
)  # fmt: skip
ONTOLOGY = ("System", "Actor", "TTPs", "Weakness", "Impact")
"""What the authors of PyRIT call the parts of a finding (Bullwinkel et al. 2025): made on export, not read."""
EDITED = (*triage.EDITABLE, "ratings")
"""Fields that an import may change; all else of an attempt is evidence."""
LIMIT = 32_767
"""UTF-16 units of a cell in Excel, at most."""

_ESCAPED = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]|\\(?=u[0-9a-f]{4})|_(?=x[0-9A-Fa-f]{4}_)"
)
"""What no cell keeps, and what would be read as an escape of ours or (_x000D_) of Excel."""
_ESCAPE = re.compile(r"\\u([0-9a-f]{4})")
_QUOTE = re.compile(f"'*(?:{FORMULA.pattern})")
_BARE = re.compile(f"(?![-+] )(?:{FORMULA.pattern})")


def escaped(text: str) -> str:
    """The text without characters that a spreadsheet loses."""
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)


def pieces(text: str) -> list[str]:
    """The cells of a text: one, or as many as it takes, none of which can run."""
    whole, parts, size, start = escaped(text), list[str](), 0, 0
    for at, character in enumerate(whole):
        width = 2 if ord(character) > 0xFFFF else 1
        if size + width > LIMIT - 64:  # room for quotes
            parts.append(whole[start:at])
            size, start = 0, at
        size += width
    return [f"'{part}" if _QUOTE.match(part) else part for part in [*parts, whole[start:]]]


def joined(parts: Iterable[str]) -> str:
    """The text of cells that `pieces` made."""
    return unescaped("".join(part[1:] if part.startswith("'") and _QUOTE.match(part) else part for part in parts))


def is_formula(cell: str) -> bool:
    """Whether the text of a CSV cell is what a spreadsheet runs. `- ` and `+ ` begin an item of a list."""
    return bool(_BARE.match(cell))


# --- a row of an attempt -----------------------------------------------------------------------------------------


def row_of(attempt: Attempt, plan: Plan | None = None, with_text: bool = True) -> dict[str, str]:
    """The texts of an attempt by column, "" for none; those of `ONTOLOGY` too, where the plan is given."""
    plain = is_plain(attempt.turns)
    row = {name: getattr(attempt, name) for name in TEXTS}
    row |= {name: _json_cell(attempt, name) for name in AS_JSON}
    row |= {"date": written(attempt.surfaced), "edited": written(attempt.created), "input": rendered(attempt.turns)}
    row["turns"] = "" if plain else json.dumps(to_json(attempt.turns), ensure_ascii=False)
    if not with_text:
        row |= {name: hidden(row[name]) for name in HIDDEN}
    ordered = {name: row[name] for name in COLUMNS}
    return ordered | (ontology(attempt, plan) if plan else {})


def hidden(text: str) -> str:
    return f"[{count(len(text), 'character')}, digest {digest(text)[:12]}]" if text else ""


def _json_cell(attempt: Attempt, name: str) -> str:
    value, default = getattr(attempt, name), _DEFAULTS[name]
    return "" if value == default and name != "revision" else json.dumps(to_json(value), ensure_ascii=False)


def is_plain(turns: tuple[Turn, ...]) -> bool:
    """Whether a text says all of what was sent: one turn of the user, nothing beside it."""
    return len(turns) == 1 and turns[0] == Turn("user", turns[0].text)


def rendered(turns: tuple[Turn, ...]) -> str:
    """What was sent, to read: the text of a plain one, else each turn below its role."""
    return turns[0].text if is_plain(turns) else "\n\n".join(f"[{turn.role}] {turn.text}" for turn in turns)


def written(seconds: float) -> str:
    """A time as ISO 8601 in UTC; as seconds since 1970 where that would lose some of it."""
    try:
        text = datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
        return text if read_time(text) == seconds else repr(seconds)
    except (OverflowError, ValueError, OSError):
        return repr(seconds)


def read_time(text: str) -> float:
    """Seconds since 1970 of a date, a time in UTC, or such seconds. Raises `ValueError` for any other form."""
    if re.fullmatch(r"\d+\.\d+(e[-+]?\d+)?|\d+e[-+]?\d+", text):
        return float(text)
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?Z?)?", text):
        raise ValueError
    return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC).timestamp()


def ontology(attempt: Attempt, plan: Plan) -> dict[str, str]:
    """System, actor, technique, weakness and impact in a few words each."""
    harm = next((harm for harm in plan.harms if harm.id == attempt.harm), None)
    impacts = [name for names in (harm.map if harm else {}).values() for name in names]
    system = [attempt.layer or attempt.target, attempt.target_version, attempt.feature]
    return {
        "System": ", ".join(filter(None, system)),
        "Actor": ", ".join(filter(None, [attempt.mindset, attempt.persona])),
        "TTPs": attempt.technique,
        "Weakness": f"mitigations {attempt.mitigations}" if attempt.mitigations else "",
        "Impact": ", ".join(filter(None, [harm.title if harm else attempt.harm_name, attempt.word, *impacts])),
    }


# --- and back ----------------------------------------------------------------------------------------------------


def read_cell(name: str, text: str) -> Any:
    """The value of a field from the cell of its column. Raises `SpecError` where the cell does not fit."""
    if name in ("date", "edited"):
        try:
            return read_time(text)
        except ValueError:
            raise SpecError(f"{text[:40]!r} is no date", hint="write 2026-02-16 or 2026-02-16T09:30Z") from None
    if name in TEXTS:
        value: Json = text
    elif name in ("reproduced", "severity", "production", "revision") and not text:
        return _DEFAULTS[name]
    else:
        value = parse_json(name, text) if text else to_json(_DEFAULTS.get(name, ()))
    kind = triage.FIELDS[name]
    if wrong := misfit(kind, value):
        raise SpecError(wrong, hint="copy the form of a row that was exported")
    return from_json(kind, value)


def turns_of(cells: Mapping[str, str]) -> tuple[Turn, ...]:
    """What was sent, from the cells `turns` and `input`. Raises `SpecError`."""
    if not cells.get("turns"):
        return (Turn("user", cells.get("input", "")),)
    turns: tuple[Turn, ...] = read_cell("turns", cells["turns"])
    if cells.get("input", "") not in ("", rendered(turns)):
        raise SpecError("input and turns differ", hint="turns holds the conversation: edit it there, or empty it")
    return turns


_DEFAULTS: dict[str, Any] = {f.name: f.default for f in fields(Attempt)}
