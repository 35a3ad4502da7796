"""A draft of a policy's category for a cluster of traffic."""

import re
import unicodedata

from withstand.monitor.clusters.identity import Known
from withstand.redteam.dates import minute_of
from withstand.registry.grammar import to_toml

LONGEST = 40
"""Characters of an id."""


def draft(entry: Known) -> str:
    """A [[category]] table to read, mend and paste into a policy. It holds words and figures, and no request."""
    value, words = entry.value, ", ".join(entry.value["terms"])
    title = entry.name or f"Requests with the words {words}" if words or entry.name else f"Cluster {entry.id}"
    called = "called uncovered" if value["category"] == "uncovered" else f"flagged as {value['category']}"
    table = {
        "id": slug(entry.name or "-".join(value["terms"][:3])) or f"cluster-{entry.id}",
        "title": title,
        "definition": f"DRAFT: say what is in. Seen in requests with the words: {words or 'none of their own'}.",
        "excludes": "DRAFT: say what is out, with the nearest category.",
        "severity": max(1, min(4, round(value["severity"]))),
        "tier": "monitored",
        "intent": "misuse",
        "action": "log",
        "alert": {"min_count": max(1, round(value["week"] / 7)), "window": "1d"},
    }
    head = (
        f"# A draft, not advice, from cluster {entry.id} of the monitor {entry.monitor!r}: about {value['size']:,} "
        f"exchanges\n# from {minute_of(value['first'])} to {minute_of(value['last'])} UTC, {called}, seen under "
        f"{value['policy']}.\n# Read its requests in the report, write the definition, choose severity, tier and "
        "action, and give your policy\n# a new version; then: withstand policy check\n"
    )
    return f"{head}[[category]]\n{to_toml(table)}"


def slug(text: str) -> str:
    """A text as an id of a category: lower case, digits and dashes."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST].strip("-")
