"""Whether a monitor's name stands for one traffic: two under one name would hide each other's alerts by decisions."""

from collections.abc import Sequence

from withstand.monitor.section import Context
from withstand.store.revisions import append, newest

KIND = "monitor-traffic"
FIRST = "first"
"""In `meta`, what tells a traffic from others: the keyed hash of the first exchange that was read."""


def one_traffic(context: Context) -> Sequence[str]:
    """Note which traffic the monitor watches: a step. Returns a warning where the store knows another by its name."""
    traffic, store, name = context.traffic, context.store, context.settings.keeping.name
    own = traffic.fact(FIRST)
    if not own:
        rows = traffic.rows("SELECT content FROM seen ORDER BY seq LIMIT 1")
        if not rows:
            return []
        own = str(rows[0][0])
        traffic.set_fact(FIRST, own)
    before = newest(store, KIND, name, 1)
    if before and before[0].value["first"] == own:
        return []
    append(store, KIND, name, name, context.now, {"first": own})
    if not before:
        return []
    return [
        f"warning: monitor {name!r} watched another traffic before: what was decided of its alerts counts here, too; "
        "give each its own name in [monitor], or its own --store"
    ]
