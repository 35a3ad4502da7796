"""Secrets that come back from elsewhere: each form in which a server may quote one is replaced by a name."""

import base64
import html
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from urllib.parse import quote, quote_plus

from withstand.core.content import Json

LEAST = 6
"""Characters of a secret that is looked for: a shorter one stands in texts by chance."""


class Redactor:
    """Puts `[NAME]` in place of each secret. secrets: the name of each, as in {"sk-123": "key"}."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        forms = {
            form: f"[{name}]" for secret, name in secrets.items() if len(secret) >= LEAST for form in _forms(secret)
        }
        self._names = {form.lower(): name for form, name in forms.items()}
        longest_first = sorted(forms, key=len, reverse=True)  # a form may hold another
        self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if forms else None

    def text(self, text: str) -> str:
        """The text with the names in place of the secrets, whatever the case of their letters."""
        return self._pattern.sub(lambda match: self._names[match[0].lower()], text) if self._pattern else text

    def json(self, value: Json) -> Json:
        """The value with each of its texts redacted, names of fields included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(name): self.json(inner) for name, inner in value.items()}
        return [self.json(inner) for inner in value] if isinstance(value, list) else value


@lru_cache(64)
def redactor(secrets: tuple[tuple[str, str], ...]) -> Redactor:
    """The redactor of these secrets and names, built once."""
    return Redactor(dict(secrets))


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield from (quote(secret, safe=""), quote(secret), quote_plus(secret), html.escape(secret))
    escaped = json.dumps(secret)[1:-1]
    yield from (escaped, escaped.replace("/", "\\/"))
    for before in range(3):  # in base64 a text looks different at each of three places
        coded = base64.b64encode(b"\0" * before + secret.encode()).decode()
        start, end = (0, 2, 3)[before], (len(secret.encode()) + before) * 8 // 6
        if end - start >= LEAST + 2:
            yield coded[start:end]
            yield coded[start:end].replace("+", "-").replace("/", "_")
