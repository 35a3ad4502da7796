"""Are these suites fit for their purpose? `withstand audit suite`. No model is asked.

The seven faults are those of footnote E of OpenAI's "Lessons learned on language model safety and misuse" (2022). What
is not known passes nothing; a suite that is narrow by design is audited beside those that it is run with.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from withstand.audits.suite import checks, copies, items, real
from withstand.audits.suite.records import Finding, Logs
from withstand.core import digest, to_json
from withstand.core.taxonomy import Grouping
from withstand.core.text import count

LIMITS = (
    "It reads prompts, and asks no model: whether a judge is right, and how hard an item is, it does not say.",
    "Maps of suites to a policy are coarse: one reader's view of each category's name.",
    "Words of a persona or a constraint are English ones, and coarse signs that pass nothing.",
    "Copies are told by their words: a paraphrase is none, unless a cluster holds both.",
    "A suite may be in a model's training data: nothing here tells.",
)


@dataclass(frozen=True, slots=True)
class Audited:
    """What an audit says. verdict: FAIL, UNDECIDED where nothing fails and something is not known, WARN or PASS.

    policy: name, version and digest.   scope: the categories that the suites must cover; narrowed: they were named by
    the user.   checksum: of all items.   facts: pairs of a name and a text for a reader.   limits: what was not tested.
    """

    verdict: Literal["FAIL", "UNDECIDED", "WARN", "PASS"]
    headline: str
    suites: tuple[str, ...]
    items: int
    benign: int
    checksum: str
    policy: str
    policy_digest: str
    scope: tuple[str, ...]
    narrowed: bool
    findings: tuple[Finding, ...]
    facts: tuple[tuple[str, str], ...]
    limits: tuple[str, ...]
    schema: int = 1


def audit(
    specs: Sequence[Mapping[str, Any]], grouping: Grouping, logs: Logs | None = None, categories: Sequence[str] = ()
) -> Audited:
    """The findings on these suites, taken as one. Raises `SpecError` for a suite or a category that is not there.

    categories: of the policy, that the suites are meant for; none for all.
    """
    scope = items.scoped(categories, grouping)
    loaded = items.load(specs, grouping)
    listed = loaded.items
    split = copies.splits(loaded.parts)
    findings = (
        checks.narrow(listed, scope, grouping), checks.broad(listed), checks.bare(listed), checks.closed(listed),
        real.unlike(listed, logs), checks.unconstrained(listed), real.missing(listed, logs, scope),
        copies.copies(listed, loaded.loose), *([split] if split else []),
    )  # fmt: skip
    counts = Counter(finding.state for finding in findings)
    verdict: Literal["FAIL", "UNDECIDED", "WARN", "PASS"] = (
        "FAIL" if counts["fail"] else "UNDECIDED" if counts["not known"] else "WARN" if counts["warn"] else "PASS"
    )
    words = [f"{counts[state]} {state}" for state in ("fail", "warn", "not known", "pass") if counts[state]]
    benign = sum(item.behavior.benign for item in listed)
    limits = [*LIMITS] + ["No splits were told apart here: whether one leaks into another is not tested."] * (
        split is None
    )
    return Audited(
        verdict, ", ".join(words), loaded.labels, len(listed), benign,
        digest([to_json(item.behavior) for item in listed]), grouping.label, grouping.digest, scope, bool(categories),
        findings, tuple(_facts(loaded, benign, grouping, scope, bool(categories), logs)), tuple(limits),
    )  # fmt: skip


def _facts(
    loaded: items.Loaded, benign: int, grouping: Grouping, scope: Sequence[str], narrowed: bool, logs: Logs | None
) -> list[tuple[str, str]]:
    n = len(loaded.items)
    facts = [
        ("Suites", ", ".join(loaded.labels)),
        ("Items", f"{n}, {benign} of them benign; {checks.distinct(loaded.items)} distinct"),
        ("Policy", f"{grouping.label}, digest {grouping.digest[:12]}"),
    ]
    if narrowed:
        left = len(grouping.names) - 1 - len(scope)
        facts.append(("Meant for", f"{', '.join(scope)}; {count(left, 'other category', 'other categories')} left out"))
    if logs is not None:
        odd = "".join(f"; {number} times {kind}" for kind, number in sorted(logs.odd.items()) if number)
        strange = f"; {count(sum(logs.strange.values()), 'flag')} of no category of the policy" if logs.strange else ""
        empty = f"; {logs.empty} without a prompt" if logs.empty else ""
        text = f"{count(logs.exchanges, 'exchange')}, {logs.labeled:,} with labels{empty}{strange}{odd}"
        facts.append(("Log", f"{', '.join(logs.names)}: {text}"))
    else:
        facts.append(("Log", "none"))
    facts += [("Note", note) for note in loaded.notes]
    if loaded.strange:
        facts.append(("Note", f"tags name categories that the policy lacks: {', '.join(loaded.strange)}"))
    return facts
