"""What a proxy did from its start to its end, as a record of the store that the report reads."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from withstand.core import Json, digest, to_json
from withstand.monitor.proxy.mode import Mode
from withstand.monitor.screen.labelers import Labeler
from withstand.store.revisions import append
from withstand.store.store import Store

KIND = "proxy-session"

COUNTS = {
    "requests": "requests that came",
    "exchanges": "exchanges of a model, which are in the log",
    "other": "requests to other paths",
    "flagged": "exchanges that were flagged and passed",
    "blocked": "exchanges that were blocked by a judge",
    "failed_open": "exchanges that passed though a judge said nothing",
    "failed_closed": "requests that were refused since no judge could say",
    "unjudged": "exchanges of which a part that nothing waits for was not judged",
    "refused": "requests that were refused for their form",
    "server_errors": "requests that the server behind did not answer",
    "left": "requests whose client left before the end",
    "unlogged": "exchanges that are missing from the log",
}
"""What is counted, in words."""


@dataclass
class Session:
    """The counts of one proxy. id: names it in the log and the store.   started: seconds since 1970.   says: what it
    does, in words."""

    id: str
    mode: Mode
    labelers: tuple[Labeler, ...]
    policy: str
    monitor: str
    started: float
    says: str = ""
    log: str = ""
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def settings(self) -> str:
        """A digest of all that decides what passes."""
        return digest([to_json(self.mode), [labeler.version for labeler in self.labelers], self.policy])[:12]

    @property
    def version(self) -> str:
        """The version of the labeler that the screeners are together."""
        return digest([labeler.version for labeler in self.labelers])[:12]

    def value(self, now: float, ended: bool = False) -> Mapping[str, Json]:
        """The record. now: seconds since 1970."""
        return {
            "mode": self.mode.does,
            "answers": self.mode.answers if self.mode.answers != "window" else f"window:{self.mode.window}",
            "fail": self.mode.fail,
            "to": self.mode.to,
            "says": self.says,
            "settings": self.settings,
            "policy": self.policy,
            "screeners": {labeler.screener.id: labeler.version for labeler in self.labelers},
            "log": Path(self.log).name,
            "started": self.started,
            "until": now,
            "ended": ended,
            "counts": {name: self.counts[name] for name in COUNTS},
        }

    def keep(self, store: Store, now: float, ended: bool = False) -> None:
        """Write the counts so far as the record's next revision."""
        append(store, KIND, self.id, self.monitor, now, self.value(now, ended))
