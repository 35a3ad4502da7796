"""Behaviors in any CSV file: fields say which column holds what. RFC 4180, https://www.rfc-editor.org/rfc/rfc4180."""

from dataclasses import dataclass

from withstand.data import _read


@dataclass(frozen=True, slots=True)
class CSV(_read.Mapped):
    """A UTF-8 CSV file with a header row.

    path: the file, or its http(s) URL.
    id, text, context, target_string, category, functional, tags: names of columns; "" where the file has none. Without
    a column of ids, they are made from text and context. Tags are split at commas.
    harmless: the model should answer these.   benign: the suite to measure over-refusal with.
    split, split_column: keep the rows that have `split` in that column; without `split`, all.
    judge, refusal_judge, max_tokens, license, citation: what the suite says of itself.
    """

    path: str
    id: str = "id"
    text: str = "text"
    context: str = ""
    target_string: str = ""
    category: str = ""
    functional: str = ""
    tags: str = ""
    harmless: bool = False
    split: str = ""
    split_column: str = ""
    judge: str = "refusal_words"
    refusal_judge: str = "refusal_words"
    benign: str = ""
    max_tokens: int = 512
    license: str = ""
    citation: str = ""

    def table(self) -> _read.Table:
        """The rows of the file."""
        return _read.parse_csv(_read.read(self.path))
