"""What people said, among the labels of the traffic: there every analysis finds it beside the screeners'."""

from collections.abc import Sequence

from withstand.core.text import count
from withstand.monitor.audit.draw import check_of
from withstand.monitor.audit.records import RANDOM, Opinion, choices, items_of, opinions_of, passed_over
from withstand.monitor.section import Context
from withstand.monitor.traffic import PERSON_STAGE
from withstand.results.exposure import place_of_monitor, skipped

NOBODY = "nobody"
"""The labeler of what was passed over. A person of this name is `person nobody`."""


def count_labels(context: Context) -> list[str]:
    """Write what people said of exchanges at hand into the tables of the traffic, in place of what stood there: a step.

    Each is a row for every category and side, by `person NAME`; `flagged` is NULL where they were unsure. Labels by
    another version of the policy are another series, and are not mixed with these. What was passed over has rows of
    `NOBODY`, which say nothing, so that every limit takes it for either. Returns what counts nowhere.
    """
    name, database = context.settings.keeping.name, context.traffic.database
    items = {item.id: item for item in items_of(context.store, name)}
    opinions = [opinion for opinion in opinions_of(context.store, name) if opinion.item in items]
    labeled = {opinion.item for opinion in opinions if opinion.policy == context.policy.header.version}
    left = passed_over(list(items.values()), labeled, skipped(context.store, place_of_monitor(name)))
    seqs = sorted({item.seq for item in left} | {items[opinion.item].seq for opinion in opinions})
    at_hand = {
        seq: check_of(own, ts, account)
        for seq, own, ts, account in context.traffic.rows(
            "SELECT seq, id, ts, account FROM exchange WHERE seq IN (SELECT unnest(?::BIGINT[]))", [seqs]
        )
    }
    own = [opinion for opinion in opinions if at_hand.get(items[opinion.item].seq) == items[opinion.item].check]
    foreign = sum(items[opinion.item].seq in at_hand for opinion in opinions) - len(own)
    current = [opinion for opinion in own if opinion.policy == context.policy.header.version]
    earlier = len(own) - len(current)
    rows = [
        (items[opinion.item].seq, category, side, flagged, f"person {opinion.labeler}", f"policy {opinion.policy}",
         items[opinion.item].chosen)
        for opinion in current
        for category, side, flagged in _rows(opinion, list(choices(context.policy)))
    ]  # fmt: skip
    rows += [
        (item.seq, category, side, None, NOBODY, f"policy {context.policy.header.version}", item.chosen)
        for item in left
        if at_hand.get(item.seq) == item.check
        for side in ("prompt", "completion")
        for category in choices(context.policy)
    ]
    with context.traffic.transaction():
        database.execute("DELETE FROM person_label")
        database.execute(f"DELETE FROM label WHERE stage = {PERSON_STAGE}")
        if rows:
            names = ("seq", "category", "side", "flagged", "labeler", "version", "chosen")
            columns = [list(column) for column in zip(*rows, strict=True)]
            kinds = ["BIGINT", "VARCHAR", "VARCHAR", "BOOLEAN", "VARCHAR", "VARCHAR", "VARCHAR"]
            unnested = ", ".join(f"unnest(?::{kind}[])" for kind in kinds)
            database.execute(f"INSERT INTO person_label ({', '.join(names)}) SELECT {unnested}", columns)
            database.execute(
                f"""INSERT INTO label BY NAME SELECT *, {PERSON_STAGE} AS stage FROM person_label
                WHERE chosen = '{RANDOM}' AND labeler <> '{NOBODY}'"""
            )
    return [
        f"{count(number, 'label')} of people {why}: counted nowhere"
        for number, why in (
            (foreign, "of another traffic than this folder's"),
            (earlier, f"by another version of the policy than {context.policy.header.version}"),
        )
        if number
    ]


def _rows(opinion: Opinion, categories: Sequence[str]) -> list[tuple[str, str, bool | None]]:
    """Every category and side of the policy with what was said."""
    sides = (("prompt", opinion.prompt), ("completion", opinion.completion))
    return [
        (category, side, None if violated is None else category in violated)
        for side, violated in sides
        for category in categories
    ]
