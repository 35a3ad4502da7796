"""The papers that components name: what a docstring cites, with its entry in `references.bib`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unicodedata import normalize

from withstand.core import SpecError
from withstand.core.text import head_of, unique
from withstand.registry.find import PACKAGE, ROOMS, entries
from withstand.registry.show import show
from withstand.results.summary import RunSummary

FILE = Path(__file__).parent / "references.bib"


@dataclass(frozen=True, slots=True)
class Reference:
    """One entry of `references.bib`: its text as it stands there, and what to find and name it by."""

    key: str
    text: str
    names: tuple[str, ...]
    year: str
    eprint: str = ""

    @property
    def short(self) -> str:
        """As in a text: "Zou et al. 2023", "Reimers and Gurevych 2019"."""
        many = " et al." if len(self.names) > 2 else ""
        return f"{self.names[0] if many else ' and '.join(self.names)}{many} {self.year}"

    def named_in(self, text: str) -> bool:
        return f"arXiv:{self.eprint}" in text if self.eprint else self.short in text


@cache
def references() -> tuple[Reference, ...]:
    """Every entry, in the file's order."""
    return tuple(map(_reference, re.findall(r"^@\w+\{.*?^\}$", FILE.read_text(encoding="utf-8"), re.M | re.S)))


def _reference(text: str) -> Reference:
    fields = dict(re.findall(r"^  (\w+) = \{(.*)\},?$", text, re.M))
    authors = re.sub(r'\{\\"(\w)\}', lambda letter: normalize("NFC", f"{letter[1]}\u0308"), fields["author"])
    names = [name.partition(",")[0].strip() for name in authors.split(" and ")]
    key = re.match(r"@\w+\{([^,]+),", text)
    assert key
    return Reference(key[1], text, tuple(names), fields["year"], fields.get("eprint", ""))


def cited(text: str) -> list[Reference]:
    """What a text names, in the order of the file, which is that of the years."""
    flat = " ".join(text.split())
    return [reference for reference in references() if reference.named_in(flat)]


@cache
def docstring(kind: str, name: str) -> str:
    """A component's docstring, read from its source; "" where this machine does not have the component."""
    try:
        return show(kind, name).docstring
    except SpecError:
        return ""


def components(summary: RunSummary) -> Iterator[tuple[str, str]]:
    """(kind, name) of what took part in a run: as its cells call it, then what stands inside, as an attack's judge."""
    named_parts = [("suite", str(suite["name"])) for suite in summary.provenance.suites]
    for cell in summary.cells:
        named_parts += [(kind, bare(getattr(cell, kind))) for kind in ("target", "defense", "attack", "judge")]
    named = {name for _, name in named_parts}
    for part in summary.provenance.components:
        if part["name"] not in named:
            kinds = (kind for kind in ROOMS if kind != "suite" and docstring(kind, part["name"]))
            named_parts += [(kind, part["name"]) for kind in kinds]
    return iter(unique(named_parts))


def bare(label: str) -> str:
    """The component's name in a cell's label, which for test cases of an earlier run says where they were found."""
    return head_of(label.partition(" found on ")[0])


def family(label: str) -> str:
    """The folder of an attack: templated, search, gradient or llm; "" for one that is not of this package."""
    attacks = entries("attack")
    entry = attacks.get(bare(label)) or attacks.get(bare(label).replace("_", "-"))
    return entry.path.relative_to(PACKAGE / ROOMS["attack"]).parts[0] if entry and entry.path else ""


def head(kind: str, name: str) -> list[Reference]:
    """What the first paragraph of a component's docstring names: where it comes from, not what an option adds."""
    return cited(docstring(kind, name).partition("\n\n")[0])
