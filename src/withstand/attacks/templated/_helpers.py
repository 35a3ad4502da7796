"""Field checks that the templated attacks share."""

from collections.abc import Sequence
from string import Formatter

from withstand.core import SpecError


def check_texts(field: str, texts: Sequence[str]) -> None:
    """Raise `SpecError` unless there is at least one text and none is blank."""
    if not texts or not all(text.strip() for text in texts):
        raise SpecError(f"{field} is empty or holds an empty text", hint=f'write {field} = ["..."]')


def check_template(field: str, template: str) -> None:
    """Raise `SpecError` unless `template` holds `{behavior}` and no other placeholder."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise SpecError(f"{field}: {error}", hint="write a brace of the text itself twice: {{ or }}") from error
    placeholders = [part[1:] for part in parts if part[1] is not None]
    if not placeholders or any(placeholder != ("behavior", "", None) for placeholder in placeholders):
        raise SpecError(
            f"{field} must hold {{behavior}} and no other placeholder: {template[:60]!r}",
            hint="write a brace of the text itself twice: {{ or }}",
        )
