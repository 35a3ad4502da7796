"""The section "what happened": how much traffic, of whom, and what of the logs was read and what not."""

from collections import defaultdict
from typing import Any

from withstand.core import Json
from withstand.core.text import count, percent, series, whole
from withstand.monitor.intake.columns import LISTED
from withstand.monitor.intake.rules import unseen
from withstand.monitor.section import Chart, Context, Line, Section, State
from withstand.redteam.dates import minute_of
from withstand.report.table import Column, Table

HOURLY = 14 * 24
"""Hours up to which the volume is drawn by the hour; longer traffic is drawn by the day."""
POINTS = 2_000
TOP = 10
LINES = 5
"""Line numbers of a problem that are shown."""
BAD = 0.05
"""Share of lines lost from which on every figure is in doubt."""
MISSING = 20
"""Exchanges that are usually there in hours without one, from which on the log may be missing."""
QUESTION = "What happened?"


def section(context: Context) -> Section:
    """What happened: volume, and how well it was read."""
    span = context.traffic.span()
    problems, logs = _problems(context), _logs(context)
    lost = sum(row["lines"] for row in problems if row["effect"] == "lost")
    if span is None:
        answer = f"Unknown: {count(logs['lines'], 'line')} of {count(len(logs['logs']), 'log')} hold no exchange."
        value = {"exchanges": 0, "problems": problems, **logs}
        tables, advice = [_problem_table(problems)], _advice(problems, 1.0)
        return Section("happened", QUESTION, answer, "unknown", tables, advice=advice, value=value)
    facts = _facts(context, span)
    shares = _shares(context)
    share = lost / max(logs["lines"], 1)
    odd = (
        lost or facts["outside"]["exchanges"] or facts["not_screened"] or facts["silences"] or facts["never_looked_at"]
        or _mostly(facts)
    )  # fmt: skip
    state: State = "alarm" if share > BAD else "note" if odd else "calm"
    return Section(
        "happened", QUESTION, _answer(facts, logs, problems, lost), state,
        [table for table in (_fact_table(facts), _share_table(shares), _log_table(logs), _problem_table(problems))
         if table.rows],
        [_chart(context, span)], _advice(problems, share), {**facts, "shares": shares, "problems": problems, **logs},
    )  # fmt: skip


def _facts(context: Context, span: tuple[float, float]) -> dict[str, Json]:
    traffic, (begin, end) = context.traffic, span
    [(exchanges, hours, refused, blocked)] = traffic.rows(
        "SELECT sum(exchanges), count(DISTINCT hour), sum(refused), sum(blocked) FROM hour_total"
    )
    [(accounts, nobody, first)] = traffic.rows(
        """SELECT count(DISTINCT account) FILTER (account <> ''), sum(exchanges) FILTER (account = ''), min(first)
        FROM account_day"""
    )
    [(kept, bare, outside, mute)] = traffic.rows(
        """SELECT count(*), count(*) FILTER (prompt IS NULL AND completion IS NULL), count(*) FILTER (ts < ? OR ts > ?),
            count(*) FILTER (coalesce(completion_chars, 0) = 0) FROM exchange""",
        [begin, end],
    )
    strays = traffic.rows(
        """SELECT s.name, e.line, e.ts FROM exchange e JOIN source s ON s.id = e.source
        WHERE e.ts < ? OR e.ts > ? ORDER BY e.seq LIMIT ?""",
        [begin, end, LINES],
    )
    versions = traffic.rows(
        "SELECT DISTINCT labeler || ' ' || version FROM hour_label WHERE stage < 0 ORDER BY ALL LIMIT ?", [TOP]
    )
    kept_from = traffic.fact("kept_from")
    deleted = int(exchanges) - kept
    return {
        "exchanges": int(exchanges), "begin": min(begin, first) if deleted else begin, "end": end,
        "hours": hours, "accounts": accounts, "without_account": int(nobody or 0),
        "refused": int(refused), "blocked": int(blocked), "kept": kept, "without_text": bare, "without_answer": mute,
        "deleted": deleted, "never_looked_at": int(traffic.fact("never_looked_at", "0")),
        "kept_from": float(kept_from) if kept_from else None,
        "outside": {
            "exchanges": outside,
            "first": [{"log": name, "line": line, "ts": ts} for name, line, ts in strays],
        },
        "not_screened": unseen(traffic),
        "silences": _silences(context, span),
        "policy": context.policy.label, "labels_of_the_log": [version.strip() for (version,) in versions],
    }  # fmt: skip


def _silences(context: Context, span: tuple[float, float]) -> list[dict[str, Json]]:
    """Hours side by side without an exchange, where at this time of the day (of the week, in three weeks or more) there
    are usually `MISSING` together: a service that rests at night or on Sundays is no gap."""
    import numpy as np

    first, last = (int(end // 3600) for end in span)
    grid, counts = range(first, last + 1), np.zeros(last + 1 - first)
    query = "SELECT hour, sum(exchanges) FROM hour_total WHERE hour BETWEEN ? AND ? GROUP BY hour"
    for hour, exchanges in context.traffic.rows(query, [first, last]):
        counts[hour - first] = float(exchanges)
    period = 168 if len(grid) >= 3 * 168 else 24
    days = (np.arange(len(counts)) + first) // 24
    active = np.bincount(days - days[0], counts)[days - days[0]] > 0  # a year without a day says nothing of usual ones
    slots = [counts[at::period][active[at::period]] for at in range(min(period, len(counts)))]
    usual = np.array([float(np.median(slot)) if len(slot) else 0.0 for slot in slots])[np.arange(len(counts)) % period]
    edges = np.flatnonzero(np.diff(np.concatenate(([0], counts == 0, [0]))))
    return [
        {"begin": grid[begin] * 3600.0, "end": (first + end) * 3600.0, "usual": round(float(usual[begin:end].sum()))}
        for begin, end in edges.reshape(-1, 2).tolist()
        if usual[begin:end].sum() >= MISSING
    ]


def _shares(context: Context) -> dict[str, Json]:
    """The most frequent models and applications."""
    shares: dict[str, Json] = {}
    for name in ("model", "app"):
        rows = context.traffic.rows(
            f"SELECT {name}, sum(exchanges) AS n FROM hour_total GROUP BY {name} ORDER BY n DESC, {name} LIMIT ?", [TOP]
        )
        [(number,)] = context.traffic.rows(f"SELECT count(DISTINCT {name}) FROM hour_total")
        shares[name] = {"number": number, "most": [{"name": text, "exchanges": int(n)} for text, n in rows]}
    return shares


def _logs(context: Context) -> dict[str, Any]:
    rows = context.traffic.rows(
        """SELECT s.name, s.line, coalesce(e.n, 0) FROM source s
        LEFT JOIN (SELECT source, count(*) AS n FROM exchange GROUP BY source) e ON e.source = s.id ORDER BY s.id"""
    )
    listed = [{"log": name, "lines": lines, "kept": kept} for name, lines, kept in rows]
    return {"logs": listed, "lines": sum(entry["lines"] for entry in listed)}


def _problems(context: Context) -> list[dict[str, Any]]:
    """By kind: what became of the lines, how many there are, and where the first stand."""
    where: dict[str, list[str]] = defaultdict(list)
    whys: dict[str, str] = {}
    for name, line, kind, why in context.traffic.rows(
        f"""SELECT s.name, p.line, p.kind, p.why FROM problem p JOIN source s ON s.id = p.source
        QUALIFY row_number() OVER (PARTITION BY p.kind ORDER BY p.source, p.line) <= {LINES}
        ORDER BY p.source, p.line"""
    ):
        where[kind].append(f"{name}:{line}")
        whys.setdefault(kind, why)
    rows = context.traffic.rows(
        """SELECT kind, effect, sum(lines) AS n FROM tally GROUP BY kind, effect
        ORDER BY effect = 'lost' DESC, n DESC, kind"""
    )
    return [
        {"kind": kind, "effect": effect, "lines": int(n), "first": where[kind], "why": whys.get(kind, "")}
        for kind, effect, n in rows
    ]


def _answer(facts: dict[str, Any], logs: dict[str, Any], problems: list[dict[str, Any]], lost: int) -> str:
    who = f" of {count(facts['accounts'], 'account')}" if facts["accounts"] else ""
    text = f"{count(facts['exchanges'], 'exchange')}{who} from {_time(facts['begin'])} to {_time(facts['end'])}. "
    text += f"{count(lost, 'record')} of {count(logs['lines'], 'line')} could not be read." if lost else "All was read."
    if copies := sum(row["lines"] for row in problems if row["kind"] == "copy"):
        text += f" {count(copies, 'line')} {'is a copy of one' if copies == 1 else 'are copies of ones'} read before."
    if outside := facts["outside"]["exchanges"]:
        verb = "is" if outside == 1 else "are"
        text += f" {count(outside, 'exchange')} {verb} far from all others in time: a clock was wrong."
    if facts["not_screened"]:
        most, names = max(facts["not_screened"].values()), series(list(facts["not_screened"]))
        text += f" {count(most, 'exchange')} were read before {names} screened: no rate of theirs is of these."
    if gaps := facts["silences"]:
        longest = max(gaps, key=lambda gap: gap["usual"])
        more = f" and in {count(len(gaps) - 1, 'more span')}" if len(gaps) > 1 else ""
        text += f" No exchange is there from {_time(longest['begin'])} to {_time(longest['end'])}{more}, where"
        text += f" {longest['usual']:,} are usual: a log is missing, or the service was down."
    text += "".join(f" {percent(share)} {what}." for what, share in _mostly(facts).items())
    if facts["deleted"]:
        text += f" Of {whole(facts['deleted'])} only counts are kept: they are before {_time(facts['kept_from'])}."
    if facts["never_looked_at"]:
        text += f" {whole(facts['never_looked_at'])} of these were too old when they were read: no account, wording,"
        text += " cluster or template was looked for in them."
    return text


def _mostly(facts: dict[str, Any]) -> dict[str, float]:
    """What holds for half of the exchanges or more, and leaves little to look at: what, and for which share."""
    shares = {
        "were blocked": facts["blocked"] / max(facts["exchanges"], 1),
        "have no answer, so that nothing is known of what the model said": facts["without_answer"]
        / max(facts["kept"], 1),
    }
    return {what: share for what, share in shares.items() if share >= 0.5}


def _advice(problems: list[dict[str, Any]], share: float) -> list[str]:
    advice = []
    lost = [row for row in problems if row["effect"] == "lost"]
    if lost and share > BAD:
        kinds = series([row["kind"] for row in lost[:3]])
        advice.append(f"Mend the log before you trust a figure below: {percent(share)} of it was lost ({kinds}).")
    elif lost:
        advice.append(f"Look at {lost[0]['first'][0] if lost[0]['first'] else 'the lines'}: {lost[0]['kind']}.")
    names = {row["kind"] for row in problems}
    if "unknown category" in names:
        advice.append("Map the categories of the log's own labels in the policy: they are kept under their own names.")
    if "id again" in names:
        advice.append("Ids of the log stand for several exchanges: let its writer give each its own.")
    return advice


# --- tables and the chart ----------------------------------------------------------------------------------------


def _fact_table(facts: dict[str, Any]) -> Table:
    total, kept = max(facts["exchanges"], 1), max(facts["kept"], 1)
    rows = [
        ("exchanges", whole(facts["exchanges"])),
        ("accounts", whole(facts["accounts"])),
        ("exchanges without an account", whole(facts["without_account"])),
        ("answers that refuse", percent(facts["refused"] / total)),
        ("blocked", percent(facts["blocked"] / total)),
        ("without text", percent(facts["without_text"] / kept)),
        ("deleted by retention, counts kept", whole(facts["deleted"])),
        ("policy", facts["policy"]),
    ]
    rows += [("labels of the log by", version) for version in facts["labels_of_the_log"]]
    return Table([Column(""), Column("", right=True)], rows, "The traffic")


def _share_table(shares: dict[str, Any]) -> Table:
    rows: list[Any] = []
    for name, title in (("model", "models"), ("app", "applications")):
        most = [entry for entry in shares[name]["most"] if entry["name"]]
        if most:
            rows.append(f"{shares[name]['number']:,} {title}")
            rows += [(entry["name"], entry["exchanges"]) for entry in most]
    return Table([Column("name"), Column("exchanges", whole, right=True)], rows, "Models and applications")


def _log_table(logs: dict[str, Any]) -> Table:
    rows = [(entry["log"], entry["lines"], entry["kept"]) for entry in logs["logs"]]
    columns = [Column("log"), Column("lines read", whole, right=True), Column("exchanges kept", whole, right=True)]
    return Table(columns, rows, "Logs", folded=len(rows) > TOP)


def _problem_table(problems: list[dict[str, Any]]) -> Table:
    rows = [(row["kind"], row["effect"], row["lines"], ", ".join(row["first"]), row["why"]) for row in problems]
    columns = [
        Column("what"), Column("the line is"), Column("lines", whole, right=True), Column("first"),
        Column("why, of the first"),
    ]  # fmt: skip
    note = f"All lines are counted; of a kind and a log the first {LISTED:,} are listed in the traffic."
    return Table(columns, rows, "What was odd in the logs", note)


def _chart(context: Context, span: tuple[float, float]) -> Chart:
    """The volume by hour or by day, zeros included."""
    low, high = (int(end // 3600) for end in span)
    if past := context.traffic.rows("SELECT min(hour) FROM past_hour")[0][0]:
        low = min(low, past)
    size = 1 if high - low < HOURLY else 24
    while (high - low) // size >= POINTS:
        size *= 7
    rows = context.traffic.rows(
        f"""SELECT CAST(floor(hour / {size}) AS BIGINT) AS slot, sum(exchanges), sum(refused) FROM hour_total
        WHERE hour BETWEEN ? AND ? GROUP BY slot""",
        [low, high],
    )
    by_time = {at: (float(exchanges), float(refused)) for at, exchanges, refused in rows}
    times = range(low // size, high // size + 1)
    lines = [
        Line(name, [(at * size * 3600.0, by_time.get(at, (0.0, 0.0))[place]) for at in times])
        for place, name in enumerate(("exchanges", "answers that refuse"))
    ]
    unit = {1: "hour", 24: "day"}.get(size, f"{size // 24} days")
    return Chart(f"Exchanges by {unit}", lines)


def _time(seconds: float) -> str:
    return f"{minute_of(seconds)} UTC"
