"""A stage that changes what another stage does."""

from dataclasses import dataclass

from withstand.core.stage import Stage


@dataclass(frozen=True, slots=True)
class Around:
    """The field that such a stage begins with. Its own docstring says what the inner stage is for."""

    stage: Stage

    @property
    def seed(self) -> int:
        return self.stage.seed
