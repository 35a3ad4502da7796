"""A policy as a page for the developers who build on a service: Markdown, or one HTML file that asks for nothing."""

from collections.abc import Iterator
from pathlib import Path

from withstand.core.text import DASH
from withstand.redteam.policy.diff import changes, in_words
from withstand.redteam.policy.records import MAY_UNLOCK, STRICTEST, Category, Policy
from withstand.report.shell import render
from withstand.report.table import Column, Table
from withstand.report.table import markdown as line

TIERS = {
    "prohibited": "Prohibited: nobody unlocks it, in no context",
    "restricted": "Restricted: the system's owner may unlock it",
    "sensitive": "Sensitive: a developer may unlock it",
    "monitored": "Monitored: a user may unlock it",
}
NOTE = "A category never holds an example: its definition, and what is out, decide."


def summary(policy: Policy) -> Table:
    """One row for each category, strictest first."""
    columns = [
        Column("category"), Column("title"), Column("severity", right=True), Column("action"), Column("only in"),
        Column("allowed in", ", ".join), Column("intent"), Column("unlocked by"),
    ]  # fmt: skip
    rows: list[object] = []
    for tier in STRICTEST:
        own = [category for category in policy.categories.values() if category.tier == tier]
        rows += [TIERS[tier], *map(_row, own)] if own else []
    return Table(columns, rows, title="Categories", note=NOTE)  # type: ignore[arg-type] # rows and headings


def _row(category: Category) -> list[object]:
    unlocked = [_unlocks(category, at) for at in range(len(category.overrides))]
    return [
        category.id, category.title, category.severity, category.action, _side(category),
        [*category.contexts_allowed], category.intent, "; ".join(unlocked),
    ]  # fmt: skip


def _side(category: Category) -> str:
    """Where it is looked for, unless that is both sides."""
    return category.applies_to[0] if len(set(category.applies_to)) == 1 else ""


def _unlocks(category: Category, at: int) -> str:
    override = category.overrides[at]
    where = f" in {', '.join(override.contexts)}" if override.contexts else ""
    return f"{override.by}{where}: {override.action} ({override.reason})"


def parts(category: Category) -> list[tuple[str, str]]:
    """What a category says beside its row, as heads and texts."""
    texts = [
        ("In", category.definition),
        ("Out", category.excludes),
        ("May be unlocked by", ", ".join(MAY_UNLOCK[category.tier]) or "nobody"),
        ("Examples", ", ".join(category.examples)),
        ("Frameworks", ", ".join(category.mappings)),
    ]
    return [(head, text) for head, text in texts if text]


def head(policy: Policy) -> list[tuple[str, list[str]]]:
    """The facts of a policy."""
    header = policy.header
    named = [("version", header.version), ("effective", header.effective), ("owner", header.owner)]
    named += [("supersedes", header.supersedes), ("digest", policy.digest[:12])]
    return [(name, [value]) for name, value in named if value]


def changed(policy: Policy, before: Policy | None) -> list[str]:
    """What changed since the version before, in words; what needs a developer's eye first."""
    if before is None:
        return []
    listed = sorted(changes(before, policy), key=lambda change: not change.binding)
    return [in_words(change) for change in listed] or ["Nothing."]


def use_cases(policy: Policy) -> Table:
    """The register of use cases."""
    columns = [
        Column("use case"), Column("stance"), Column("sensitive"), Column("requires", ", ".join),
        Column("expected categories", ", ".join), Column("note"),
    ]  # fmt: skip
    rows = [
        [case.title or case.id, case.stance, "yes" if case.sensitive else "", [*case.requires],
         [*case.expected_categories], case.note]
        for case in policy.use_cases
    ]  # fmt: skip
    return Table(columns, rows, title="Use cases")


def markdown(policy: Policy, before: Policy | None = None) -> str:
    """The policy in GitHub's Markdown."""
    return "\n".join(_lines(policy, before))


def _lines(policy: Policy, before: Policy | None) -> Iterator[str]:
    yield f"# Policy {line(policy.label)}"
    yield ""
    yield line(", ".join(f"{name} {values[0]}" for name, values in head(policy)))
    if before is not None:
        yield from ("", f"## What changed since {line(before.header.version)}", "")
        yield from (f"- {line(text)}" for text in changed(policy, before))
    yield ""
    yield from summary(policy).section(2)
    for category in policy.categories.values():
        yield from (f"### {line(category.id)} {DASH} {line(category.title)}", "")
        yield from (*(f"- {name}: {line(text)}" for name, text in parts(category)), "")
    if policy.use_cases:
        yield from use_cases(policy).section(2)


def html(policy: Policy, before: Policy | None = None) -> str:
    """The policy as a page."""
    return render(
        Path(__file__).parent / "policy.html.j2",
        policy=policy,
        facts=head(policy),
        table=summary(policy),
        parts=parts,
        since=before.header.version if before else "",
        changed=changed(policy, before),
        use_cases=use_cases(policy),
    )
