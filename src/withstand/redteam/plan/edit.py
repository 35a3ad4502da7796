"""Changes of a plan.toml that leave every other byte as its author wrote it: a table at its end, or a line of a key.

What the file says afterwards is read again before it is written, and must be what it said with that change and no
other. A file that writes the place in another way, as a list in one line, is refused and stays as it is.
"""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from withstand.core import Json, SpecError, bounded
from withstand.core.save import locked, save
from withstand.redteam.plan.records import SCHEMA, Plan, plan_of
from withstand.redteam.tables import parse_tables
from withstand.registry.grammar import to_toml

MARK = b"\xef\xbb\xbf"
"""Of byte order, which some editors write at the start of a file."""
HEADER = re.compile(r"[ \t]*(\[\[?)[ \t]*([^\[\]\"'#]+?)[ \t]*\]\]?[ \t]*(?:#.*)?\r?")
TEXT = r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''
PART = re.compile(rf'"""|\'\'\'|{TEXT}|#.*|[\[\]{{}}]')


class Draft:
    """A plan's text while it is changed, beside what it must say."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.content = parse_tables(str(path), text, SCHEMA)
        self.end = "\r\n" if "\r\n" in text else "\n"

    @property
    def plan(self) -> Plan:
        """The plan as it stands. Raises `SpecError`."""
        return plan_of(str(self.path), copy.deepcopy(self.content))

    def add(self, kind: str, values: Mapping[str, Json]) -> None:
        """Append a table [[kind]]."""
        self.content.setdefault(kind, []).append(dict(values))
        gap = "" if self.text.endswith("\n") else self.end
        lines = [f"[[{kind}]]", *to_toml(values).splitlines()]
        self.text += gap + self.end + "".join(line + self.end for line in lines)

    def set(self, kind: str, record_id: str, values: dict[str, str]) -> None:
        """Change keys of the table [[kind]] with this id, each in its line, or add their lines below that of the id."""
        at = next(at for at, entry in enumerate(self.content[kind]) if entry.get("id") == record_id)
        self.content[kind][at] |= values
        for name, value in reversed(values.items()):  # each goes right below the id
            self._set(kind, at, name, to_toml({name: value}).rstrip())

    def _set(self, kind: str, at: int, name: str, line: str) -> None:
        lines = self.text.split("\n")
        own = list(_of_table(lines, kind, at))
        place = next((number for number in own if _key(lines[number]) == name), None)
        if place is not None:
            match = re.fullmatch(rf"([ \t]*)[^=]+=[ \t]*(?:{TEXT})([ \t]*(?:#.*)?\r?)", lines[place])
            if match:
                lines[place] = match[1] + line + match[2]
        elif (id_line := next((number for number in own if _key(lines[number]) == "id"), None)) is not None:
            indent = re.match(r"[ \t]*", lines[id_line])
            lines.insert(id_line + 1, (indent[0] if indent else "") + line + ("\r" if self.end == "\r\n" else ""))
        self.text = "\n".join(lines)

    def checked(self) -> str:
        """The text. Raises `SpecError` where it says anything but what it must, or is no plan."""
        try:
            says = parse_tables(str(self.path), self.text, SCHEMA)
        except SpecError:
            says = {}
        if says != self.content:
            hint = "write each harm as a table [[harm]] with a line for each of its keys, or change the file by hand"
            raise SpecError(f"{self.path} cannot be changed in place; it stays as it was", hint=hint)
        plan_of(str(self.path), says)
        return self.text


def edit(path: str | Path, change: Callable[[Draft], None], then: Callable[[], None] = lambda: None) -> Plan:
    """Change a plan's file, alone and whole, and do what belongs to it; the plan as it is now.

    then: where it raises, the file is written back as it was. Raises `SpecError` for what cannot be changed.
    """
    where = Path(path).resolve()  # a link stays one
    with locked(where):
        try:
            before = bounded.read_bytes(where, bounded.TOML)
        except OSError as error:
            raise SpecError(f"cannot read {path}: {error.strerror}", hint="name a file that is there") from error
        draft = Draft(Path(path), bounded.decode(str(path), before))
        change(draft)
        save(where, (MARK if before.startswith(MARK) else b"") + draft.checked().encode())
        try:
            then()
        except BaseException:
            save(where, before)
            raise
        return draft.plan


def _of_table(lines: list[str], kind: str, at: int) -> Iterator[int]:
    """The numbers of the lines that begin a key of the table [[kind]] with this number."""
    seen, inside = -1, False
    for number in _outer(lines):
        if header := HEADER.fullmatch(lines[number]):
            is_kind = header[1] == "[[" and header[2].strip() == kind
            seen += is_kind
            inside = is_kind and seen == at
        elif inside:
            yield number


def _outer(lines: list[str]) -> Iterator[int]:
    """The numbers of the lines that begin neither in a text of several lines nor in a list."""
    quote, depth = "", 0
    for number, line in enumerate(lines):
        if not quote and not depth:
            yield number
            if HEADER.fullmatch(line):
                continue
        quote, depth = _after(line, quote, depth)


def _after(line: str, quote: str, depth: int) -> tuple[str, int]:
    """The quotes of the text and the depth of the list that a line ends in, given those that it begins in."""
    while line:
        if quote:
            closing = re.search(r"(?:[^\\]|\\.)*?\"{3,5}" if quote == '"""' else r".*?'{3,5}", line)
            if not closing:
                return quote, depth
            line, quote = line[closing.end() :], ""
        part = PART.search(line)
        if not part:
            break
        line = line[part.end() :]
        if part[0] in ('"""', "'''"):
            quote = part[0]
        depth += (part[0] in "[{") - (part[0] in "]}")
    return quote, max(0, depth)


def _key(line: str) -> str:
    """The bare key that a line gives a value, "" for none."""
    match = re.match(r"[ \t]*([A-Za-z0-9_-]+)[ \t]*=", line)
    return match[1] if match else ""
