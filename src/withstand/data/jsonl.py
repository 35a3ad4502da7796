"""Behaviors in any JSONL file: fields say which name holds what. One object a line, https://jsonlines.org."""

from dataclasses import dataclass

from withstand.data import _read
from withstand.formats import rows


@dataclass(frozen=True, slots=True)
class JSONL(_read.Mapped):
    """A UTF-8 file with one JSON object a line.

    path: the file, or its http(s) URL.
    id, text, context, target_string, category, functional, tags, cluster: names in objects; "" where they have none.
    A row may lack any but id and text. Without ids, they are made from text and context. Tags are a list or split at
    commas.
    """

    def table(self) -> _read.Table:
        """The rows of the file."""
        file = rows.read_or_fetch(self.path)
        return _read.Table.of(file, rows.parse_jsonl(file))
