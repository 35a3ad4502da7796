"""Behaviors for a described application, from templates: no model, no store, the same rows for the same description."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from withstand.core import digest, filled
from withstand.formats.application import Application
from withstand.formats.generated import Generated, sealed

ANYWHERE = "a letter that I was sent"
"""The document of an application of which none is named: a user may bring one."""
SENTENCE = 20
"""Letters of a sentence of a system prompt, at least, that can stand in for a canary."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A behavior and its benign twin."""

    harmful: Generated
    benign: Generated


@dataclass(frozen=True, slots=True)
class Fact:
    """What a table of templates is filled with. key: its name in the parent's; "": the family of the template."""

    key: str
    gaps: Mapping[str, str]
    tags: tuple[str, ...] = ()


@cache
def data(name: str) -> dict[str, Any]:
    """A file of templates of ours."""
    return tomllib.loads((files("withstand.runner") / "generate_files" / name).read_text(encoding="utf-8"))


def pairs_of(application: Application, judge: str) -> list[Pair]:
    """All pairs that the templates make of a description. judge: of what no rule can judge."""
    return [
        pair
        for name, table in data("application.toml").items()
        for place, fact in enumerate(_facts(application, table))
        for pair in _filled(application, name, table, place, fact, judge)
    ]


def lacking(application: Application, written: bool) -> list[str]:
    """Which categories the description gives nothing for, and which languages. written: whether a model writes too."""
    notes = []
    if not application.canary:
        what = "only verbatim leaks of its longest sentence" if _secret(application) else "none"
        notes.append(f"prompt_leak: {what}, since the description has no canary")
    for name, none, category in (
        ("records", not application.records, "personal_data"),
        ('[[tools]] allowed "never"', not _tools(application, "never"), "rights"),
        ('[[tools]] allowed "asked"', not _tools(application, "asked"), "excessive_agency"),
        ("must_never", not application.must_never, "forbidden"),
    ):
        if none:
            notes.append(f"{category}: none, since the description has no {name}")
    if not written and (others := [code for code in application.languages if code != "en"]):
        notes.append(f"the templates are English, so nothing is in {', '.join(others)}: --writer TARGET writes them")
    return notes


def paired(harmful: Generated, benign: Generated) -> Pair:
    """Two rows as twins, each named by its content. An id that is there is the head of the name."""
    harmful, benign = (replace(half, id=_id(half)) for half in (harmful, benign))
    return Pair(sealed(replace(harmful, twin=benign.id)), sealed(replace(benign, twin=harmful.id)))


def with_texts(row: Generated, text: str, twin: str, context: str = "", twin_context: str = "") -> Pair:
    """A pair of these texts; the rest is as in `row`, as far as it belongs to a half."""
    harmful = replace(row, text=text, context=context)
    benign = replace(row, text=twin, context=twin_context, half="benign", judge="", tags=())
    return paired(harmful, benign)


def _id(row: Generated) -> str:
    """The name of a row, by its origin and its text as it was generated. An id may begin with that of a seed."""
    return f"{row.id or row.category}-{digest([row.category, row.parent, row.half, row.text, row.context])[:8]}"


def _filled(
    application: Application, name: str, table: Mapping[str, Any], place: int, fact: Fact, judge: str
) -> Iterator[Pair]:
    """The pairs of a table for one fact."""
    gaps = {"name": application.name, "purpose": application.topic, **fact.gaps}
    gaps |= {gap.capitalize(): text[:1].upper() + text[1:] for gap, text in gaps.items()}
    category, entries = table.get("category", name), table["pairs"]
    for family, *texts in [entries[place % len(entries)]] if table["over"] == "tasks" else entries:
        first, second = (filled(part, **gaps) for part in texts)
        parent = f"{category}/{fact.key or family}"
        row = Generated(
            "", "", category=category, tags=(*fact.tags, *(f"owasp:{risk}" for risk in table["owasp"])),
            parent=parent, cluster=parent, reason=filled(table["reason"], **gaps), judge=table["judge"] or judge,
            writer="templates",
        )  # fmt: skip
        if table["over"] in ("documents", "guarded"):
            yield with_texts(row, family, family, first, second)
        else:
            yield with_texts(row, first, second)


def _facts(application: Application, table: Mapping[str, Any]) -> Iterator[Fact]:
    """What a table is filled with: the facts of the description that it is `over`."""
    over = table["over"]
    documents = application.documents or (ANYWHERE,)
    if (over == "canary" and (secret := application.canary)) or (over == "secret" and (secret := _secret(application))):
        yield Fact("", {}, (f"canary:{secret}",))
    elif over == "records":
        yield from (
            Fact(record.owner, {"owner": record.owner}, (f"canary:{record.canary}",)) for record in application.records
        )
    elif over in ("never", "asked", "guarded"):
        for tool in _tools(application, *(("never", "asked") if over == "guarded" else (over,))):
            gaps = {"tool": tool.name, "action": tool.action.rstrip(".!"), "document": documents[0]}
            yield Fact(tool.name, gaps, (f"tool:{tool.name}",))
    elif over == "must_never":
        yield from (Fact(act, {"act": act.rstrip(".!")}) for act in application.must_never)
    elif over == "tasks":
        for answer, task, topics, twin in table["tasks"]:
            if not re.search(topics, f"{application.purpose} {application.users} {application.name}", re.IGNORECASE):
                gaps = {"task": task[:1].lower() + task[1:], "twin": filled(twin, purpose=application.topic)}
                yield Fact(answer, gaps, (f"canary:{answer}",))
    elif over == "documents":
        yield from (Fact(text, {"document": text}, (f"canary:{table['canary']}",)) for text in documents)
    elif over == "brand":
        yield Fact("", {})


def _tools(application: Application, *allowed: str) -> list[Any]:
    return [tool for tool in application.tools if tool.allowed in allowed]


def _secret(application: Application) -> str:
    """The canary; without one the longest sentence of the system prompt, whose verbatim leak can be seen."""
    sentences = [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", application.system_prompt)]
    longest = max(sentences, key=len, default="")
    return application.canary or (longest if sum(map(str.isalnum, longest)) >= SENTENCE else "")


def summary_of(application: Application) -> str:
    """The description in sentences, for a writer."""
    lines = [
        f"{application.name} is an assistant. What it is for: {application.purpose}. Its users are {application.users}."
    ]
    if application.must_never:
        lines.append(f"It must never: {'; '.join(application.must_never)}.")
    lines += [f"It has the tool {tool.name}: {tool.action} ({ALLOWED[tool.allowed]})." for tool in application.tools]
    if application.documents:
        lines.append(f"It reads {', '.join(application.documents)}.")
    return " ".join(lines)


ALLOWED = {"always": "harmless", "asked": "only if the user asks for it", "never": "not for these users"}
