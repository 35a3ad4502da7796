"""What people said, among the labels of the traffic: there every analysis finds it beside the screeners'."""

from collections.abc import Sequence

from withstand.core.text import count
from withstand.monitor.audit.draw import check_of
from withstand.monitor.audit.records import Opinion, choices, items_of, opinions_of
from withstand.monitor.section import Context

PERSON_STAGE = 99


def count_labels(context: Context) -> list[str]:
    """Write what people said of exchanges at hand into the table `label`, in place of what stood there: a step.

    Each is a row for every category and side, by `person NAME`; `flagged` is NULL where they were unsure. Labels by
    another version of the policy are another series, and are not mixed with these. Returns what counts nowhere.
    """
    name, database = context.settings.keeping.name, context.traffic.database
    items = {item.id: item for item in items_of(context.store, name)}
    opinions = [opinion for opinion in opinions_of(context.store, name) if opinion.item in items]
    seqs = sorted({items[opinion.item].seq for opinion in opinions})
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
    with context.traffic.transaction():
        database.execute("DELETE FROM label WHERE labeler LIKE 'person %'")
        if rows:
            seq, category, side, flagged, labeler, version, chosen = (
                list(column) for column in zip(*rows, strict=True)
            )
            database.execute(
                f"""INSERT INTO label SELECT unnest(?::BIGINT[]), unnest(?::VARCHAR[]), unnest(?::VARCHAR[]),
                NULL, unnest(?::BOOLEAN[]), unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), {PERSON_STAGE},
                unnest(?::VARCHAR[])""",
                [seq, category, side, flagged, labeler, version, chosen],
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
