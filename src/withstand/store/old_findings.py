"""Findings as stores up to schema 10 had them, as attempts of schema 11. History: it stays as it is."""

import json
from time import gmtime, strftime
from typing import Any

import sqlalchemy as sql

from withstand.core.content import digest, dumps
from withstand.core.likeness import folded

WORDS = {"low": 1, "medium": 2, "high": 3, "critical": 4}
ROLES = ("system", "user", "assistant", "tool")


def findings_to_attempts(connection: sql.Connection) -> None:
    """Add an attempt for each finding. Its id has the day and the key of the finding: two stores that were brought up
    apart and merged have it once. Findings had no mark of their writer, so that nobody can say whose they are."""
    if not sql.inspect(connection).has_table("finding"):
        return
    query = sql.text('SELECT key, run, created, value, purged FROM "finding" ORDER BY created, key')
    entries: dict[str, dict[str, Any]] = {}
    for key, run, created, text, purged in connection.execute(query).all():
        value = json.loads(text)
        surfaced = float(value.get("created", created))
        number = f"F-{strftime('%Y%m%d', gmtime(surfaced))}-{key}"
        entry = _entry(value, run, created, surfaced) | {"purged": purged}
        short = number[:19] if number[:19] not in entries else number
        value = {**entry.pop("value"), "id": short}
        entries[short] = entry | {"id": short, "key": digest(["attempt", short, 1]), "value": dumps(value)}
    names = list(next(iter(entries.values()), {}))
    columns, places = ", ".join(f'"{name}"' for name in names), ", ".join(f":{name}" for name in names)
    if entries:
        added = f"INSERT INTO attempt ({columns}) VALUES ({places}) ON CONFLICT DO NOTHING"
        connection.execute(sql.text(added), list(entries.values()))


def _entry(value: dict[str, Any], run: str, created: float, surfaced: float) -> dict[str, Any]:
    """The columns of an attempt without those that name it; "value" as a dict."""
    turns, output, notes = _conversation(value)
    severity, harm = WORDS.get(value.get("severity", ""), 2), f"new: {value.get('harm', '')}"
    tester = value.get("person", "")
    parts: dict[str, Any] = {
        "turns": turns, "output": output, "verdict": "harmful", "tester": tester, "surfaced": surfaced,
        "created": created, "harm": harm, "target": value.get("target", ""), "severity": severity,
        "mitigations": value.get("defense", ""), "technique": value.get("attack", ""), "notes": notes,
        "behavior": value.get("behavior", ""), "judged": value.get("verdicts", []), "editor": tester, "run": run,
        "spot": value.get("spot", []), "source": "case" if run else "console",
    }  # fmt: skip
    parts["params"] = {name: value[name] for name in ("temperature", "max_tokens", "finish") if name in value}
    sent = [" ".join(folded(turn["text"]).split()) for turn in turns if turn["role"] != "assistant"]
    unsaid = dict.fromkeys(("plan", "round", "layer", "feature", "persona", "mindset", "language"), "")
    return unsaid | {
        "revision": 1, "created": created, "surfaced": surfaced, "harm": "new", "tester": tester,
        "verdict": "harmful", "severity": severity, "status": "new", "owner": "", "raters": 1, "input": digest(sent),
        "run": run, "value": parts,
    }  # fmt: skip


def _conversation(value: dict[str, Any]) -> tuple[list[dict[str, str]], str, str]:
    """What was sent, the last answer, and the note with what is neither (a context, a reasoning)."""
    chat = [(str(turn.get("role", "user")), str(turn.get("text", ""))) for turn in value.get("chat", [])]
    answered = bool(chat) and chat[-1][0] in ("assistant", "completion")
    output = chat.pop()[1] if answered else ""
    turns = [{"role": role, "text": text} for role, text in chat if role in ROLES]
    beside = [f"{role}: {text}" for role, text in chat if role not in ROLES]
    return turns, output, "\n\n".join(filter(None, [value.get("note", ""), *beside]))
