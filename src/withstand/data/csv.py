"""Behaviors in any CSV file: fields say which column holds what. RFC 4180, https://www.rfc-editor.org/rfc/rfc4180."""

from dataclasses import dataclass

from withstand.data import _read
from withstand.formats import rows


@dataclass(frozen=True, slots=True)
class CSV(_read.Mapped):
    """A UTF-8 CSV file with a header row.

    path: the file, or its http(s) URL.
    id, text, context, target_string, category, functional, tags, cluster: names of columns; "" where the file has none.
    Without a column of ids, they are made from text and context. Tags are split at commas.
    """

    def table(self) -> _read.Table:
        """The rows of the file."""
        return _read.csv_table(rows.read_or_fetch(self.path))
