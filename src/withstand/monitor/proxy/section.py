"""The section "in front of the model": what proxies did, and what passed without the word of a judge."""

import time
from collections.abc import Mapping, Sequence

from withstand.core import Json
from withstand.core.text import count, whole
from withstand.monitor.proxy.session import COUNTS, KIND
from withstand.monitor.section import Context, Section, State
from withstand.report.table import Column, Table
from withstand.store.revisions import Record, records

SHOWN = 20
GAPS = ("failed_open", "unjudged", "unlogged")
"""What passed, or is missing, without a judge's word."""


def section(context: Context) -> Section | None:
    """What stood in front of the model, by session; None where no proxy ran."""
    sessions = records(context.store, KIND, context.settings.keeping.name)
    if not sessions:
        return None
    totals = {name: sum(_counts(session).get(name, 0) for session in sessions) for name in COUNTS}
    gaps = {name: totals[name] for name in GAPS if totals[name]}
    open_ended = [session for session in sessions if not session.value["ended"]]
    state: State = "note" if gaps or totals["failed_closed"] or open_ended else "calm"
    return Section(
        "proxy", "What stood in front of the model?", _answer(sessions, totals, open_ended), state,
        [_table(sessions[-SHOWN:]), _modes(sessions[-SHOWN:])], advice=_advice(totals, open_ended),
        value={"sessions": [dict(session.value) | {"id": session.id} for session in sessions], "totals": totals},
    )  # fmt: skip


def _counts(session: Record) -> Mapping[str, int]:
    counts: Mapping[str, int] = session.value["counts"]
    return counts


def _answer(sessions: Sequence[Record], totals: Mapping[str, int], open_ended: Sequence[Record]) -> str:
    modes = dict.fromkeys(session.value["says"] for session in sessions)
    passed = f"{totals['flagged']:,} flagged, {totals['blocked']:,} blocked, {totals['unjudged']:,} unjudged"
    sentences = [
        f"{count(len(sessions), 'session')} of the proxy met {count(totals['exchanges'], 'exchange')}: {passed}.",
        f"Where no judge could say, {totals['failed_open']:,} passed and {totals['failed_closed']:,} were refused.",
    ]
    if totals["unlogged"]:
        sentences.append(f"{count(totals['unlogged'], 'exchange')} are missing from the log.")
    sentences += [f"The last one: {sessions[-1].value['says']}"] if len(modes) > 1 else list(modes)
    if open_ended:
        sentences.append(
            f"{count(len(open_ended), 'session')} said no end: what came after the last counts is not in them."
        )
    return " ".join(sentences)


def _advice(totals: Mapping[str, int], open_ended: Sequence[Record]) -> list[str]:
    advice = []
    if totals["failed_open"] or totals["failed_closed"]:
        advice.append(
            "Look for `failed open` and `failed closed` in the proxy's log: each line says which judge, and why."
        )
    if totals["unjudged"]:
        advice.append("Have `withstand monitor run` screen the proxy's log: it judges what the proxy did not.")
    if totals["unlogged"]:
        advice.append("Give the log a faster disk or more space: what is not logged is in no figure here.")
    if open_ended:
        advice.append(
            "If a proxy still runs, stop it with Ctrl-C for its last counts; if it was killed, count its log."
        )
    return advice


def _table(sessions: Sequence[Record]) -> Table:
    names = ("exchanges", "flagged", "blocked", "failed_open", "failed_closed", "unjudged", "server_errors", "unlogged")
    columns = [Column("session"), Column("until", _moment, "UTC"), Column("ended")]
    columns += [Column(name.replace("_", " "), whole, right=True) for name in names]
    rows = [
        [
            session.id, session.value["until"], "yes" if session.value["ended"] else "no",
            *(_counts(session).get(name, 0) for name in names),
        ]
        for session in sessions
    ]  # fmt: skip
    note = "; ".join(f"{name.replace('_', ' ')}: {COUNTS[name]}" for name in names)
    return Table(columns, rows, "Sessions of the proxy", note)


def _modes(sessions: Sequence[Record]) -> Table:
    columns = [
        Column("session"),
        Column("mode"),
        Column("answers"),
        Column("fail"),
        Column("settings"),
        Column("policy"),
    ]
    rows: list[list[Json]] = [
        [session.id, *(session.value[name] for name in ("mode", "answers", "fail", "settings", "policy"))]
        for session in sessions
    ]
    return Table(columns, rows, "How each session stood", "settings: a digest of all that decides what passes")


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
