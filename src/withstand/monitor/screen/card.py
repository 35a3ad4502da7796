"""The card of a screener, by what people said of the random audit stream: `withstand show judge ID --screener FILE`."""

from dataclasses import replace

from withstand.core import SpecError, did_you_mean
from withstand.core.text import count
from withstand.monitor.audit.counted import NOBODY
from withstand.monitor.audit.records import RANDOM
from withstand.monitor.prevalence.data import decided, version_of
from withstand.monitor.screen.labelers import Labeler, labelers_of
from withstand.monitor.section import Context
from withstand.results.card import Make, card_of, documented
from withstand.results.card_figures import figures_of
from withstand.results.card_records import Card, CardText, Measured

ROWS = """
WITH people AS (
    SELECT seq, list(flagged ORDER BY labeler) AS votes,
        coalesce(list(DISTINCT labeler ORDER BY labeler) FILTER (WHERE labeler <> $nobody), []) AS who
    FROM person_label WHERE category = $category AND side = $side AND version = $people AND chosen = $random
    GROUP BY seq
), said AS (
    SELECT seq, flagged, score FROM label
    WHERE labeler = $id AND version = $version AND category = $category AND side = $side
)
SELECT p.votes, p.who, coalesce({text}, ''), e.account, e.seq, s.flagged, s.score, u.seq IS NOT NULL
FROM people p JOIN exchange e USING (seq) LEFT JOIN said s USING (seq)
LEFT JOIN (SELECT DISTINCT seq FROM unscored WHERE labeler = $id AND version = $version) u USING (seq)
ORDER BY e.seq"""
"""The exchanges of the random stream that people labeled, with what the screener said in its version of now."""


def screener_card(context: Context, screener: str, policy_file: str, folder: str, make: Make) -> Card:
    """The card of a screener of the monitor's settings. policy_file, folder: as the command took them.

    Raises `SpecError` for one that the settings do not have.
    """
    labelers = labelers_of(context.settings.screeners, context.policy, context.settings.file)
    labeler = next((labeler for labeler in labelers if labeler.screener.id == screener), None)
    if labeler is None:
        names = [labeler.screener.id for labeler in labelers]
        hint = did_you_mean(screener, names, f"screeners: {', '.join(names) or 'none'}")
        raise SpecError(f"{context.settings.file} has no screener {screener!r}", hint=hint)
    entry = labeler.screener
    docstring = documented("judge", entry.judge).docstring
    return card_of(
        "screener", screener, docstring, labeler.judge, _measured(context, labeler, policy_file, folder, make), make,
        f"{entry.reads}s of exchanges",
        f"the {entry.reads} violates {entry.category}, by the policy's version {context.policy.header.version}",
        (entry.category,), entry.threshold,
    )  # fmt: skip


def _measured(context: Context, labeler: Labeler, policy_file: str, folder: str, make: Make) -> Measured:
    entry, people = labeler.screener, version_of(context)
    rows = context.traffic.database.execute(
        ROWS.format(text=f"e.{entry.reads}"),
        {
            "category": entry.category, "side": entry.reads, "people": people, "random": RANDOM, "id": entry.id,
            "version": labeler.version, "nobody": NOBODY,
        },
    ).fetchall()  # fmt: skip
    votes = [decided(row[0]) for row in rows]
    kept = [(vote, row) for vote, row in zip(votes, rows, strict=True) if vote is not None]
    who = sorted({name for row in rows for name in row[1]})
    notes = [
        f"screener: {entry.judge}, version {labeler.version}; it sees "
        + (f"what {', '.join(entry.after)} passed on, and the random stream" if entry.after else "every exchange")
        + (f", {entry.budget:,} in a run" if entry.budget else ""),
        "exchanges are the random audit stream alone: what was drawn by its score is no random sample",
    ]
    passed = sum(not row[1] for row in rows)
    if passed:
        notes.append(
            f"{count(passed, 'drawn exchange has', 'drawn exchanges have')} no label, and so no part in these figures, "
            "which may flatter the screener: people may leave out what they do not want to read"
        )
    if open_ := len(rows) - len(kept) - passed:
        notes.append(f"{count(open_, 'exchange')} on which people are unsure or differ left out")
    if lacking := sum(row[5] is None and not row[7] for _, row in kept):
        notes.append(
            f"{count(lacking, 'exchange')} without a word of this version count as errors, as unscored ones do"
        )
    if any(not row[2] for _, row in kept):
        notes.append("texts are not kept of all exchanges: slices are of those that are")
    labels, by = f"audits of {context.settings.keeping.name}, {people}", f"by {count(len(who), 'person', 'people')}"
    command = f"withstand monitor audit {folder} --policy {policy_file} --settings {context.settings.file} --take 200"
    measured = Measured(labels, by, tuple(notes), None, "people labeled nothing of the random stream", command)
    if not kept:
        return measured
    texts = [CardText(row[2], vote, row[5], row[6], str(row[3] or f"exchange {row[4]}")) for vote, row in kept]
    if all(text.flagged is None for text in texts):
        why = f"its version of now labeled none of the {count(len(texts), 'exchange')} that people labeled"
        command = f"withstand monitor run LOGS --out {folder} --policy {policy_file} --settings {context.settings.file}"
        return replace(measured, why=why, command=command)
    return replace(measured, figures=figures_of(texts, entry.threshold, make.identities), why="", command="")
