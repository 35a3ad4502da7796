"""When what a layer tests changed last: what was tried before is stale."""

from collections.abc import Iterator
from math import inf, nextafter

import sqlalchemy as sql

from withstand.core import dumps
from withstand.redteam.dates import moment
from withstand.redteam.plan.records import Layer, Plan
from withstand.store.store import Store
from withstand.store.tables import attempt


def changes_of(store: Store, plan: Plan) -> list[tuple[str, float]]:
    """Layers and moments (seconds since 1970) before which an attempt there is stale, by the plan's words and by the
    versions that attempts were recorded at. Raises `SpecError` for what is no date."""
    return [(layer.id, at) for layer in plan.layers for at in _changes(store, plan, layer)]


def _changes(store: Store, plan: Plan, layer: Layer) -> Iterator[float]:
    """A date without an hour is the end of its day (UTC): what was recorded on it may be from before the change."""
    if layer.changed:
        yield moment(f"layer {layer.id}: changed", layer.changed, end=True, utc=True).timestamp()
    if layer.version and (at := _other_version(store, plan, layer)) is not None:
        yield nextafter(at, inf)


def _other_version(store: Store, plan: Plan, layer: Layer) -> float | None:
    """When the last attempt at another version than the plan says was made; None where there is none.

    The first attempt tells whether there is one, so that no page reads thousands of values.
    """
    c, named = attempt.c, f'"target_version":{dumps(layer.version)}'
    here = [c.plan == plan.id, c.layer == layer.id]
    first = sql.select(c.id).where(*here).order_by(c.surfaced).limit(1).scalar_subquery()
    values = store.select(sql.select(c.value).where(c.id == first).limit(1))
    if not any('"target_version":' in value and named not in value for (value,) in values):
        return None
    of_others = [c.value.contains('"target_version":', autoescape=True), ~c.value.contains(named, autoescape=True)]
    [[at]] = store.select(sql.select(sql.func.max(c.surfaced)).where(*here, *of_others))
    return None if at is None else float(at)
