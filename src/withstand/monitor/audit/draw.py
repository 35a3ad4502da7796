"""Which exchanges people are asked to label: the random stream, and apart from it some of each band of scores."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import islice, zip_longest

from withstand.core import SpecError, digest
from withstand.monitor.audit.frame import Part, make_frame, screened_parts
from withstand.monitor.audit.records import RANDOM, Item, add_items, exchange_id, is_twice, items_of
from withstand.monitor.section import Context

TEXTS = "(e.prompt IS NOT NULL OR e.completion IS NOT NULL)"
COLUMNS = "e.seq, e.ts, coalesce(e.prompt, ''), coalesce(e.completion, ''), e.id, e.account"


def take(context: Context, stream: int, targeted: int = 0) -> list[Item]:
    """Put `stream` exchanges of the random audit stream into the queue, and `targeted` ones of other traffic, as many
    of each band of scores as of the others. Returns what was new.

    Each exchange has a random number of its own, by which it is drawn: what is drawn later of a traffic that has grown
    is a part of the same sample (permanent random numbers; Ohlsson 1995). Those of the stream are never drawn by their
    score, or the stream would lose what screeners flag: by score the highest numbers come first, so that the stream may
    grow. Raises `SpecError` where it grew over one.
    """
    queue = items_of(context.store, context.settings.keeping.name)
    _queued(context, [item.seq for item in queue])
    rate = context.settings.keeping.audit_rate
    _check_rate(context, [item.seq for item in queue if item.chosen != RANDOM], rate)
    drawn: list[list[tuple[str, tuple[object, ...]]]] = []
    if stream:
        rows = context.traffic.rows(
            f"""SELECT {COLUMNS} FROM exchange e WHERE audit < ? AND {TEXTS} AND seq NOT IN (SELECT seq FROM queued)
            ORDER BY audit, seq LIMIT ?""",
            [rate, stream],
        )
        drawn.append([(RANDOM, row) for row in rows])
    if targeted:
        drawn += _by_score(context, targeted, rate)
    start = max((item.order + 1 for item in queue), default=0)
    in_turn = [entry for turn in zip_longest(*drawn) for entry in turn if entry is not None]
    items = _items(context, in_turn, start)
    add_items(context.store, items)
    return items


def _check_rate(context: Context, targeted: Sequence[int], rate: float) -> None:
    """Raise `SpecError` where the stream has grown over exchanges that were drawn by score: it would lose them."""
    [(least,)] = context.traffic.rows(
        "SELECT min(audit) FROM exchange WHERE seq IN (SELECT unnest(?::BIGINT[]))", [list(targeted)]
    )
    if least is not None and least < rate:
        raise SpecError(
            f"audit_rate is {rate:g}, and exchanges from {least:.3g} on were drawn by their score",
            hint=f"without them the stream is not random: keep audit_rate at {int(least * 1000) / 1000:g} or below",
        )


def _queued(context: Context, seqs: Sequence[int]) -> None:
    context.traffic.database.execute("CREATE OR REPLACE TEMP TABLE queued (seq BIGINT)")
    if seqs:
        context.traffic.database.execute("INSERT INTO queued SELECT unnest(?::BIGINT[])", [list(seqs)])


def _by_score(context: Context, wanted: int, rate: float) -> list[list[tuple[str, tuple[object, ...]]]]:
    """Exchanges outside the stream, a list for each band of each part."""
    bands: dict[tuple[Part, int], list[tuple[object, ...]]] = defaultdict(list)
    for part in screened_parts(context):
        make_frame(context, part)
        rows = context.traffic.rows(
            f"""WITH chosen AS (
                SELECT seq, f.band, f.audit FROM frame f JOIN exchange e USING (seq)
                WHERE f.audit >= ? AND {TEXTS} AND seq NOT IN (SELECT seq FROM queued)
                QUALIFY row_number() OVER (PARTITION BY f.band ORDER BY f.audit DESC, seq) <= ?
            ) SELECT c.band, {COLUMNS} FROM chosen c JOIN exchange e USING (seq) ORDER BY c.band, c.audit DESC, seq""",
            [rate, wanted],
        )
        for band, *row in rows:
            bands[part, band].append(tuple(row))
    taken: set[object] = set()
    strata = []
    for place, ((part, _), rows) in enumerate(bands.items()):
        share = wanted // len(bands) + (place < wanted % len(bands))
        chosen = list(islice((row for row in rows if row[0] not in taken), share))
        taken |= {row[0] for row in chosen}
        strata.append([(part.targeted, row) for row in chosen])
    return strata


def _items(context: Context, drawn: Sequence[tuple[str, tuple[object, ...]]], start: int) -> list[Item]:
    name = context.settings.keeping.name
    items = []
    for order, (chosen, row) in enumerate(drawn, start):
        seq, ts, prompt, completion, own, account = row
        check = check_of(own, ts, account)
        id = exchange_id(name, int(str(seq)), check)
        items.append(
            Item(
                id,
                name,
                int(str(seq)),
                check,
                float(str(ts)),
                str(prompt),
                str(completion),
                chosen,
                order,
                is_twice(id),
            )
        )
    return items


def check_of(own: object, ts: object, account: object) -> str:
    """What tells an exchange from another of the same number: its id in the log, its time and who asked."""
    return digest([own, ts, account])[:16]
