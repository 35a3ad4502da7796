"""Hazards, risks and categories of a policy that behaviors are counted under. Standard library only.

An id is `mlcommons:HAZARD` or `owasp:RISK`. A suite maps its categories to them (`taxonomy`), and a behavior may have
them as tags: as in a file of your own, or where each row has its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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


def is_under(category: str, whole: str) -> bool:
    """Whether a category is this one, or a part of it, as "a.b" is of "a"."""
    return f"{category}.".startswith(f"{whole}.")


UNCOVERED = "uncovered"
"""The category of every policy for what no rule of it names."""
OWN_TAG = "policy:"
"""How a behavior's tag begins that names its category itself."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """A policy as reports, comparisons and gates take it: which of its categories a behavior is of.

    label, digest: of the policy.   names, intents, mappings: of each category its title, its intent, and the entries of
    frameworks (`framework:version:id`).   suites: name, file or alias of a suite -> its category ("*": any other)
    -> ids.   schemes: `mlcommons:hte` or `owasp:2026:LLM08` -> id, for suites that nobody mapped.
    """

    label: str
    digest: str
    names: Mapping[str, str]
    intents: Mapping[str, str] = field(default_factory=dict)
    mappings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    suites: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    schemes: Mapping[str, str] = field(default_factory=dict)

    def ids(
        self, suite: Sequence[str], category: str, tags: Iterable[str] = (), by_category: Iterable[str] = ()
    ) -> tuple[str, ...]:
        """The categories of a behavior: by its own tag `policy:ID`, by the map of its suite, by the hazards and risks
        that its tags or its suite's map name; else `uncovered`.

        suite: what it is called, most exact first.   by_category: hazards and risks of the behavior's category.
        """
        own = [tag[len(OWN_TAG) :] for tag in tags if tag.startswith(OWN_TAG)]
        if chosen := tuple(dict.fromkeys(name for name in own if name in self.names)):
            return chosen
        for name in suite:
            of_suite = self.suites.get(name, {})
            if ids := of_suite.get(category, of_suite.get("*", ())):
                return ids
        marks = [*tags, *by_category]
        for scheme in SCHEMES:  # hazards first: the risks of OWASP name no content
            ids = tuple(dict.fromkeys(self.schemes[mark] for mark in marks if mark in self.schemes
                                      and mark.startswith(f"{scheme}:")))  # fmt: skip
            if ids:
                return ids
        return (UNCOVERED,)
