"""`withstand cite`: the papers behind a run, as BibTeX."""

import re
from importlib import metadata

from withstand.core.text import visible
from withstand.report.sources import cited, components, docstring
from withstand.results.summary import RunSummary


def cite(summary: RunSummary) -> str:
    """One entry for the package and for each paper that a suite, attack, defense, judge or target of the run names.

    A comment above an entry says what it is cited for. A suite's own citation stands as the suite gives it.
    """
    wanted: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    notes = []
    for suite in summary.provenance.suites:
        citation = str(suite.get("citation") or "").strip()
        if key := re.match(r"@\w+\s*\{\s*([^,\s]+)\s*,", citation):
            texts[key[1]] = visible(citation)
            wanted.setdefault(key[1], []).append(f"suite {suite['name']}")
        elif citation:
            notes.append(f"suite {suite['name']}: {citation}")
    for kind, name in components(summary):
        for reference in cited(docstring(kind, name)):
            texts.setdefault(reference.key, reference.text)
            wanted.setdefault(reference.key, []).append(f"{kind} {name}")
    version = metadata.version("withstand")
    entries = [f"% what measured it\n{_OURS.format(version=version)}"]
    entries += [f"% {_line(', '.join(dict.fromkeys(used)))}\n{texts[key]}" for key, used in wanted.items()]
    return "\n\n".join([*entries, *(f"% {_line(note)}" for note in notes)]) + "\n"


_OURS = """@software{{withstand,
  title = {{withstand: how well does a language model withstand attack, misuse and tampering}},
  author = {{{{The withstand authors}}}},
  version = {{{version}}},
  url = {{https://github.com/withstand/withstand}}
}}"""


def _line(text: str) -> str:
    return " ".join(visible(text).split())
