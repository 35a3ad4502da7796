"""Logs as an audit of suites needs them: a random sample of prompts, and counts of what was flagged."""

import heapq
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b

from withstand.audits.suite.records import Logs, Prompt
from withstand.core import SpecError
from withstand.formats.traffic.exchange import BadLine, Exchange
from withstand.formats.traffic.log import open_log

KEPT = 4_000
"""Characters of a prompt that are compared."""
SAMPLE = 600
"""Prompts of a sample, at most."""
DRAWN = 20 * SAMPLE
"""Prompts that are drawn before those of one account are capped."""
OF_ACCOUNT = 5
"""Prompts of an account in a sample, at most."""


class _Draw:
    """A random sample of a stream: the lowest hashes of a text and its place. Independent of the order of the files."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str, str]] = []

    def add(self, text: str, account: str, place: str) -> None:
        digest = blake2b(f"{place}\n{account}\n{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        entry = (-int.from_bytes(digest), text, account)
        if len(self._heap) < DRAWN:
            heapq.heappush(self._heap, entry)
        elif entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def prompts(self) -> tuple[Prompt, ...]:
        seen: Counter[str] = Counter()
        kept: list[Prompt] = []
        for _, text, account in sorted(self._heap, reverse=True):
            seen[account] += 1
            if seen[account] <= OF_ACCOUNT and len(kept) < SAMPLE:
                kept.append(Prompt(text, account))
        return tuple(kept)


class Reader:
    """Adds exchanges up. category_of: what the policy calls a label, None where it has none of it.   flags: score from
    which a label flags."""

    def __init__(self, category_of: Callable[[str], str | None], flags: float) -> None:
        self.category_of, self.flags_from = category_of, flags
        self.exchanges = self.labeled = self.empty = self.nameless = 0
        self.flags: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.strange: Counter[str] = Counter()
        self.seen: set[str] = set()
        self.odd: Counter[str] = Counter()
        self._all, self._flagged = _Draw(), _Draw()

    def add(self, prompt: str, account: str, place: str, labels: Mapping[str, float]) -> None:
        """One exchange. account: "" where the log names none. place: what tells equal exchanges apart."""
        self.exchanges += 1
        self.labeled += bool(labels)
        self.nameless += not account
        account = f"account {account}" if account else f"line {place}"
        flagged = self._categories(labels)
        if flagged:
            self.flags[account, flagged] += 1
        if not prompt.strip():
            self.empty += 1
            return
        self._all.add(prompt[:KEPT], account, place)
        if flagged:
            self._flagged.add(prompt[:KEPT], account, place)

    def _categories(self, labels: Mapping[str, float]) -> tuple[str, ...]:
        names: set[str] = set()
        for label, score in labels.items():
            if not (isinstance(score, int | float) and math.isfinite(score) and 0 <= score <= 1):
                self.odd["label without a score in [0, 1]"] += 1
                continue
            category = self.category_of(label)
            if category is not None:
                self.seen.add(category)
            if score >= self.flags_from:
                if category is None:
                    self.strange[label[:60]] += 1
                names.add(category or f"{label[:60]} (not in the policy)")
        return tuple(sorted(names))

    def logs(self, names: Sequence[str]) -> Logs:
        """What was read. Raises `SpecError` where that was no exchange."""
        if not self.exchanges:
            kinds = ", ".join(f"{number} times {kind}" for kind, number in self.odd.most_common(3))
            hint = "--form and --column say what the log is like; `withstand monitor run --help` names the forms"
            raise SpecError(f"no exchange in {', '.join(names)}{f' ({kinds})' if kinds else ''}", hint=hint)
        return Logs(
            tuple(names), self.exchanges, self._all.prompts(), self._flagged.prompts(), self.labeled,
            dict(self.flags), dict(self.strange), frozenset(self.seen), dict(self.odd), self.empty, self.nameless,
        )  # fmt: skip


def read(
    paths: Sequence[str], form: str, columns: Mapping[str, str], category_of: Callable[[str], str | None], flags: float
) -> Logs:
    """The logs of these files, of any form that the monitor reads. Lines that are none are counted."""
    reader = Reader(category_of, flags)
    for number, path in enumerate(dict.fromkeys(paths)):
        for item in open_log(path, form, columns):
            if isinstance(item, BadLine):
                reader.odd[item.kind] += not item.harmless
            else:
                reader.odd.update(item.odd)
                reader.add(item.prompt, _owner(item), f"{number}:{item.line}", item.labels)
    return reader.logs(paths)


def _owner(item: Exchange) -> str:
    return item.account or (f"conversation {item.conversation}" if item.conversation else "")
