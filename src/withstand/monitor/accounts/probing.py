"""Refusal probing: a request that was stopped, put in other words again and again until one gets through."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from withstand.monitor.traffic import STOPPED, Traffic

WINDOW = 600.0
LEAST = 5
"""Attempts in other words within `WINDOW` seconds that make probing (openai-lessons 4.4)."""
GRAM, JACCARD, INSIDE, SHORT = 4, 0.35, 0.6, 20
"""Two prompts are near-duplicates if their sets of character 4-grams have so much in common, or if so much of the
smaller one, of 20 or more, is in the other: a request that was wrapped in a story. Unrelated English texts share about
a tenth."""
CHAINS = 32
"""Open chains of an actor; beyond, the oldest is closed."""
CHARACTERS, ROWS = 2_000, 5_000

SAMPLE, SHARED = 16, 3
"""4-grams of a text that are looked up in another, either way round, before the two are compared: near-duplicates
share 5 or more of them on average."""
TOGETHER = 50
"""Most accounts of a key that may be one actor: a key with more is a service's own, and its users are strangers."""

ACTORS = {
    "account": ("account || coalesce(' ' || end_user, '')", "account <> '' OR end_user <> ''"),
    "key": (
        "key",
        f"""key IN (SELECT key FROM exchange WHERE key <> '' GROUP BY key
            HAVING count(DISTINCT account) BETWEEN 2 AND {TOGETHER})""",
    ),
}
"""Who probes: a user of an account, or the accounts of one key together; and of which exchanges."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A chain of attempts. accounts: sorted.   actor: `account` or `key`.   start, end: seconds since 1970.

    attempts: stopped, and in other words than those before; and the ones that got through right after.   first: seq of
    the first.   through: seqs of those that were answered, in order.   after: how many attempts stood before the first
    that was, None without one.
    """

    actor: str
    accounts: tuple[str, ...]
    start: float
    end: float
    attempts: int
    first: int
    through: tuple[int, ...]
    after: int | None


@dataclass(slots=True)
class Chain:
    """Attempts at one request that are still going on."""

    start: float
    seq: int
    first: "Wording"
    last: "Wording"
    end: float
    stopped: bool = True
    texts: set["Wording"] = field(default_factory=set)
    recent: deque[float] = field(default_factory=deque)
    attempts: int = 0
    most: int = 0
    accounts: set[str] = field(default_factory=set)
    through: list[int] = field(default_factory=list)
    after: int | None = None

    def add(self, ts: float, seq: int, account: str, stopped: bool, grams: "Wording") -> None:
        """One more exchange. It is an attempt where it follows a stopped one and is worded as none before."""
        attempt = self.stopped and grams not in self.texts
        self.texts.add(grams)
        self.accounts.add(account)
        if attempt:
            if not stopped:
                self.through.append(seq)
                self.after = self.attempts if self.after is None else self.after
            self.attempts += 1
            self.recent.append(ts)
            while self.recent[0] < ts - WINDOW:
                self.recent.popleft()
            self.most = max(self.most, len(self.recent))
        self.stopped, self.last, self.end = stopped, grams, ts


@dataclass(frozen=True, slots=True)
class Wording:
    """The character 4-grams of a text, without case and spacing; a shorter text is its own. sample: some of them."""

    grams: frozenset[str]
    sample: frozenset[str]

    @staticmethod
    def of(text: str) -> "Wording":
        """Of the first `CHARACTERS`."""
        plain = " ".join(text[:CHARACTERS].lower().split())
        listed = [plain[at : at + GRAM] for at in range(max(1, len(plain) - GRAM + 1))]
        return Wording(frozenset(listed), frozenset(listed[:: len(listed) // SAMPLE + 1]))


def alike(a: Wording, b: Wording) -> float:
    """How near two texts are: 1 or more for near-duplicates, see `JACCARD`; 0 where a sample shares too little."""
    least = min(SHARED, len(a.sample) // 4, len(b.sample) // 4)
    if len(a.sample & b.grams) < least and len(b.sample & a.grams) < least:
        return 0.0
    common, smaller = len(a.grams & b.grams), min(len(a.grams), len(b.grams))
    within = common / smaller / INSIDE if smaller >= SHORT else 0.0
    return max(common / (len(a.grams) + len(b.grams) - common) / JACCARD, within)


def probes(traffic: Traffic) -> list[Probe]:
    """All chains with `LEAST` attempts in `WINDOW` seconds, the longest first; by user, and by key over accounts."""
    listed = list(_of(traffic, "account"))
    listed += [probe for probe in _of(traffic, "key") if len(probe.accounts) > 1]
    return sorted(listed, key=lambda probe: (-probe.attempts, probe.start, probe.accounts))


def _of(traffic: Traffic, actor: str) -> Iterator[Probe]:
    """The probes of one kind of actors. Holds the open chains of one actor at a time."""
    chains: list[Chain] = []
    current = None
    for who, ts, seq, account, stopped, text in _stream(traffic, actor):
        if who != current:
            yield from _closed(chains, actor)
            chains, current = [], who
        yield from _closed([chain for chain in chains if chain.end < ts - WINDOW], actor)
        chains = [chain for chain in chains if chain.end >= ts - WINDOW]
        grams = Wording.of(text)
        near = [(max(alike(grams, chain.last), alike(grams, chain.first)), chain) for chain in chains]
        score, chain = max(near, key=lambda pair: pair[0], default=(0.0, None))
        if chain is None or score < 1:
            if not stopped:
                continue
            chain = Chain(ts, seq, grams, grams, ts)
            chains.append(chain)
            yield from _closed(chains[:-CHAINS], actor)
            chains = chains[-CHAINS:]
        chain.add(ts, seq, account, stopped, grams)
    yield from _closed(chains, actor)


def _closed(chains: Sequence[Chain], actor: str) -> Iterator[Probe]:
    for chain in chains:
        if chain.most >= LEAST:
            yield Probe(
                actor, tuple(sorted(chain.accounts)), chain.start, chain.end, chain.attempts, chain.seq,
                tuple(chain.through), chain.after,
            )  # fmt: skip


def _stream(traffic: Traffic, actor: str) -> Iterator[tuple[Any, ...]]:
    """Exchanges near a time at which an actor was stopped `LEAST` - 1 times in a window, in order by actor and time.

    Only these are read. Without its text a prompt is its skeleton alone.
    """
    who, where = ACTORS[actor]
    cursor = traffic.database.cursor()
    cursor.execute(
        f"""WITH said AS (SELECT {who} AS actor, ts, seq, account, {STOPPED} AS stopped,
                coalesce(substr(prompt, 1, {CHARACTERS}), skeleton::VARCHAR, '') AS text
            FROM exchange WHERE {where}),
        stops AS (SELECT actor, ts, count(*) OVER (PARTITION BY actor ORDER BY ts
                RANGE BETWEEN {WINDOW} PRECEDING AND CURRENT ROW) AS n FROM said WHERE stopped),
        near AS (SELECT DISTINCT actor, floor(ts / {WINDOW}) + unnest([-1, 0, 1]) AS part FROM stops
            WHERE n >= {LEAST - 1})
        SELECT said.actor, ts, seq, account, stopped, text
        FROM said JOIN near ON said.actor = near.actor AND floor(ts / {WINDOW}) = near.part
        ORDER BY said.actor, ts, seq"""
    )
    while rows := cursor.fetchmany(ROWS):
        yield from rows
