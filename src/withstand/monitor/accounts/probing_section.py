"""The section "refusal probing": who puts a refused request in other words until one gets through, and which did."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from withstand.core.text import clock, count, percent, whole
from withstand.monitor.accounts.probing import LEAST, TOGETHER, WINDOW, Probe, probes
from withstand.monitor.accounts.section import name
from withstand.monitor.section import Context, Section, State, words_column
from withstand.monitor.traffic import Traffic
from withstand.redteam.dates import minute_of
from withstand.report.table import Column, Table

SHOWN, EXCERPT = 20, 100
ADVICE = (
    "Read the chains that got through: their last wording is what the refusal does not cover.",
    "Put these wordings into a suite (withstand monitor to-suite), so that the next version is tested with them.",
)


def section(context: Context) -> Section:
    """Who probes the refusals."""
    traffic = context.traffic
    [(total, judged, texts, whose)] = traffic.rows(
        """SELECT count(*), count(refused), count(prompt),
            count(*) FILTER (account <> '' OR end_user <> '' OR key <> '') FROM exchange"""
    )
    listed = probes(traffic)
    past = [probe for probe in listed if probe.through]
    title, question = "probing", "Does anyone try refused requests in other words?"
    if not listed and (not judged or 2 * texts < total or 2 * whose < total or not total):
        why = (
            "no exchange was read"
            if not total
            else "most exchanges have no account"
            if 2 * whose < total
            else "texts are not kept"
            if judged
            else "no answer is known as a refusal"
        )
        return Section(title, question, f"Unknown: {why}, so that no rewording can be seen.", "unknown")
    shown = listed[:SHOWN]
    excerpts = _excerpts(traffic, (seq for probe in shown for seq in (probe.first, *probe.through[:1])))
    state: State = "alarm" if listed else "calm"
    value = {
        "least": LEAST, "window_s": WINDOW, "probes": len(listed), "through": len(past), "without_text": total - texts,
        "listed": [asdict(probe) for probe in shown],
    }  # fmt: skip
    return Section(
        title, question, _answer(listed, past, texts / total), state, [_table(shown, excerpts)] if shown else (),
        advice=ADVICE if listed else (), value=value,
    )  # fmt: skip


def _answer(listed: list[Probe], past: list[Probe], kept: float) -> str:
    rule = f"{LEAST} wordings or more in {clock(WINDOW)}"
    missing = f" {percent(1 - kept)} of the prompts have no text: rewordings of those are not seen." if kept < 1 else ""
    if not listed:
        return f"No: no refused request came back in {rule}.{missing}"
    accounts = {account for probe in listed for account in probe.accounts}
    chains = f"{count(len(listed), 'chain')} of {count(len(accounts), 'account')}"
    return f"Yes: {chains} with {rule}; {count(len(past), 'chain')} got through.{missing}"


def _excerpts(traffic: Traffic, seqs: Iterable[int]) -> Mapping[int, str]:
    query = f"SELECT seq, substr(prompt, 1, {EXCERPT}) FROM exchange WHERE seq IN ?"
    return {seq: text or "" for seq, text in traffic.rows(query, [sorted(set(seqs))])}


def _table(shown: list[Probe], excerpts: Mapping[int, str]) -> Table:
    columns = [
        Column("began"), Column("accounts"), Column("by"), Column("attempts", whole, right=True),
        Column("lasted", clock, right=True), Column("got through"), words_column("first wording"),
        words_column("wording that got through"),
    ]  # fmt: skip
    rows = [
        (
            minute_of(probe.start), _names(probe.accounts), probe.actor,
            probe.attempts, probe.end - probe.start, "no" if probe.after is None else f"at attempt {probe.after + 1}",
            excerpts.get(probe.first, ""), excerpts.get(probe.through[0], "") if probe.through else "",
        )
        for probe in shown
    ]  # fmt: skip
    note = (
        "A chain is near-duplicates by character 4-grams, each sent after the one before was refused or blocked. "
        "Retries in the same words do not count, and rewordings that share little spelling are not seen. Accounts of "
        f"one key are looked at together up to {TOGETHER}. Texts are redacted."
    )
    return Table(columns, rows, "Refused requests in other words", note)


def _names(accounts: tuple[str, ...]) -> str:
    return ", ".join(map(name, accounts[:3])) + (f" and {len(accounts) - 3} more" if len(accounts) > 3 else "")
