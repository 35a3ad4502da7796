"""Questions with their answers, from a file of the user's."""

import json
from pathlib import Path

from withstand.core import SpecError


def pairs_in(path: str) -> list[tuple[str, str]]:
    """Questions and answers of a JSONL file. Raises `SpecError` with file and line."""
    hint = 'each line must be {"question": "...", "answer": "..."}'
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}", hint="name a UTF-8 file of JSON lines") from None
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise SpecError(f"{path}, line {number}: bad JSON: {error.msg}", hint=hint) from None
        question, answer = (row.get("question"), row.get("answer")) if isinstance(row, dict) else ("", "")
        if not (isinstance(question, str) and isinstance(answer, str) and question.strip() and answer.strip()):
            raise SpecError(f"{path}, line {number}: no question, or no answer", hint=hint)
        pairs.append((question, answer))
    if not pairs:
        raise SpecError(f"{path} is empty", hint=hint)
    return pairs
