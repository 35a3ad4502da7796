"""Which exchanges are clustered: a capped sample in strata, each with its own rate, drawn by the audit number.

All flagged exchanges cannot be read where there are many, and what no screener flags must be looked at too: what was
refused, blocked or nearly flagged, what uses words that are new in the last week, and a random part of the rest.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from withstand.monitor.section import Context
from withstand.monitor.traffic import STOPPED, Traffic
from withstand.redteam.dates import WEEK
from withstand.stats.log_odds import log_odds
from withstand.stats.rates import wilson

STRATA: Mapping[str, float] = {"flagged": 0.4, "suspect": 0.2, "new words": 0.2, "last week": 0.1, "before": 0.1}
"""Stratum -> its share of the sample. suspect: refused, blocked or nearly flagged; new words: of the last week with
a word that was rare before it. Each exchange is in the first that fits."""
NEARLY = 0.4
"""Score of an unflagged exchange from which on it is suspect."""
READ = 100_000
"""Unflagged exchanges whose words are counted."""
LEAST_NEW, RISEN, MULTIPLE, NEW_WORDS = 5, 3.5, 3.0, 200
"""Of a new word: exchanges of the last week with it, standard errors of its log odds, and multiple of its share before,
at least; and how many words there are, at most."""
WORD = re.compile(r"[^\W\d_]{3,}")
MASKS = frozenset(("url", "num", "name"))


@dataclass(frozen=True, slots=True)
class Stratum:
    """size: exchanges in the traffic.   drawn: of them, those in the sample."""

    name: str
    size: int
    drawn: int

    @property
    def rate(self) -> float:
        return self.drawn / self.size if self.size else 1.0


@dataclass(frozen=True, slots=True)
class Item:
    """An exchange of the sample. text: its prompt redacted, or its skeleton where no text is kept.

    category: of its highest flag, "" for none.   near: an unflagged score of `NEARLY` or more.
    """

    seq: int
    ts: float
    account: str
    skeleton: int
    text: str
    category: str
    refused: bool
    near: bool
    stratum: str


@dataclass(frozen=True, slots=True)
class Sample:
    """strata: by name.   fresh: the words by which "new words" was drawn.   start, now: ends of the traffic."""

    items: tuple[Item, ...]
    strata: Mapping[str, Stratum]
    fresh: tuple[str, ...]
    start: float
    now: float

    @property
    def has_past(self) -> bool:
        """Whether the logs reach back far enough to say what is new: two weeks."""
        return self.now - self.start >= 2 * WEEK

    def estimate(self, items: Sequence[Item]) -> tuple[float, float, float]:
        """How many exchanges of the traffic are as these of the sample: estimate and 95% interval.

        Wilson's interval in each stratum, for a finite population, joined as Zou and Donner do (2008, Statistics in
        Medicine 27:1693). Never below what was seen.
        """
        numbers, total, down, up = Counter(item.stratum for item in items), 0.0, 0.0, 0.0
        for name, stratum in self.strata.items():
            if not stratum.drawn:
                continue
            count, rest = numbers[name], stratum.size - stratum.drawn
            share = count / stratum.drawn
            total += share * stratum.size
            if rest:
                effective = stratum.drawn * (stratum.size - 1) / rest
                low, high = wilson(share * effective, effective) or (0.0, 1.0)
                down += ((share - low) * stratum.size) ** 2
                up += ((high - share) * stratum.size) ** 2
        return total, max(float(len(items)), total - sqrt(down)), total + sqrt(up)


def draw(context: Context, size: int) -> Sample:
    """The sample of the traffic, at most `size` exchanges."""
    traffic, now = context.traffic, context.now
    start, _ = traffic.span() or (now, now)
    fresh = _fresh_words(traffic, start, now) if now - start >= 2 * WEEK else ()
    _into_strata(traffic, fresh, now)
    sizes = dict(traffic.rows("SELECT stratum, count(*) FROM stratum GROUP BY ALL"))
    caps = _caps(sizes, size)
    rows = []
    for name in STRATA:
        rows += traffic.rows(
            "SELECT e.seq, e.ts, coalesce(e.account, ''), e.skeleton, coalesce(nullif(e.prompt, ''), s.text), "
            f"coalesce(t.category, ''), {STOPPED}, coalesce(t.score, 0), t.stratum FROM "
            "(SELECT * FROM stratum WHERE stratum = ? ORDER BY audit, seq LIMIT ?) t JOIN exchange e USING (seq) "
            "LEFT JOIN (SELECT hash, any_value(text) AS text FROM skeleton GROUP BY hash) s ON s.hash = e.skeleton "
            "ORDER BY e.seq",
            [name, caps[name]],
        )
    traffic.database.execute("DROP TABLE stratum")
    items = tuple(
        Item(seq, ts, account, skeleton, text, category, refused, not category and score >= NEARLY, name)
        for seq, ts, account, skeleton, text, category, refused, score, name in rows
        if text
    )
    drawn = Counter(item.stratum for item in items)
    strata = {name: Stratum(name, sizes.get(name, 0), drawn[name]) for name in STRATA}
    return Sample(items, strata, fresh, start, now)


def _caps(sizes: Mapping[str, int], size: int) -> dict[str, int]:
    """Places of each stratum; those that one does not need go to the others in their order."""
    caps = {name: min(sizes.get(name, 0), int(share * size)) for name, share in STRATA.items()}
    for name in STRATA:
        caps[name] += min(sizes.get(name, 0) - caps[name], size - sum(caps.values()))
    return caps


def _into_strata(traffic: Traffic, fresh: Sequence[str], now: float) -> None:
    """The temporary table `stratum` (seq, audit, category, score, stratum) of all exchanges with a prompt."""
    traffic.database.execute("CREATE OR REPLACE TEMP TABLE fresh (hash UBIGINT)")
    if fresh:
        query = "INSERT INTO fresh SELECT DISTINCT hash FROM skeleton WHERE regexp_matches(text, ?)"
        traffic.database.execute(query, [_any_of(fresh)])
    traffic.database.execute(
        "CREATE OR REPLACE TEMP TABLE stratum AS SELECT e.seq, e.audit, l.category, l.score, CASE "
        "WHEN l.category IS NOT NULL THEN 'flagged' "
        f"WHEN {STOPPED} OR l.score >= {NEARLY} THEN 'suspect' "
        f"WHEN e.ts > {now - WEEK} AND e.skeleton IN (SELECT hash FROM fresh) THEN 'new words' "
        f"WHEN e.ts > {now - WEEK} THEN 'last week' ELSE 'before' END AS stratum FROM exchange e LEFT JOIN ("
        "SELECT seq, arg_max(category, (score, category)) FILTER (flagged) AS category, max(score) AS score "
        "FROM label GROUP BY seq) l USING (seq) WHERE e.skeleton IS NOT NULL"
    )
    traffic.database.execute("DROP TABLE fresh")


def words_of(text: str) -> set[str]:
    """The words of a text, of three letters or more, in lower case."""
    return set(WORD.findall(text.lower())) - MASKS


def _any_of(words: Sequence[str]) -> str:
    """A pattern of RE2 that finds one of these words, which are letters alone."""
    return rf"(^|[^\pL])({'|'.join(words)})([^\pL]|$)"


def _fresh_words(traffic: Traffic, start: float, now: float) -> tuple[str, ...]:
    """Words of the last week that were rarer before it, those that rose most first."""
    counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    rows: Any = traffic.database.execute(
        "SELECT e.ts > ?, s.text FROM (SELECT ts, skeleton FROM exchange WHERE skeleton IS NOT NULL "
        "AND ts BETWEEN ? AND ? AND seq NOT IN (SELECT seq FROM label WHERE flagged) ORDER BY audit, seq LIMIT ?) e "
        "JOIN skeleton s ON s.hash = e.skeleton",
        [now - WEEK, start, now, READ],
    )
    while block := rows.fetchmany(10_000):
        for late, text in block:
            counts[not late].update(words_of(text))
    scores, (late_words, early_words) = log_odds(*counts), (max(1, sum(part.values())) for part in counts)
    risen = [
        word
        for word, score in scores.items()
        if score >= RISEN and (number := counts[0][word]) >= LEAST_NEW
        if number / late_words >= MULTIPLE * counts[1][word] / early_words
    ]
    return tuple(sorted(risen, key=lambda word: (-scores[word], word))[:NEW_WORDS])
