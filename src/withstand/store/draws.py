"""Which cases of a run's sample were shown to annotators: a case that was shown and has no label is no case that nobody
happened to reach."""

import time
from collections.abc import Iterable

from withstand.core import Json, digest, dumps
from withstand.store.database import loads
from withstand.store.store import Store
from withstand.store.tables import draw


def add_draws(store: Store, run_key: str, places: Iterable[str], seed: int, kind: str = "person") -> None:
    """That these cases of the sample with this seed were shown to an annotator of this kind."""
    now, entries = time.time(), []
    for place in places:
        value = {"place": place, "seed": seed}
        key, facts = digest([run_key, kind, value]), {"run": run_key, "annotator": kind, "created": now}
        entries.append({"key": key, "value": dumps(value), "writer": store.writer, **facts})
    store.write({draw: entries})


def read_draws(store: Store, run_key: str) -> list[Json]:
    """The cases that were shown, oldest first: place, seed and the kind of annotator; as `Store.labels` but for writers
    whom the user does not trust."""
    entries, _ = store.marks.counted(draw, draw.c.run == run_key, draw.c.created)
    return [{**loads(entry.value), "annotator": entry.annotator} for entry in entries]
