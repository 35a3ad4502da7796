"""Safety mixing: refusals among the user's rows. Bianchi et al. 2023, arXiv:2309.07875."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from withstand.core import SpecError, at_least, within
from withstand.core import rng as random_of
from withstand.core.stage import How, Row, Rows, as_rows
from withstand.training._around import Around


@dataclass(frozen=True, slots=True)
class SafetyMix(Around):
    """Trains by another stage on the user's rows and on a sample of the rows marked `safe`, drawn by the stage's seed.

    Give safe rows in the format of the user's rows: generic ones do not protect prompts in that format (Lyu et al.
    2024, arXiv:2402.18540).

    stage: the stage that trains on these rows.
    share: safe rows per row of the user, in (0, 10], default 0.1.
    least: fewest safe rows, 1 or more, default 64; if fewer are given, all of them are used.
    """

    version: ClassVar[int] = 1
    share: float = 0.1
    least: int = 64

    def __post_init__(self) -> None:
        within(1e-6, 10, self, "share")
        at_least(1, self, "least")

    def train(self, base: str, rows: Rows, folder: Path, how: How = How()) -> Path:
        """See `withstand.core.stage.Stage`. Raises `SpecError` where no row is marked `safe`."""
        return self.stage.train(base, self.mixed(rows), folder, how.inside(self))

    def mixed(self, rows: Rows) -> list[Row]:
        """The user's rows, then the safe ones that were drawn; the trainer shuffles them."""
        given = as_rows(rows)
        users, safe = [row for row in given if not row.safe], [row for row in given if row.safe]
        if not safe:
            raise SpecError("safety_mix was given no safe rows", hint="rows of refusals, marked safe")
        wanted = min(len(safe), max(self.least, math.ceil(self.share * len(users))))
        return users + random_of(self.seed, "safety_mix").sample(safe, wanted)
