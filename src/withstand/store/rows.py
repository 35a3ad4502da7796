"""The records of a store: finished pieces, what a run wants, what went wrong, and runs."""

from dataclasses import dataclass

from withstand.core import Json


@dataclass(frozen=True, slots=True)
class Row:
    """A finished piece of a stage. `value` is the JSON of its records; the rest is what reports add up.

    An attack's row says how many `test_cases` it made, what `cut` it short ("" nothing), and how many answers of its
    attacker model were `refused` or `malformed`. `vote` of an ensemble's verdict: "agreed" or "split". Else None.
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
    """A run as stored: its spec as written and its plan, which the key is the digest of."""

    key: str
    name: str
    created: float
    spec: Json
    plan: Json
