"""The records of a store: finished pieces, what a run wants, what went wrong, and runs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from withstand.core import Json


@dataclass(frozen=True, slots=True)
class Row:
    """A finished piece of a stage. `value` is the JSON of its records; the rest is what reports add up.

    An attack's row says how many `test_cases` it made, what `cut` it short ("" nothing), and how many answers of its
    attacker model were `refused`, `malformed`, too `long`, `repeated` or `changed` (None up to schema 8, or 9).
    `vote` of an ensemble's verdict: "agreed" or "split". Else None.
    `purged`: 1 where `withstand purge` erased the texts, which leaves digests in their places.
    """

    key: str
    label: str
    value: Json
    asks: int = 0
    tokens: int = 0
    seconds: float = 0.0
    cost: float = 0.0
    flops: float | None = None
    test_cases: int | None = None
    cut: str | None = None
    refused: int | None = None
    malformed: int | None = None
    vote: str | None = None
    purged: int | None = None
    long: int | None = None
    repeated: int | None = None
    changed: int | None = None


@dataclass(frozen=True, slots=True)
class Want:
    """That a run wants the row `key` at this place. `number` is the test case's, `sample` the completion's."""

    stage: int
    cell: int
    behavior: int
    number: int
    sample: int
    key: str


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong with the row `key`, for people."""

    key: str
    stage: int
    error: str
    hint: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as stored: its spec as written and its plan, which the key is the digest of.

    `reuse`: "all" where it was said that rows of others count.   `is_own`: whether the user recorded it, and nobody
    changed it; `is_trusted`: or a writer whom the user trusts in this store. Such a writer's spec is data, of which an
    allowlist is built (`registry.stored`), and of any other nothing.
    """

    key: str
    name: str
    created: float
    spec: Json
    plan: Json
    reuse: str = ""
    is_own: bool = False
    is_trusted: bool = False


def chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of up to `size` items, in order."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part
