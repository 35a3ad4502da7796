"""Behaviors in any JSONL file: fields say which name holds what. One object a line, https://jsonlines.org."""

from dataclasses import dataclass

from withstand.data import _read


@dataclass(frozen=True, slots=True)
class JSONL(_read.Mapped):
    """A UTF-8 file with one JSON object a line.

    path: the file, or its http(s) URL.
    id, text, context, target_string, category, functional, tags: names in the objects; "" where they have none. A row
    may lack any but id and text. Without ids, they are made from text and context. Tags are a list or split at commas.
    harmless: the model should answer these.   benign: the suite to measure over-refusal with.
    split, split_column: keep the rows that have `split` under that name; without `split`, all.
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
        return _read.parse_jsonl(_read.read(self.path))
