"""Safety mixing: refusals among the user's rows. Bianchi et al. 2023, arXiv:2309.07875."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from withstand.core import SpecError, at_least, within
from withstand.core import rng as random_of
from withstand.core.stage import How, Row, Rows, Stage, as_rows


@dataclass(frozen=True, slots=True)
class SafetyMix:
    """Another stage on the user's rows and some of the safe ones (rows marked `safe`), drawn by the stage's seed.

    Rows in the format of the user's own help most: generic ones fail on prompts in the user's format (Lyu et al. 2024,
    arXiv:2402.18540). So the rows given should have it.

    stage: what trains on them.
    share: safe rows for each row of the user, in (0, 10], default 0.1.
    least: but so many, 1 or more, default 64; where fewer are given, all of them.
    """

    version: ClassVar[int] = 1
    stage: Stage
    share: float = 0.1
    least: int = 64

    def __post_init__(self) -> None:
        within(1e-6, 10, self, "share")
        at_least(1, self, "least")

    @property
    def seed(self) -> int:
        return self.stage.seed

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
