"""Findings that read alike, for pages: an index that a thread builds once, and that takes in what comes later."""

import threading

import sqlalchemy as sql

from withstand.redteam.findings.similar import Match, Similar, sent
from withstand.store.attempts import Attempt, attempts
from withstand.store.store import Store
from withstand.store.tables import attempt

CHUNK = 200
"""Attempts that are taken in at a time, while no page can look."""


class Alike:
    """The attempts of a store by what was sent."""

    def __init__(self) -> None:
        self._lock, self._start = threading.Lock(), threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget all texts."""
        with self._lock:
            self._index, self._keys = Similar(), set[str]()
            self._thread: threading.Thread | None = None

    def likest(self, store: Store, finding: Attempt, most: int = 5, wait: float = 1.0) -> list[Match] | None:
        """The attempts whose input is most like a finding's; None while the attempts are still being read.

        wait: seconds for them to be read.
        """
        with self._start:
            thread = self._thread
            if thread is None or not thread.is_alive():
                [(number,)] = store.select(sql.select(sql.func.count()).select_from(attempt))
                thread = None
                if number != len(self._keys):
                    thread = self._thread = threading.Thread(target=self._read, args=(store, self._index), daemon=True)
                    thread.start()
        if thread is not None:
            thread.join(wait)
            if thread.is_alive():
                return None
        with self._lock:
            return self._index.matches(sent(finding.turns), most, without=finding.id)

    def _read(self, store: Store, index: Similar) -> None:
        """Take in the revisions that came since the last time."""
        entries = store.select(sql.select(attempt.c.key, attempt.c.id).order_by(attempt.c.created))
        new: dict[str, list[str]] = {}
        for key, attempt_id in entries:
            if key not in self._keys:
                new.setdefault(attempt_id, []).append(key)
        ids = list(new)
        for start in range(0, len(ids), CHUNK):
            part = ids[start : start + CHUNK]
            records = attempts(store, ids=part)
            with self._lock:
                if index is not self._index:
                    return  # its texts were erased meanwhile
                for record in records:
                    index.add(record)
                self._keys.update(key for attempt_id in part for key in new[attempt_id])
