"""What a call has done so far, and the caps on it."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from withstand.runner.progress import Search
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
    `roles` (what it is in the run) are by model. `searches`: those under way. `stopped`: the cap
    ("--max-asks"), the failed device or the dead model that ended it."""

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
    searches: list[Search] = field(default_factory=list)

    def share(self, total: int) -> float:
        """The share of the stage's `total` rows that is done, in [0, 1], with that of the running searches."""
        done = self.done + self.failed + sum(search.share for search in self.searches)
        return min(done / total, 1.0) if total else 0.0

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
