"""The prompts that a component sends to the models that it uses: ours, or the user's own in their place.

A component has a field `prompt`, marked by `metadata=OWN`, and one `Prompts` that says what may stand there.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from withstand.core.content import digest
from withstand.core.describe import name_of
from withstand.core.errors import SpecError

OWN: Mapping[str, Any] = MappingProxyType({"added": "0.2", "prompt": True})
"""The metadata of a field that holds an own prompt, and that rows from before it do not know."""
GAP = re.compile(r"\{(\w+)\}")
SECTION = re.compile(r"^## (\w+)[ \t]*\n(.*?)(?=^## \w+[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)


def sections(text: str) -> dict[str, str]:
    """The parts of a text, each under a line "## name", without white space around them."""
    return {title: part.strip() for title, part in SECTION.findall(text)}


@dataclass(frozen=True, slots=True)
class Prompts:
    """Our prompts by name, and the gaps that an own one must have. A component with one prompt calls it "prompt".

    ours: texts with {gaps}; an own text may have these gaps and no others.
    needs: of each prompt the gaps without which the models would not know what is asked of them.
    """

    ours: Mapping[str, str]
    needs: Mapping[str, tuple[str, ...]]

    @classmethod
    def single(cls, text: str, *needs: str) -> "Prompts":
        return cls({"prompt": text}, {"prompt": needs})

    @property
    def several(self) -> bool:
        return tuple(self.ours) != ("prompt",)

    def texts(self, own: str) -> dict[str, str]:
        """All prompts, with the own ones in the place of ours. Raises `SpecError` for an own one that cannot be used.

        own: "" for ours; of several prompts those that are not ours, each under a line "## name".
        """
        if not own:
            return dict(self.ours)
        return {**self.ours, **self._own(own)}

    def _own(self, own: str) -> dict[str, str]:
        parts = sections(own) if self.several else {"prompt": own}
        names = ", ".join(f'"## {name}"' for name in self.ours)
        if not parts or not parts.keys() <= self.ours.keys() or self._unread(own):
            unknown = [f'"## {name}"' for name in parts if name not in self.ours]
            what = f"has a part {unknown[0]}" if unknown else "has text outside of its parts"
            raise SpecError(f"prompt {what}", hint=f"put each text under a line of its own: {names}")
        for name, text in parts.items():
            self._check(name, text)
        return parts

    def _unread(self, own: str) -> bool:
        """Whether there is text above the first part."""
        return self.several and not own.lstrip().startswith("## ")

    def _check(self, name: str, text: str) -> None:
        where = f"prompt: the part {name!r}" if self.several else "prompt"
        allowed, gaps = set(GAP.findall(self.ours[name])), set(GAP.findall(text))
        if text.startswith("@"):
            raise SpecError(
                f"{where} is {text[:60]!r}", hint='only the short form reads a file: "NAME:FIRST,prompt=@FILE"'
            )
        for gap in self.needs.get(name, ()):
            if gap not in gaps:
                raise SpecError(f"{where} lacks {{{gap}}}", hint=f"write {{{gap}}} where the {gap} goes")
        if unknown := sorted(gaps - allowed):
            gaps_of_ours = ", ".join(f"{{{gap}}}" for gap in sorted(allowed)) or "none"
            raise SpecError(f"{where} has {{{unknown[0]}}}, which nothing fills", hint=f"its gaps: {gaps_of_ours}")


def sources(component: Any) -> Iterator[tuple[str, str]]:
    """Whose prompts a component sends, by field: "ours", or "own" or "originals" with eight digits of their content.

    Nothing for a component without prompts.
    """
    checkout = next((f for f in fields(component) if f.name == "originals"), None)
    if checkout is not None and component.originals:
        yield "prompt", f"originals {checkout.metadata['read'](component)[:8]}"
        return
    for f in fields(component):
        if f.metadata.get("prompt"):
            value = getattr(component, f.name)
            ours = value in ("", "ours", f.default)
            yield f.name, "ours" if ours else f"own {digest(value)[:8]}"


def prompts_of(parts: Iterable[Any]) -> dict[str, str]:
    """Whose prompts components send, by their names: "ours", "own 1a2b3c4d" or "originals 1a2b3c4d"."""
    texts: dict[str, set[str]] = {}
    for part in set(parts):
        for field_name, source in sources(part):
            text = source if field_name in ("prompt", "rubric", "template") else f"{field_name} {source}"
            texts.setdefault(name_of(type(part)), set()).add(text)
    return {name: ", ".join(sorted(several)) for name, several in sorted(texts.items())}
