"""Hazards and risks that behaviors are counted under: one vocabulary for all suites. Standard library only.

An id is `mlcommons:HAZARD` or `owasp:RISK`. A suite maps its categories to them (`taxonomy`), and a behavior may have
them as tags: as in a file of your own, or where each row has its own.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from withstand.core.errors import SpecError
from withstand.core.frameworks import table

SCHEMES: Mapping[str, str] = {"mlcommons": "1.0", "owasp": "2025"}
"""Scheme -> the version that a tag or a suite's own map means, where it names none. Hazards of MLCommons AILuminate 1.0
(Ghosh et al. 2025, arXiv:2503.05731), and the OWASP Top 10 for LLM Applications 2025
(https://genai.owasp.org/llm-top-10/)."""


def names_of(scheme: str) -> Mapping[str, str]:
    """The ids of a scheme with what they mean, as `frameworks.toml` has them; none of another word."""
    return table(scheme, SCHEMES[scheme]).items if scheme in SCHEMES else {}


Taxonomy: TypeAlias = tuple[tuple[str, str, str], ...]
"""Of a suite: a category, its hazards and its OWASP ids, each parted by blanks."""


def of_categories(taxonomy: Taxonomy) -> dict[str, list[str]]:
    """Category -> its ids."""
    return {
        category: [
            f"{scheme}:{name}"
            for scheme, names in zip(SCHEMES, (hazards, risks), strict=True)
            for name in names.split()
        ]
        for category, hazards, risks in taxonomy
    }


def ids_of(scheme: str, category: str, tags: Iterable[str], by_category: Mapping[str, Iterable[str]]) -> list[str]:
    """What a behavior is counted under, without the scheme: by its own tags, and by its category. May be several."""
    ids = dict.fromkeys([*tags, *by_category.get(category, ())])
    return [name for head, _, name in (text.partition(":") for text in ids) if head == scheme and name]


def check_taxonomy(taxonomy: Taxonomy) -> None:
    """Raise `SpecError` for an id that its scheme does not have."""
    for category, *columns in taxonomy:
        for scheme, column in zip(SCHEMES, columns, strict=True):
            names = names_of(scheme)
            if unknown := sorted(set(column.split()) - names.keys()):
                message = f"taxonomy, {category}: {unknown[0]!r} is no id of {scheme}"
                raise SpecError(message, hint=f"they are {', '.join(names)}")
