"""What a call has done so far, and the caps on it."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from withstand.store.store import Failure


@dataclass
class Caps:
    """Hard caps of a whole run over all roles; None: no cap. `asks` in chats sent, `cost` in US dollars, `seconds`."""

    asks: int | None = None
    cost: float | None = None
    seconds: float | None = None


@dataclass(slots=True)
class Used:
    """What one model has answered in this process; `cost` in US dollars."""

    asks: int = 0
    tokens: int = 0
    cost: float = 0.0


@dataclass
class Tally:
    """What has happened so far, for progress and for the end; one object for all stages of a run. `used` and
    `roles` (what it is in the run) are by model."""

    started: float = field(default_factory=time.monotonic)
    stage: int = 0
    done: int = 0
    failed: int = 0
    asks: int = 0
    tokens: int = 0
    cost: float = 0.0
    labels: Counter[str] = field(default_factory=Counter)
    used: dict[Any, "Used"] = field(default_factory=dict)
    roles: Mapping[Any, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    stopped: str = ""

    @property
    def incomplete(self) -> bool:
        """Whether rows ended in error or a cap stopped the run."""
        return bool(self.stopped or self.failures)

    def over(self, caps: Caps) -> str:
        """Which of the caps known afterwards is used up, "" for none."""
        if caps.cost is not None and self.cost >= caps.cost:
            return "--max-cost"
        if caps.seconds is not None and time.monotonic() - self.started >= caps.seconds:
            return "--max-time"
        return ""
