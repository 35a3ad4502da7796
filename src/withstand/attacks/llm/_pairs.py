"""Questions with their answers, from a file of the user's."""

from withstand.core import SpecError
from withstand.formats import rows


def pairs_in(path: str) -> list[tuple[str, str]]:
    """Questions and answers of a JSONL file. Raises `SpecError` with file and line."""
    hint = 'each line must be {"question": "...", "answer": "..."}'
    pairs = []
    for row in rows.parse_jsonl(rows.read(path)):
        question, answer = row.cells.get("question"), row.cells.get("answer")
        if not (isinstance(question, str) and isinstance(answer, str) and question.strip() and answer.strip()):
            raise SpecError(f"{row.place}: no question, or no answer", hint=hint)
        pairs.append((question, answer))
    if not pairs:
        raise SpecError(f"{path} is empty", hint=hint)
    return pairs
