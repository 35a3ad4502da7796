"""Behaviors in any JSONL file: fields say which name holds what. One object a line, https://jsonlines.org."""

from dataclasses import dataclass

from withstand.data import _read


@dataclass(frozen=True, slots=True)
class JSONL(_read.Mapped):
    """A UTF-8 file with one JSON object a line.

    path: the file, or its http(s) URL.
    id, text, context, target_string, category, functional, tags: names in the objects; "" where they have none. A row
    may lack any but id and text. Without ids, they are made from text and context. Tags are a list or split at commas.
    """

    def table(self) -> _read.Table:
        """The rows of the file."""
        return _read.parse_jsonl(_read.read(self.path))
